"""Counts at many thresholds, from a histogram of probabilities, for figures and for the choice of a threshold."""

import torch
from torch import Tensor

from unetkit.metrics.counts import Counts

# Hundredths, which people read, and equal steps of logits, since most probabilities are close to 0 or 1.
THRESHOLDS = torch.cat([torch.arange(100) / 100, torch.arange(-16, 16.1, 0.125).sigmoid()]).sort().values


def curve_counts(probability: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Count pixels by the number of thresholds that their probability exceeds.

    Args:
        probability: Probability of a class, any shape, in [0, 1].
        target: Booleans of that shape: whether the pixel is of the class.
        valid: Booleans of that shape: whether the pixel is valid.

    Returns:
        Histogram (T + 1, 2), int64, for T `THRESHOLDS`: pixels that are not of the class, and those that are.
    """
    exceeded = torch.searchsorted(THRESHOLDS, probability[valid].float())
    pairs = exceeded * 2 + target[valid].long()
    return torch.bincount(pairs, minlength=2 * len(THRESHOLDS) + 2).view(-1, 2)


def threshold_counts(histogram: Tensor) -> Counts:
    """Compute the counts (..., T) at each of `THRESHOLDS`, above which a pixel is predicted as the class.

    Args:
        histogram: Counts (..., T + 1, 2) from `curve_counts`.
    """
    above = (
        histogram.flip(-2).cumsum(-2).flip(-2)[..., 1:, :]
    )  # pixels that exceed threshold k are in bins k + 1 and up
    fp, tp = above.unbind(-1)
    negatives, positives = histogram.sum(-2).unbind(-1)
    return Counts(tp, fp, positives[..., None] - tp, negatives[..., None] - fp)
