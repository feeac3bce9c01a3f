"""Content of damaged, strange and valid image files, each made from a good image."""

import io
import pickle
import struct
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

Array = NDArray[Any]


class OddBytes(NamedTuple):
    """Content of a file.

    Attributes:
        name: What is odd about it.
        suffix: Suffix of the file.
        make: Returns the content for an image (H, W) uint8.
        as_image: What unetkit must do if it is an image: `refuse`, `accept` or `either`.
        as_mask: What it must do if it is a mask.
    """

    name: str
    suffix: str
    make: Callable[[Array], bytes]
    as_image: str
    as_mask: str


def encoded(image: Array, suffix: str = ".png") -> bytes:
    """Return an image as a file of that kind."""
    done, content = cv2.imencode(suffix, image)
    assert done
    return content.tobytes()


def by_pillow(image: Array, form: str, mode: str | None = None, **options: Any) -> bytes:
    """Return an image as Pillow writes it."""
    stream = io.BytesIO()
    picture = Pillow.fromarray(image)
    (picture.convert(mode) if mode else picture).save(stream, form, **options)
    return stream.getvalue()


def cut(content: bytes, share: float = 0.6) -> bytes:
    """Return the first part of a file."""
    return content[: int(share * len(content))]


def changed(content: bytes, after: bytes, new: bytes, skipped: int = 0) -> bytes:
    """Return a file with other bytes behind the first place that holds `after`, and behind some more bytes."""
    place = content.index(after) + len(after) + skipped
    return content[:place] + new + content[place + len(new) :]


def announcing(image: Array, width: int, height: int) -> bytes:
    """Return a PNG whose header, with a checksum that is right, states another size."""
    content = encoded(image)
    header = b"IHDR" + struct.pack(">II", width, height) + content[24:29]
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


