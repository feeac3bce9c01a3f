"""Where on Earth the pixels of a GeoTIFF lie, as its tags say (OGC GeoTIFF 1.1)."""

from typing import Any

from unetkit.data.files import FileRef
from unetkit.data.headers import TIFF
from unetkit.data.tiff_tags import Tag, read_pages

SHORTS, DOUBLES, TEXT = 3, 12, 2  # types of TIFF 6.0
# Pixel scale, tie points, transformation, keys, and the numbers and texts of keys.
TYPES = {33550: DOUBLES, 33922: DOUBLES, 34264: DOUBLES, 34735: SHORTS, 34736: DOUBLES, 34737: TEXT}


def read_georeference(ref: FileRef) -> dict[int, Any]:
    """Return the tags that hold coordinate system and transform; none for another file, or one that is stored turned.

    Raises:
        UserError: If the file can't be read.
    """
    content = ref.read()
    tags = next(read_pages(content), {}) if content.startswith(TIFF) else {}
    return {tag: tags[tag] for tag in TYPES if tag in tags} if tags.get(Tag.ORIENTATION, 1) == 1 else {}
