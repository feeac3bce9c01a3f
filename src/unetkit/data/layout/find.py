"""Finds the images and masks of a data set, however it is laid out, pairs them, and says what it recognised."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from unetkit.data.drawn import DrawnMask, MergedMask, OutlinedMask
from unetkit.data.files import SUFFIXES, VOLUME_SUFFIXES, FileRef
from unetkit.data.findings import Finding, Severity, finding_on
from unetkit.data.layout.annotations import find_outlines
from unetkit.data.layout.channels import join_channels
from unetkit.data.layout.choices import FOLDERS_SHOWN
from unetkit.data.layout.foreign import report_foreign
from unetkit.data.layout.given import items_of, named_files
from unetkit.data.layout.item import Item
from unetkit.data.layout.lists import by_lists
from unetkit.data.layout.naming import Matched, match_splits
from unetkit.data.layout.problems import (
    find_faults,
    report_empty_splits,
    report_unlabelled,
    report_unread,
)
from unetkit.data.layout.roles import Roles, by_folders, sort_roles
from unetkit.data.layout.series import join_series, refuse_unnamed
from unetkit.data.layout.tree import Entry, list_entries
from unetkit.data.layout.words import SPLIT_WORDS
from unetkit.data.pages import pages_of
from unetkit.data.pair import Pair
from unetkit.errors import UserError

KINDS = "PNG, JPEG, TIFF, BMP, GIF, WebP, AVIF, HEIC, NPY, Zarr, NIfTI or DICOM"
KINDS_OF_VOLUMES = "NIfTI, DICOM series, TIFF stacks, NPY, Zarr or SEG-Y"
ENTRIES_SHOWN = 6


@dataclass(frozen=True)
class Layout:
    """The pairs of a data set.

    Attributes:
        pairs: All images that need a mask, also those without one.
        description: What was recognised, in one line.
        findings: What stops training or is not read.
        unlabelled: Images of a split without masks.
    """

    pairs: tuple[Pair, ...]
    description: str
    findings: tuple[Finding, ...]
    unlabelled: tuple[FileRef, ...] = ()


@dataclass
class Search:
    """What is known of a data set while it is searched.

    Attributes:
        entries: All files below the root.
        roles: The images and masks.
        matched: The pairs of image and mask by name; None where masks are drawn from outlines.
        drawn: Masks by the file of their image that are drawn from outlines.
        kind: The kind of outlines.
        are_foreign: Whether the masks are annotations in a format that is not read.
        findings: What stops training or is not read.
        kinds: The kinds of files that are read, in words.
    """

    entries: list[Entry]
    roles: Roles
    matched: Matched | None = None
    drawn: dict[FileRef, tuple[Item, OutlinedMask]] = field(default_factory=dict)
    kind: str = ""
    are_foreign: bool = False
    findings: list[Finding] = field(default_factory=list)
    kinds: str = KINDS


def find_layout(
    root: Path | None,
    mask_suffix: str = "",
    images: str | Sequence[str] | None = None,
    masks: str | None = None,
    codes: Mapping[str, str] = MappingProxyType({}),
    *,
    stacks: bool = False,
    volumes: bool = False,
    entries: Sequence[Entry] | None = None,
) -> Layout:
    """Find images and masks and pair them.

    Args:
        root: The folder or zip; None if `images` and `masks` say where the files are.
        mask_suffix: Text in the name of a mask after the name of its image; found by itself if empty.
        images: Folder or pattern of the images, or several, one for each channel; found by itself if None.
        masks: Folder or pattern of the masks; found by itself if None.
        codes: Run-length codes that stand for masks, by the id of the image; masks without an image are then ignored.
        stacks: Whether each page of a TIFF or .npy file is an image.
        volumes: Whether each file is a volume, and only files of such kinds are read.
        entries: The files to look among; None for all below the root.

    Raises:
        UserError: If nothing can be found there, or an annotation file can't be used.
    """
    kinds = VOLUME_SUFFIXES if volumes else SUFFIXES
    if entries is None:
        entries = list_entries(root, kinds) if root is not None else []
    entries = join_series(entries) if volumes else entries
    pictures = [entry for entry in entries if entry.is_image]
    shown = KINDS_OF_VOLUMES if volumes else KINDS
    search = Search(list(entries), _roles(root, pictures, images, masks, kinds), kinds=shown)
    search.findings += search.roles.findings
    outlines = None if search.roles.masks or volumes else find_outlines(entries)
    if outlines is not None:
        search.kind, search.drawn, found = outlines
        search.findings += found
        pairs = _pairs_of_outlines(search)
    else:
        foreign = [] if search.roles.masks or codes else report_foreign(entries)
        search.are_foreign, search.findings = bool(foreign), [*foreign, *search.findings]
        pairs = _pairs_of_masks(search, mask_suffix, codes)
    pairs, lists = by_lists(pairs, entries, search.findings)
    if not volumes:
        pairs = [page for pair in pairs for page in _pages(pair, stacks, search.findings)]
    pairs = _with_final_splits(pairs, search.findings)
    search.findings += [*report_unlabelled(search.roles.unlabelled), *report_empty_splits(root, entries)]
    unread = report_unread(search.entries, search.roles, search.kinds, are_drawn=bool(search.drawn))
    search.findings = [*([] if search.are_foreign else unread), *search.findings]
    if not pairs:
        refuse_unnamed(root, entries)
    if not pairs and not any(finding.severity == Severity.FAULT for finding in search.findings):
        raise _no_image_found(root, search)
    unlabelled = tuple(item.ref for item in search.roles.unlabelled)
    return Layout(tuple(pairs), _describe(search, pairs, lists), tuple(search.findings), unlabelled)


def _roles(
    root: Path | None,
    entries: Sequence[Entry],
    images: str | Sequence[str] | None,
    masks: str | None,
    kinds: tuple[str, ...],
) -> Roles:
    """Sort files into images and masks, as the user says where he does."""
    values = [images] if isinstance(images, str) else list(images or [])
    own_images = named_files("data.images", values, root, entries, kinds) if values else None
    named_masks = None if masks is None else named_files("data.masks", [masks], root, entries, kinds)
    image_items, mask_items = items_of(own_images, named_masks)
    mask_refs = {item.ref for item in mask_items}
    image_items = [item for item in image_items if item.ref not in mask_refs]
    if own_images is not None and named_masks is not None:
        return Roles(image_items, mask_items)
    if named_masks is not None:
        others = sort_roles(entry for entry in entries if entry.ref not in mask_refs)
        return Roles(others.images, mask_items, others.unlabelled)
    if own_images is not None:
        image_refs = {file for item in image_items for file in item.ref.files}
        rest = [entry for entry in entries if entry.ref not in image_refs]
        return Roles(image_items, sort_roles(rest).masks or by_folders(rest, guesses=True)["mask"])
    return sort_roles(entries)


def _pairs_of_masks(search: Search, suffix: str, codes: Mapping[str, str]) -> list[Pair]:
    search.roles = join_channels(search.roles, suffix, search.findings)
    images, masks = search.roles.images, search.roles.masks
    matched = match_splits(images, masks, suffix)
    search.matched = matched
    if any(mask.folder.word.startswith("segmentationclass") for mask in masks):  # PASCAL VOC labels some of its images
        without = [image.shown for image, found in matched.masks_of if not found]
        what, fix = (
            "{n} image{s} {has} no mask, and {is} not read",
            "nothing to do: only some are labelled in PASCAL VOC",
        )
        search.findings += finding_on(Severity.NOTE, what, fix, without)
        matched.masks_of = [(image, found) for image, found in matched.masks_of if found]
    search.findings += [] if search.are_foreign else find_faults(matched, suffix, codes)
    names = _ids([image for image, _ in matched.masks_of])
    masks_of = [(image, _one_mask([mask.ref for mask in found])) for image, found in matched.masks_of]
    return [
        Pair(names[image.ref], image.ref, mask, codes.get(image.name), image.folder.split) for image, mask in masks_of
    ]


def _one_mask(refs: list[FileRef]) -> FileRef | MergedMask | None:
    return None if not refs else refs[0] if len(refs) == 1 else MergedMask(tuple(refs))


def _pairs_of_outlines(search: Search) -> list[Pair]:
    drawn = search.drawn
    folders = {item.folder.place for item, _ in drawn.values()}
    left = [item for item in search.roles.images if item.ref not in drawn and item.folder.place in folders]
    what = "{n} image{s} {has} no outlines, and {is} not read"
    fix = "annotate them, if only with an empty file, or remove them"
    search.findings += finding_on(Severity.WARNING, what, fix, (item.shown for item in left))
    names = _ids([item for item, _ in drawn.values()])
    return [Pair(names[ref], ref, mask, split=item.folder.split) for ref, (item, mask) in drawn.items()]


def _pages(pair: Pair, stacks: bool, findings: list[Finding]) -> list[Pair]:
    """Return a pair for each image in the files of a pair, such as the slices of a volume."""
    images = pages_of(pair.image, stacks=stacks)
    masks: Sequence[FileRef | DrawnMask | None] = [pair.mask]
    if isinstance(pair.mask, FileRef):
        masks = pages_of(pair.mask, stacks=stacks)
    if len(images) == 1 and len(masks) == 1:
        return [pair]
    if pair.mask is not None and len(images) != len(masks):
        what = f"{pair.id} has {len(images)} images in its file, but {len(masks)} masks"
        findings.append(Finding(Severity.FAULT, what, "give a mask for each, in one file", (pair.image.name.name,)))
        return []
    masks = masks if pair.mask is not None else [None] * len(images)
    numbered = enumerate(zip(images, masks, strict=True))
    return [Pair(f"{pair.id}/{n:04}", image, mask, None, pair.split) for n, (image, mask) in numbered]


def _ids(images: Sequence[Item]) -> dict[FileRef, str]:
    """Return the name of each pair: folders such as a patient's, and the image's name where the folders don't tell."""
    shared = 0
    while (
        images
        and len({item.folder.group[: shared + 1] for item in images}) == 1
        and len(images[0].folder.group) > shared
    ):
        shared += 1
    per_folder = Counter((item.folder.split, item.folder.group) for item in images)
    names = {item.name for item in images}
    says_nothing = len(names) == 1 or all(item.name in item.folder.group for item in images)  # as 3f2a/images/3f2a.png
    are_alone = len(per_folder) > 1 and max(per_folder.values()) == 1 and says_nothing
    return {
        item.ref: "/".join(
            item.folder.group[shared:]
            if are_alone and len(item.folder.group) > shared
            else (*item.folder.group[shared:], item.name)
        )
        for item in images
    }


