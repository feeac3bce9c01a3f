"""Bring pictures to a size that suits the page."""

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from unetkit.plots.shrink import shrink

SMALL, LARGE = 400, 800  # sides in pixels: smaller pictures are enlarged, larger ones are shrunk

Scalar = TypeVar("Scalar", np.uint8, np.float32)


def fit(picture: NDArray[Scalar], interpolation: int = cv2.INTER_AREA) -> NDArray[Scalar]:
    """Repeat the pixels of a small picture, so that outlines are thin; shrink a large one, so that the page is fast."""
    times = max(SMALL // max(picture.shape[:2]), 1)
    return shrink(picture, LARGE, interpolation).repeat(times, 0).repeat(times, 1)
