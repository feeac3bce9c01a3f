"""The tags that describe the pages of a TIFF, read without its pixels."""

import io
import struct
import warnings
from collections.abc import Iterator
from enum import IntEnum
from itertools import islice
from typing import IO, Any

BIG = b"II+\0", b"MM\0+"  # how a BigTIFF begins
OVERVIEW, MASK = 1, 4  # bits of Tag.KIND: a smaller copy of another page, a page that says where there are data
OVERVIEW_OR_MASK = OVERVIEW | MASK

Tags = dict[int, Any]


class Tag(IntEnum):
    """Tags of TIFF 6.0, and GDAL's."""

    KIND = 254
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    OFFSETS = 273
    ORIENTATION = 274
    SAMPLES = 277
    STRIP_ROWS = 278
    SIZES = 279
    PLANAR = 284
    SOFTWARE = 305
    PREDICTOR = 317
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILE_OFFSETS = 324
    TILE_SIZES = 325
    EXTRA = 338
    FORMAT = 339
    NODATA = 42113


def count_pages(content: bytes) -> int:
    """Return the number of images in a TIFF, without overviews and masks."""
    return sum(1 for _ in images_of(content))


def images_of(content: bytes | IO[bytes]) -> Iterator[Tags]:
    """Yield the tags of each image."""
    return (tags for tags in read_pages(content) if not int(tags.get(Tag.KIND, 0)) & OVERVIEW_OR_MASK)


def image_tags(stream: IO[bytes]) -> list[Tags]:
    """Return the tags of the first two images of a TIFF, of which no pixel is read."""
    return list(islice(images_of(stream), 2))


def is_plain(tags: Tags, values: int) -> bool:
    """Return whether a page has more than so many values, which are whole numbers or floats of colours or bands.

    Other libraries then give the same numbers: there is no palette, and nothing to turn.
    """
    colours = tags.get(Tag.PHOTOMETRIC, 1)
    is_known = colours in (1, 2) or (colours == 6 and tags.get(Tag.COMPRESSION) == 7)  # JPEG becomes RGB
    count = int(tags.get(Tag.WIDTH, 0)) * int(tags.get(Tag.HEIGHT, 0)) * int(tags.get(Tag.SAMPLES, 1))
    is_upright = tags.get(Tag.ORIENTATION, 1) == 1 and set(numbers(tags.get(Tag.FORMAT, 1))) <= {1, 2, 3}
    return count > values and is_known and is_upright and set(numbers(tags.get(Tag.BITS, 1))) <= {8, 16, 32, 64}


def read_pages(content: bytes | IO[bytes]) -> Iterator[Tags]:
    """Yield the tags of each page, until one is broken."""
    from PIL import TiffImagePlugin  # here, because Pillow takes long to import and most files don't need it

    stream, seen = io.BytesIO(content) if isinstance(content, bytes) else content, set[int]()
    stream.seek(0)
    prefix = stream.read(2)
    stream.seek(0)
    try:
        head = stream.read(8)
        if head.startswith(BIG):  # in which Pillow looks for the mark of BigTIFF in one order of bytes only
            head = b"II+\0" + head[4:] + stream.read(8)
        page = TiffImagePlugin.ImageFileDirectory_v2(head, prefix=prefix)
        while page.next and page.next not in seen:
            seen.add(page.next)
            stream.seek(page.next)
            with warnings.catch_warnings(action="ignore"):
                page.load(stream)
                tags = dict(page)
            yield tags
    except (OSError, ValueError, EOFError, RuntimeError, SyntaxError, struct.error):
        return


def noted_nodata(tags: Tags) -> float | None:
    """Return the number that marks pixels without data, as GDAL notes it in text; None if there is none."""
    try:
        return float(str(tags[Tag.NODATA]).strip("\0 "))
    except (KeyError, ValueError):
        return None


def numbers(value: Any) -> list[int]:
    """Return the values of a tag, of which Pillow gives a single one by itself."""
    return [int(number) for number in value] if isinstance(value, tuple | list) else [int(value)]
