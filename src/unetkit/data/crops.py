"""Which parts of large images are trained on: how many of each image in an epoch, and where they lie.

A share of the parts is centred on a pixel of the foreground, as in nnU-Net (Isensee et al. 2021, *Nature Methods* 18),
which does so with a third of them: a rare class is then in many batches, and the rest still shows the background.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from unetkit.data.store import ArrayStore, cached_arrays
from unetkit.data.types import Image, derived_seed

CELLS = {2: 64, 3: 32}  # side in pixels of the cells whose foreground is counted once; it fits 16 bits

Size = tuple[int, ...]  # (H, W), or (D, H, W) of volumes
AnyArray = TypeVar("AnyArray", bound=NDArray[Any])


@dataclass(frozen=True)
class Foreground:
    """Where the foreground of masks lies, so that no mask is searched for each crop.

    Attributes:
        masks: The masks (H, W) or (D, H, W).
        counts: Pixels of each class in each cell of each mask, (K, cells down, cells across) uint16.
        first: The first class that counts as foreground.
    """

    masks: ArrayStore
    counts: ArrayStore
    first: int

    def pixel(self, index: int, rng: np.random.Generator) -> Size | None:
        """Draw a pixel: a class that is there, then one of its pixels; None if there is no foreground."""
        counts = self.counts[index].astype(np.int64)
        present = [k for k in range(self.first, len(counts)) if counts[k].any()]
        if not present:
            return None
        label = int(rng.choice(present))
        until = counts[label].cumsum()
        place = int(rng.integers(until[-1]))
        cell = int(np.searchsorted(until, place, side="right"))
        side = CELLS[counts.ndim - 1]
        start = [side * int(x) for x in np.unravel_index(cell, counts.shape[1:])]
        is_label = self.masks[index][tuple(slice(x, x + side) for x in start)] == label
        within = np.flatnonzero(is_label)[place - (int(until[cell - 1]) if cell else 0)]
        return tuple(x + int(more) for x, more in zip(start, np.unravel_index(within, is_label.shape), strict=True))


def find_foreground(masks: ArrayStore, classes: int, first: int, cache_dir: Path) -> Foreground:
    """Count the pixels of each class in the cells of each mask, or take the counts from the cache.

    Args:
        masks: The masks (H, W) or (D, H, W).
        classes: Number of classes, K.
        first: The first class that counts as foreground.
        cache_dir: Folder of the cache.
    """

    def counts() -> Iterator[NDArray[np.uint16]]:
        return (_count_cells(mask, classes) for mask in masks)

    return Foreground(masks, cached_arrays(cache_dir, [masks.path.name, classes], counts, len(masks), "cells"), first)


def _count_cells(mask: Image, classes: int) -> NDArray[np.uint16]:
    of_classes = []
    for label in range(classes):
        counts = mask == label
        for axis, side in enumerate(mask.shape):
            counts = np.add.reduceat(counts, np.arange(0, side, CELLS[mask.ndim]), axis, np.uint16)
        of_classes.append(counts)
    return np.stack(of_classes)


@dataclass(frozen=True)
class Crops:
    """The parts that are cut from the images of a data set.

    Attributes:
        size: Height and width of a part, or depth, height and width, in pixels; of a smaller image, the whole.
        seed: Seed of the positions.
        surroundings: Pixels around each part that it comes with, for a network that loses them.
        share: Share of the parts that are centred on foreground.
        foreground: Where that lies; None if the share is 0.
    """

    size: Size
    seed: int = 0
    surroundings: int = 0
    share: float = 0.0
    foreground: Foreground | None = None

    def corner(self, shape: Size, epoch: int, index: int, number: int = 0) -> Size:
        """Draw the first pixel of a part, which depends on the arguments and the seed alone.

        Args:
            shape: Height and width of the image, or depth, height and width.
            epoch: The epoch.
            index: The image among all images.
            number: The part among those of the image in the epoch.
        """
        # A square had one number at first, and an image one part.
        sides = self.size[:1] if len(self.size) == 2 and self.size[0] == self.size[1] else self.size
        numbers = (number,) if number else ()
        rng = np.random.default_rng(derived_seed(self.seed, epoch, index, *sides, *numbers))
        last = [max(side - most, 0) for side, most in zip(shape, self.size, strict=True)]
        anywhere = tuple(int(rng.integers(most + 1)) for most in last)
        if self.foreground is None or rng.random() >= self.share:
            return anywhere
        centre = self.foreground.pixel(index, rng)
        if centre is None:
            return anywhere
        starts = (place - most // 2 for place, most in zip(centre, self.size, strict=True))
        return tuple(min(max(start, 0), most) for start, most in zip(starts, last, strict=True))

    def cut(self, array: AnyArray, corner: Size) -> AnyArray:
        """Return a part of an image or of its mask, with its surroundings, mirrored beyond the border."""
        if not self.surroundings:
            window = tuple(slice(start, start + most) for start, most in zip(corner, self.size, strict=True))
            return array[window]  # type: ignore[return-value]
        places = [
            mirrored_places(start - self.surroundings, min(start + most, side) + self.surroundings, side)
            for start, most, side in zip(corner, self.size, array.shape, strict=False)
        ]
        return array[np.ix_(*places)]  # type: ignore[return-value]


def crops_of_sizes(sizes: Sequence[Size], crop: Size, per_image: int | str) -> NDArray[np.int64]:
    """Return how many parts of each of some images of these sizes an epoch has.

    Args:
        sizes: The sizes of the images.
        crop: The size of a part.
        per_image: A number for each image, or `auto`: as many as have the area of the image, and at least one.
    """
    if per_image != "auto":
        return np.full(len(sizes), int(per_image))
    sides = np.array(sizes, np.int64).reshape(-1, len(crop))
    return np.asarray(np.maximum(sides.prod(1) // np.minimum(sides, crop).prod(1), 1), np.int64)


def mirrored_places(first: int, end: int, side: int) -> NDArray[np.int64]:
    """Return the places first, first + 1, ..., end - 1 of an axis of so many pixels that is mirrored at its ends."""
    period = max(2 * side - 2, 1)
    places = np.arange(first, end) % period
    return np.minimum(places, -places % period)
