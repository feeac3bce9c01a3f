"""Scores at every threshold at once, from a histogram of probabilities."""

import torch
from torch import Tensor

from unetkit.metrics.counts import Counts, precision, recall

# Hundredths, for people, and even steps of logits, since most pixels lie close to 0 and 1.
THRESHOLDS = torch.cat([torch.arange(100) / 100, torch.arange(-16, 16.1, 0.125).sigmoid()]).sort().values


def curve_counts(probability: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Pixels (T + 1, 2) int64 by how many of the T thresholds they exceed, apart for false and true ones.

    Args:
        probability: Of a class, any shape, in [0, 1].
        target: Booleans of that shape: whether the pixel is of the class.
        valid: Booleans of that shape: what counts.
    """
    exceeded = torch.searchsorted(THRESHOLDS, probability[valid].float())
    pairs = exceeded * 2 + target[valid].long()
    return torch.bincount(pairs, minlength=2 * len(THRESHOLDS) + 2).view(-1, 2)


def threshold_counts(histogram: Tensor) -> Counts:
    """Counts (..., T) at each of `THRESHOLDS`, where a pixel is foreground above it, of histograms (..., T + 1, 2)."""
    above = histogram.flip(-2).cumsum(-2).flip(-2)[..., 1:, :]  # exceed threshold k: in bins k + 1 and up
    fp, tp = above.unbind(-1)
    negatives, positives = histogram.sum(-2).unbind(-1)
    return Counts(tp, fp, positives[..., None] - tp, negatives[..., None] - fp)


def average_precision(histogram: Tensor) -> Tensor:
    """Area under precision against recall, in [0, 1], of histograms (..., T + 1, 2).

    The sum of (R_n - R_n-1) P_n over `THRESHOLDS`, without interpolation, and over taking all pixels; nan where none
    is of the class.
    """
    counts = threshold_counts(histogram)
    total = histogram.sum(-2)
    share = total[..., 1:] / total.sum(-1, keepdim=True).clamp(min=1)
    # From the strictest threshold down to none at all, where precision is the share of the class.
    p, r = (
        torch.cat([precision(counts).flip(-1), share], -1),
        torch.cat([recall(counts).flip(-1), torch.ones_like(share)], -1),
    )
    area = (r.diff(dim=-1, prepend=torch.zeros_like(share)) * p).sum(-1)
    return torch.where(total[..., 1] == 0, torch.nan, area)
