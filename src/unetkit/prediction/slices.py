"""Masks of NIfTI and DICOM images, which are predicted slice by slice: NIfTI files that lie where the slices lie."""

import gzip
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath

import numpy as np
from tqdm import tqdm

from unetkit.data.decode import one_line, read_content
from unetkit.data.dicom import Header, read_header
from unetkit.data.dicom_places import Place, order_and_affine, slices_as_nifti
from unetkit.data.files import FileRef
from unetkit.data.medical import is_nifti, write_nifti_like
from unetkit.errors import UserError
from unetkit.prediction.options import NIFTI, OutputOptions
from unetkit.prediction.writers import Mask, WholeMask

DICOM = ".dcm"
LEVEL = 6  # of compression


@dataclass
class SlicedMask:
    """The mask of a volume, which is written when the masks of all its slices are there.

    Attributes:
        name: Name of the mask, without suffix.
        slices: The slices: pages of a file, or the files of a DICOM series.
        encode: Gives the bytes of a file from masks (N, H, W) of the slices.
        options: Kinds of output, and their folder.
        masks: What is there, by the folder of a label (empty if masks have none) and the slice.
        is_written: Whether the file is written.
    """

    name: PurePosixPath
    slices: Sequence[FileRef]
    encode: Callable[[Mask], bytes]
    options: OutputOptions
    masks: dict[str, dict[FileRef, Mask]] = field(default_factory=lambda: defaultdict(dict))
    is_written: bool = False

    def add(self, label: str, ref: FileRef, mask: Mask) -> None:
        """Take the mask (H, W) of a slice, and write the file if it is the last one.

        Raises:
            UserError: If the file can't be made.
        """
        self.masks[label][ref] = mask
        if len(self.masks[label]) < len(self.slices):
            return
        masks = self.masks.pop(label)
        with ExitStack() as files:
            path = self.options.create_file(files, "masks", f"{PurePosixPath(label) / self.name}{NIFTI}")
            path.write_bytes(self.encode(np.stack([masks[ref] for ref in self.slices])))
        self.is_written = True


class SliceMask(WholeMask):
    """Hands the class indices of a slice to the mask of its volume.

    Args:
        whole: The mask of the volume.
        label: See `SlicedMask.masks`.
        ref: The slice.
        height: Its height.
        width: Its width.
    """

    def __init__(self, whole: SlicedMask, label: str, ref: FileRef, height: int, width: int) -> None:
        super().__init__(height, width)
        self.whole, self.label, self.ref = whole, label, ref

    def finish(self) -> None:
        """Hand over the mask."""
        self.whole.add(self.label, self.ref, self.mask)


def mask_of_file(ref: FileRef, name: PurePosixPath, pages: Sequence[FileRef], options: OutputOptions) -> SlicedMask:
    """Return the mask of a file with its slices, or frames."""
    return SlicedMask(name, pages, partial(_encode_file, ref), options)


def find_series(named: Sequence[tuple[FileRef, PurePosixPath]], options: OutputOptions) -> dict[FileRef, SlicedMask]:
    """Find the DICOM files that are the slices of one volume: of one folder, series and size, at even distances.

    Args:
        named: Files of any kind, and the names of their outputs. The mask of a series is called as its folder; if this
            holds several of them, each as its unique name, in a folder.
        options: Kinds of output, and their folder.

    Returns:
        The mask of its volume for each of such files.
    """
    groups: dict[tuple[object, ...], list[tuple[FileRef, PurePosixPath, Header]]] = defaultdict(list)
    for ref, name in named:
        with suppress(UserError):  # which is told when the file is predicted
            if ref.suffix == DICOM and (header := _header(ref)).series:
                groups[ref.member and ref.location, ref.name.parent, header.series].append((ref, name, header))
    series = {key: group for key, group in groups.items() if len(group) > 1 and _is_volume(group)}
    folders = [key[:2] for key in series]
    found: dict[FileRef, SlicedMask] = {}
    for key, group in series.items():
        (first, name, header), *_ = group
        folder = name.parent if name.parent.name else PurePosixPath(_folder_of(first))
        files = [ref for ref, *_ in group]
        encode = partial(_encode_series, [header.places[0] for *_, header in group], str(first))
        whole = folder if folders.count(key[:2]) == 1 else folder / header.series
        found |= dict.fromkeys(files, SlicedMask(whole, files, encode, options))
    return found


def _folder_of(ref: FileRef) -> str:
    """Return the name of the folder, or zip, that holds a file."""
    if ref.member:
        return ref.name.parent.name or ref.path.stem
    return os.path.basename(os.path.dirname(os.path.abspath(ref.location))) or "slices"  # noqa: PTH100, PTH119, PTH120


def _header(ref: FileRef) -> Header:
    content = read_content(ref)
    with one_line(ref):
        return read_header(content, str(ref))


def _is_volume(group: Sequence[tuple[FileRef, PurePosixPath, Header]]) -> bool:
    if len({header.size for *_, header in group}) > 1:
        return False
    try:
        order_and_affine([header.places[0] for *_, header in group], str(group[0][0]))
    except UserError:
        return False
    return True


def _encode_series(places: Sequence[Place], name: str, masks: Mask) -> bytes:
    return gzip.compress(slices_as_nifti(masks, places, name), LEVEL)


def _encode_file(ref: FileRef, masks: Mask) -> bytes:
    """Return a NIfTI file of the masks (N, H, W) of a file's slices or frames."""
    content = read_content(ref)
    with one_line(ref):
        if is_nifti(content):
            return write_nifti_like(content, masks, str(ref))
        places = read_header(content, str(ref)).places
        try:
            return _encode_series(places, str(ref), masks)
        except UserError:
            tqdm.write(f"{ref}: its frames are not the slices of one volume, so its mask has no place in the patient")
            return _encode_series([Place(place.spacing) for place in places], str(ref), masks)
