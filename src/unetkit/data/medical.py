"""Medical images: NIfTI volumes, as a whole or as stacks of slices like the frames of DICOM files."""

import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetkit.data.dicom import count_frames, decode_frames
from unetkit.data.dicom_places import NO_EXTRA
from unetkit.data.limits import check_bytes, check_size, check_voxels
from unetkit.errors import UserError

GZIP = b"\x1f\x8b"
TO_MM = {"meter": 1e3, "micron": 1e-3}  # units of lengths; all others are taken as mm
HEADER = 540  # bytes of a NIfTI-2 header, the longer one


def is_medical(content: bytes) -> bool:
    """Return whether the first bytes are those of a NIfTI volume (also gzipped) or a DICOM file."""
    return is_nifti(content) or content[128:132] == b"DICM"


def decode_slices(content: bytes, name: str) -> NDArray[Any]:
    """Decode all slices (N, H, W) or (N, H, W, C) of a NIfTI volume, or all frames of a DICOM file.

    A slice of a NIfTI volume lies across its third axis and is turned as viewers show it: its first axis runs to the
    right, its second one upwards. The values of both kinds are those that the file's scale says, such as Hounsfield
    units.

    Raises:
        UserError: If the package that reads it is not installed, or it holds no image.
        Exception: Of many kinds, if it is damaged.
    """
    return _nifti_slices(content, name) if is_nifti(content) else decode_frames(content, name)


def count_slices(content: bytes, name: str) -> int:
    """Return the number of slices or frames, without decoding them.

    Raises:
        UserError: If the package that reads it is not installed.
        Exception: Of many kinds, if it is damaged.
    """
    if is_nifti(content):
        shape = _nifti_header(content, name).get_data_shape()
        return int(shape[2]) if len(shape) > 2 else 1
    return count_frames(content, name)


@dataclass(frozen=True)
class Orientation:
    """How the axes of a NIfTI file lie in the patient, and how they are turned to (D, H, W).

    Attributes:
        axes: For each axis of the file, the axis of the patient (0 right, 1 forwards, 2 up) and the sign, (3, 2).
        affine: From voxels of the turned volume, in the order (x, y, z), to mm, (4, 4).
    """

    axes: NDArray[Any]
    affine: NDArray[Any]

    def distance(self, other: "Orientation", size: Sequence[int]) -> float:
        """Return the largest distance in mm between the same corners of two volumes of one size (D, H, W)."""
        corners = np.array([[*corner, 1] for corner in product(*((0, side - 1) for side in reversed(size)))])
        gaps = (corners @ (self.affine - other.affine).T)[:, :3]
        return float(np.linalg.norm(gaps, axis=1).max())


def decode_volume(
    content: bytes, name: str, like: Orientation | None = None
) -> tuple[NDArray[Any], tuple[float, float, float] | None, Orientation | None]:
    """Decode a NIfTI file as one volume whose axes lead up, from front to back, and to the right of the patient.

    Args:
        content: Its bytes.
        name: Its name, for errors.
        like: Orientation that is taken where the header says none.

    Returns:
        Values (D, H, W, C); the spacing along (D, H, W) in mm; and the orientation, or None if the header says none.

    Raises:
        UserError: If nibabel is not installed, it holds no volume, or is too large.
        Exception: Of many kinds, if it is damaged.
    """
    header = _nifti_header(content, name)
    shape = header.get_data_shape()
    if not 3 <= len(shape) <= 4 or 0 in shape or shape[2] < 2:
        raise UserError(name, f"holds an array of shape {shape}", "save volumes of shape (X, Y, Z) or (X, Y, Z, C)")
    check_voxels(shape[:3], header.get_data_dtype().itemsize * (shape[3] if len(shape) > 3 else 1), name)
    values = _nifti_values(content, header)
    turning = import_module("nibabel.orientations")
    is_known = bool(header["sform_code"] or header["qform_code"])
    axes = turning.io_orientation(header.get_best_affine()) if is_known else None if like is None else like.axes
    sides = header.get_zooms()[:3]
    if axes is not None:
        values = turning.apply_orientation(values, axes)
        sides = [sides[int(np.flatnonzero(axes[:, 0] == axis)[0])] for axis in range(3)]
    orientation = None
    if is_known and axes is not None:
        orientation = Orientation(axes, header.get_best_affine() @ turning.inv_ornt_aff(axes, shape[:3]))
    values = values.transpose(2, 1, 0, *range(3, values.ndim))[:, ::-1]
    scale = TO_MM.get(header.get_xyzt_units()[0], 1.0)
    spacing = float(sides[2]) * scale, float(sides[1]) * scale, float(sides[0]) * scale
    values = values.reshape(*values.shape[:3], -1)
    return np.ascontiguousarray(values), spacing if min(spacing) > 0 else None, orientation


