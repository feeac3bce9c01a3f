"""Finds multi-label masks, where each label has masks of its own: in a folder of its name, or as patterns say."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from unetkit.data.drawn import LabelMask
from unetkit.data.findings import Finding, Severity
from unetkit.data.layout.find import Layout, find_layout
from unetkit.data.layout.given import named_files
from unetkit.data.layout.naming import common_start
from unetkit.data.layout.roles import placed
from unetkit.data.layout.tree import Entry, list_entries
from unetkit.data.layout.words import meaning_of
from unetkit.data.pair import Pair
from unetkit.errors import UserError


def find_labels(
    root: Path | None,
    mask_suffix: str = "",
    images: str | Sequence[str] | None = None,
    masks: Sequence[str] = (),
    names: Sequence[str] = (),
    *,
    stacks: bool = False,
) -> Layout | None:
    """Find images, and a mask of each label for each of them.

    Args:
        root: The folder or zip; None if `images` and `masks` say where the files are.
        mask_suffix: See `find_layout`.
        images: Folder or pattern of the images, see `find_layout`; found by itself if None.
        masks: Folder or pattern of the masks of each label; none for the folders in that of the masks.
        names: The names of the labels in their order; none for those of the folders, or what differs in the patterns.
        stacks: See `find_layout`.

    Returns:
        The pairs, whose masks are `LabelMask`; None if masks are not given and no label has a folder.

    Raises:
        UserError: If names and folders or patterns do not fit each other, or nothing is found.
    """
    entries = list_entries(root) if root is not None else []
    if masks:
        found = list(names) or distinct_parts(masks)
        if len(found) != len(masks):
            problem = f"names {len(found)} labels, but data.masks lists {len(masks)}"
            raise UserError(f"data.class_names=[{','.join(found)}]", problem, "give one name for each")
        layouts = {}
        for name, place in zip(found, masks, strict=True):
            elsewhere = {
                named.entry.ref
                for other in masks
                if other != place
                for named in named_files("data.masks", [other], root, entries)
            }
            own = [entry for entry in entries if entry.ref not in elsewhere]
            layouts[name] = find_layout(root, mask_suffix, images, place, stacks=stacks, entries=own)
        return _joined(layouts)
    folders = label_folders(entries)
    if not folders:
        return None
    if names and set(names) != set(folders):
        problem = f"names other labels than the folders of masks: {', '.join(folders)}"
        raise UserError(f"data.class_names=[{','.join(names)}]", problem, f"set data.class_names=[{','.join(folders)}]")
    return _joined(
        {
            name: find_layout(root, mask_suffix, images, stacks=stacks, entries=_of_label(entries, folders, name))
            for name in names or folders
        }
    )


def label_folders(entries: Sequence[Entry]) -> list[str]:
    """Return the sorted names of folders that hold masks of one label each, as `nucleus` in `masks/nucleus/1.png`.

    They are the folders in one of masks that are there for no image, be it as a folder (`images/ann`, `masks/ann`) or
    as its name (`images/1.png`, `masks/1/*.png`).
    """
    roles = [(entry, *placed(entry)) for entry in entries if entry.is_image]
    of_images = {part for entry, item, role in roles if role != "mask" for part in (*entry.folders, item.name)}
    inner = {
        (entry.folders[depth] if depth < len(entry.folders) else "")
        for entry, _, role in roles
        if role == "mask"
        for depth in [_depth_of_masks(entry)]
    }
    labels = sorted(inner - of_images)
    return labels if len(labels) > 1 and "" not in labels and not inner & of_images else []


def distinct_parts(masks: Sequence[str]) -> list[str]:
    """Return what differs in some paths or patterns, as `a` and `b` of `masks/*_a.png` and `masks/*_b.png`."""
    start = re.sub(r"[A-Za-z0-9]+$", "", common_start(masks))
    end = re.sub(r"^[A-Za-z0-9]+", "", common_start([text[::-1] for text in masks])[::-1])
    parts = [text[len(start) : len(text) - len(end)].strip("/*_-. ") for text in masks]
    return parts if all(parts) and len(set(parts)) == len(parts) else [f"label {k}" for k in range(len(masks))]


def _depth_of_masks(entry: Entry) -> int:
    """Return the number of folders down to the innermost one that says `masks`."""
    depths = [k for k, name in enumerate(entry.folders, 1) if (found := meaning_of(name)) and found.role == "mask"]
    return max(depths, default=len(entry.folders))


def _of_label(entries: Sequence[Entry], labels: Sequence[str], name: str) -> list[Entry]:
    """Return all files but the masks of other labels; those of this one as if they lay a folder higher."""
    found = []
    for entry in entries:
        depth = _depth_of_masks(entry)
        label = entry.folders[depth] if depth < len(entry.folders) else None
        if label == name:
            entry = replace(entry, folders=entry.folders[:depth] + entry.folders[depth + 1 :])
        if label == name or label not in labels:
            found.append(entry)
    return found


def _joined(layouts: dict[str, Layout]) -> Layout:
    """Join the masks of each label by their images; what stops training for one label stops it for all."""
    first, *others = layouts.values()
    findings = [*first.findings]
    for layout in others:
        findings += [finding for finding in layout.findings if finding not in findings]
    by_image = [{pair.image: pair for pair in layout.pairs if pair.mask is not None} for layout in layouts.values()]
    shared = [pair for pair in first.pairs if all(pair.image in pairs for pairs in by_image)]
    names = tuple(layouts)
    pairs = tuple(
        Pair(
            pair.id,
            pair.image,
            LabelMask(tuple(pairs[pair.image].mask for pairs in by_image), names),  # type: ignore[misc]  # not None
            split=pair.split,
        )
        for pair in shared
    )
    joined = {pair.image for pair in pairs}
    for name, layout in layouts.items():
        without = [pair.id for pair in layout.pairs if pair.image not in joined]
        if without and not any(finding.severity == Severity.FAULT for finding in findings):
            what = f"{len(without):,} image(s) have no mask of {name}, or of another label"
            fix = "add masks, all black where a label is not there"
            findings.append(Finding(Severity.FAULT, what, fix, tuple(without)))
    description = f"{first.description}, one for each of {', '.join(names)}"
    return Layout(pairs, description, tuple(findings), first.unlabelled)
