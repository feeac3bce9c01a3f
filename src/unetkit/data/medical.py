"""Medical images: NIfTI volumes and DICOM files, as stacks of slices."""

import gzip
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetkit.data.limits import check_bytes, check_size
from unetkit.errors import UserError

GZIP = b"\x1f\x8b"
HEADER = 540  # bytes of a NIfTI-2 header, the longer one
NO_EXTRA = "pip install 'unetkit[medical]' to read it"


def is_medical(content: bytes) -> bool:
    """Return whether the first bytes are those of a NIfTI volume (also gzipped) or a DICOM file."""
    return _is_nifti(content) or content[128:132] == b"DICM"


def decode_slices(content: bytes, name: str) -> NDArray[Any]:
    """Decode all slices (N, H, W) or (N, H, W, C) of a NIfTI volume, or all frames of a DICOM file.

    A slice of a NIfTI volume lies across its third axis and is turned as viewers show it: its first axis runs to the
    right, its second one upwards. The values of both kinds are those that the file's scale says, such as Hounsfield
    units.

    Raises:
        UserError: If the package that reads it is not installed, or it holds no image.
        Exception: Of many kinds, if it is damaged.
    """
    return _nifti_slices(content, name) if _is_nifti(content) else _dicom_frames(content, name)


def count_slices(content: bytes, name: str) -> int:
    """Return the number of slices or frames, without decoding them.

    Raises:
        UserError: If the package that reads it is not installed.
        Exception: Of many kinds, if it is damaged.
    """
    if _is_nifti(content):
        shape = _nifti_header(content, name).get_data_shape()
        return int(shape[2]) if len(shape) > 2 else 1
    return int(_read_dicom(content, name, stop_before_pixels=True).get("NumberOfFrames", 1) or 1)


def write_nifti_like(content: bytes, slices: NDArray[np.uint8], name: str) -> bytes:
    """Return a gzipped NIfTI file of masks (N, H, W) that lies where another volume lies.

    Args:
        content: The bytes of the other volume.
        slices: The masks of its slices, as `decode_slices` turns them.
        name: The name of the other volume, for errors.
    """
    import nibabel

    header = _nifti_header(content, name)
    volume = np.moveaxis(np.rot90(slices, -1, axes=(1, 2)), 0, 2)
    kind: Any = nibabel.Nifti2Image if header["sizeof_hdr"] == 540 else nibabel.Nifti1Image
    image: Any = kind(np.ascontiguousarray(volume), header.get_best_affine())
    for which in ("qform", "sform"):
        affine, code = getattr(header, f"get_{which}")(coded=True)
        getattr(image, f"set_{which}")(affine, int(code))
    image.header.set_xyzt_units(*header.get_xyzt_units())
    return gzip.compress(image.to_bytes(), 6)


def _is_nifti(content: bytes) -> bool:
    head = _unpacked(content, HEADER) if content.startswith(GZIP) else content
    return head[344:348] in (b"n+1\0",) or head[4:8] in (b"n+2\0",)


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
    if content.startswith(GZIP):
        content = _unpacked(content, int(header.get_data_offset()) + size)
    volume = np.asarray(header.data_from_fileobj(io.BytesIO(content)))
    volume = volume.reshape(*shape, *[1] * (3 - len(shape)))
    volume = volume.astype(np.float32) if volume.dtype == np.float64 else volume
    native = volume.astype(volume.dtype.newbyteorder("="), copy=False)
    return np.ascontiguousarray(np.rot90(np.moveaxis(native, 2, 0), axes=(1, 2)))


def _read_dicom(content: bytes, name: str, **options: Any) -> Any:
    try:
        import pydicom
    except ImportError as error:
        raise UserError(name, "is a DICOM file", NO_EXTRA) from error
    return pydicom.dcmread(io.BytesIO(content), **options)


def _dicom_frames(content: bytes, name: str) -> NDArray[Any]:
    dataset = _read_dicom(content, name)
    if "PixelData" not in dataset:
        raise UserError(name, "is a DICOM file without pixels", "remove it")
    from pydicom.pixels.processing import apply_modality_lut

    check_size(int(dataset.Columns), int(dataset.Rows), 1, name)
    stored = dataset.pixel_array  # colours are RGB
    frames = stored if int(dataset.get("NumberOfFrames", 1) or 1) > 1 else stored[None]
    if dataset.get("SamplesPerPixel", 1) > 1:
        return np.ascontiguousarray(frames)
    values = np.asarray(apply_modality_lut(frames, dataset))
    if dataset.PhotometricInterpretation == "MONOCHROME1":  # 0 is white
        values = values.max() + values.min() - values
    is_whole = (values == np.round(values)).all() and np.abs(values).max() < 2**15
    return values.astype(np.int16 if is_whole else np.float32) if values.dtype == np.float64 else values
