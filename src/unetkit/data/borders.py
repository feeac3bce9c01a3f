"""The U-Net paper's weight map: dear pixels between neighbouring cells, and classes in balance.

Ronneberger et al. 2015, arXiv 1505.04597, eq. 2: w = w_c + w0 exp(-(d1 + d2)^2 / (2 sigma^2)), where d1 and d2 are the
distances to the two nearest cells. The exponential is made once for each mask, cached, and moves with it when it is
augmented; w_c and w0 come in at the end.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from unetkit.data.store import ArrayStore

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class BorderWeights:
    """Weight maps of masks.

    Args:
        maps: Of each mask, from `border_map`.
        class_weights: w_c of each value (256,) of a mask, from `balancing_weights`.
        w0: The weight of a pixel right between two cells.
    """

    maps: ArrayStore
    class_weights: NDArray[np.float32]
    w0: float

    def weight(self, mask: Image, border: Image) -> NDArray[np.float32]:
        """The map (H, W) of a mask (H, W) and its border map (H, W); 0 where the mask is void."""
        weight = self.class_weights[mask]
        return np.where(weight > 0, weight + np.float32(self.w0 / 255) * border, 0)


def border_map(mask: Image, sigma: float, void: int) -> Image:
    """The exponential of eq. 2 on the background of a mask (H, W), in steps of 1/255.

    A cell is a 4-connected part of the foreground, so that a border of one pixel, diagonal too, separates two.

    Args:
        mask: Class indices; 0 is the background.
        sigma: In pixels.
        void: The value that is neither.
    """
    foreground = ((mask > 0) & (mask != void)).astype(np.uint8)
    _, cells, boxes, _ = cv2.connectedComponentsWithStats(foreground, connectivity=4)
    first, second = np.full((2, *mask.shape), np.inf, np.float32)  # d1 and d2
    reach = math.ceil(4 * sigma)  # beyond, the map is 0 at this precision
    for cell, (x, y, width, height, _) in enumerate(boxes[1:], 1):
        near = slice(max(y - reach, 0), y + height + reach), slice(max(x - reach, 0), x + width + reach)
        others = (cells[near] != cell).astype(np.uint8)
        distance = cv2.distanceTransform(others, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        second[near] = np.minimum(second[near], np.maximum(first[near], distance))
        first[near] = np.minimum(first[near], distance)
    glow = np.exp(-((first + second) ** 2) / (2 * sigma**2))
    return np.asarray(np.round(255 * glow * (mask == 0)), np.uint8)


def balancing_weights(masks: Iterable[Image], void: int) -> NDArray[np.float32]:
    """w_c (256,) for each value of a mask: all pixels / (classes * pixels of the class), so that their mean is 1.

    Void has no weight; a class that is not there has 1.
    """
    counts = np.zeros(256)
    for mask in masks:
        counts += np.bincount(mask.ravel(), minlength=256)
    counts[void] = 0
    weights = np.ones(256)
    weights[counts > 0] = counts.sum() / (np.count_nonzero(counts) * counts[counts > 0])
    weights[void] = 0
    return weights.astype(np.float32)
