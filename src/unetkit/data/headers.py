"""The size of a picture as the header of its file states it, read without decoding."""

import io
import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

NPY = b"\x93NUMPY"
PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8"
BMP = b"BM"
WEBP = b"WEBP"  # after 8 bytes
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two: BigTIFF


def picture_size(content: bytes) -> tuple[int, int] | None:
    """Return width and height; None for what is no picture.

    PNG, JPEG and BMP are not left to Pillow, which refuses some damaged files that OpenCV decodes.
    """
    if content.startswith(PNG) and len(content) >= 24:
        width, height = struct.unpack(">II", content[16:24])
    elif content.startswith(BMP) and len(content) >= 26:
        is_old = content[14:18] == b"\x0c\0\0\0"  # a header of 12 bytes has short numbers
        width, height = struct.unpack("<HH", content[18:22]) if is_old else struct.unpack("<ii", content[18:26])
    elif content.startswith(JPEG):
        width, height = _jpeg_size(content)
    else:
        return _size_by_pillow(content)
    return abs(width), abs(height)


def png_damage(content: bytes) -> str:
    """Return what is wrong with the chunks of a PNG; nothing if each that its pixels need is there and unchanged.

    OpenCV would take as much memory as a chunk claims to need, and Pillow does not compare the checksums of pixels.
    """
    view, place = memoryview(content), len(PNG)
    while place + 12 <= len(content):
        length, kind = struct.unpack(">I4s", view[place : place + 8])
        end = place + 12 + length
        if end > len(content):
            break
        is_needed = not kind[0] & 32  # a capital letter
        if is_needed and zlib.crc32(view[place + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            return f"a part of it, {kind.decode(errors='replace')}, has another checksum than it says"
        if kind == b"IEND":
            return ""
        place = end
    return "it is cut"


def least_size(content: bytes, width: int, height: int) -> int:
    """Return the fewest bytes of a file like this with so many pixels: some claim millions of pixels and hold nothing.

    Deflate, in PNG, packs 1032 bytes into one at most. JPEG needs a bit for each block of 8 x 8 pixels in its first
    scan; half of that is asked for.
    """
    if content.startswith(PNG) and len(content) >= 26:
        return width * height * content[24] // 8 // 1032  # content[24]: bits of a sample
    return width * height // 1024 if content.startswith(JPEG) else 0


def open_with_pillow(content: bytes, *formats: str) -> "Image.Image":
    """Open an image with Pillow, which decodes it only when its pixels are asked for.

    Raises:
        Exception: Of many kinds, if it can't be opened.
    """
    from PIL import Image  # here, because Pillow takes long to import and most files don't need it

    Image.MAX_IMAGE_PIXELS = None  # sizes are checked by `limits`, whose limit is a key
    return Image.open(io.BytesIO(content), formats=formats or None)


def _jpeg_size(content: bytes) -> tuple[int, int]:
    """Return width and height as the frame header of a JPEG says (ITU-T T.81, section B.2.2); 0, 0 without one."""
    place = 2
    while (place := content.find(b"\xff", place)) >= 0 and place + 9 <= len(content):  # libjpeg skips other bytes
        marker, length, _, height, width = struct.unpack(">BHBHH", content[place + 1 : place + 9])
        if marker == 0xFF:  # a byte that fills up
            place += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # these hold tables
            return width, height
        else:
            place += 2 + length
    return 0, 0


def _size_by_pillow(content: bytes) -> tuple[int, int] | None:
    try:
        with open_with_pillow(content) as image:
            return image.size
    except Exception:  # Pillow raises many kinds for a damaged header
        return None
