"""The tags that describe the pages of a TIFF, read without its pixels."""

import io
import struct
import warnings
from collections.abc import Iterator
from itertools import islice
from typing import IO, Any

BIG = b"II+\0", b"MM\0+"  # how a BigTIFF begins
# Tags of TIFF 6.0, and GDAL's.
KIND, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 254, 256, 257, 258, 259, 262, 266
OFFSETS, ORIENTATION, SAMPLES, STRIP_ROWS, SIZES, PLANAR, PREDICTOR = 273, 274, 277, 278, 279, 284, 317
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_SIZES, EXTRA, FORMAT, NODATA = 322, 323, 324, 325, 338, 339, 42113
OVERVIEW, MASK = 1, 4  # bits of KIND: a smaller copy of another page, a page that says where there are data
OVERVIEW_OR_MASK = OVERVIEW | MASK

Tags = dict[int, Any]


def count_pages(content: bytes) -> int:
    """Return the number of images in a TIFF, without overviews and masks."""
    return sum(1 for _ in images_of(content))


def images_of(content: bytes | IO[bytes]) -> Iterator[Tags]:
    """Yield the tags of each image."""
    return (tags for tags in read_pages(content) if not int(tags.get(KIND, 0)) & OVERVIEW_OR_MASK)


def image_tags(stream: IO[bytes]) -> list[Tags]:
    """Return the tags of the first two images of a TIFF, of which no pixel is read."""
    return list(islice(images_of(stream), 2))


def is_plain(tags: Tags, values: int) -> bool:
    """Return whether a page has more than so many values, which are whole numbers or floats of colours or bands.

    Other libraries then give the same numbers: there is no palette, and nothing to turn.
    """
    colours = tags.get(PHOTOMETRIC, 1)
    is_known = colours in (1, 2) or (colours == 6 and tags.get(COMPRESSION) == 7)  # JPEG becomes RGB
    count = int(tags.get(WIDTH, 0)) * int(tags.get(HEIGHT, 0)) * int(tags.get(SAMPLES, 1))
    is_upright = tags.get(ORIENTATION, 1) == 1 and set(numbers(tags.get(FORMAT, 1))) <= {1, 2, 3}
    return count > values and is_known and is_upright and set(numbers(tags.get(BITS, 1))) <= {8, 16, 32, 64}


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
        return float(str(tags[NODATA]).strip("\0 "))
    except (KeyError, ValueError):
        return None


def numbers(value: Any) -> list[int]:
    """Return the values of a tag, of which Pillow gives a single one by itself."""
    return [int(number) for number in value] if isinstance(value, tuple | list) else [int(value)]
