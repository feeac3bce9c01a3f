"""Whether probabilities mean what they say: of the pixels at 0.8, are 80 % foreground?"""

import torch
from torch import Tensor

BINS = 15


def calibration_counts(confidence: Tensor, hit: Tensor, bins: int = BINS) -> Tensor:
    """Sums (bins, 3) over pixels, by equal steps of confidence: pixels, their confidence, their hits; float64.

    Args:
        confidence: Any shape, in [0, 1]: the probability of the foreground, or of the likeliest of several classes.
        hit: Booleans of that shape: whether the pixel is foreground, or of the likeliest class.
        bins: Number of steps.
    """
    place = (confidence * bins).long().clamp(max=bins - 1).flatten()
    columns = (None, confidence.flatten().double(), hit.flatten().double())
    return torch.stack([torch.bincount(place, weights, bins).double() for weights in columns], dim=1)


def calibration_error(counts: Tensor) -> Tensor:
    """Expected calibration error (ECE), in [0, 1], of sums (..., bins, 3): the mean gap of confidence and hits.

    Guo et al., *On Calibration of Modern Neural Networks*, ICML 2017, equation 3.
    """
    pixels, confidence, hits = counts.unbind(-1)
    return (confidence - hits).abs().sum(-1) / pixels.sum(-1).clamp(min=1)
