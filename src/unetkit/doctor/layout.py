"""Where a user's images and masks are, however they are laid out, and which belong together."""

import csv
import shlex
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from unetkit.data.files import SUFFIXES, FileRef, find_folder
from unetkit.data.sources import SPLIT_FOLDERS, Pair, existing_root, suffix_of
from unetkit.doctor.findings import Finding, Severity, of_files, some
from unetkit.doctor.naming import ENOUGH, common_suffix, mask_suffix_of, match
from unetkit.errors import UserError

# Names that mean images/ or masks/, which come first, in any letter case.
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "inputs", "input", "scans", "frames", "photos", "jpegimages", "x")
MASK_FOLDERS = (
    *("masks", "mask", "labels", "label", "annotations", "annotation", "gt", "ground_truth", "groundtruth", "truth"),
    *("targets", "target", "segmentations", "segmentation", "seg", "segmentationclass", "y"),
)


@dataclass(frozen=True)
class Layout:
    """What lies in a user's folder.

    Attributes:
        root: The folder or zip, absolute.
        source: The choice of the group `data` that reads it: `folder` or `tgs_salt`.
        mask_suffix: What a mask's name has after the image's, as given or as found.
        pairs: Also those whose mask is missing.
        findings: About folders and names.
    """

    root: Path
    source: str
    mask_suffix: str
    pairs: tuple[Pair, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Part:
    """The folders of one split, or of all the data."""

    split: str | None
    images: list[FileRef]
    masks: list[FileRef]


def find_layout(root: str | Path | None, mask_suffix: str | int = "") -> Layout:
    """Look for images and masks under a folder or zip.

    Raises:
        UserError: If there is nothing to look at.
    """
    mask_suffix = suffix_of(mask_suffix)
    place = existing_root(root, "give the folder that holds images/ and masks/").resolve()
    codes = _kaggle_codes(place / "train.csv")
    findings: list[Finding] = []
    if codes:
        zips = [c for c in (place / "train.zip", place / "train", place) if find_folder(c, "images")]
        parts = [_part(zips[0], None, findings)] if zips else []
    else:
        parts = _parts(place, findings)
    if not any(part.images for part in parts):
        raise UserError(_nothing_in(place, findings))
    suffix = mask_suffix
    if not suffix and not codes:  # whose reader takes no suffix
        suffix = mask_suffix_of(_stems(p.images for p in parts), _stems(p.masks for p in parts))
    if suffix != mask_suffix:
        findings += [
            Finding(
                Severity.NOTE,
                f"masks are named like their images with {suffix} at the end",
                f"the proposed configuration says so: data.mask_suffix={suffix}",
            )
        ]
    pairs: list[Pair] = []
    for part in parts:
        pairs += match(part.images, part.masks, suffix, codes, part.split if len(parts) > 1 else None, findings)
    return Layout(place, "tgs_salt" if codes else "folder", suffix, tuple(pairs), tuple(findings))


def _parts(root: Path, findings: list[Finding]) -> list[Part]:
    """Those of train/, val/ and test/ (folders or zips) that are there, else the root itself."""
    parts: dict[str, Part] = {}
    for split, aliases in SPLIT_FOLDERS.items():
        for place in _entries(root):
            if place.stem.lower() not in aliases or not (place.is_dir() or place.suffix == ".zip"):
                continue
            troubles: list[Finding] = []
            part = _part(place, split, troubles)
            if not part.masks and not (part.images and split == "train"):
                findings += [_without_masks(place, part)]
                continue
            findings += troubles
            if split in parts:
                what, fix = f"{root.name} holds {split}/ twice, as folder and zip or by two names", "keep one"
                findings += [Finding(Severity.FAULT, what, fix, (str(place),))]
            else:
                parts[split] = part
                if place.stem != split:
                    fix = _rename_to(place, split + place.suffix)
                    findings += [Finding(Severity.FAULT, f"{place.name} is called {split} here", fix, (place.name,))]
    if parts and "train" not in parts:
        what = f"{' and '.join(parts)} hold masks, but there is no train/"
        findings += [Finding(Severity.FAULT, what, "add train/ with images/ and masks/ of its own")]
    return list(parts.values()) or [_part(root, None, findings)]


def _part(container: Path, split: str | None, findings: list[Finding]) -> Part:
    images = _find(container, IMAGE_FOLDERS, findings)
    masks = _find(container, MASK_FOLDERS, findings)
    if images is None and split is None:
        return _loose(container, masks or [], findings)
    return Part(split, images or [], masks or [])


def _find(container: Path, names: tuple[str, ...], findings: list[Finding]) -> list[FileRef] | None:
    """The files of `images` or `masks`, or of a folder whose name means that."""
    known = {name.lower(): name for name in reversed(_subfolders(container))}
    name = next((known[n] for n in names if n in known), None)
    if names[0] in _subfolders(container):
        name = names[0]
    if name is None:
        return None
    if name != names[0]:
        fix = _rename_to(container / name, names[0]) if container.is_dir() else "rename it within the zip"
        what = f"the folder {name}/ must be called {names[0]}/"
        findings += [Finding(Severity.FAULT, what, fix, (f"{container.name}/{name}",))]
    refs = find_folder(container, name) or []
    findings += _left_out(container / name)
    return refs


def _loose(root: Path, masks: list[FileRef], findings: list[Finding]) -> Part:
    """Files that lie in the folder itself, perhaps images and masks together."""
    refs = (find_folder(root.parent, root.name) if root.is_dir() else find_folder(root, "")) or []
    stems = _stems([refs])
    suffix, count = common_suffix(stems, stems)
    suffix = suffix if not masks and 2 * count >= ENOUGH * len(stems) else ""
    mixed = [ref for ref in refs if suffix and ref.name.stem.endswith(suffix)]
    images = [ref for ref in refs if ref not in mixed]
    if mixed:
        what = f"images and masks (those that end in {suffix}) lie in one folder"
        fix = f"cd {shlex.quote(str(root))}; mkdir images masks; mv *{suffix}.* masks/; mv *.* images/"
    else:
        what = "images lie in the folder itself, not in images/"
        fix = f"cd {shlex.quote(str(root))}; mkdir images; mv *.* images/"
    if refs:
        findings += [Finding(Severity.FAULT, what, fix, tuple(ref.name.name for ref in refs))]
    return Part(None, images, masks or mixed)


def _without_masks(place: Path, part: Part) -> Finding:
    if MASK_FOLDERS[0] in _subfolders(place):
        what = f"{place.name}/{MASK_FOLDERS[0]} is empty"
        return Finding(
            Severity.FAULT, what, f"put the masks there, or remove the folder: then {place.name} is left out"
        )
    if part.images:
        fix = "it is left out of training and scores; scripts/predict.py takes it"
        return Finding(Severity.NOTE, f"{place.name} has {len(part.images):,} images, but no masks", fix)
    what = f"{place.name} is not read: it has no images/ and masks/ in it"
    return Finding(Severity.WARNING, what, "make these two in it, or remove it")


def _left_out(folder: Path) -> list[Finding]:
    """Files of other kinds and folders within, which training does not read."""
    entries = _entries(folder)
    others = [p for p in entries if p.is_file() and p.suffix.lower() not in SUFFIXES]
    kinds = ", ".join(sorted({p.suffix.lower() or "no suffix" for p in others})[:6])
    within = [f"{folder.name}/{p.name}" for p in entries if p.is_dir()]
    return [
        *of_files(
            Severity.WARNING,
            f"{{n}} file{{s}} in {folder.name}/ {{are}} of another kind ({kinds})",
            "PNG, JPEG, TIFF, BMP and NPY are read; convert them, or take them away",
            (f"{folder.name}/{p.name}" for p in others),
        ),
        *of_files(
            Severity.WARNING,
            f"{{n}} folder{{s}} within {folder.name}/ {{are}} not read",
            f"move their files up into {folder.name}/; given splits are train/images, train/masks, val/images, ...",
            within,
        ),
    ]


def _rename_to(place: Path, name: str) -> str:
    return f"rename it: mv {shlex.quote(str(place))} {shlex.quote(str(place.with_name(name)))}"


def _nothing_in(root: Path, findings: list[Finding]) -> str:
    """One line that says what is there instead."""
    unread = next((f for f in findings if f.names and f.severity == Severity.WARNING), None)
    if unread is not None:
        return f"data.root={root} holds no image that is read: {unread.what} ({some(unread.names)}); {unread.fix}"
    for folder in (*root.glob("*/"), *root.glob("*/*/")):
        with suppress(OSError):  # one that may not be opened
            if _find(folder, IMAGE_FOLDERS, []):
                return f"data.root={root} holds no images/, but {folder} does: try data.root={folder}"
    inside = [p.name + "/" * p.is_dir() for p in _entries(root)][:6]
    found = f"only {', '.join(inside)}" if inside else "nothing"
    return (
        f"data.root={root} holds no image (PNG, JPEG, TIFF, BMP or NPY) and no images/ with some: {found} is there; "
        "give the folder that holds images/ and masks/"
    )


def _entries(folder: Path) -> list[Path]:
    """What a folder holds, sorted, hidden things left out."""
    return sorted(p for p in folder.iterdir() if not p.name.startswith(".")) if folder.is_dir() else []


def _subfolders(container: Path) -> list[str]:
    if container.is_dir():
        return [p.name for p in _entries(container) if p.is_dir()]
    if not zipfile.is_zipfile(container):
        raise UserError(f"{container} is neither a folder nor a whole zip file; give the folder that holds images/")
    with zipfile.ZipFile(container) as archive:
        members = [PurePosixPath(name) for name in archive.namelist() if "__MACOSX" not in name]
    return sorted({member.parent.name for member in members if member.parent.name})


def _kaggle_codes(path: Path) -> dict[str, str]:
    """TGS Salt's run-length codes by id; empty where the file is absent or another table."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8-sig", newline="", errors="replace") as file:
        reader = csv.DictReader(file)
        if not {"id", "rle_mask"} <= set(reader.fieldnames or []):
            return {}
        return {row["id"]: row["rle_mask"] or "" for row in reader}


def _stems(groups: Iterable[list[FileRef]]) -> set[str]:
    return {ref.stem for refs in groups for ref in refs}
