"""Read uploaded images within a limit of pixels."""

import contextlib
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from PIL import Image as Pillow

from unetkit.data.decode import read_image
from unetkit.data.files import FileRef
from unetkit.errors import UserError


def read_limited(ref: FileRef, max_pixels: int, channels: int | None = None) -> NDArray[Any]:
    """Read an image like `read_image`, but refuse too many pixels by the header, before they are in memory.

    Raises:
        UserError: If it is too large or can't be read; names the file without its folder.
    """
    try:
        _check_pixels(ref, _header_size(ref.path), max_pixels)
        image = read_image(ref, channels)
        _check_pixels(ref, image.shape[:2], max_pixels)
    except UserError as error:  # the temporary folder of an upload means nothing to the user
        raise error.about(ref.name.name) from error
    return image


def _header_size(path: Path) -> tuple[int, int]:
    """Return height and width as a file's header states them; 0 and 0 if Pillow can't tell, as for .npy."""
    Pillow.MAX_IMAGE_PIXELS = None  # the limit is `max_pixels`, and Pillow decodes nothing here
    # For a file that is no image, `read_image` has the better message.
    with contextlib.suppress(Exception), Pillow.open(path) as image:
        return image.height, image.width
    return 0, 0


def _check_pixels(ref: FileRef, shape: tuple[int, ...], max_pixels: int) -> None:
    height, width = shape
    if height * width > max_pixels:
        raise UserError(
            str(ref),
            f"has {width:,} x {height:,} pixels, but this page takes {max_pixels:,} at most",
            "reduce it, cut out a part, or restart the page with a larger max_pixels",
        )