def npy(array: Array, **options: Any) -> bytes:
    """Return an array as a .npy file."""
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def npy_header(header: str, version: int = 1) -> bytes:
    """Return a .npy file with this header and eight bytes of content."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + bytes(8)


def announced(dtype: str, shape: str) -> bytes:
    """Return a .npy file whose header states this dtype and shape."""
    return npy_header(f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}")


def looping_tiff(image: Array) -> bytes:
    """Return a TIFF whose list of directories comes back to the first one."""
    content = bytearray(by_pillow(image, "TIFF"))
    (first,) = struct.unpack("<I", content[4:8])
    (entries,) = struct.unpack("<H", content[first : first + 2])
    content[first + 2 + 12 * entries :][:4] = struct.pack("<I", first)
    place = first + 2 + 12 * entries
    content[place : place + 4] = struct.pack("<I", first)
    return bytes(content)


def tall_tiff(image: Array) -> bytes:
    """Return a TIFF whose directory states two thousand million rows."""
    content = by_pillow(image, "TIFF")
    tag = struct.pack("<HHI", 257, 3, 1)  # ImageLength, as a 16-bit number
    return changed(content, tag[:2], struct.pack("<HII", 4, 1, 2_000_000_000))


def noise(count: int) -> bytes:
    """Return random bytes, always the same."""
    return np.random.default_rng(count).bytes(count)


ODD_BYTES = [
    OddBytes("empty file", ".png", lambda image: b"", "refuse", "refuse"),
    OddBytes("one byte", ".png", lambda image: b"\x89", "refuse", "refuse"),
    OddBytes("text", ".png", lambda image: b"to be done", "refuse", "refuse"),
    OddBytes("web page", ".jpg", lambda image: b"<!DOCTYPE html><title>404</title>", "refuse", "refuse"),
    OddBytes("SVG", ".png", lambda image: b'<svg xmlns="http://www.w3.org/2000/svg"/>', "refuse", "refuse"),
    OddBytes(
        "pointer of Git LFS", ".png", lambda image: b"version https://git-lfs.github.com/spec/v1\n", "refuse", "refuse"
    ),
    OddBytes("100 random bytes", ".png", lambda image: noise(100), "refuse", "refuse"),
    OddBytes("10,000 random bytes", ".tif", lambda image: noise(10_000), "refuse", "refuse"),
    OddBytes(
        "random bytes after the signature of PNG",
        ".png",
        lambda image: encoded(image)[:8] + noise(500),
        "refuse",
        "refuse",
    ),
    OddBytes("zip", ".png", lambda image: b"PK\x03\x04" + noise(60), "refuse", "refuse"),
    OddBytes("PNG cut in its header", ".png", lambda image: encoded(image)[:20], "refuse", "refuse"),
    OddBytes("PNG cut after its header", ".png", lambda image: encoded(image)[:33], "refuse", "refuse"),
    OddBytes("PNG cut in its pixels", ".png", lambda image: cut(encoded(image)), "refuse", "refuse"),
    OddBytes(
        "PNG with a changed byte",
        ".png",
        lambda image: changed(encoded(image), b"IDAT", b"\x55\x55", 9),
        "refuse",
        "refuse",
    ),
    OddBytes(
        "PNG whose pixels became zeros",
        ".png",
        lambda image: changed(encoded(image), b"IDAT", bytes(20)),
        "refuse",
        "refuse",
    ),
    OddBytes(
        "PNG that announces 30,000 x 30,000",
        ".png",
        lambda image: announcing(image, 30_000, 30_000),
        "refuse",
        "refuse",
    ),
    OddBytes("PNG that announces 2^31 x 1", ".png", lambda image: announcing(image, 2**31 - 1, 1), "refuse", "refuse"),
    OddBytes("PNG that announces 0 x 0", ".png", lambda image: announcing(image, 0, 0), "refuse", "refuse"),
    OddBytes(
        "PNG that announces twice its height", ".png", lambda image: announcing(image, 16, 32), "refuse", "refuse"
    ),
    OddBytes("PNG with bytes after its end", ".png", lambda image: encoded(image) + noise(100), "accept", "accept"),
    OddBytes("PNG of 1 bit", ".png", lambda image: by_pillow(image, "PNG", "1"), "accept", "accept"),
    OddBytes("PNG with a palette", ".png", lambda image: by_pillow(image, "PNG", "P"), "either", "either"),
    OddBytes("PNG with alpha", ".png", lambda image: by_pillow(image, "PNG", "LA"), "either", "either"),
    OddBytes("PNG of 16 bit", ".png", lambda image: encoded(image.astype(np.uint16) * 257), "either", "accept"),
    OddBytes("GIF called .png", ".png", lambda image: by_pillow(image, "GIF"), "either", "either"),
    OddBytes("WebP called .png", ".png", lambda image: by_pillow(image, "WEBP", lossless=True), "either", "either"),
    OddBytes("PNG called .jpg", ".jpg", lambda image: encoded(image), "accept", "accept"),
    OddBytes("JPEG", ".jpg", lambda image: encoded(image, ".jpg"), "accept", "accept"),
    OddBytes("JPEG cut in its pixels", ".jpg", lambda image: cut(encoded(image, ".jpg"), 0.9), "refuse", "refuse"),
    OddBytes("JPEG cut in its tables", ".jpg", lambda image: cut(encoded(image, ".jpg"), 0.3), "refuse", "refuse"),
    OddBytes("progressive JPEG", ".jpg", lambda image: by_pillow(image, "JPEG", progressive=True), "accept", "accept"),
    OddBytes("CMYK JPEG", ".jpg", lambda image: by_pillow(image, "JPEG", "CMYK"), "either", "either"),
    OddBytes("BMP", ".bmp", lambda image: encoded(image, ".bmp"), "accept", "accept"),
    OddBytes("BMP cut in its pixels", ".bmp", lambda image: cut(encoded(image, ".bmp"), 0.9), "refuse", "refuse"),
    OddBytes("TIFF", ".tif", lambda image: by_pillow(image, "TIFF"), "accept", "accept"),
    OddBytes("TIFF cut in half", ".tif", lambda image: cut(by_pillow(image, "TIFF"), 0.5), "refuse", "refuse"),
    OddBytes("TIFF whose directories loop", ".tif", looping_tiff, "either", "either"),
    OddBytes("TIFF that announces 2 thousand million rows", ".tif", tall_tiff, "refuse", "refuse"),
    OddBytes(
        "TIFF of two pages",
        ".tif",
        lambda image: by_pillow(image, "TIFF", save_all=True, append_images=[Pillow.fromarray(image[:8])]),
        "either",
        "either",
    ),
    OddBytes("TIFF of float", ".tif", lambda image: by_pillow(image.astype(np.float32), "TIFF"), "either", "either"),
    OddBytes("npy", ".npy", npy, "accept", "accept"),
    OddBytes("npy of bool", ".npy", lambda image: npy(image > 127), "either", "accept"),
    OddBytes("npy in Fortran order", ".npy", lambda image: npy(np.asfortranarray(image)), "accept", "accept"),
    OddBytes("npy, big-endian", ".npy", lambda image: npy(image.astype(">u2")), "either", "accept"),
    OddBytes("npy of int64", ".npy", lambda image: npy(image.astype(np.int64)), "either", "accept"),
    OddBytes("npy of float16", ".npy", lambda image: npy(image.astype(np.float16)), "either", "either"),
    OddBytes("npy with NaN", ".npy", lambda image: npy(np.where(image > 200, np.nan, image)), "either", "either"),
    OddBytes("npy of infinities", ".npy", lambda image: npy(np.where(image > 200, np.inf, image)), "refuse", "refuse"),
    OddBytes("npy of 1e38", ".npy", lambda image: npy(image.astype(np.float64) * 1e300), "either", "refuse"),
    OddBytes("npy of complex numbers", ".npy", lambda image: npy(image.astype(complex)), "refuse", "refuse"),
    OddBytes("npy of text", ".npy", lambda image: npy(image.astype(str)), "refuse", "refuse"),
    OddBytes("npy of dates", ".npy", lambda image: npy(image.astype("datetime64[s]")), "refuse", "refuse"),
    OddBytes("npy of objects", ".npy", lambda image: npy(image.astype(object), allow_pickle=True), "refuse", "refuse"),
    OddBytes("npy of long doubles", ".npy", lambda image: npy(image.astype(np.longdouble)), "refuse", "refuse"),
    OddBytes("npy of records", ".npy", lambda image: npy(image.astype([("a", "u1"), ("b", "f4")])), "refuse", "refuse"),
    OddBytes("npy of one number", ".npy", lambda image: npy(np.array(7)), "refuse", "refuse"),
    OddBytes("npy of one dimension", ".npy", lambda image: npy(image.ravel()), "refuse", "refuse"),
    OddBytes("npy of five dimensions", ".npy", lambda image: npy(image[None, None, None]), "refuse", "refuse"),
    OddBytes("npy without rows", ".npy", lambda image: npy(image[:0]), "refuse", "refuse"),
    OddBytes("npy cut in its values", ".npy", lambda image: cut(npy(image), 0.8), "refuse", "refuse"),
    OddBytes("npy cut in its header", ".npy", lambda image: npy(image)[:30], "refuse", "refuse"),
    OddBytes(
        "npy that announces 10^12 values",
        ".npy",
        lambda image: announced("<f8", "(1000000, 1000000)"),
        "refuse",
        "refuse",
    ),
    OddBytes(
        "npy that announces 10^40 values",
        ".npy",
        lambda image: announced("|u1", f"({10**20}, {10**20})"),
        "refuse",
        "refuse",
    ),
    OddBytes("npy of negative size", ".npy", lambda image: announced("|u1", "(-2, -4)"), "refuse", "refuse"),
    OddBytes(
        "npy with code in its header", ".npy", lambda image: npy_header("__import__('os').abort()"), "refuse", "refuse"
    ),
    OddBytes("npy with 3,000 brackets", ".npy", lambda image: npy_header("(" * 3000), "refuse", "refuse"),
    OddBytes("npy of version 9", ".npy", lambda image: npy_header("{}", 9), "refuse", "refuse"),
    OddBytes("pickle called .npy", ".npy", lambda image: pickle.dumps(image), "refuse", "refuse"),
]
