"""Calibration of probabilities: of the pixels with probability 0.8, 80 % should be foreground."""

import torch
from torch import Tensor

BINS = 15


def calibration_counts(confidence: Tensor, hit: Tensor, bins: int = BINS) -> Tensor:
    """Sum pixels in bins of equal width of confidence.

    Args:
        confidence: Probability of the foreground, or of the most probable of several classes; any shape, in [0, 1].
        hit: Booleans of that shape: whether the pixel is foreground, or of the most probable class.
        bins: Number of bins.

    Returns:
        Number of pixels, sum of confidence and number of hits of each bin, (bins, 3), float64.
    """
    place = (confidence * bins).long().clamp(max=bins - 1).flatten()
    columns = (None, confidence.flatten().double(), hit.flatten().double())
    return torch.stack([torch.bincount(place, weights, bins).double() for weights in columns], dim=1)


def calibration_error(counts: Tensor) -> Tensor:
    """Compute the expected calibration error (ECE), in [0, 1], of the sums (..., bins, 3) of `calibration_counts`.

    The mean over pixels of |confidence - hits| of their bin: Guo et al. 2017, *On Calibration of Modern Neural
    Networks*, arXiv 1706.04599, equation 3.
    """
    pixels, confidence, hits = counts.unbind(-1)
    return (confidence - hits).abs().sum(-1) / pixels.sum(-1).clamp(min=1)
