"""Finds the images and masks of each given split (train/, val/, test/), or of a folder without splits."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from unetkit.data.files import FileRef, find_folder
from unetkit.data.sources import SPLIT_FOLDERS
from unetkit.doctor.findings import Finding, Severity
from unetkit.doctor.layout.folders import (
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    entries,
    find_usual_folder,
    rename_command,
    subfolders,
)
from unetkit.doctor.layout.naming import MIN_SHARE, common_suffix


@dataclass(frozen=True)
class Part:
    """The files of one split, or of all the data.

    Attributes:
        split: `train`, `val` or `test`; None if the data are not split.
        images: Files of images.
        masks: Files of masks.
        findings: Findings about the folders.
    """

    split: str | None
    images: list[FileRef]
    masks: list[FileRef]
    findings: list[Finding] = field(default_factory=list)


def find_parts(root: Path) -> tuple[list[Part], list[Finding]]:
    """Find the given splits, else the images and masks of the root itself; with all findings about folders."""
    parts: dict[str, Part] = {}
    findings: list[Finding] = []
    for place, split in _split_folders(root):
        part = read_part(place, split)
        if not part.masks and not (part.images and split == "train"):
            findings.append(_without_masks(place, part))
            continue
        findings += part.findings
        if split in parts:
            findings.append(_given_twice(root, place, split))
            continue
        parts[split] = part
        if place.stem != split:
            findings.append(_wrong_name(place, split))
    if parts and "train" not in parts:
        what = f"{' and '.join(parts)} hold masks, but there is no train/"
        findings.append(Finding(Severity.FAULT, what, "add train/ with its own images/ and masks/"))
    if parts:
        return list(parts.values()), findings
    whole = read_part(root, None)
    return [whole], findings + whole.findings


def read_part(container: Path, split: str | None) -> Part:
    """Find images and masks in a folder or zip."""
    images = find_usual_folder(container, IMAGE_FOLDERS)
    masks = find_usual_folder(container, MASK_FOLDERS)
    findings = [*(images.findings if images else []), *(masks.findings if masks else [])]
    mask_files = masks.files if masks else []
    if images is None and split is None:
        return _loose_files(container, mask_files, findings)
    return Part(split, images.files if images else [], mask_files, findings)


def _split_folders(root: Path) -> list[tuple[Path, str]]:
    """List folders and zips whose name means a split, with that split."""
    return [
        (place, split)
        for split, names in SPLIT_FOLDERS.items()
        for place in entries(root)
        if place.stem.lower() in names and (place.is_dir() or place.suffix == ".zip")
    ]


def _loose_files(root: Path, masks: list[FileRef], findings: list[Finding]) -> Part:
    """Read images that lie in the folder itself, perhaps together with their masks."""
    files = (find_folder(root.parent, root.name) if root.is_dir() else find_folder(root, "")) or []
    suffix = "" if masks else _mask_suffix_among(files)
    mixed = [file for file in files if suffix and file.stem.endswith(suffix)]
    images = [file for file in files if not (suffix and file.stem.endswith(suffix))]
    if files:
        findings = [*findings, _not_in_folders(root, files, suffix)]
    return Part(None, images, masks or mixed, findings)


def _mask_suffix_among(files: list[FileRef]) -> str:
    """Return what the names of masks end in, where images and masks lie together; empty if nothing is common."""
    stems = {file.stem for file in files}
    suffix, count = common_suffix(stems, stems)
    return suffix if 2 * count >= MIN_SHARE * len(stems) else ""


def _not_in_folders(root: Path, files: list[FileRef], mask_suffix: str) -> Finding:
    if mask_suffix:
        what = f"images and masks (names that end in {mask_suffix}) are in the same folder"
        moves = f"mkdir -p images masks && mv *{shlex.quote(mask_suffix)}.* masks/ && mv *.* images/"
        fix = "move the images into images/, the masks into masks/"
    else:
        what = "images are in the folder itself, not in images/"
        moves = "mkdir -p images && mv *.* images/"
        fix = "move them into images/"
    command = f"cd {shlex.quote(str(root))} && {moves}" if root.is_dir() else ""
    return Finding(Severity.FAULT, what, fix, tuple(file.name.name for file in files), command=command)


def _without_masks(place: Path, part: Part) -> Finding:
    right_name = MASK_FOLDERS[0]
    if right_name in subfolders(place):
        fix = f"put the masks there, or remove the folder: then {place.name} is not used"
        return Finding(Severity.FAULT, f"{place.name}/{right_name} is empty", fix)
    if part.images:
        what = f"{place.name} has {len(part.images):,} images, but no masks"
        return Finding(Severity.NOTE, what, "it is not used for training or scores; `unetkit predict` can predict it")
    what = f"{place.name} is not read: it has no images/ and masks/"
    return Finding(Severity.WARNING, what, "put the files into images/ and masks/ in it, or remove it")


def _given_twice(root: Path, place: Path, split: str) -> Finding:
    what = f"{root.name} holds {split}/ twice, as folder and zip or under two names"
    return Finding(Severity.FAULT, what, "keep one", (str(place),))


def _wrong_name(place: Path, split: str) -> Finding:
    name = split + place.suffix
    what = f"{place.name} must be called {name}"
    return Finding(Severity.FAULT, what, "rename it", (place.name,), command=rename_command(place, name))
