"""What stops training in the layout of a data set: missing masks, equal names, empty folders, other kinds of files."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from unetkit.data.findings import Finding, Severity, finding_on
from unetkit.data.layout.choices import choices_among, choices_of_images, choices_of_masks, patterns_of_channels
from unetkit.data.layout.item import Item
from unetkit.data.layout.naming import Matched
from unetkit.data.layout.roles import Roles, placed
from unetkit.data.layout.tree import Entry
from unetkit.data.layout.words import Meaning, meaning_of

NO_MEANING = Meaning(None, None, "")
KINDS_SHOWN = 6  # suffixes
BESIDE_RASTERS = (".aux.xml", ".ovr", ".tfw", ".tifw", ".wld", ".prj", ".jgw", ".pgw")  # places, statistics, overviews
BESIDE_MASKS = ("_gtfine_polygons.json", "_gtcoarse_polygons.json")  # what Cityscapes' masks were drawn from


def find_faults(matched: Matched, suffix: str, codes: Mapping[str, str]) -> list[Finding]:
    """Report images without a mask, masks without an image, and files that can't be told apart."""
    without = [image for image, masks in matched.masks_of if not (masks or image.name in codes)]
    orphans = [mask.shown for mask in matched.orphans]
    patterns = patterns_of_channels(without, matched.orphans)
    if patterns:
        what = f"{{n}} images belong to {len(orphans):,} masks, {len(patterns) - 1} to each"
        *of_images, of_masks = (f'"{pattern}"' for pattern in patterns)
        fix = f"for one image of so many channels, set 'data.images=[{','.join(of_images)}]' data.masks={of_masks}"
        fix += f"; for one of them, set data.images={of_images[0]}"
        return finding_on(Severity.FAULT, what, fix, (image.shown for image in without))
    if matched.count or matched.orphans or codes:
        what = "{n} image{s} {has} no mask"
        fix = "add masks of the same name (all black if there is nothing to find), or remove the images"
    else:
        what = "{n} image{s} {has} no mask: there are no masks at all"
        fix = _where_masks_are([image for image, _ in matched.masks_of])
    if without and orphans and not matched.count:
        what = f"no mask is called like an image: {without[0].shown} and {orphans[0]} differ"
        fix = "call a mask like its image, or say how they belong together by patterns, in which * stands for what is "
        fix += 'equal in both, as in data.images="scans/*_t1.png" data.masks="truth/seg_*.png"'
        return [*_told_apart_by_nothing(matched), Finding(Severity.FAULT, what, fix)]
    ending = f" (a mask is called like its image, with {suffix} at the end)" if suffix else ""
    severity = Severity.WARNING if codes else Severity.FAULT
    add = "add the images, or remove the masks"
    if not matched.masks_of:
        add = "say where the images are: data.images=FOLDER, or a pattern, or [A,B] of the channels of each"
    return [
        *_told_apart_by_nothing(matched),
        *finding_on(Severity.FAULT, what, fix, (image.shown for image in without)),
        *finding_on(severity, "{n} mask{s} {has} no image", add + ending, orphans),
    ]


def _where_masks_are(images: Sequence[Item]) -> str:
    """Return how to say where the masks are: which of several folders, or groups of names, holds them."""
    if choices := choices_among(images):
        return f"say which are the masks: {' or '.join(choices)}"
    return "put a mask with the same name for each image into masks/, or say where they are: data.masks=FOLDER"


def _told_apart_by_nothing(matched: Matched) -> list[Finding]:
    """Report files of one name, and images with several masks."""
    several = [] if matched.merges else [(image, masks) for image, masks in matched.masks_of if len(masks) > 1]
    twins = [masks for _, masks in several if len({(mask.folder.place, mask.name) for mask in masks}) == 1]
    others = [(image, masks) for image, masks in several if masks not in twins]
    same = [item for held in (*matched.clashes, *twins) for item in held[1:]]
    choice = ""
    if others:
        places = choices_of_masks(others[0][1])
        typed = " or ".join(f"data.masks={_quoted(place)}" for place in places)
        joined = ",".join(f'"{place}"' for place in places)
        choice = (
            f"say which are the masks, as in {typed}; or set 'data.masks=[{joined}]' data.labels=multilabel, if they "
        )
        choice += "are those of several labels, which may overlap"
    names = (f"{image.shown} ({', '.join(mask.shown for mask in masks)})" for image, masks in others)
    what, fix = "{n} file{s} {has} the same name as another, apart from the file type", "keep one of each"
    if folders := choices_of_images(matched.clashes, len(matched.masks_of)):
        what = "{n} image{s} {has} the same name as one in another folder"
        typed = " or ".join(f"data.images={_quoted(folder)}" for folder in folders)
        joined = ",".join(f'"{folder}"' for folder in folders)
        fix = f"say which are the images: {typed}; or 'data.images=[{joined}]', if they are channels of one image"
    return [
        *finding_on(Severity.FAULT, what, fix, (item.shown for item in same)),
        *finding_on(Severity.FAULT, "{n} image{s} {has} several masks", choice, names),
    ]


def _quoted(place: str) -> str:
    return f'"{place}"' if "*" in place or " " in place else place


def report_unlabelled(unlabelled: Sequence[Item]) -> list[Finding]:
    """Report images of splits without masks."""
    by_split = Counter(item.folder.split for item in unlabelled)
    fix = "they are not used for training or scores; `unetkit predict` can predict them"
    return [
        Finding(
            Severity.NOTE if split == "test" else Severity.WARNING,
            f"{split} has {count:,} image{'s' * (count > 1)}, but no masks",
            fix,
        )
        for split, count in by_split.items()
    ]


def report_empty_splits(root: Path | None, entries: Sequence[Entry]) -> list[Finding]:
    """Report folders that are called like a split, but hold no file."""
    folders = [path for path in sorted(root.iterdir()) if path.is_dir()] if root and root.is_dir() else []
    used = {entry.folders[0] for entry in entries if entry.folders}
    empty = [path.name for path in folders if path.name not in used and (meaning_of(path.name) or NO_MEANING).split]
    return finding_on(Severity.FAULT, "{n} folder{s} {is} empty", "put images and masks there, or remove it", empty)


def report_unread(entries: Sequence[Entry], roles: Roles, kinds_read: str, *, are_drawn: bool) -> list[Finding]:
    """Report files of kinds that are not read, beside images and masks; a fault where these are all the masks.

    Args:
        entries: All files of the data set.
        roles: Its images and masks.
        kinds_read: The kinds of files that are read, in words.
        are_drawn: Whether masks are drawn from outlines, so that files of annotations are read.
    """
    items = [*roles.images, *roles.masks]
    folders = {item.folder.place for item in items if item.folder.place}
    annotations = {".json", ".txt", ".xml", ".yaml", ".yml"} if are_drawn else set()
    is_fault = not roles.masks and not are_drawn
    others = [
        entry
        for entry in entries
        if not entry.is_image
        and not entry.ref.last.lower().endswith((*BESIDE_RASTERS, *BESIDE_MASKS))
        and entry.ref.name.suffix.lower() not in annotations
        and ("/".join(entry.folders) in folders or (is_fault and placed(entry)[1]))
    ]
    kinds = ", ".join(sorted({entry.ref.name.suffix.lower() or "no suffix" for entry in others})[:KINDS_SHOWN])
    what = f"{{n}} file{{s}} {{is}} of a kind that is not read ({kinds})"
    severity = Severity.FAULT if is_fault else Severity.WARNING
    return finding_on(severity, what, f"convert to {kinds_read}, or move elsewhere", (entry.path for entry in others))
