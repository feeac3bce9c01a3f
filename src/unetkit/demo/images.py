"""The images of the page: uploads within limits, and examples."""

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from unetkit.data import Preprocessing
from unetkit.data.files import SUFFIXES, FileRef, find_folder, read_image
from unetkit.data.synthetic import section
from unetkit.errors import UserError
from unetkit.paths import path_of
from unetkit.plots.images import Image, to_rgb

log = logging.getLogger(__name__)

EXAMPLES = 6
SEED, SECTIONS = 48, ((9, True), (6, True), (4, True), (15, True), (29, True), (2, False))  # number, salt; for variety
SMALL, LARGE = 400, 800  # sides in pixels that pictures on the page are enlarged, or reduced, to


@dataclass(frozen=True)
class Example:
    """An image that the page offers.

    Attributes:
        name: Of its file.
        read: Gives the image, (H, W) or (H, W, C).
        thumbnail: (H, W, 3).
    """

    name: str
    read: Callable[[], NDArray[Any]]
    thumbnail: Image


def synthetic_examples(preprocessing: Preprocessing) -> list[Example]:
    """Seismic sections with and without salt, in the range of values that the network was trained on."""

    def read(index: int, salt: bool) -> NDArray[Any]:
        grey, _ = section(SEED, index, salt=salt)
        if preprocessing.value_range is None:
            return grey
        low, high = preprocessing.value_range
        return (low + grey / 255 * (high - low)).astype(np.float32)

    return [_example(f"section_{index}", partial(read, index, salt), preprocessing) for index, salt in SECTIONS]


def folder_examples(folder: str | int, preprocessing: Preprocessing, max_pixels: int) -> list[Example]:
    """The first images of a folder that the network takes; those that it does not take are named.

    Raises:
        UserError: If there is none.
    """
    place = path_of("examples", folder).resolve()
    examples: list[Example] = []
    for ref in find_folder(place.parent, place.name) or []:
        try:
            examples.append(_example(ref.name.name, partial(read_limited, ref, max_pixels), preprocessing))
        except UserError as error:
            log.warning("left out: %s", error)
        if len(examples) == EXAMPLES:
            return examples
    if not examples:
        raise UserError(f"examples={folder} is no folder with images for this checkpoint ({', '.join(SUFFIXES)})")
    return examples


def _example(name: str, read: Callable[[], NDArray[Any]], preprocessing: Preprocessing) -> Example:
    pixels = preprocessing.to_uint8(read(), name)
    return Example(name, read, to_rgb(to_display(pixels, cv2.INTER_AREA)))


def read_limited(ref: FileRef, max_pixels: int) -> NDArray[Any]:
    """As `read_image`, but an image of too many pixels is refused by its header, before memory holds it.

    Raises:
        UserError: If it is too large or can't be read; names the file without its folder.
    """
    try:
        _check_pixels(ref, _header_size(ref.path), max_pixels)
        image = read_image(ref)
        _check_pixels(ref, image.shape[:2], max_pixels)
    except UserError as error:  # the folder of an upload tells nobody anything
        raise UserError(str(error).replace(str(ref), ref.name.name)) from error
    return image


def _header_size(path: Path) -> tuple[int, int]:
    """Height and width that a file's header states; 0 and 0 where Pillow can't tell, as of .npy."""
    Pillow.MAX_IMAGE_PIXELS = None  # the limit is ours, and Pillow decodes nothing here
    with contextlib.suppress(Exception), Pillow.open(path) as image:  # what is no image, `read_image` says better
        return image.height, image.width
    return 0, 0


def _check_pixels(ref: FileRef, shape: tuple[int, ...], max_pixels: int) -> None:
    height, width = shape
    if height * width > max_pixels:
        raise UserError(
            f"{ref} has {width:,} x {height:,} pixels, but this page takes {max_pixels:,} at most; reduce it, "
            "cut out a part, or restart the page with a larger max_pixels"
        )


def to_display(image: NDArray[Any], how: int) -> NDArray[Any]:
    """Repeats pixels of a small image, so that an outline is thin; reduces a large one, so that the page is quick."""
    side = max(image.shape[:2])
    if side > LARGE:
        height, width = (max(round(length * LARGE / side), 1) for length in image.shape[:2])
        reduced = cv2.resize(image, (width, height), interpolation=how)
        return reduced.reshape(height, width, *image.shape[2:])  # OpenCV drops an only channel
    times = max(SMALL // side, 1)
    return image.repeat(times, 0).repeat(times, 1)
