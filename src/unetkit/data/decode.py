"""Decoding of image files: PNG, JPEG, TIFF, BMP and NPY to arrays, as viewers show them."""

import io
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from unetkit.data.files import FileRef
from unetkit.data.limits import check_announced, check_npy_file
from unetkit.data.tiff import check_tiff
from unetkit.errors import UserError

# What a broken file, or a broken or encrypted member of a zip, raises.
UNREADABLE = (OSError, ValueError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error, cv2.error)
ORIENTATION = 0x0112  # tag of EXIF 2.3

Array = NDArray[Any]

# How to turn pixels upright, by the EXIF orientation that a camera stores; 1 is upright.
TURNS: dict[int, Callable[[Array], Array]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, 3),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: np.rot90,
}


def read_image(ref: FileRef) -> Array:
    """Read and decode a file to (H, W) or (H, W, C), RGB order, in the file's own dtype; without alpha channel.

    Raises:
        UserError: If the file can't be decoded, or is not one image of numbers.
    """
    return decode_image(read_content(ref), ref)


def read_content(ref: FileRef) -> bytes:
    """Read the bytes of a file.

    Raises:
        UserError: If they can't be read.
    """
    try:
        content = ref.read()
    except UserError:
        raise
    except UNREADABLE as error:
        raise _unreadable(ref, error) from error
    check_announced(content, str(ref))
    return content


def decode_image(content: bytes, ref: FileRef) -> Array:
    """Decode the bytes of an image file as `read_image` does; `ref` names the file and its kind.

    Raises:
        UserError: If they can't be decoded, or are not one image of numbers.
    """
    if not content:
        raise UserError(str(ref), "is empty (0 bytes)", "replace or remove it")
    is_npy = ref.name.suffix.lower() == ".npy"
    try:
        image = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False) if is_npy else _decode(content, ref)
    except UserError:
        raise
    except UNREADABLE as error:
        raise _unreadable(ref, error) from error
    if image is None:
        raise UserError(str(ref), "can't be read as an image", "replace or remove it")
    _check_numbers(image, str(ref))
    _check_finite(image, str(ref))
    if image.dtype == np.bool_:
        image = image.astype(np.uint8)
    if image.ndim == 3 and not is_npy:
        image = np.ascontiguousarray(image[..., 2::-1])  # BGR or BGRA of any dtype, which cv2.cvtColor does not take
    return image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image


def decode_palette_indices(content: bytes, ref: FileRef) -> Array | None:
    """Decode the indices (H, W) uint8 of a palette PNG, whose colours `decode_image` gives; None for any other file.

    It is None, too, if the whole palette is grey: some programs save every grey image as such a PNG, and its indices
    mean nothing.

    Raises:
        UserError: If the bytes can't be decoded.
    """
    if not content.startswith(b"\x89PNG") or content[25:26] != b"\x03":  # colour type 3: indexed
        return None
    from PIL import Image  # here, because Pillow takes long to import and most files don't need it

    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            colours = np.reshape(image.getpalette() or [], (-1, 3))
            return None if (colours == colours[:, :1]).all() else np.array(image)
    # Pillow raises SyntaxError for a broken chunk.
    except (*UNREADABLE, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(ref, error) from error


class NpyImage:
    """A .npy file that is read window by window, so that memory does not hold it whole.

    Attributes:
        shape: (H, W) or (H, W, C).
        dtype: The dtype of the windows.

    Raises:
        UserError: If the file can't be read, or holds no image; a window raises it for values that are not finite.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            check_npy_file(path)
            array = self._open()
        except UserError:
            raise
        except UNREADABLE as error:
            raise _unreadable(FileRef(path), error) from error
        _check_numbers(array, str(path))
        self.shape: tuple[int, ...] = array.shape
        self.dtype = np.dtype(np.uint8) if array.dtype == np.bool_ else array.dtype

    def __getitem__(self, window: tuple[slice, slice]) -> Array:
        part = np.array(self._open()[window], self.dtype)  # opened anew, as pages of an open map stay in memory
        _check_finite(part, str(self.path))
        return part

    def _open(self) -> Array:
        return np.lib.format.open_memmap(self.path, mode="r")


def open_image(ref: FileRef) -> "NpyImage | Array":
    """Read an image as `read_image` does, but a .npy file in a folder only window by window."""
    return read_image(ref) if ref.member or ref.name.suffix.lower() != ".npy" else NpyImage(ref.path)


def _decode(content: bytes, ref: FileRef) -> Array | None:
    check_tiff(content, str(ref))
    # Two pages are asked for, so that a stack is noticed instead of read as its first page.
    _, pages = cv2.imdecodemulti(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED, range=(0, 2))
    if len(pages) > 1:
        raise UserError(str(ref), "is a stack of several images", "save each as a file of its own")
    return _upright(pages[0], content) if pages else None


def _upright(image: Array, content: bytes) -> Array:
    """Turn a JPEG upright by its EXIF orientation, which OpenCV ignores with IMREAD_UNCHANGED."""
    if not content.startswith(b"\xff\xd8"):  # JPEG
        return image
    from PIL import Image

    turn = None
    with suppress(Exception), Image.open(io.BytesIO(content), formats=["JPEG"]) as file:  # broken EXIF counts as none
        turn = TURNS.get(file.getexif().get(ORIENTATION, 1))
    return image if turn is None else np.ascontiguousarray(turn(image))


def _unreadable(ref: FileRef, error: BaseException) -> UserError:
    return UserError(
        str(ref), f"can't be read as an image ({str(error) or type(error).__name__})", "replace or remove it"
    )


def _check_numbers(image: Array, name: str) -> None:
    if image.ndim not in (2, 3) or image.size == 0 or image.dtype.kind not in "buif":
        problem = f"holds {image.dtype} of shape {image.shape}"
        raise UserError(name, problem, "save it as numbers of shape (H, W) or (H, W, C)")


def _check_finite(image: Array, name: str) -> None:
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise UserError(name, "holds NaN or infinite values", "replace them with numbers")
