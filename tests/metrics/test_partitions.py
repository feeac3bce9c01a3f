"""Scores of cells: hand-computed cases, a slow implementation from the definitions, and real membranes."""

from itertools import product
from math import log

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from unetkit.metrics.partitions import VInfo, VRand, cells_of, thinned_cells_of, v_info, v_rand

MEMBRANES = arrays(np.bool_, (6, 7), elements=st.sampled_from([True, True, True, False]))


def labels(*rows: str) -> NDArray[np.int32]:
    """Return numbers of cells, one digit a pixel."""
    return np.array([[int(digit) for digit in row] for row in rows], np.int32)


def test_one_gap_that_merges_two_equal_cells_gives_two_thirds() -> None:
    true, merged = labels("11022"), labels("11111")
    # s = {1}, t = {1/2, 1/2}, p = {1/2, 1/2}: sums of squares 1, 1/2, 1/2
    assert v_rand(merged, true) == pytest.approx(2 * (1 / 2) / (1 + 1 / 2))
    assert v_info(merged, true) == 0  # one predicted cell says nothing of the true one
    assert v_rand(labels("11022"), true) == v_info(labels("11022"), true) == 1


def test_a_membrane_pixel_within_a_true_cell_is_a_cell_of_its_own() -> None:
    true, split = labels("1111"), labels("1102")
    # s = {1/2, 1/4} and one single pixel 1/4; t = {1}: the squares of s are 1/4 + 1/16 + 1/16
    assert v_rand(split, true) == pytest.approx(2 * (3 / 8) / (3 / 8 + 1))
    assert v_info(split, true) == 0


def test_cells_that_touch_at_a_corner_only_are_two() -> None:
    assert cells_of(labels("10", "01") > 0).max() == 2


def test_thinning_leaves_one_pixel_of_membrane_and_no_pixel_of_a_cell_is_lost() -> None:
    mask = labels("1110000111", "1110000111") > 0
    thinned = thinned_cells_of(mask)
    assert [np.count_nonzero(row == 0) for row in thinned] == [1, 1]
    assert thinned[0, 0] != thinned[0, -1]
    assert (thinned[mask] == cells_of(mask)[mask]).all()


def test_thinning_nothing_gives_nothing() -> None:
    assert not thinned_cells_of(np.zeros((3, 4), bool)).any()
    assert (thinned_cells_of(np.ones((3, 4), bool)) == 1).all()


@given(MEMBRANES, MEMBRANES)
def test_scores_are_those_of_the_definitions(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> None:
    if not true.any():
        return
    s, t = cells_of(predicted), cells_of(true)
    rand, info = slow_scores(s, t)
    assert v_rand(s, t) == pytest.approx(rand)
    assert v_info(s, t) == pytest.approx(info, abs=1e-9)


@given(MEMBRANES)
def test_thinned_cells_keep_their_pixels_and_never_touch(mask: NDArray[np.bool_]) -> None:
    thinned, cells = thinned_cells_of(mask), cells_of(mask)
    assert (thinned[mask] == cells[mask]).all()
    for one, other in ((thinned[1:], thinned[:-1]), (thinned[:, 1:], thinned[:, :-1])):
        assert not ((one != other) & (one > 0) & (other > 0)).any()


def test_metrics_give_the_mean_over_images_and_treat_those_without_a_cell_as_empty_masks() -> None:
    true = torch.from_numpy(np.stack([labels("11011"), labels("11011"), labels("00000"), labels("00000")])).long()
    predicted = torch.from_numpy(np.stack([labels("11111"), labels("11011"), labels("11111"), labels("00000")])).long()
    for metric, merged in ((VRand(), 2 / 3), (VInfo(), 0.0)):
        metric.update(predicted[:1], true[:1], true[:1] < 2)
        metric.update(predicted[1:], true[1:], true[1:] < 2)
        assert metric.compute().item() == pytest.approx((merged + 1 + 0 + 1) / 4)


def test_void_pixels_do_not_count() -> None:
    true, predicted = (torch.from_numpy(labels("11022"))[None] > 0 for _ in range(2))
    valid = torch.tensor([[[True, True, True, False, False]]])
    merged = torch.ones_like(predicted)
    metric = VRand()
    metric.update(merged.long(), true.long(), valid)
    assert metric.compute() == 1  # the other cell is void


def slow_scores(predicted: NDArray[np.int32], true: NDArray[np.int32]) -> tuple[float, float]:
    """Compute both scores from the definitions, pixel by pixel."""
    pixels = list(zip(*(x[true > 0].tolist() for x in (predicted, true)), strict=True))
    pixels = [(s or -i, t) for i, (s, t) in enumerate(pixels, 1)]  # each membrane pixel is a cell of its own
    pairs = [(a, b) for a, b in product(pixels, repeat=2)]
    both = sum(a == b for a, b in pairs)
    same_s, same_t = (sum(a[k] == b[k] for a, b in pairs) for k in (0, 1))
    entropies = []
    for of in ([p[0] for p in pixels], [p[1] for p in pixels], pixels):
        shares = [of.count(each) / len(pixels) for each in set(of)]
        entropies.append(-sum(share * log(share) for share in shares))
    s, t, joint = entropies
    return both / ((same_s + same_t) / 2), 2 * (s + t - joint) / (s + t) if s + t > 1e-12 else 1.0