def write_volume_like(content: bytes, mask: NDArray[np.uint8], name: str) -> bytes:
    """Return a gzipped NIfTI file of a mask (D, H, W), turned as `decode_volume` does, that lies where a volume lies.

    Args:
        content: The bytes of the volume.
        mask: The mask.
        name: The name of the volume, for errors.
    """
    header = _nifti_header(content, name)
    values = mask[:, ::-1].transpose(2, 1, 0)
    if header["sform_code"] or header["qform_code"]:
        turning = import_module("nibabel.orientations")
        axes = turning.io_orientation(header.get_best_affine())
        values = turning.apply_orientation(values, turning.ornt_transform([[0, 1], [1, 1], [2, 1]], axes))
    return _nifti_of(header, values)


def write_nifti_like(content: bytes, slices: NDArray[np.uint8], name: str) -> bytes:
    """Return a gzipped NIfTI file of masks (N, H, W) that lies where another volume lies.

    Args:
        content: The bytes of the other volume.
        slices: The masks of its slices, as `decode_slices` turns them.
        name: The name of the other volume, for errors.
    """
    header = _nifti_header(content, name)
    volume = np.moveaxis(np.rot90(slices, -1, axes=(1, 2)), 0, 2)
    return _nifti_of(header, volume.reshape(header.get_data_shape()[:3]))  # a single slice may have two axes


def _nifti_of(header: Any, volume: NDArray[np.uint8]) -> bytes:
    """Return a gzipped NIfTI file of a volume (X, Y, Z) with the place that a header says."""
    import nibabel

    kind: Any = nibabel.Nifti2Image if header["sizeof_hdr"] == HEADER else nibabel.Nifti1Image
    image: Any = kind(np.ascontiguousarray(volume), header.get_best_affine())
    for which in ("qform", "sform"):
        affine, code = getattr(header, f"get_{which}")(coded=True)
        getattr(image, f"set_{which}")(affine, int(code))
    image.header.set_xyzt_units(*header.get_xyzt_units())
    return gzip.compress(image.to_bytes(), 6)


def is_nifti(content: bytes) -> bool:
    """Return whether the first bytes are those of a NIfTI volume, also gzipped."""
    head = _unpacked(content, HEADER) if content.startswith(GZIP) else content
    return head[344:348] == b"n+1\0" or head[4:8] in (b"n+2\0",)


def _unpacked(content: bytes, size: int) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            return file.read(size)
    except (OSError, EOFError):
        return b""


def _nifti_header(content: bytes, name: str) -> Any:
    try:
        import nibabel
    except ImportError as error:
        raise UserError(name, "is a NIfTI volume", NO_EXTRA) from error
    head = _unpacked(content, HEADER) if content.startswith(GZIP) else content[:HEADER]
    kind: Any = nibabel.Nifti2Header if head[4:8] == b"n+2\0" else nibabel.Nifti1Header
    return kind(head[: kind.template_dtype.itemsize])


def _nifti_slices(content: bytes, name: str) -> NDArray[Any]:
    header = _nifti_header(content, name)
    shape = header.get_data_shape()
    if not 2 <= len(shape) <= 4 or 0 in shape:
        raise UserError(name, f"holds an array of shape {shape}", "save volumes of shape (X, Y, Z) or (X, Y, Z, C)")
    check_size(shape[0], shape[1], 1, name)
    size = int(np.prod(shape, dtype=np.int64)) * header.get_data_dtype().itemsize
    check_bytes(size, name)
    volume = _nifti_values(content, header)
    return np.ascontiguousarray(
        np.rot90(np.moveaxis(volume.reshape(*shape, *[1] * (3 - len(shape))), 2, 0), axes=(1, 2))
    )


def _nifti_values(content: bytes, header: Any) -> NDArray[Any]:
    """Return the scaled values of a NIfTI file in the order of its axes; float64 becomes float32."""
    if content.startswith(GZIP):
        size = int(np.prod(header.get_data_shape(), dtype=np.int64)) * header.get_data_dtype().itemsize
        content = _unpacked(content, int(header.get_data_offset()) + size)
    values = np.asarray(header.data_from_fileobj(io.BytesIO(content)))
    values = values.astype(np.float32) if values.dtype == np.float64 else values
    return values.astype(values.dtype.newbyteorder("="), copy=False)
