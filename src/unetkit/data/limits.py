"""Check what kind of file a path is, and the size that its header states, before it is read or decoded."""

import io
import math
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from unetkit.data.headers import NPY, PNG, TIFF, least_size, picture_size, png_damage
from unetkit.data.pillow import register_plugin
from unetkit.errors import UserError, check, is_whole

MAX_PIXELS = 2**29  # about 23,000 x 23,000
MOST_PIXELS = 2**30  # that OpenCV decodes
BYTES_PER_PIXEL = 4  # RGB and alpha, or one band of float32; so many for each allowed pixel are read or decoded
FIX = "replace or remove it"


class Limit(NamedTuple):
    """The largest image that is decoded as a whole, and the key that says so.

    Attributes:
        pixels: Number of pixels.
        key: Name of the key as the user types it.
        otherwise: What else can be done about a larger image.
    """

    pixels: int = MAX_PIXELS
    key: str = "data.max_pixels"
    otherwise: str = "cut it into tiles"

    @property
    def bytes(self) -> int:
        """The largest size of a file that is read as a whole, and of what it is decoded to."""
        return BYTES_PER_PIXEL * self.pixels

    @property
    def fix(self) -> str:
        """What to do about a larger image."""
        return f"{self.otherwise}, or raise {self.key}={self.pixels}"


DEFAULT = Limit()
# Not an argument, because each function between a command and the decoder would have to hand it on.
_limit = ContextVar("limit", default=DEFAULT)


@contextmanager
def decoding_at_most(pixels: int, key: str, otherwise: str = DEFAULT.otherwise) -> Iterator[None]:
    """Refuse larger images in all that is read within; a file that is read by windows has no such limit.

    Args:
        pixels: Number of pixels.
        key: Name of the key, for errors.
        otherwise: What else can be done about a larger image, for errors.

    Raises:
        UserError: If the number is out of range.
    """
    is_count = is_whole(pixels, 1) and pixels <= MOST_PIXELS
    check(key, pixels, is_count, f"a whole number from 1 to {MOST_PIXELS}, which OpenCV can decode")
    token = _limit.set(Limit(pixels, key, otherwise))
    try:
        yield
    finally:
        _limit.reset(token)


def check_regular(path: Path) -> None:
    """Check that a path is a regular file that may be read as a whole; reading a pipe or a device may never end.

    Raises:
        UserError: If it is no regular file, or is too large to be read as a whole.
        OSError: If there is no such file.
    """
    check_bytes(check_kind(path), str(path))


def check_kind(path: Path) -> int:
    """Check that a path is a regular file, and return its size in bytes.

    Raises:
        UserError: If it is no regular file.
        OSError: If there is no such file.
    """
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise UserError(str(path), "is a folder" if stat.S_ISDIR(facts.st_mode) else "is a pipe or device", FIX)
    return facts.st_size


def check_bytes(size: int, name: str) -> None:
    """Check the size of a file, of a member of a zip when it is unpacked, or of an image when it is decoded.

    Raises:
        UserError: If it is too large to be read as a whole.
    """
    limit = _limit.get()
    if size > limit.bytes:
        problem = f"holds {size:,} bytes, more than {BYTES_PER_PIXEL} for each pixel of {limit.key}={limit.pixels}"
        raise UserError(name, problem, f"cut it into parts, or raise {limit.key}")


def check_size(width: int, height: int, pixel_bytes: int, name: str) -> None:
    """Check the size of an image before it is decoded.

    Raises:
        UserError: If it has too many pixels, or too many bytes.
    """
    limit = _limit.get()
    if width * height > limit.pixels:
        problem = f"has {width:,} x {height:,} pixels, more than {limit.pixels:,} in all"
        raise UserError(name, problem, limit.fix)
    check_bytes(width * height * pixel_bytes, name)


def check_voxels(size: Sequence[int], voxel_bytes: int, name: str) -> None:
    """Check the size of a volume before it is decoded; a voxel counts as a pixel does.

    Raises:
        UserError: If it has too many voxels, or too many bytes.
    """
    limit, count = _limit.get(), math.prod(size)
    if count > limit.pixels:
        shown = " x ".join(f"{side:,}" for side in size)
        problem = f"has {shown} voxels, more than {limit.pixels:,} in all"
        raise UserError(name, problem, f"cut it into parts, or raise {limit.key}={limit.pixels}")
    check_bytes(count * voxel_bytes, name)


def check_announced(content: bytes, name: str) -> None:
    """Check what the header of an image file announces, before memory is taken for it; TIFF is left to its decoder.

    Raises:
        UserError: If an image is too large, an array is larger than its file, or the file is no image.
    """
    if not content:
        raise UserError(name, "is empty (0 bytes)", FIX)
    if content.startswith(NPY):
        height, width, *_ = (*check_npy(io.BytesIO(content), len(content), name), 1, 1)
        check_size(width, height, 1, name)  # its bytes are in memory already
    elif not content.startswith(TIFF):
        register_plugin(content, name)
        size = picture_size(content)
        if size is None:  # a format whose size is not known is not decoded
            raise UserError(name, "can't be read as an image", FIX)
        check_size(*size, 1, name)
        if least_size(content, *size) > len(content):
            reason = f"its header announces {size[0]:,} x {size[1]:,} pixels, more than {len(content):,} bytes can hold"
            raise UserError(name, f"can't be read as an image ({reason})", FIX)
        if content.startswith(PNG) and (reason := png_damage(content)):
            raise UserError(name, f"can't be read as an image (it is damaged: {reason})", FIX)


def check_npy(stream: IO[bytes], size: int, name: str) -> tuple[int, ...]:
    """Check the header of a .npy file of `size` bytes, and return the shape of the array.

    Raises:
        UserError: If it can't be read, announces more than the file holds, or its dtype is not supported.
    """
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
    except Exception as error:  # a malformed header is parsed as Python, which raises almost anything
        reason = " ".join(str(error).split())[:100]
        raise UserError(name, f"can't be read as an image (its header is damaged: {reason})", FIX) from error
    announced, there = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if min(shape, default=0) < 0 or announced > there:
        reason = f"its header announces {dtype} of shape {shape}: {announced:,} bytes, of which it holds {there:,}"
        raise UserError(name, f"can't be read as an image ({reason})", FIX)
    if dtype.kind == "f" and dtype.itemsize > 8:
        raise UserError(name, f"holds {dtype}", "save it as float32 or float64")
    return tuple(shape)


def check_npy_file(path: Path) -> tuple[int, ...]:
    """Check the header of a .npy file without reading the rest, and return the shape of the array.

    Raises:
        UserError: As `check_npy`; or if it is no regular file.
        OSError: If there is no such file.
    """
    size = check_kind(path)
    with path.open("rb") as stream:
        return check_npy(stream, size, str(path))
