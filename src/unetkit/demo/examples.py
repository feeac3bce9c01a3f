"""The example images that the page offers: synthetic sections, or the images of a folder."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetkit.data import Preprocessing
from unetkit.data.files import SUFFIXES, find_folder
from unetkit.data.synthetic import section
from unetkit.demo.display import fit
from unetkit.demo.uploads import read_limited
from unetkit.errors import UserError
from unetkit.paths import path_of, real_path
from unetkit.plots.images import Image, to_rgb

log = logging.getLogger(__name__)

EXAMPLES = 6
SEED, SECTIONS = 48, ((9, True), (6, True), (4, True), (15, True), (29, True), (2, False))  # number, has salt: varied


@dataclass(frozen=True)
class Example:
    """An image that the page offers.

    Attributes:
        name: Name of its file.
        read: Returns the image, (H, W) or (H, W, C).
        thumbnail: Small picture (h, w, 3) uint8.
    """

    name: str
    read: Callable[[], NDArray[Any]]
    thumbnail: Image


def synthetic_examples(preprocessing: Preprocessing) -> list[Example]:
    """Make seismic sections with and without salt, in the range of values that the network was trained on."""

    def read(index: int, salt: bool) -> NDArray[Any]:
        grey, _ = section(SEED, index, salt=salt)
        if preprocessing.value_range is None:
            return grey
        low, high = preprocessing.value_range
        return (low + grey / 255 * (high - low)).astype(np.float32)

    return [_example(f"section_{index}", partial(read, index, salt), preprocessing) for index, salt in SECTIONS]


def folder_examples(folder: str | int, preprocessing: Preprocessing, max_pixels: int) -> list[Example]:
    """Take the first images of a folder that fit the network; a warning names those that do not.

    Raises:
        UserError: If there is none.
    """
    place = real_path(path_of("examples", folder))
    examples: list[Example] = []
    for ref in find_folder(place.parent, place.name) or []:
        try:
            read = partial(read_limited, ref, max_pixels, preprocessing.channels)
            examples.append(_example(ref.name.name, read, preprocessing))
        except UserError as error:
            log.warning("left out: %s", error)
        if len(examples) == EXAMPLES:
            return examples
    if not examples:
        raise UserError(
            f"examples={folder}",
            f"is no folder with images for this checkpoint ({', '.join(SUFFIXES)})",
            "give another",
        )
    return examples


def _example(name: str, read: Callable[[], NDArray[Any]], preprocessing: Preprocessing) -> Example:
    return Example(name, read, to_rgb(fit(preprocessing.to_uint8(read(), name))))
