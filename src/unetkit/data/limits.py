"""Check what kind of file a path is, and the size that its header states, before it is read or decoded."""

import io
import math
import stat
import struct
from pathlib import Path
from typing import IO

import numpy as np

from unetkit.errors import UserError

MAX_BYTES = 8 * 2**30  # largest size of a file that is read as a whole
MAX_PIXELS = 2**29  # of a decoded image; about 23,000 x 23,000. Only .npy and SEG-Y files may be larger: windows
FIX = "replace or remove it"
NPY = b"\x93NUMPY"


def check_regular(path: Path) -> None:
    """Check that a path is a regular file, since reading a pipe or a device may never end.

    Raises:
        UserError: If it is no regular file, or is too large to be read as a whole.
        OSError: If there is no such file.
    """
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise UserError(str(path), "is a folder" if stat.S_ISDIR(facts.st_mode) else "is a pipe or device", FIX)
    check_bytes(facts.st_size, str(path))


def check_bytes(size: int, name: str) -> None:
    """Check the size of a file, or of a member of a zip when it is unpacked.

    Raises:
        UserError: If it is too large to be read as a whole.
    """
    if size > MAX_BYTES:
        raise UserError(name, f"holds {size / 2**30:.1f} GiB, more than {MAX_BYTES / 2**30:g}", "cut it into parts")


def check_announced(content: bytes, name: str) -> None:
    """Check what the header of a picture (PNG, JPEG, BMP) or a .npy file announces, before memory is taken for it.

    Raises:
        UserError: If a picture has too many pixels, or an array is larger than its file.
    """
    if content.startswith(NPY):
        check_npy(io.BytesIO(content), len(content), name)
        return
    if content.startswith(b"\x89PNG\r\n\x1a\n") and len(content) >= 24:
        width, height = struct.unpack(">II", content[16:24])
    elif content.startswith(b"BM") and len(content) >= 26 and content[14:18] != b"\x0c\0\0\0":
        width, height = map(abs, struct.unpack("<ii", content[18:26]))
    elif content.startswith(b"\xff\xd8"):
        width, height = _jpeg_size(content)
    else:
        return
    if width * height > MAX_PIXELS:
        problem = f"has {width} x {height} pixels, more than {MAX_PIXELS:,} in all"
        raise UserError(name, problem, "cut it into tiles, or save it as .npy to predict it window by window")


def _jpeg_size(content: bytes) -> tuple[int, int]:
    """Return width and height as the frame header of a JPEG says (ITU-T T.81, section B.2.2); 0, 0 without one."""
    place = 2
    while content[place : place + 1] == b"\xff" and place + 9 <= len(content):
        marker, length, _, height, width = struct.unpack(">BHBHH", content[place + 1 : place + 9])
        if marker == 0xFF:  # a byte that fills up
            place += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # these hold tables
            return width, height
        else:
            place += 2 + length
    return 0, 0


def check_npy(stream: IO[bytes], size: int, name: str) -> None:
    """Check the header of a .npy file of `size` bytes.

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


def check_npy_file(path: Path) -> None:
    """Check the header of a .npy file without reading the rest.

    Raises:
        UserError: As `check_npy`; or if it is no regular file.
        OSError: If there is no such file.
    """
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):
        check_regular(path)
    with path.open("rb") as stream:
        check_npy(stream, facts.st_size, str(path))
