"""TIFF files as their tags describe them: any number of bands, which OpenCV drops, mixes with alpha or refuses."""

import math
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetkit.data.gdal import COMPRESSIONS, decode_with_gdal
from unetkit.data.headers import TIFF, open_with_pillow
from unetkit.data.layers import Layers, upright
from unetkit.data.limits import check_size
from unetkit.data.opencv import decode_pages
from unetkit.data.tiff_bands import read_bands, unpack, with_page
from unetkit.data.tiff_tags import MASK, OVERVIEW_OR_MASK, Tag, Tags, images_of, noted_nodata, numbers, read_pages
from unetkit.errors import UserError

LOSSLESS = (1, 5, 8, 32773, 32946, 34925, 50000)  # none, LZW, Deflate, PackBits, Deflate, LZMA, Zstandard
ALPHA = (1, 2)  # values of Tag.EXTRA: a band of opacity, with colours multiplied by it or not; 0: a band of data
LONGEST_ROW = 1 << 20  # bytes, which OpenCV reads as so many pixels at most
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE = range(4)  # values of Tag.PHOTOMETRIC
COMPLEX = {5, 6}  # values of Tag.FORMAT


def decode_tiff(content: bytes, name: str, page: int | None = None) -> Layers | None:
    """Decode a TIFF of one image; None for another file, and for a TIFF that OpenCV reads well.

    Args:
        content: The bytes.
        name: The name, for errors.
        page: The number of the image in a file of several, from 0.

    Raises:
        UserError: If it holds several images, OpenCV would read it wrongly, or it needs GDAL, which is not installed.
    """
    if not content.startswith(TIFF):
        return None
    pages = list(islice(images_of(content), page or 0, 2 if page is None else page + 1))
    if len(pages) > 1:
        fix = "set data.stacks=true (stacks=true in predict) to read each page, or save each as a file of its own"
        raise UserError(name, "is a stack of several images", fix)
    if not pages:
        return None  # a broken file, which decoding reports
    tags = pages[0]
    _check_size(tags, name)
    kind = COMPRESSIONS.get(int(tags.get(Tag.COMPRESSION, 1)), "")
    kind = kind or ("missing blocks" if _lacks_blocks(tags, name) else "")
    if kind and page is None:
        layers = decode_with_gdal(content, kind, name)
        return replace(
            layers, pixels=upright(layers.pixels, int(tags.get(Tag.ORIENTATION, 1))), valid=file_mask(content)
        )
    dtype = _dtype(tags, ">" if content[:1] == b"M" else "<")
    if dtype is None:
        _check_readable(tags, name)
        if page is not None:
            raise UserError(name, "is a page of a TIFF in a form that can't be read", "save it with LZW or Deflate")
        return _decode_narrow(content, tags)
    samples, extra = int(tags.get(Tag.SAMPLES, 1)), numbers(tags.get(Tag.EXTRA, ()))
    bands = read_bands(content, tags, dtype, samples)
    if bands is None:
        raise UserError(name, "can't be read as an image (the TIFF is cut or broken)", "replace or remove it")
    bands = upright(bands, int(tags.get(Tag.ORIENTATION, 1)))
    alpha = next((samples - len(extra) + i for i, kind in enumerate(extra) if kind in ALPHA), None)
    pixels = bands if alpha is None else np.delete(bands, alpha, axis=2)
    valid, nodata = file_mask(content) if page is None else None, noted_nodata(tags)
    if tags.get(Tag.PHOTOMETRIC) == WHITE_IS_ZERO:
        white = int(np.iinfo(pixels.dtype).max)
        pixels, nodata = white - pixels, None if nodata is None else white - nodata
    return Layers(pixels, None if alpha is None else bands[..., alpha], nodata, valid)


def file_mask(content: bytes) -> NDArray[np.bool_] | None:
    """Return which pixels (H, W) of a TIFF of one image have data, as its own mask says; None if it has none.

    The mask is a page of one bit a pixel, 1 where there are data (TIFF 6.0, NewSubfileType), as GDAL writes it.
    """
    pages = list(read_pages(content))
    masks = [tags for tags in pages if int(tags.get(Tag.KIND, 0)) & OVERVIEW_OR_MASK == MASK]
    if not masks or any(masks[0].get(side) != pages[0].get(side) for side in (Tag.WIDTH, Tag.HEIGHT)):
        return None
    tags, compression = masks[0], int(masks[0].get(Tag.COMPRESSION, 1))
    layout = (
        (Tag.TILE_WIDTH, Tag.TILE_HEIGHT, Tag.TILE_OFFSETS, Tag.TILE_SIZES)
        if Tag.TILE_OFFSETS in tags
        else (Tag.OFFSETS, Tag.SIZES)
    )
    rows = {} if Tag.TILE_OFFSETS in tags else {Tag.STRIP_ROWS: [int(tags.get(Tag.STRIP_ROWS) or tags[Tag.HEIGHT])]}
    kept = {tag: numbers(tags[tag]) for tag in (Tag.WIDTH, Tag.HEIGHT, *layout)}
    bits = numbers(tags.get(Tag.BITS, 1))
    entries = {**kept, **rows, Tag.BITS: bits, Tag.COMPRESSION: [compression], Tag.PHOTOMETRIC: [1], Tag.SAMPLES: [1]}
    bitmap = unpack(with_page(content, entries), compression)
    return None if bitmap is None else upright(bitmap > 0, int(pages[0].get(Tag.ORIENTATION, 1)))


