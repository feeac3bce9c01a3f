"""Bootstrap intervals: how far a score could be off only because these images were drawn and not others.

Efron, *Bootstrap Methods: Another Look at the Jackknife*, 1979; percentile intervals. Images are treated as drawn
independently; for neighbouring slices or frames the true interval is wider. If a recipe was run with several seeds,
they are resampled too, independently of the images (Owen, *The Pigeonhole Bootstrap*, 2007). Each resample takes one
seed fewer than there are, or the intervals would be too narrow (Rao & Wu, *Resampling Inference with Complex Survey
Data*, 1988). With two or three seeds the true interval is wider still, as so few say little about the spread.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from unetkit.errors import check, is_whole
from unetkit.evaluation.statistics import Statistic

BLOCK = 100  # resamples at a time, so that memory stays small


class Interval(NamedTuple):
    """A score, and the bounds of its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def check_resampling(count: object, seed: object, key: str = "bootstrap") -> None:
    """Check the number of resamples, given for `key`, and their `seed`, before the work whose result they resample.

    Raises:
        UserError: If they are out of range.
    """
    check(key, count, is_whole(count, 100), "a whole number of at least 100")
    check("seed", seed, is_whole(seed, 0), "a whole number of at least 0")


def resamples(images: int, times: int, seed: int) -> Tensor:
    """Draw how often each image is in each resample, (times, images) int32; the same for all scores and models."""
    return _draws(images, images, times, seed)


def seed_resamples(seeds: int, times: int, seed: int) -> Tensor:
    """Draw how often each seed of a recipe is in each resample, (times, seeds) int32: one fewer than there are."""
    return _draws(max(seeds - 1, 1), seeds, times, seed)


def bootstrap(statistic: Statistic, draws: Tensor) -> Interval:
    """Compute a score on the images as they are, with its interval over resamples (times, images)."""
    return interval(statistic(_once(draws)), _drawn(statistic, draws))


def difference(statistic: Statistic, other: Statistic, draws: Tensor) -> Interval:
    """Subtract `other` from `statistic`, both on the same images in each resample, so that what is common cancels."""
    value = statistic(_once(draws)) - other(_once(draws))
    return interval(value, _drawn(statistic, draws) - _drawn(other, draws))


def drawn_means(scores: Tensor, images: Tensor, seeds: Tensor) -> Tensor:
    """Compute the mean of scores (S, N) float64 in each of R resamples (R,), of images (R, N) and of seeds (R, S)."""
    sums = torch.cat([block.double() @ scores.T for block in torch.split(images, BLOCK)])
    return (sums * seeds).sum(1) / (scores.shape[1] * seeds.sum(1))


def interval(value: Tensor, drawn: Tensor) -> Interval:
    """Return a score with the bounds that hold 95 % of its resampled values (R,); values of nan are left out."""
    defined = drawn[~drawn.isnan()].numpy()
    low, high = np.percentile(defined, [2.5, 97.5]) if len(defined) else (np.nan, np.nan)
    return Interval(value.item(), float(low), float(high))


def _draws(count: int, among: int, times: int, seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.multinomial(count, np.full(among, 1 / among), size=times).astype(np.int32))


def _once(draws: Tensor) -> Tensor:
    return torch.ones(1, draws.shape[1], dtype=torch.float64)


def _drawn(statistic: Statistic, draws: Tensor) -> Tensor:
    return torch.cat([statistic(block.double()) for block in torch.split(draws, BLOCK)])
