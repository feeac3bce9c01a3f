"""DICOM: frames of single files, and series, whose files are the slices of one volume."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetkit.data.dicom_places import NO_EXTRA, Place, order_and_affine, places_of, slices_as_nifti
from unetkit.data.limits import check_size
from unetkit.errors import UserError


def count_frames(content: bytes, name: str) -> int:
    """Return the number of frames of a file, without decoding them.

    Raises:
        UserError: If pydicom is not installed.
        Exception: Of many kinds, if it is damaged.
    """
    return _frames(_read(content, name, stop_before_pixels=True))


def decode_frames(content: bytes, name: str) -> NDArray[Any]:
    """Decode all frames (N, H, W) or (N, H, W, 3) of a file; values are those that its scale says.

    Raises:
        UserError: If pydicom is not installed, or it holds no image.
        Exception: Of many kinds, if it is damaged.
    """
    dataset = _read(content, name)
    values = _values(dataset, name)
    return np.ascontiguousarray(values if _frames(dataset) > 1 else values[None])


@dataclass(frozen=True)
class Header:
    """What a file says of its slices.

    Attributes:
        series: The unique name of the series that it is a slice of; empty if it has several frames, or does not say.
        size: Rows and columns.
        places: The place of each frame.
    """

    series: str
    size: tuple[int, int]
    places: tuple[Place, ...]


def read_header(content: bytes, name: str) -> Header:
    """Read the header of a file.

    Raises:
        UserError: If pydicom is not installed.
        Exception: Of many kinds, if it is damaged.
    """
    dataset = _read(content, name, stop_before_pixels=True)
    size = int(dataset.get("Rows", 0)), int(dataset.get("Columns", 0))
    frames = _frames(dataset)
    series = str(dataset.get("SeriesInstanceUID", "")) if frames == 1 else ""
    return Header(series, size, tuple(places_of(dataset, frames)))


def series_as_nifti(contents: Sequence[bytes], name: str) -> bytes:
    """Return a NIfTI file of a series, whose slices are put in order by their positions in the patient.

    Args:
        contents: The bytes of each slice, in any order.
        name: The name, for errors.

    Raises:
        UserError: If a package is not installed, or the slices are not one volume.
        Exception: Of many kinds, if a file is damaged.
    """
    slices = [_read(content, name) for content in contents]
    if len({(item.get("SeriesInstanceUID"), item.get("Rows"), item.get("Columns")) for item in slices}) > 1:
        raise UserError(name, "and the files beside it are of several series or sizes", "give each series a folder")
    places = [place for item in slices for place in places_of(item, 1)]
    order, _ = order_and_affine(places, name)
    values = np.stack([_values(slices[k], name) for k in order])
    return slices_as_nifti(values, [places[k] for k in order], name)


def _read(content: bytes, name: str, **options: Any) -> Any:
    try:
        import pydicom
    except ImportError as error:
        raise UserError(name, "is a DICOM file", NO_EXTRA) from error
    return pydicom.dcmread(io.BytesIO(content), **options)


def _frames(dataset: Any) -> int:
    return int(dataset.get("NumberOfFrames", 1) or 1)


def _values(dataset: Any, name: str) -> NDArray[Any]:
    """Return the values (H, W) or (H, W, 3) of a file, or (N, ...) of several frames, by the file's scale.

    Where the lowest value is shown white, values are turned around within the bits that are stored, so that all files
    of a device are turned alike.
    """
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

    check_size(int(dataset.Columns), int(dataset.Rows), 1, name)
    stored = _pixels(dataset, name)  # colours are RGB
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return np.asarray(apply_color_lut(stored, dataset))
    if dataset.get("SamplesPerPixel", 1) > 1:
        return np.asarray(stored)
    if dataset.PhotometricInterpretation == "MONOCHROME1" and stored.dtype.kind in "iu":
        total = -1 if dataset.PixelRepresentation else 2 ** int(dataset.BitsStored) - 1
        stored = np.clip(total - stored.astype(np.int64), 0 if total > 0 else None, None).astype(stored.dtype)
    values = np.asarray(apply_modality_lut(stored, dataset))
    is_whole = (values == np.round(values)).all() and np.abs(values).max() < 2**15
    return values.astype(np.int16 if is_whole else np.float32) if values.dtype == np.float64 else values


def _pixels(dataset: Any, name: str) -> NDArray[Any]:
    """Return the stored pixels.

    Raises:
        UserError: If there are none, or they are compressed in a way that needs another package.
    """
    if not any(key in dataset for key in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise UserError(name, "is a DICOM file without pixels", "remove it")
    try:
        return np.asarray(dataset.pixel_array)
    except RuntimeError as error:
        syntax = dataset.file_meta.TransferSyntaxUID
        if not syntax.is_compressed or "missing dependencies" not in str(error):
            raise
        raise UserError(name, f"is compressed as {syntax.name}", "pip install python-gdcm to read it") from error
