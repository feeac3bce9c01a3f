"""Bicubic interpolation of a coarse grid, used by both elastic deformations (of single pairs and of batches)."""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=256)
def interpolated_rms(grid: int, *sizes: int) -> float:
    """Return the root mean square, over pixels and draws, of a grid of N(0, 1) interpolated to (height, width).

    Of three sizes, those of a volume, the grid has three dimensions.
    """
    mean_squares = [np.square(cubic_basis(grid, size)).sum(1).mean() for size in sizes]
    return float(np.sqrt(np.prod(mean_squares)))


def cubic_basis(grid: int, size: int) -> NDArray[np.float32]:
    """Return the weights (size, grid) of the grid's points for each pixel along one axis, in bicubic interpolation."""
    return np.asarray(cv2.resize(np.eye(grid, dtype=np.float32), (grid, size), interpolation=cv2.INTER_CUBIC))
