"""The bands of a TIFF page, unpacked from its strips or tiles."""

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetkit.data.headers import open_with_pillow
from unetkit.data.opencv import decode_pages
from unetkit.data.tiff_tags import Tag, Tags, numbers

PREDICTED = (5, 8, 32946, 34925, 50000)  # those that can store differences of neighbours
NOT_IN_OPENCV = (34925, 50000)


def read_bands(content: bytes, tags: Tags, dtype: np.dtype[Any], samples: int) -> NDArray[Any] | None:
    """Return all bands (H, W, samples), or None if the file is broken.

    OpenCV's TIFF library only unpacks the bytes of each row: it is given a page that is grey, with 8 bits a pixel.
    """
    width, height = int(tags[Tag.WIDTH]), int(tags[Tag.HEIGHT])
    is_tiled = Tag.TILE_OFFSETS in tags
    tile = int(tags[Tag.TILE_WIDTH]) if is_tiled else width
    tile_height = int(tags[Tag.TILE_HEIGHT]) if is_tiled else height
    columns, rows = math.ceil(width / tile), math.ceil(height / tile_height)
    offsets, sizes = (
        numbers(tags[tag]) for tag in ((Tag.TILE_OFFSETS, Tag.TILE_SIZES) if is_tiled else (Tag.OFFSETS, Tag.SIZES))
    )
    predictor = int(tags.get(Tag.PREDICTOR, 1)) if tags.get(Tag.COMPRESSION, 1) in PREDICTED else 1
    is_planar = tags.get(Tag.PLANAR, 1) == 2 and samples > 1
    planes, mixed = (samples, 1) if is_planar else (1, samples)
    strip_rows = tile_height if is_tiled else min(int(tags.get(Tag.STRIP_ROWS, height)), height)
    count = columns * math.ceil(rows * tile_height / max(strip_rows, 1))
    is_cut = any(offset + size > len(content) for offset, size in zip(offsets, sizes, strict=False))
    if is_cut or not len(offsets) == len(sizes) == planes * count:
        return None
    found = []
    for plane in range(planes):
        part = slice(plane * count, (plane + 1) * count)
        entries = {
            Tag.WIDTH: [columns * tile * mixed * dtype.itemsize],
            Tag.HEIGHT: [rows * tile_height],
            **{
                Tag.BITS: [8],
                Tag.COMPRESSION: [int(tags.get(Tag.COMPRESSION, 1))],
                Tag.PHOTOMETRIC: [1],
                Tag.SAMPLES: [1],
            },
            **(
                {Tag.TILE_WIDTH: [tile * mixed * dtype.itemsize], Tag.TILE_HEIGHT: [tile_height]}
                if is_tiled
                else {Tag.STRIP_ROWS: [strip_rows]}
            ),
            Tag.TILE_OFFSETS if is_tiled else Tag.OFFSETS: offsets[part],
            Tag.TILE_SIZES if is_tiled else Tag.SIZES: sizes[part],
        }
        size = entries[Tag.HEIGHT][0], entries[Tag.WIDTH][0]
        if entries[Tag.COMPRESSION][0] == 1:
            packed = _joined(content, offsets[part], sizes[part], size, (strip_rows, entries[Tag.WIDTH][0] // columns))
        else:
            packed = unpack(with_page(content, entries), entries[Tag.COMPRESSION][0])
        if packed is None or packed.shape != size:
            return None
        tiles = packed.reshape(packed.shape[0], columns, tile * mixed * dtype.itemsize)
        found.append(_undo_prediction(tiles, dtype, mixed, predictor)[:height, :width])
    return np.ascontiguousarray(np.concatenate(found, axis=2))


def _joined(
    content: bytes, offsets: Sequence[int], sizes: Sequence[int], size: tuple[int, int], block: tuple[int, int]
) -> NDArray[np.uint8] | None:
    """Return the bytes (H, W) of uncompressed strips or tiles of a size, or None if one is too short.

    OpenCV's TIFF library refuses such tiles unless 1,024 divides their sizes.
    """
    packed = np.zeros(size, np.uint8)
    rows, columns = block
    for number, (offset, count) in enumerate(zip(offsets, sizes, strict=True)):
        top, left = divmod(number, size[1] // columns)
        place = packed[top * rows : (top + 1) * rows, left * columns : (left + 1) * columns]
        if count < place.size:
            return None
        place[:] = np.frombuffer(content, np.uint8, place.size, offset).reshape(place.shape)
    return packed


def unpack(content: bytes, compression: int) -> NDArray[np.uint8] | None:
    """Return the pixels (H, W) of a grey TIFF, or None if it is broken."""
    if compression not in NOT_IN_OPENCV:
        pages = decode_pages(content, 1)
        return np.asarray(pages[0], np.uint8) if pages else None
    with open_with_pillow(content, "TIFF") as image:
        return np.array(image, np.uint8)


def _undo_prediction(packed: NDArray[np.uint8], dtype: np.dtype[Any], samples: int, predictor: int) -> NDArray[Any]:
    """Return numbers (H, W, samples) from the bytes (H, tiles, bytes in a row of a tile) of a file.

    Predictor 2 stores differences to the pixel on the left (TIFF 6.0, section 14), predictor 3 those of bytes, the
    highest bytes of all numbers of a row first (Adobe Photoshop TIFF Technical Note 3).
    """
    height, tiles, row = packed.shape
    if predictor == 3:
        summed = np.cumsum(packed.reshape(height, tiles, row // samples, samples), axis=2, dtype=np.uint8)
        planes = summed.reshape(height, tiles, dtype.itemsize, row // dtype.itemsize)
        numbers = np.ascontiguousarray(planes.swapaxes(2, 3)).view(dtype.newbyteorder(">"))
    else:
        numbers = packed.view(dtype)
    numbers = numbers.reshape(height, tiles, -1, samples)
    if predictor == 2:
        whole = np.dtype(f"u{dtype.itemsize}")  # whole numbers, which wrap around
        unsigned = numbers.view(whole.newbyteorder(dtype.byteorder))
        numbers = np.cumsum(unsigned, axis=2, dtype=whole).view(dtype.newbyteorder("="))
    return numbers.reshape(height, -1, samples).astype(dtype.newbyteorder("="), copy=False)


def with_page(content: bytes, entries: dict[Tag, list[int]]) -> bytes:
    """Return a TIFF that describes its bytes by these tags only."""
    order, is_big = (">" if content[:1] == b"M" else "<"), b"+" in content[:4]
    word, inline = ("Q", 8) if is_big else ("I", 4)
    short = {Tag.BITS, Tag.COMPRESSION, Tag.PHOTOMETRIC, Tag.SAMPLES}
    body = bytearray(content + b"\0" * (-len(content) % 8))
    records = b""
    for tag, values in sorted(entries.items()):
        code, letter = (3, "H") if tag in short else ((16, "Q") if is_big else (4, "I"))
        packed = struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(packed) > inline:
            place, packed = len(body), packed + b"\0" * (-len(packed) % 8)
            body += packed
            packed = struct.pack(order + word, place)
        records += struct.pack(f"{order}HH{word}", tag, code, len(values)) + packed.ljust(inline, b"\0")
    start = len(body)
    body += struct.pack(order + ("Q" if is_big else "H"), len(entries)) + records + struct.pack(order + word, 0)
    head = 8 if is_big else 4
    body[head : head + inline] = struct.pack(order + word, start)
    return bytes(body)