def _with_final_splits(pairs: Sequence[Pair], findings: list[Finding]) -> list[Pair]:
    """Name pairs by their splits where there are several; without `val`, only `test` is a given part."""
    splits = {pair.split for pair in pairs if pair.split and (pair.mask or pair.rle)}
    if splits and "train" not in splits:
        fix = "add train/ with its own images and masks, or give the folder that holds this part as data.root"
        findings.append(
            Finding(Severity.FAULT, f"there are masks for {' and '.join(sorted(splits))}, but no train/", fix)
        )
    prefixes = {split: f"{split}/" if len(splits) > 1 and split else "" for split in (*SPLIT_WORDS, None)}
    is_given = {split: split if "val" in splits or split == "test" else None for split in (*SPLIT_WORDS, None)}
    order = list(prefixes)
    renamed = [
        Pair(prefixes[pair.split] + pair.id, pair.image, pair.mask, pair.rle, is_given[pair.split])
        for pair in sorted(pairs, key=lambda pair: (order.index(pair.split), pair.id))
    ]
    return renamed


def _describe(search: Search, pairs: Sequence[Pair], lists: str) -> str:
    """Return what was recognised, in one line."""
    images = _places(search.roles.images if search.matched else [item for item, _ in search.drawn.values()])
    splits = Counter(pair.split for pair in pairs if pair.split)
    parts = f"; {', '.join(f'{split} {count:,}' for split, count in splits.items())}" if splits else ""
    if search.matched is None:
        return f"images in {images}, {search.kind}{lists}{parts}"
    if not search.matched.count:
        return f"images in {images}, no masks of theirs"
    beside = "beside their images" if search.roles.is_mixed else f"in {_places(search.roles.masks)}"
    rule = f" ({search.matched.rule})" if search.matched.rule else " (equal names)"
    channels = max(len(image.ref.files) for image, _ in search.matched.masks_of)
    images += f", {channels} files for the channels of each" if channels > 1 else ""
    return f"images in {images}, masks {beside}{rule}{lists}{parts}"


def _places(items: Iterable[Item]) -> str:
    """Return the folders of items in short: with `*` where there are many."""
    homes = sorted({f"{item.folder.home}/" if item.folder.home else "the folder itself" for item in items})
    return " and ".join(homes) if len(homes) <= FOLDERS_SHOWN else f"{homes[0]} and {len(homes) - 1:,} more folders"


def _no_image_found(root: Path | None, search: Search) -> UserError:
    """Say in one line what is there instead of images."""
    names = sorted(path.name + "/" * path.is_dir() for path in root.iterdir()) if root and root.is_dir() else []
    found = f"only {', '.join(names[:ENTRIES_SHOWN])}" if names else "nothing"
    problem = f"holds no image ({search.kinds}): {found} is there"
    fix = "give the folder that holds the images and masks" + ", or convert its files" * bool(search.entries)
    return UserError(f"data.root={root}", problem, fix)
