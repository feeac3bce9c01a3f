"""Weights of classes from the pixels that each has, so that a loss does not neglect rare ones."""

import numpy as np
from numpy.typing import NDArray

from unetkit.errors import UserError

AUTO = "auto"  # the value of `loss.class_weights` and `loss.pos_weight` that asks for these weights


def median_frequency_weights(pixels: NDArray[np.int64]) -> list[float]:
    """Compute weights by median frequency balancing.

    Eigen & Fergus 2015, *Predicting Depth, Surface Normals and Semantic Labels*, section 6.3.2: the frequency of a
    class is its share of the pixels of the images that have it; its weight is the median frequency / its own.

    Args:
        pixels: Pixels (N, C) of N images by class.

    Returns:
        A weight for each class; 1 for a class in no image.
    """
    beside = ((pixels > 0) * pixels.sum(1, keepdims=True)).sum(0)
    frequency = np.divide(pixels.sum(0), beside, out=np.full(pixels.shape[1], np.nan), where=beside > 0)
    weights = np.nan_to_num(np.nanmedian(frequency) / frequency, nan=1.0)
    return [round(float(weight), 4) for weight in weights]


def foreground_weight(key: str, pixels: NDArray[np.int64]) -> float:
    """Compute background / foreground pixels, as the documentation of torch's BCEWithLogitsLoss advises.

    Raises:
        UserError: If no pixel is foreground.
    """
    background, foreground = pixels[:, 0].sum(), pixels[:, 1:].sum()
    if not foreground:
        raise UserError(key, "has no foreground pixel in the training masks to count", "give a number")
    return round(max(float(background / foreground), 1e-4), 4)
