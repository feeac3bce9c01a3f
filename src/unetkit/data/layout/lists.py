"""The lists of PASCAL VOC, which name its pairs and say how they are split."""

import re
from collections import defaultdict
from collections.abc import Sequence

from unetkit.data.findings import Finding, Severity, finding_on
from unetkit.data.layout.tree import Entry
from unetkit.data.pair import Pair

FOLDER = ("ImageSets", "Segmentation")
LISTS = re.compile(r"(train|val|test|trainval)\.txt")


def by_lists(pairs: list[Pair], entries: Sequence[Entry], findings: list[Finding]) -> tuple[list[Pair], str]:
    """Take the pairs and splits that lists name; all pairs if there are no lists.

    Args:
        pairs: The pairs that were found.
        entries: All files of the data set.
        findings: Gets what the lists name and is not there, and how many pairs they leave out.

    Returns:
        The pairs, and the names of the lists for the line that says what was recognised.
    """
    listed: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        found = LISTS.fullmatch(entry.ref.last) if entry.folders[-2:] == FOLDER else None
        if found:
            listed[found[1]] += entry.ref.read().decode(errors="replace").split()
    if not listed:
        return pairs, ""
    if {"train", "val"} <= listed.keys():
        listed.pop("trainval", None)
    split_of = {id: None if split == "trainval" else split for split in listed for id in listed[split]}
    by_name = {pair.image.stem: pair for pair in pairs if pair.mask}
    chosen = [
        Pair(id, by_name[id].image, by_name[id].mask, None, split) for id, split in split_of.items() if id in by_name
    ]
    without = [id for id, split in split_of.items() if id not in by_name and split != "test"]
    fix = "add its image and mask, or take it off the list"
    findings += finding_on(Severity.FAULT, "{n} listed name{s} {has} no image and mask", fix, without)
    left = len(by_name.keys() - split_of.keys())
    if left:
        what, fix = f"{left:,} pairs are on no list in ImageSets/Segmentation, and not read", "list them to use them"
        findings.append(Finding(Severity.NOTE, what, fix))
    return chosen, ", split by " + ", ".join(f"{split}.txt" for split in listed)
