"""Finds a user's images and masks in a folder or zip, however it is laid out, and pairs them."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from unetkit.data.files import FileRef, find_folder
from unetkit.data.sources import Pair, existing_root, suffix_of
from unetkit.data.tables import read_rows
from unetkit.doctor.findings import Finding, Severity, first_names
from unetkit.doctor.layout.folders import IMAGE_FOLDERS, entries, find_usual_folder
from unetkit.doctor.layout.naming import find_mask_suffix, match
from unetkit.doctor.layout.parts import Part, find_parts, read_part
from unetkit.errors import UserError

ENTRIES_SHOWN = 6


@dataclass(frozen=True)
class Layout:
    """What a user's folder or zip holds.

    Attributes:
        root: Its absolute path.
        source: The choice of the configuration's group `data` that reads it: `folder` or `tgs_salt`.
        mask_suffix: Text in the name of a mask after the name of its image.
        pairs: All images, also those without a mask.
        findings: Findings about folders and names.
    """

    root: Path
    source: str
    mask_suffix: str
    pairs: tuple[Pair, ...]
    findings: tuple[Finding, ...]


def find_layout(root: str | Path | None, mask_suffix: str | int = "") -> Layout:
    """Find images and masks under a folder or zip.

    Args:
        root: The folder or zip.
        mask_suffix: Text in the name of a mask after the name of its image; inferred if empty.

    Raises:
        UserError: If it holds no image.
    """
    path = existing_root(root, "give the folder that holds images/ and masks/").resolve()
    rle_by_id, unread = _read_kaggle_table(path / "train.csv")
    parts, findings = _kaggle_parts(path) if rle_by_id else find_parts(path)
    findings += unread
    if not any(part.images for part in parts):
        raise _nothing_found(path, findings)
    suffix = suffix_of(mask_suffix)
    if not suffix and not rle_by_id:  # data=tgs_salt takes no suffix
        suffix = find_mask_suffix(_stems(part.images for part in parts), _stems(part.masks for part in parts))
        findings += [_suffix_found(suffix)] if suffix else []
    pairs: list[Pair] = []
    for part in parts:
        split = part.split if len(parts) > 1 else None
        matched = match(part.images, part.masks, suffix, rle_by_id, split)
        pairs += matched.pairs
        findings += matched.findings
    return Layout(path, "tgs_salt" if rle_by_id else "folder", suffix, tuple(pairs), tuple(findings))


def _read_kaggle_table(path: Path) -> tuple[dict[str, str], list[Finding]]:
    """Read TGS Salt's run-length codes by id, if there is such a table, with a finding if it can't be read."""
    if not path.exists():
        return {}, []
    try:
        return {row["id"] or "": row["rle_mask"] or "" for _, row in read_rows(path, ("id", "rle_mask"))}, []
    except UserError as error:
        what = f"{path.name} {error.problem}, so it is not read"
        return {}, [Finding(Severity.WARNING, what, error.fix or "leave it, unless it is Kaggle's table of TGS Salt")]


def _kaggle_parts(root: Path) -> tuple[list[Part], list[Finding]]:
    """Find TGS Salt's images and masks in train.zip, train/ or the folder itself."""
    containers = [place for place in (root / "train.zip", root / "train", root) if find_folder(place, "images")]
    parts = [read_part(containers[0], None)] if containers else []
    return parts, [finding for part in parts for finding in part.findings]


def _stems(groups: Iterable[list[FileRef]]) -> set[str]:
    return {file.stem for files in groups for file in files}


def _suffix_found(suffix: str) -> Finding:
    what = f"the names of masks have {suffix} after the names of their images"
    return Finding(Severity.NOTE, what, f"the proposed configuration sets data.mask_suffix={suffix}")


def _nothing_found(root: Path, findings: list[Finding]) -> UserError:
    """Say in one line what is there instead of images."""
    subject = f"data.root={root}"
    unread = next((f for f in findings if f.names and f.severity == Severity.WARNING), None)
    if unread is not None:
        return UserError(subject, f"holds no image: {unread.what} ({first_names(unread.names)})", unread.fix)
    for folder in (*root.glob("*/"), *root.glob("*/*/")):
        with suppress(OSError):  # no permission to read the folder
            if find_usual_folder(folder, IMAGE_FOLDERS):
                return UserError(subject, f"holds no images/, but {folder} does", f"try data.root={folder}")
    names = [path.name + "/" * path.is_dir() for path in entries(root)][:ENTRIES_SHOWN]
    found = f"only {', '.join(names)}" if names else "nothing"
    return UserError(
        subject,
        f"holds no image (PNG, JPEG, TIFF, BMP or NPY) and no images/ with some: {found} is there",
        "give the folder that holds images/ and masks/",
    )
