"""What the doctor keeps of a mask: its size, and how many pixels have each value."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from unetkit.data.drawn import DrawnMask
from unetkit.data.jpeg import flat_counts, is_jpeg
from unetkit.data.masks import mask_values
from unetkit.data.pair import Pair
from unetkit.data.rle import decode_rle
from unetkit.doctor.survey.images import digest
from unetkit.errors import UserError

VALUES_KEPT = 300  # distinct values of a mask
SOFT_VALUES = 3  # values between the lowest and the highest from which on a mask may have been resized smoothly
WHOLE = 0.9  # share of the values that mark one connected part each, where values number objects
SOFT_EDGE = 9  # pixels of the neighbourhood in which a soft edge must meet both ends


@dataclass(frozen=True, eq=False)
class MaskStats:
    """Size and values of a mask.

    Attributes:
        shape: (H, W).
        dtype: NumPy's name of the type, e.g. `uint8`.
        values: (V,) distinct values, ascending; a colour's value is 0xRRGGBB.
        counts: (V,) pixels of each.
        is_colour: Whether the values are colours.
        is_jpeg: Whether the file is a JPEG, which changes values along outlines.
        is_soft: Whether values fade into each other along outlines, as after smooth resizing.
        digest: Hash of the pixels.
        is_numbered: Whether each value but 0 marks one connected part, as where the values number objects.
        differs_from_rle: Whether the run-length code in train.csv says otherwise.
        flat_counts: (256,) pixels of each value in flat areas, for a grey JPEG.
    """

    shape: tuple[int, int]
    dtype: str
    values: NDArray[Any]
    counts: NDArray[np.int64]
    is_colour: bool
    is_jpeg: bool
    is_soft: bool
    digest: bytes
    is_numbered: bool = False
    differs_from_rle: bool = False
    flat_counts: NDArray[np.int64] | None = None


def measure_mask(pair: Pair, image_shape: tuple[int, int] | None) -> MaskStats | None:
    """Read and measure a pair's mask, from its file or its run-length code; None if it has neither, or can't be drawn.

    Args:
        pair: The pair.
        image_shape: (H, W) of its image, which a run-length code or an outline needs; None if that can't be read.

    Raises:
        UserError: If the mask can't be read.
    """
    decoded = None if pair.rle is None or image_shape is None else _decode(pair, *image_shape)
    if pair.mask is None:
        return None if decoded is None else _stats(decoded)
    if isinstance(pair.mask, DrawnMask) and image_shape is None:
        return None
    values, is_colour = mask_values(pair.mask, False, image_shape or (0, 0))
    differs = decoded is not None and not np.array_equal(values > 0, decoded > 0)
    return _stats(values, is_colour, is_jpeg(pair.mask), differs)


def _decode(pair: Pair, height: int, width: int) -> NDArray[np.uint8]:
    try:
        return decode_rle(pair.rle or "", height, width)
    except UserError as error:
        problem = f"has a run-length code in train.csv that {error.problem}"
        raise UserError(pair.id, problem, "correct the line, or remove it") from error


def _stats(mask: NDArray[Any], is_colour: bool = False, is_jpeg: bool = False, differs: bool = False) -> MaskStats:
    values, counts = _count(mask)
    is_numbered = not is_jpeg and _is_numbered(mask, values)
    kept = slice(None if is_numbered else VALUES_KEPT)
    return MaskStats(
        shape=mask.shape,
        dtype=str(mask.dtype),
        values=values[kept],
        counts=counts[kept],
        is_colour=is_colour,
        is_jpeg=is_jpeg,
        is_soft=not is_colour and not is_jpeg and not is_numbered and _is_soft(mask, values),
        digest=digest(mask),
        is_numbered=is_numbered,
        differs_from_rle=differs,
        flat_counts=flat_counts(mask) if is_jpeg and not is_colour else None,
    )


def _count(mask: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the distinct values and the pixels of each."""
    if mask.dtype not in (np.uint8, np.uint16):
        return np.unique(mask, return_counts=True)
    counts = np.bincount(mask.ravel())  # faster than sorting
    values = np.flatnonzero(counts)
    return values, counts[values]


def _is_numbered(mask: NDArray[Any], values: NDArray[Any]) -> bool:
    """Whether there are several values beside 0, and nearly all of them mark one connected part each."""
    objects = values[values > 0]
    if len(objects) < 2 or values[0] < 0 or (values != np.floor(values)).any():
        return False
    numbers = np.searchsorted(objects, mask).astype(np.int32) + 1
    numbers[mask == 0] = 0
    several, most = 0, (1 - WHOLE) * len(objects)
    for number, part in enumerate(find_objects(numbers), 1):
        several += cv2.connectedComponents((numbers[part] == number).astype(np.uint8))[0] > 2
        if several > most:
            return False
    return True


def _is_soft(mask: NDArray[Any], values: NDArray[Any]) -> bool:
    """Whether many values lie between the ends, and only where low and high areas meet."""
    margin = (values[-1] - values[0]) / 16
    low, high = values[0] + margin, values[-1] - margin
    if values[-1] < 1 or np.count_nonzero((values > low) & (values < high)) < SOFT_VALUES:
        return False
    window = np.ones((SOFT_EDGE, SOFT_EDGE))
    near_low, near_high = (cv2.dilate(end.astype(np.uint8), window) > 0 for end in (mask <= low, mask >= high))
    between = (mask > low) & (mask < high)
    return bool(between.mean() < 0.5 and (near_low & near_high)[between].mean() > 0.8)
