"""What stops training in the layout of a data set: missing masks, equal names, empty folders, other kinds of files."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_letters, digits

from unetkit.data.findings import Finding, Severity, finding_on
from unetkit.data.layout.item import Item
from unetkit.data.layout.naming import Matched, common_start
from unetkit.data.layout.roles import Roles, placed
from unetkit.data.layout.tree import Entry
from unetkit.data.layout.words import Meaning, meaning_of

NO_MEANING = Meaning(None, None, "")
FOLDERS_SHOWN = 3
KINDS_SHOWN = 6  # suffixes
BESIDE_RASTERS = (".aux.xml", ".ovr", ".tfw", ".tifw", ".wld", ".prj", ".jgw", ".pgw")  # places, statistics, overviews
BESIDE_MASKS = ("_gtfine_polygons.json", "_gtcoarse_polygons.json")  # what Cityscapes' masks were drawn from


def find_faults(matched: Matched, suffix: str, codes: Mapping[str, str]) -> list[Finding]:
    """Report images without a mask, masks without an image, and files that can't be told apart."""
    without = [image for image, masks in matched.masks_of if not (masks or image.name in codes)]
    orphans = [mask.shown for mask in matched.orphans]
    patterns = _patterns_of_channels(without, matched.orphans)
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
    ending = f" (a mask is called like its image, with {suffix} at the end)" if suffix else ""
    severity = Severity.WARNING if codes else Severity.FAULT
    return [
        *_told_apart_by_nothing(matched),
        *finding_on(Severity.FAULT, what, fix, (image.shown for image in without)),
        *finding_on(severity, "{n} mask{s} {has} no image", "add the images, or remove the masks" + ending, orphans),
    ]


def _patterns_of_channels(images: Sequence[Item], masks: Sequence[Item]) -> list[str]:
    """Return patterns of the images of each folder, and of its mask, where all have names of the same ends (BraTS).

    The list is empty where they don't.
    """
    in_folder: dict[tuple[object, ...], tuple[list[Item], list[Item]]] = defaultdict(lambda: ([], []))
    for kind, items in enumerate((images, masks)):
        for item in items:
            in_folder[item.folder.split, item.folder.place][kind].append(item)
    found = set()
    for own_images, own_masks in in_folder.values():
        items = [*sorted(own_images, key=lambda item: item.name), *own_masks]
        start = common_start([item.name for item in items]).rstrip(ascii_letters + digits)
        mark = start[-1:]  # that t1 is not found at the end of another word
        found.add(tuple(f"**/*{mark}{item.name[len(start) :]}{item.ref.suffix}" for item in items))
    patterns = list(found.pop()) if len(found) == 1 else []
    return patterns if len(patterns) > 2 and len(masks) == len(in_folder) > 1 else []


def _where_masks_are(images: Sequence[Item]) -> str:
    """Return how to say where the masks are: which of several folders with files of equal names holds them."""
    names: dict[str, set[str]] = defaultdict(set)
    for image in images:
        names[image.folder.home].add(image.name)
    if 1 < len(names) <= FOLDERS_SHOWN and len(set(map(frozenset, names.values()))) == 1:
        return "say which are the masks: " + " or ".join(f"data.masks={home or '.'}" for home in sorted(names))
    return "put a mask with the same name for each image into masks/, or say where they are: data.masks=FOLDER"


def _told_apart_by_nothing(matched: Matched) -> list[Finding]:
    """Report files of one name, and images with several masks."""
    several = [] if matched.merges else [(image, masks) for image, masks in matched.masks_of if len(masks) > 1]
    twins = [masks for _, masks in several if len({(mask.folder.place, mask.name) for mask in masks}) == 1]
    others = [(image, masks) for image, masks in several if masks not in twins]
    same = [item for held in (*matched.clashes, *twins) for item in held[1:]]
    choice = ""
    if others:
        choice = f"say which are the masks, as in {' or '.join(_choices(others[0][1]))}"
        choice += "; or set data.labels=multilabel, if they are those of several labels, which may overlap"
    names = (f"{image.shown} ({', '.join(mask.shown for mask in masks)})" for image, masks in others)
    what = "{n} file{s} {has} the same name as another, apart from the file type"
    return [
        *finding_on(Severity.FAULT, what, "keep one of each", (item.shown for item in same)),
        *finding_on(Severity.FAULT, "{n} image{s} {has} several masks", choice, names),
    ]


def _choices(masks: Sequence[Item]) -> list[str]:
    """Return the keys that choose each of several masks of an image, as a folder or by the ends of names."""
    if len({mask.folder.place for mask in masks}) == len(masks):
        return [f"data.masks={mask.folder.place or '.'}" for mask in masks]
    start = len(common_start([mask.name for mask in masks]))
    return [f'data.masks="**/*{mask.name[start:]}{mask.ref.name.suffix}"' for mask in masks]


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
