"""What a mask saved as JPEG held before: its outlines are blurred, but wide areas keep their value."""

from collections.abc import Collection
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from unetkit.data.files import FileRef

SIDE = 5  # pixels of the neighbourhood that must be flat
FLAT = 8  # grey levels between the ends of such a neighbourhood, at most
FAR = 24  # grey levels from the next known value that no rounding of JPEG explains
FEWEST = 9  # flat pixels of a value below which it is taken for a blur


def is_jpeg(ref: FileRef) -> bool:
    """By the file's name."""
    return ref.name.suffix.lower() in (".jpg", ".jpeg")


def flat_counts(mask: NDArray[Any]) -> NDArray[np.int64]:
    """How many pixels (256,) of each value of a mask (H, W) uint8 lie amid a flat neighbourhood."""
    window = np.ones((SIDE, SIDE), np.uint8)
    is_flat = cv2.subtract(cv2.dilate(mask, window), cv2.erode(mask, window)) <= FLAT
    edge = SIDE // 2
    inner = slice(edge, -edge), slice(edge, -edge)
    return np.bincount(mask[inner][is_flat[inner]], minlength=256).astype(np.int64)


def flat_levels(counts: NDArray[np.int64], known: Collection[int]) -> dict[int, int]:
    """The values that flat areas stand for, with their pixels: the next of `known`, or else values of their own.

    Args:
        counts: What `flat_counts` gives, of one mask or summed over several.
        known: Values that are expected.
    """
    levels = dict.fromkeys(known, 0)
    for value in np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)].tolist():  # others lie about the first
        nearest = min(levels, key=lambda level: abs(level - value), default=value)
        level = nearest if abs(nearest - value) <= FAR else value
        levels[level] = levels.get(level, 0) + int(counts[value])
    return {level: n for level, n in sorted(levels.items()) if n >= (1 if level in known else FEWEST)}
