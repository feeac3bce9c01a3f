"""Images and masks at the size that a network works at: `data.resize`."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from unetkit.errors import check, is_whole

Resize = float | tuple[int, int]  # a scale, or height and width in pixels

LEAST_SIDE, MOST_SIDE = 8, 2**14  # pixels; a larger side in a stranger's checkpoint would take all memory
MOST_SCALE = 8.0


def read_resize(given: object) -> Resize | None:
    """Return `data.resize` as a scale or as height and width; None if images keep their size.

    Args:
        given: None, a fraction as a scale, a whole number as the side of squares in pixels, or height and width.

    Raises:
        UserError: If it is none of these, or out of range.
    """
    if isinstance(given, int) and not isinstance(given, bool):
        given = [given, given]
    resize = tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else given
    wanted = (
        f"null, a scale above 0 and up to {MOST_SCALE} such as 0.5, or pixels from {LEAST_SIDE} to {MOST_SIDE}: "
        "a side such as 128, or [HEIGHT,WIDTH]"
    )
    check("data.resize", given, resize is None or is_resize(resize), wanted)
    return resize  # type: ignore[return-value]  # checked by is_resize


def is_resize(value: object) -> bool:
    """Return whether a value is a scale, or height and width, in range."""
    if isinstance(value, tuple):
        return len(value) == 2 and all(is_whole(side, LEAST_SIDE) and side <= MOST_SIDE for side in value)
    return isinstance(value, float) and 0 < value <= MOST_SCALE


def working_size(resize: Resize | None, *size: int) -> tuple[int, ...]:
    """Return the height and width that an image of this size is given to a network with; volumes are not resized."""
    if resize is None:
        return size
    if isinstance(resize, tuple):
        return resize
    return tuple(max(round(side * resize), 1) for side in size)


def resize_image(image: NDArray[np.uint8], size: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return an image (H, W, C) at another height and width: means of areas if it shrinks, else bilinear."""
    if image.shape[:2] == size:
        return image
    shrinks = size[0] <= image.shape[0] and size[1] <= image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(np.ascontiguousarray(image), size[::-1], interpolation=method)
    return resized.reshape(*size, image.shape[2]).astype(np.uint8, copy=False)


def resize_mask(mask: NDArray[np.uint8], size: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return a mask (H, W) at another height and width, each pixel with the class of the nearest one."""
    if mask.shape == size:
        return mask
    return cv2.resize(np.ascontiguousarray(mask), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT).astype(np.uint8)
