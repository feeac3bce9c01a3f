"""DICOM: frames of single files, and series, whose files are the slices of one volume."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetkit.data.limits import check_size
from unetkit.errors import UserError

UNEVEN = 0.9  # share of the largest distance of neighbouring slices that all must have
NO_EXTRA = "pip install 'unetkit[medical]' to read it"


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
    if "PixelData" not in dataset:
        raise UserError(name, "is a DICOM file without pixels", "remove it")
    values = _values(dataset, name)
    return np.ascontiguousarray(_with_black_lowest(values if _frames(dataset) > 1 else values[None], dataset))


def series_uid(content: bytes, name: str) -> str:
    """Return the unique name of the series that a file is a slice of; empty for a file of several frames.

    Raises:
        UserError: If pydicom is not installed.
        Exception: Of many kinds, if it is damaged.
    """
    dataset = _read(content, name, stop_before_pixels=True)
    return "" if _frames(dataset) > 1 else str(dataset.get("SeriesInstanceUID", ""))


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
    try:
        import nibabel
    except ImportError as error:
        raise UserError(name, "is a DICOM series", NO_EXTRA) from error
    slices, affine = _in_order(slices, name)
    values = _with_black_lowest(np.stack([_values(item, name) for item in slices]), slices[0])
    kind: Any = nibabel.Nifti1Image
    image = kind(values.transpose(2, 1, 0), affine)
    image.header.set_xyzt_units("mm")
    return bytes(image.to_bytes())


def _in_order(slices: Sequence[Any], name: str) -> tuple[list[Any], NDArray[np.float64]]:
    """Return slices in the order of their positions, and NIfTI's affine (4, 4) of the volume that they are.

    Raises:
        UserError: If they don't lie at even distances.
    """
    places = [np.array(item.ImagePositionPatient, np.float64) for item in slices]
    right, down = np.array(slices[0].ImageOrientationPatient, np.float64).reshape(2, 3)
    along = np.cross(right, down)
    order = np.argsort([place @ along for place in places])
    gaps = np.diff([places[k] @ along for k in order])
    if not 0 < UNEVEN * gaps.max() <= gaps.min():
        problem = f"and the other slices of its series lie {gaps.min():g} to {gaps.max():g} mm from each other"
        raise UserError(name, problem, "is a file missing, or there twice? else convert the series with dcm2niix")
    rows, columns = (float(side) for side in slices[0].PixelSpacing)
    affine = np.eye(4)
    affine[:3] = np.stack([right * columns, down * rows, along * gaps.mean(), places[order[0]]], 1)
    affine[:2] *= -1  # DICOM's axes lead to the left and the back of the patient, NIfTI's to the right and the front
    return [slices[k] for k in order], affine


def _read(content: bytes, name: str, **options: Any) -> Any:
    try:
        import pydicom
    except ImportError as error:
        raise UserError(name, "is a DICOM file", NO_EXTRA) from error
    return pydicom.dcmread(io.BytesIO(content), **options)


def _frames(dataset: Any) -> int:
    return int(dataset.get("NumberOfFrames", 1) or 1)


def _with_black_lowest(values: NDArray[Any], dataset: Any) -> NDArray[Any]:
    """Return values turned around where the lowest one is shown white."""
    return values.max() + values.min() - values if dataset.PhotometricInterpretation == "MONOCHROME1" else values


def _values(dataset: Any, name: str) -> NDArray[Any]:
    """Return the values (H, W) or (H, W, 3) of a file, or (N, ...) of several frames, by the file's scale."""
    from pydicom.pixels.processing import apply_modality_lut

    check_size(int(dataset.Columns), int(dataset.Rows), 1, name)
    stored = dataset.pixel_array  # colours are RGB
    if dataset.get("SamplesPerPixel", 1) > 1:
        return np.asarray(stored)
    values = np.asarray(apply_modality_lut(stored, dataset))
    is_whole = (values == np.round(values)).all() and np.abs(values).max() < 2**15
    return values.astype(np.int16 if is_whole else np.float32) if values.dtype == np.float64 else values
