"""DICOM series: the files of a folder that are the slices of one volume."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from unetkit.data.decode import one_line, read_content
from unetkit.data.dicom import read_header
from unetkit.data.layout.tree import Entry

DICOM = ".dcm"


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
