"""Shrink pictures that are too large to show."""

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", np.uint8, np.float32)


def shrink(picture: NDArray[Scalar], side: int, interpolation: int = cv2.INTER_AREA) -> NDArray[Scalar]:
    """Shrink a picture whose longer side exceeds `side`; smaller ones stay as they are.

    Args:
        picture: Array (H, W) or (H, W, C).
        side: Longer side in pixels, at most.
        interpolation: OpenCV's `INTER_AREA` for images and probabilities, `INTER_NEAREST` for class indices.
    """
    scale = side / max(picture.shape[:2])
    if scale >= 1:
        return picture
    height, width = (max(round(length * scale), 1) for length in picture.shape[:2])
    small = cv2.resize(picture, (width, height), interpolation=interpolation)
    return small.reshape(height, width, *picture.shape[2:]).astype(picture.dtype, copy=False)  # OpenCV drops C = 1
