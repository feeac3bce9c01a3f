"""Decoding of image files to arrays, as viewers show them."""

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from unetkit.data.files import FileRef
from unetkit.data.headers import BMP, JPEG, PNG, TIFF, WEBP, open_with_pillow
from unetkit.data.layers import Array, Layers, upright
from unetkit.data.limits import FIX, check_announced, check_npy_file
from unetkit.data.medical import decode_slices, is_medical
from unetkit.data.opencv import decode_pages
from unetkit.data.pillow import decode_with_pillow, pillow_format
from unetkit.data.tiff import decode_tiff, file_mask, palette_bits
from unetkit.data.windows import TiffImage, is_read_by_windows
from unetkit.errors import UserError, is_out_of_memory

ORIENTATION = 0x0112  # tag of EXIF 2.3
NOTED_IN = (b"eXIf", b"Raw profile type exif", b"tiff:Orientation")  # how a PNG tells its orientation


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
    from unetkit.data.pages import read_page  # here, because they decode with this module
    from unetkit.data.volumes import VolumeRef, read_for_training

    return Layers(read_for_training(ref)) if isinstance(ref, VolumeRef) else read_page(ref)


def read_content(ref: FileRef) -> bytes:
    """Read the bytes of a file.

    Raises:
        UserError: If they can't be read.
    """
    with one_line(ref):
        content = ref.read()
    if not is_medical(content):
        check_announced(content, str(ref))
    return content


def decode_layers(content: bytes, ref: FileRef) -> Layers:
    """Decode the bytes of an image file as `read_layers` does; `ref` names the file and its kind.

    Raises:
        UserError: If they can't be decoded, or are not one image of numbers.
    """
    with one_line(ref):
        layers = _decode_npy(content) if ref.suffix == ".npy" else _decode(content, ref)
    return check_layers(layers, ref)


def check_layers(layers: Layers | None, ref: FileRef) -> Layers:
    """Check what was decoded, and return it without an axis of one channel.

    Raises:
        UserError: If nothing was decoded, or it is not one image of numbers.
    """
    if layers is None:
        raise UserError(str(ref), "can't be read as an image", FIX)
    image = layers.pixels
    _check_numbers(image, str(ref))
    _check_finite(image, str(ref), layers.nodata)
    if image.dtype == np.bool_:
        image = image.astype(np.uint8)
    return replace(layers, pixels=image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image)


def decode_palette_indices(content: bytes, ref: FileRef) -> Array | None:
    """Decode the indices (H, W) uint8 of a PNG, TIFF, BMP or GIF with a palette; None for other files.

    `decode_layers` gives the colours.

    It is None, too, if the whole palette is grey: some programs save every grey image so, and its indices mean nothing.

    Raises:
        UserError: If the bytes can't be decoded.
    """
    is_indexed_png = content.startswith(PNG) and content[25:26] == b"\x03"  # colour type 3
    is_indexed = is_indexed_png or content.startswith(BMP) or pillow_format(content) == "GIF"
    if not is_indexed and not 0 < palette_bits(content) <= 8:
        return None
    with one_line(ref), open_with_pillow(content, "PNG", "GIF", "TIFF", "BMP") as image:
        colours = np.reshape(image.getpalette() or [], (-1, 3))
        has_colours = image.mode == "P" and (colours != colours[:, :1]).any()
        return _upright(np.array(image), content) if has_colours else None


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
        with one_line(FileRef(path)):
            check_npy_file(path)
            array = self._open()
        _check_numbers(array, str(path))
        self.shape: tuple[int, ...] = array.shape
        self.dtype = np.dtype(np.uint8) if array.dtype == np.bool_ else array.dtype

    def __getitem__(self, window: tuple[slice, ...]) -> Array:
        with one_line(FileRef(self.path)):
            part = np.array(self._open()[window], self.dtype)  # opened anew, as pages of an open map stay in memory
        _check_finite(part, str(self.path))
        return part

    def _open(self) -> Array:
        return np.lib.format.open_memmap(self.path, mode="r")


