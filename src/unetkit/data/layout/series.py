"""DICOM: a series of files that are the slices of one volume, and files whose names don't say what they are."""

import shlex
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from unetkit.data.decode import one_line, read_content
from unetkit.data.dicom import read_header
from unetkit.data.layout.tree import Entry
from unetkit.errors import UserError

DICOM = ".dcm"
HEAD = 132  # bytes that end with DICOM's mark
LOOKED_AT = 20  # files, where no image was found


def join_series(entries: Sequence[Entry]) -> list[Entry]:
    """Return files in which each folder that holds a DICOM series is one file, which is called as the folder.

    Raises:
        UserError: If a DICOM file can't be read, or pydicom is not installed.
    """
    in_folder: dict[tuple[object, ...], list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.ref.suffix == DICOM:
            in_folder[entry.folders, entry.ref.member and entry.ref.location].append(entry)
    series = [group for group in in_folder.values() if len(group) > 1 and _uid(group[0]) == _uid(group[-1]) != ""]
    joined = {entry.ref for group in series for entry in group}
    found = [entry for entry in entries if entry.ref not in joined]
    for first, *others in series:
        ref = replace(first.ref, slices=tuple(entry.ref for entry in others))
        found.append(replace(first, ref=ref, folders=first.folders[:-1]))
    return found


def _uid(entry: Entry) -> str:
    content = read_content(entry.ref)
    with one_line(entry.ref):
        return read_header(content, str(entry.ref)).series


def refuse_unnamed(place: Path | None, entries: Sequence[Entry]) -> None:
    """Say how to rename DICOM files without a suffix, as scanners write them; for places without images.

    Raises:
        UserError: If there are such files.
    """
    others = [entry for entry in entries if not entry.is_image and entry.ref.member is None]
    unnamed = [entry for entry in others[:LOOKED_AT] if _is_dicom(entry.ref.path)]
    if unnamed and place is not None:
        has_dots = "." in unnamed[0].ref.last  # as a UID has
        named = "-name '*.[0-9]*' ! -name '*.[a-z]*'" if has_dots else "! -name '*.*'"
        command = f"find {shlex.quote(str(place))} -type f {named} ! -name DICOMDIR -exec mv {{}} {{}}{DICOM} \\;"
        problem = f"is a DICOM file, but its name does not end in {DICOM}"
        raise UserError(str(unnamed[0].ref), problem, f"rename all: {command}")


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(HEAD).endswith(b"DICM")
    except OSError:
        return False
