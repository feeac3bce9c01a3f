"""The values that a JPEG mask held before it was saved: JPEG blurs outlines, but flat areas keep their value."""

from collections.abc import Collection
from contextlib import suppress
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from unetkit.data.files import FileRef
from unetkit.data.headers import WEBP
from unetkit.errors import UserError

SIDE = 5  # pixels of the side of a neighbourhood that must be flat
FLAT = 8  # grey levels by which the pixels of a flat neighbourhood differ at most
FAR = 24  # largest distance in grey levels from a known value that JPEG compression explains
HEAD = 1 << 16  # bytes at the start of a WebP, which say how it is compressed
LOSSLESS = b"VP8L"
FEWEST = 9  # flat pixels of an unknown value; fewer come from blur


def is_jpeg(file: object) -> bool:
    """Return whether something is a file whose compression blurs values: a JPEG by its name, or a lossy WebP."""
    return bool(lossy_kind(file))


def lossy_kind(file: object) -> str:
    """Return the name of the compression of a file that blurs values; empty for others."""
    suffix = file.suffix if isinstance(file, FileRef) else ""
    if suffix in (".jpg", ".jpeg"):
        return "JPEG"
    return "lossy WebP" if suffix == ".webp" and _is_lossy_webp(file) else ""


def _is_lossy_webp(file: Any) -> bool:
    with suppress(OSError, UserError):  # which is told when it is decoded
        head = file.read()[:HEAD]
        return head[8:12] == WEBP and LOSSLESS not in head
    return False


def flat_counts(mask: NDArray[Any]) -> NDArray[np.int64]:
    """Count the pixels (256,) of each value of a mask (H, W) uint8 whose neighbourhood is flat."""
    window = np.ones((SIDE, SIDE), np.uint8)
    is_flat = cv2.subtract(cv2.dilate(mask, window), cv2.erode(mask, window)) <= FLAT
    edge = SIDE // 2
    inner = slice(edge, -edge), slice(edge, -edge)
    return np.bincount(mask[inner][is_flat[inner]], minlength=256).astype(np.int64)


def flat_levels(counts: NDArray[np.int64], known: Collection[int]) -> dict[int, int]:
    """Return the values that flat areas stand for, with their numbers of pixels.

    Each is the nearest of `known`, or, if that is too far, an unknown value.

    Args:
        counts: The counts of `flat_counts`, of one mask or summed over several.
        known: The values that are expected.
    """
    levels = dict.fromkeys(known, 0)
    # The most frequent values come first, because blur scatters the others around them.
    for value in np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)].tolist():
        nearest = min(levels, key=lambda level: abs(level - value), default=value)
        level = nearest if abs(nearest - value) <= FAR else value
        levels[level] = levels.get(level, 0) + int(counts[value])
    return {level: n for level, n in sorted(levels.items()) if n >= (1 if level in known else FEWEST)}