def open_image(ref: FileRef, channels: int | None = None) -> "NpyImage | TiffImage | Layers":
    """Read an image as `read_layers` does, but a .npy file or a large TIFF in a folder only window by window.

    Raises:
        UserError: If it can't be read.
    """
    with one_line(ref):
        if is_read_by_windows(ref):
            return TiffImage(ref.path, channels)
    is_mapped = ref.suffix == ".npy" and ref.member is None and ref.page is None and not ref.channels
    return NpyImage(ref.path) if is_mapped else read_layers(ref)


def _decode_npy(content: bytes) -> Layers:
    return Layers(np.lib.format.read_array(io.BytesIO(content), allow_pickle=False))


def _decode(content: bytes, ref: FileRef) -> Layers | None:
    if is_medical(content):
        slices = decode_slices(content, str(ref))
        if len(slices) > 1:
            raise UserError(str(ref), f"is a volume of {len(slices)} slices", "give it in a folder, for its slices")
        return Layers(slices[0])
    if (layers := decode_tiff(content, str(ref))) is not None:
        return layers
    if (kind := pillow_format(content)) is not None:
        return decode_with_pillow(content, kind, str(ref))
    is_tiff = content.startswith(TIFF)  # whose further pages are overviews and masks, as decode_tiff refuses stacks
    pages = decode_pages(content, 1 if is_tiff else 2)  # two, so that a stack is noticed
    if len(pages) > 1:
        raise UserError(str(ref), "is a stack of several images", "save each as a file of its own")
    if not pages:
        return None
    image = _upright(pages[0], content)
    valid = file_mask(content) if is_tiff else None
    if image.ndim == 2:
        return Layers(image, valid=valid)
    alpha = image[..., 3] if image.shape[2] == 4 else None
    pixels = image[..., 0] if _is_grey_png(content) else image[..., 2::-1]  # OpenCV's order is BGR or BGRA
    return Layers(np.ascontiguousarray(pixels), alpha, valid=valid)


def _is_grey_png(content: bytes) -> bool:
    return content.startswith(PNG) and content[25:26] in (b"\0", b"\x04")  # colour types: grey, with alpha


def _upright(image: Array, content: bytes) -> Array:
    """Turn a JPEG, PNG or WebP as its camera noted; OpenCV doesn't do so where depth and channels are to be kept."""
    may_be_noted = content.startswith(JPEG) or (content[8:12] == WEBP and b"EXIF" in content)
    if not may_be_noted and not (content.startswith(PNG) and any(note in content for note in NOTED_IN)):
        return image
    orientation = 1
    with suppress(Exception), open_with_pillow(content, "JPEG", "PNG", "WEBP") as file:
        orientation = file.getexif().get(ORIENTATION, 1)  # a broken note is none
    return upright(image, orientation)


@contextmanager
def one_line(ref: FileRef) -> Iterator[None]:
    """Turn what reading or decoding a file raises into a `UserError` that names the file."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # a hostile file makes decoders raise almost anything
        reason = " ".join(str(error).split()) or type(error).__name__
        if is_out_of_memory(error):
            raise UserError(str(ref), f"needs more memory than is free ({reason})", "cut it into tiles") from error
        raise UserError(str(ref), f"can't be read as an image ({reason})", FIX) from error


def _check_numbers(image: Array, name: str) -> None:
    if image.ndim not in (2, 3) or image.size == 0 or image.dtype.kind not in "buif":
        problem = f"holds {image.dtype} of shape {image.shape}"
        raise UserError(name, problem, "save it as numbers of shape (H, W) or (H, W, C)")


def _check_finite(image: Array, name: str, nodata: float | None = None) -> None:
    is_wrong = np.isinf if nodata is not None and np.isnan(nodata) else lambda values: ~np.isfinite(values)
    if image.dtype.kind == "f" and is_wrong(image).any():
        raise UserError(name, "holds NaN or infinite values", "replace them with numbers")
