"""Random assignment of pairs to folds, or to validation, that keeps the distribution of coverage equal."""

import numpy as np
from numpy.typing import NDArray

from unetkit.errors import UserError, check

STRATA = 20  # largest number of ranges of coverage over which whole groups are balanced


def stratified_folds(coverage: NDArray[np.float64], folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold (N,) of each pair, so that every fold has the same distribution of coverage."""
    rng = np.random.default_rng(seed)
    order = _by_coverage(coverage, rng)
    result = np.empty(len(coverage), np.int64)
    for start in range(0, len(order), folds):
        block = order[start : start + folds]
        result[block] = rng.permutation(folds)[: len(block)]
    return result


def grouped_folds(coverage: NDArray[np.float64], groups: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold (N,) of each pair: groups stay whole, and folds have about the same distribution of coverage.

    The largest groups come first; each goes to the fold that holds least of the group's strata of coverage so far.

    Raises:
        UserError: If there are fewer groups than folds.
    """
    _, groups, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) < folds:
        raise UserError(f"data.folds={folds}", f"is more than the {len(sizes)} groups of pairs", "lower data.folds")
    rng = np.random.default_rng(seed)
    strata = min(STRATA, len(coverage) // folds)
    contents = np.zeros((len(sizes), strata), np.int64)
    order = _by_coverage(coverage, rng)
    np.add.at(contents, (groups[order], np.arange(len(order)) * strata // len(order)), 1)
    filled = np.zeros((folds, strata), np.int64)
    chosen = np.empty(len(sizes), np.int64)
    for group in np.lexsort((rng.permutation(len(sizes)), -sizes)):
        ties = rng.permutation(folds)
        chosen[group] = np.lexsort((ties, filled.sum(1), filled @ contents[group]))[0]
        filled[chosen[group]] += contents[group]
    return chosen[groups]


def systematic_sample(coverage: NDArray[np.float64], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Choose every (1 / fraction)-th pair in the order of coverage, from a random start."""
    is_share = isinstance(fraction, int | float) and 0 < fraction < 1
    check("data.val_fraction", fraction, is_share, "between 0 and 1")
    rng = np.random.default_rng(seed)
    order = _by_coverage(coverage, rng)
    marks = np.floor(np.arange(len(order) + 1) * fraction + rng.random())
    chosen = np.zeros(len(order), np.bool_)
    chosen[order] = np.diff(marks) > 0
    if len(order) > 1 and chosen.any() == chosen.all():  # with few pairs a side may be empty: it gets one
        chosen[rng.integers(len(order))] ^= True
    return chosen


def _by_coverage(coverage: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the order (N,) of rising coverage, random among equal ones."""
    return np.lexsort((rng.permutation(len(coverage)), coverage))
