"""The U-Net paper's weight map: higher weight between touching cells, and equal weight for all classes.

Ronneberger et al. 2015, arXiv 1505.04597, eq. 2: w = w_c + w0 exp(-(d1 + d2)^2 / (2 sigma^2)), where d1 and d2 are the
distances to the two nearest cells. The exponential is computed once for each mask, cached, and transformed together
with the mask when it is augmented; w_c and w0 are applied afterwards.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from unetkit.data.counting import count_values
from unetkit.data.store import ArrayStore
from unetkit.data.types import Image
from unetkit.errors import UserError


@dataclass(frozen=True)
class BorderWeights:
    """What the weight maps of masks are made from.

    Attributes:
        maps: The border map of each mask, from `border_map`.
        class_weights: The weight w_c (256,) of each value in a mask, from `balancing_weights`.
        w0: The weight that is added to a pixel between two cells that touch.
    """

    maps: ArrayStore
    class_weights: NDArray[np.float32]
    w0: float

    def weight(self, mask: Image, border: Image) -> NDArray[np.float32]:
        """Return the weights (H, W) of a mask (H, W) with its border map (H, W); 0 where the mask is void."""
        weight = self.class_weights[mask]
        return np.where(weight > 0, weight + np.float32(self.w0 / 255) * border, 0)


def border_options(given: Mapping[str, float] | None) -> tuple[float, float]:
    """Return w0 and sigma of `data.border_weight`.

    Raises:
        UserError: If one is missing or out of range.
    """
    options = given if isinstance(given, Mapping) else {}
    w0, sigma = (options.get(key, 0) for key in ("w0", "sigma"))
    if not (isinstance(w0, int | float) and isinstance(sigma, int | float) and w0 >= 0 and sigma > 0):
        problem = "does not have w0 of at least 0 and sigma above 0, which the weight map of the loss needs"
        fix = "the U-Net paper has data.border_weight={w0:10,sigma:5}"
        raise UserError(f"data.border_weight={given}", problem, fix)
    return w0, sigma


def border_map(mask: Image, sigma: float, void: int) -> Image:
    """Return 255 times the exponential of eq. 2 on the background of a mask (H, W), and 0 elsewhere.

    A cell is a 4-connected part of the foreground, so that a border of one pixel separates two cells, diagonally too.

    Args:
        mask: Class indices; 0 is the background.
        sigma: The sigma of eq. 2, in pixels.
        void: The value of pixels that are neither cell nor background.
    """
    foreground = ((mask > 0) & (mask != void)).astype(np.uint8)
    _, cells, boxes, _ = cv2.connectedComponentsWithStats(foreground, connectivity=4)
    first, second = np.full((2, *mask.shape), np.inf, np.float32)  # d1 and d2
    reach = math.ceil(4 * sigma)  # farther away, the rounded exponential is 0
    for cell, (x, y, width, height, _) in enumerate(boxes[1:], 1):
        near = slice(max(y - reach, 0), y + height + reach), slice(max(x - reach, 0), x + width + reach)
        others = (cells[near] != cell).astype(np.uint8)
        distance = cv2.distanceTransform(others, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        second[near] = np.minimum(second[near], np.maximum(first[near], distance))
        first[near] = np.minimum(first[near], distance)
    exponential = np.exp(-((first + second) ** 2) / (2 * sigma**2))
    return np.asarray(np.round(255 * exponential * (mask == 0)), np.uint8)


def balancing_weights(masks: Iterable[Image], void: int) -> NDArray[np.float32]:
    """Return the weight w_c (256,) of each value in the masks: all pixels / (classes * pixels of the class).

    So the mean weight of all pixels is 1. Void has weight 0, a class without a pixel 1.
    """
    counts = np.zeros(256)
    for mask in masks:
        counts += count_values(mask)
    counts[void] = 0
    weights = np.ones(256)
    weights[counts > 0] = counts.sum() / (np.count_nonzero(counts) * counts[counts > 0])
    weights[void] = 0
    return weights.astype(np.float32)