def palette_bits(content: bytes) -> int:
    """Return the bits of a pixel of a TIFF whose pixels are indices of a palette; 0 for other files."""
    tags = next(images_of(content), {}) if content.startswith(TIFF) else {}
    return numbers(tags.get(Tag.BITS, 1))[0] if tags.get(Tag.PHOTOMETRIC) == PALETTE else 0


def _decode_narrow(content: bytes, tags: Tags) -> Layers | None:
    """Decode grey levels of 2, 4, 10, 12 or 14 bits, the first two scaled to 8 bits; None for others.

    Booleans of tifffile, too: it writes and reads 1 as True, in files whose tags say that 1 is black.
    """
    bits = numbers(tags.get(Tag.BITS, 1))[0]
    if bits == 1 and _is_inverted_by_its_tags(tags):
        with open_with_pillow(content, "TIFF") as image:
            return Layers(~np.array(image.convert("L")), valid=file_mask(content))
    if tags.get(Tag.PHOTOMETRIC, 1) != BLACK_IS_ZERO or tags.get(Tag.SAMPLES, 1) != 1:
        return None
    if bits in (2, 4):
        with open_with_pillow(content, "TIFF") as image:
            return Layers(np.array(image.convert("L")), valid=file_mask(content))  # turned upright by Pillow
    pages = decode_pages(content, 1) if bits in (10, 12, 14) else []
    if not pages:
        return None
    pixels = np.asarray(pages[0]) >> (16 - bits)  # which OpenCV scales to 16 bits
    return Layers(pixels, None, noted_nodata(tags), file_mask(content))


def _is_inverted_by_its_tags(tags: Tags) -> bool:
    is_of_tifffile = str(tags.get(Tag.SOFTWARE, "")).startswith("tifffile")
    return is_of_tifffile and tags.get(Tag.PHOTOMETRIC, WHITE_IS_ZERO) == WHITE_IS_ZERO


def _lacks_blocks(tags: Tags, name: str) -> bool:
    """Return whether blocks that hold only missing data are left out, as GDAL does in sparse files.

    Raises:
        UserError: If no number for missing data is noted: the file may not have been written to its end.
    """
    if 0 not in numbers(tags.get(Tag.TILE_SIZES, tags.get(Tag.SIZES, 1))):
        return False
    if noted_nodata(tags) is None:
        fix = "if these are missing data, note their number with gdal_edit.py -a_nodata 0; else replace it"
        raise UserError(name, "is a TIFF without some of its blocks", fix)
    return True


def _dtype(tags: Tags, order: str) -> np.dtype[Any] | None:
    """Return the type of the numbers, or None for a TIFF of another kind than whole numbers in rows or tiles."""
    bits, formats = set(numbers(tags.get(Tag.BITS, 1))), set(numbers(tags.get(Tag.FORMAT, 1)))
    kind = {1: "u", 2: "i", 3: "f", 4: "u"}.get(min(formats)) if len(formats) == 1 else None
    size = min(bits) // 8 if len(bits) == 1 and min(bits) in (8, 16, 32, 64) else 0
    colours = tags.get(Tag.PHOTOMETRIC, 1)
    is_inverted = colours == WHITE_IS_ZERO and kind == "u" and tags.get(Tag.SAMPLES, 1) == 1
    is_grey_or_rgb = is_inverted or colours in (BLACK_IS_ZERO, RGB)  # not a palette, nor another colour space
    is_plain = tags.get(Tag.COMPRESSION, 1) in LOSSLESS and tags.get(Tag.FILL_ORDER, 1) == 1
    row_bytes = int(tags.get(Tag.WIDTH, 0)) * int(tags.get(Tag.SAMPLES, 1)) * size
    if kind is None or not (is_grey_or_rgb and is_plain and 0 < row_bytes < LONGEST_ROW) or (kind, size) == ("f", 1):
        return None
    return np.dtype(f"{order}{kind}{size}")


def _check_size(tags: Tags, name: str) -> None:
    """Check the size of a page, and of its tiles, which are decoded as a whole, before memory is taken for them."""
    width, height = (int(tags.get(tag, 0)) for tag in (Tag.WIDTH, Tag.HEIGHT))
    tile, tile_height = (max(int(tags.get(tag, 1)), 1) for tag in (Tag.TILE_WIDTH, Tag.TILE_HEIGHT))
    pixel_bits = int(tags.get(Tag.SAMPLES, 1)) * int(np.max(tags.get(Tag.BITS, 1)))
    check_size(math.ceil(width / tile) * tile, math.ceil(height / tile_height) * tile_height, pixel_bits // 8, name)


def _check_readable(tags: Tags, name: str) -> None:
    """Refuse what neither `decode_tiff` nor OpenCV reads as it is meant: bands in a lossy file, deep inverted grey."""
    samples, photometric, bits = (
        int(tags.get(Tag.SAMPLES, 1)),
        tags.get(Tag.PHOTOMETRIC, 1),
        np.max(tags.get(Tag.BITS, 1)),
    )
    if (photometric in (0, 1) and samples > 1) or (photometric == 2 and samples > 3):
        problem = f"is a TIFF of {samples} bands in a form that can't be read"
        raise UserError(name, problem, "save it uncompressed or with LZW or Deflate, or as .npy of (H, W, C)")
    if COMPLEX & set(numbers(tags.get(Tag.FORMAT, 1))):
        raise UserError(name, "holds complex numbers", "save their amplitudes, as numpy.abs gives them")
    if photometric == 0 and bits > 1 and bits != 8:
        problem = f"is a TIFF of {bits} bits whose 0 is white"
        raise UserError(name, problem, "save it with 0 as black, or as .npy")
