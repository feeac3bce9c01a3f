"""Decoding of image files: PNG, JPEG, TIFF, BMP and NPY to arrays, as viewers show them."""

import io
import re
import zipfile
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from unetkit.data.files import FileRef
from unetkit.data.layers import Array, Layers, upright
from unetkit.data.limits import check_announced, check_npy_file
from unetkit.data.tiff import decode_tiff
from unetkit.errors import UserError

# What a broken file, or a broken or encrypted member of a zip, raises.
UNREADABLE = (OSError, ValueError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error, cv2.error)
ORIENTATION = 0x0112  # tag of EXIF 2.3
NOTED_IN = (b"eXIf", b"Raw profile type exif", b"tiff:Orientation")  # how a PNG tells its orientation
NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)  # that ends a part of a JPEG's pixels


def read_image(ref: FileRef, channels: int | None = None) -> Array:
    """Read and decode a file to (H, W) or (H, W, C), RGB order, in the file's own dtype.

    Args:
        ref: The file.
        channels: Number of channels that are asked for: an alpha channel is left out unless it makes up that number.

    Raises:
        UserError: If the file can't be decoded, or is not one image of numbers.
    """
    return read_layers(ref).image(channels)


def read_layers(ref: FileRef) -> Layers:
    """Read and decode a file as `read_image` does, with its alpha channel and its number for pixels without data.

    Raises:
        UserError: If the file can't be decoded, or is not one image of numbers.
    """
    return decode_layers(read_content(ref), ref)


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


def decode_layers(content: bytes, ref: FileRef) -> Layers:
    """Decode the bytes of an image file as `read_layers` does; `ref` names the file and its kind.

    Raises:
        UserError: If they can't be decoded, or are not one image of numbers.
    """
    if not content:
        raise UserError(str(ref), "is empty (0 bytes)", "replace or remove it")
    try:
        layers = _decode_npy(content) if ref.name.suffix.lower() == ".npy" else _decode(content, ref)
    except UserError:
        raise
    except UNREADABLE as error:
        raise _unreadable(ref, error) from error
    if layers is None:
        raise UserError(str(ref), "can't be read as an image", "replace or remove it")
    image = layers.pixels
    _check_numbers(image, str(ref))
    _check_finite(image, str(ref), layers.nodata)
    if image.dtype == np.bool_:
        image = image.astype(np.uint8)
    return replace(layers, pixels=image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image)


def decode_palette_indices(content: bytes, ref: FileRef) -> Array | None:
    """Decode the indices (H, W) uint8 of a palette PNG, whose colours `decode_layers` gives; None for any other file.

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
            return None if (colours == colours[:, :1]).all() else _upright(np.array(image), content)
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


def open_image(ref: FileRef, channels: int | None = None) -> "NpyImage | Array":
    """Read an image as `read_image` does, but a .npy file in a folder only window by window."""
    return read_image(ref, channels) if ref.member or ref.name.suffix.lower() != ".npy" else NpyImage(ref.path)


def _decode_npy(content: bytes) -> Layers:
    return Layers(np.lib.format.read_array(io.BytesIO(content), allow_pickle=False))


def _decode(content: bytes, ref: FileRef) -> Layers | None:
    if (layers := decode_tiff(content, str(ref))) is not None:
        return layers
    _check_whole_jpeg(content, ref)
    # Two pages are asked for, so that a stack is noticed instead of read as its first page.
    _, pages = cv2.imdecodemulti(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED, range=(0, 2))
    if len(pages) > 1:
        raise UserError(str(ref), "is a stack of several images", "save each as a file of its own")
    if not pages:
        return None
    image = _upright(pages[0], content)
    if image.ndim == 2:
        return Layers(image)
    alpha = image[..., 3] if image.shape[2] == 4 else None
    pixels = image[..., 0] if _is_grey_png(content) else image[..., 2::-1]  # OpenCV's order is BGR or BGRA
    return Layers(np.ascontiguousarray(pixels), alpha)


def _is_grey_png(content: bytes) -> bool:
    return content.startswith(b"\x89PNG") and content[25:26] in (b"\0", b"\x04")  # colour types: grey, with alpha


def _upright(image: Array, content: bytes) -> Array:
    """Turn a JPEG or PNG as its camera noted; OpenCV doesn't do so where depth and channels are to be kept."""
    is_jpeg = content.startswith(b"\xff\xd8")
    if not is_jpeg and not (content.startswith(b"\x89PNG") and any(note in content for note in NOTED_IN)):
        return image
    from PIL import Image

    orientation = 1
    with suppress(Exception), Image.open(io.BytesIO(content), formats=["JPEG", "PNG"]) as file:
        orientation = file.getexif().get(ORIENTATION, 1)  # a broken note is none
    return upright(image, orientation)


def _check_whole_jpeg(content: bytes, ref: FileRef) -> None:
    """Refuse a JPEG that is cut: libjpeg fills the rest with grey, and warns without naming the file."""
    place = 2
    while content.startswith(b"\xff\xd8"):
        marker = content[place + 1 : place + 2]
        if content[place : place + 1] != b"\xff" or marker == b"\xd9":
            return  # the end of the image, or a broken file, which decoding reports
        if marker in (b"\xff", b"\x01"):  # a filling byte, or a marker without content
            place += 1 if marker == b"\xff" else 2
            continue
        place += 2 + int.from_bytes(content[place + 2 : place + 4])
        if marker == b"\xda":  # pixels follow
            found = NEXT_MARKER.search(content, place)
            place = found.start() if found else len(content)
        if place >= len(content):
            problem = "can't be read as an image (the JPEG is cut: its last part is missing)"
            raise UserError(str(ref), problem, "replace or remove it")


def _unreadable(ref: FileRef, error: BaseException) -> UserError:
    return UserError(
        str(ref), f"can't be read as an image ({str(error) or type(error).__name__})", "replace or remove it"
    )


def _check_numbers(image: Array, name: str) -> None:
    if image.ndim not in (2, 3) or image.size == 0 or image.dtype.kind not in "buif":
        problem = f"holds {image.dtype} of shape {image.shape}"
        raise UserError(name, problem, "save it as numbers of shape (H, W) or (H, W, C)")


def _check_finite(image: Array, name: str, nodata: float | None = None) -> None:
    is_wrong = np.isinf if nodata is not None and np.isnan(nodata) else lambda values: ~np.isfinite(values)
    if image.dtype.kind == "f" and is_wrong(image).any():
        raise UserError(name, "holds NaN or infinite values", "replace them with numbers")
