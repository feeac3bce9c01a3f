"""Scores that depend only on the order of the pixels by probability, not on the probabilities themselves.

Only comparisons of probabilities are used, so a strictly increasing map of them changes no score. Memory is bounded:
of each image at most `SAMPLE` probabilities are kept for each of the two truths, each standing for its neighbours in
the sorted order. Scores are exact up to that number, and beyond it differ by some 0.0002.
"""

import math

import numpy as np
import torch
from torch import Tensor

from unetkit.metrics.counts import ratio

SAMPLE = 2048  # probabilities kept of an image, for each truth
MIN_BINS, MAX_BINS = 512, 4096
CELLS = 2**23  # bins of all images and classes together, so that their counts stay below 128 MiB


def ranking_sample(probability: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Return probabilities that stand for the order of an image's pixels.

    Args:
        probability: Probability of a class, any shape, float.
        target: Booleans of that shape: whether the pixel is of the class.
        valid: Booleans of that shape: whether the pixel is valid.

    Returns:
        Descending probabilities (2, SAMPLE) float32, of the valid pixels that are not of the class, and of those that
        are: all of them, then NaN; or the middle one of each of `SAMPLE` groups, see `group_bounds`.
    """
    sample = torch.full((2, SAMPLE), torch.nan)
    for label, chosen in enumerate((valid & ~target, valid & target)):
        values = torch.from_numpy(np.sort(probability[chosen].float().numpy())).flip(0)
        if len(values) > SAMPLE:
            bounds = group_bounds(len(values), label)
            values = values[(bounds[:-1] + bounds[1:]) // 2]
        sample[label, : len(values)] = values
    return sample


def group_bounds(size: int, label: int) -> Tensor:
    """Return the ranks (SAMPLE + 1,) int64, from 0 to `size`, between groups of a descending order.

    Pixels of the class are in groups of equal size, which are equal steps of recall. Groups of other pixels grow from
    one pixel at the top in proportion to the rank: where foreground is rare, precision depends on few of these pixels.
    """
    step = torch.arange(SAMPLE + 1, dtype=torch.float64) / SAMPLE
    if label == 0:
        step = torch.expm1(step * math.log(size)) / (size - 1)
    return torch.arange(SAMPLE + 1) + (step * (size - SAMPLE)).floor().long()


def ranking_counts(samples: Tensor, sizes: Tensor) -> Tensor:
    """Count pixels in bins of probability that are the same for all images, in ascending order.

    A bin begins at each probability that a pixel of the class has; with more of them than fit, bins hold equal shares
    of the class's pixels.

    Args:
        samples: Probabilities (N, K, 2, SAMPLE) from `ranking_sample`, for N images and K classes.
        sizes: Numbers of valid pixels (N, K, 2) that are not of the class, and that are.

    Returns:
        Numbers of pixels (N, K, B, 2) float64.
    """
    images, classes = samples.shape[:2]
    most = min(max(CELLS // (images * classes), MIN_BINS), MAX_BINS)
    weights = torch.stack([_weights(size, i % 2) for i, size in enumerate(sizes.flatten().tolist())]).view_as(samples)
    edges = [_edges(samples[:, k, 1].flatten(), weights[:, k, 1].flatten(), most) for k in range(classes)]
    bins = max(map(len, edges)) + 1
    counts = torch.zeros(images, classes, bins, 2, dtype=torch.float64)
    for k, edge in enumerate(edges):
        place = torch.searchsorted(edge, samples[:, k].contiguous().nan_to_num(0.0), right=True)  # of weight 0, if NaN
        for label in (0, 1):
            counts[:, k, :, label].scatter_add_(1, place[:, label], weights[:, k, label].double())
    return counts


def average_precision(counts: Tensor) -> Tensor:
    """Compute the average precision, the area under the curve of precision and recall, in [0, 1].

    The sum of (R_n - R_n-1) P_n over the bins from the highest down, without interpolation, so that pixels of one bin
    count as equally probable; nan if no pixel is of the class.

    Args:
        counts: Numbers of pixels (..., B, 2) in bins of ascending probability: not of the class, and of it.
    """
    above = counts.flip(-2).cumsum(-2)
    total = above[..., -1, 1]
    precision = ratio(above[..., 1], above.sum(-1))
    area = (counts[..., 1].flip(-1) * precision).sum(-1) / total.clamp(min=1)
    return torch.where(total == 0, torch.nan, area)


def _weights(size: int, label: int) -> Tensor:
    """Return how many pixels each probability of a sample stands for, (SAMPLE,) float32; 0 where it is NaN."""
    if size > SAMPLE:
        return group_bounds(size, label).diff().float()
    return torch.where(torch.arange(SAMPLE) < size, 1.0, 0.0)


def _edges(values: Tensor, weights: Tensor, most: int) -> Tensor:
    """Return ascending values, at most `most`, between which there are equal shares of the weight."""
    order = values[weights > 0].sort()
    is_first = torch.cat([torch.ones(1, dtype=torch.bool), order.values.diff() > 0])[: len(order.values)]
    distinct = order.values[is_first]
    if len(distinct) > most:
        mass = weights[weights > 0][order.indices].double()
        below = (mass.cumsum(0) - mass)[is_first] / mass.sum() * most  # the weight below each value, in bins
        distinct = distinct[below.floor().diff(prepend=torch.full((1,), -1.0).double()) > 0]
    return distinct
