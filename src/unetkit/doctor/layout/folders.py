"""Finds the folder that holds the images, or the masks, in a folder or zip, by the names that people give it."""

import shlex
import zipfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from unetkit.data.files import SUFFIXES, FileRef, find_folder
from unetkit.doctor.findings import Finding, Severity, finding_on
from unetkit.errors import UserError, readable

# Usual names in any letter case; the first is the one that training reads.
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "inputs", "input", "scans", "frames", "photos", "jpegimages", "x")
MASK_FOLDERS = (
    *("masks", "mask", "labels", "label", "annotations", "annotation", "gt", "ground_truth", "groundtruth", "truth"),
    *("targets", "target", "segmentations", "segmentation", "seg", "segmentationclass", "y"),
)
KINDS_SHOWN = 6  # suffixes


class FolderFiles(NamedTuple):
    """The files of a folder of images or masks, and findings about the folder."""

    files: list[FileRef]
    findings: list[Finding]


def find_usual_folder(container: Path, usual_names: tuple[str, ...]) -> FolderFiles | None:
    """Find the folder that has one of the usual names, of which the first is the right one; None if there is none."""
    right_name = usual_names[0]
    present = subfolders(container)
    by_lower_name = {name.lower(): name for name in reversed(present)}
    usual = [by_lower_name[name] for name in usual_names if name in by_lower_name]
    if not usual:
        return None
    name = right_name if right_name in present else usual[0]
    findings = [] if name == right_name else [_wrong_name(container, name, right_name)]
    return FolderFiles(find_folder(container, name) or [], findings + _find_unread(container / name))


def entries(folder: Path) -> list[Path]:
    """List what a folder holds, sorted, without hidden files; nothing if it is no folder."""
    with readable(folder):
        return sorted(path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []


def subfolders(container: Path) -> list[str]:
    """List the names of the folders that lie in a folder, or at any depth of a zip.

    Raises:
        UserError: If it is neither a folder nor a zip.
    """
    if container.is_dir():
        return [path.name for path in entries(container) if path.is_dir()]
    if not (container.is_file() and zipfile.is_zipfile(container)):  # reading a pipe would not end
        raise UserError(
            str(container), "is neither a folder nor a complete zip file", "give the folder that holds images/"
        )
    with zipfile.ZipFile(container) as archive:
        members = [PurePosixPath(name) for name in archive.namelist() if "__MACOSX" not in name]
    return sorted({member.parent.name for member in members if member.parent.name})


def rename_command(path: Path, name: str) -> str:
    """Return the command that gives a file or folder another name."""
    return shlex.join(["mv", str(path), str(path.with_name(name))])


def _wrong_name(container: Path, name: str, right_name: str) -> Finding:
    is_folder = container.is_dir()
    return Finding(
        Severity.FAULT,
        f"the folder {name}/ must be called {right_name}/",
        "rename it" if is_folder else "rename it in the zip",
        (f"{container.name}/{name}",),
        command=rename_command(container / name, right_name) if is_folder else "",
    )


def _find_unread(folder: Path) -> list[Finding]:
    """Report files of other kinds and folders, which training does not read."""
    others = [path for path in entries(folder) if path.is_file() and path.suffix.lower() not in SUFFIXES]
    kinds = ", ".join(sorted({path.suffix.lower() or "no suffix" for path in others})[:KINDS_SHOWN])
    return [
        *finding_on(
            Severity.WARNING,
            f"{{n}} file{{s}} in {folder.name}/ {{is}} of a kind that is not read ({kinds})",
            "convert to PNG, JPEG, TIFF, BMP or NPY, or move elsewhere",
            (f"{folder.name}/{path.name}" for path in others),
        ),
        *finding_on(
            Severity.WARNING,
            f"{{n}} folder{{s}} in {folder.name}/ {{is}} not read",
            f"move the files up into {folder.name}/; for given splits, make train/images, train/masks, val/images, ...",
            (f"{folder.name}/{path.name}" for path in entries(folder) if path.is_dir()),
        ),
    ]
