"""The warping error: hand-worked cases, the definition on all orders of flips, and what warping may not change."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from unetkit.metrics.warping import WarpingError, simple_squares, warp, warping_error

Mask = NDArray[np.bool_]

MASKS = arrays(np.bool_, (5, 6), elements=st.sampled_from([True, True, False]))
SMALL = arrays(np.bool_, (3, 3))


def mask(*rows: str) -> Mask:
    """Return a mask, whose cells are 1."""
    return np.array([[digit == "1" for digit in row] for row in rows])


def error(prediction: Mask, truth: Mask) -> float:
    """Return the error where all pixels are valid."""
    return warping_error(prediction, truth, np.ones_like(truth))


def test_116_patterns_of_neighbours_are_simple() -> None:
    # the known number of simple points for the pair of 4- and 8-connectivity in two dimensions
    assert sum(simple_squares()) == 116


def test_a_membrane_that_lies_a_pixel_aside_costs_nothing_but_one_that_does_not_touch_the_true_one_does() -> None:
    truth = mask(*["1111011"] * 4)
    assert error(mask(*["1110111"] * 4), truth) == 0
    assert error(mask(*["1101111"] * 4), truth) > 0


def test_a_membrane_of_another_width_costs_nothing() -> None:
    assert error(mask(*["1100011"] * 4), mask(*["1110111"] * 4)) == 0


def test_a_gap_costs_its_pixel_and_a_bridge_the_pixels_across_the_cell() -> None:
    whole, gap = mask(*["1110111"] * 4), mask("1110111", "1111111", "1110111", "1110111")
    assert error(gap, whole) == pytest.approx(1 / 28)  # the pixel of the gap stays membrane
    assert error(whole, gap) == pytest.approx(1 / 28)  # the same pixel stays cell


def test_a_missed_cell_costs_one_pixel_and_an_invented_one_all_of_its_own() -> None:
    cell, none = mask("00000", "01110", "01110", "00000"), np.zeros((4, 5), bool)
    assert error(none, cell) == pytest.approx(1 / 20)  # it shrinks to its last pixel
    assert error(cell, none) == pytest.approx(6 / 20)  # nothing grows where there is no cell


def test_pixels_that_are_not_valid_are_neither_flipped_nor_counted() -> None:
    whole, gap = mask(*["1110111"] * 4), mask("1110111", "1111111", "1110111", "1110111")
    valid = np.ones_like(whole)
    valid[1] = False
    assert warping_error(gap, whole, valid) == 0
    assert (warp(whole, np.zeros_like(whole), ~valid)[valid] == whole[valid]).all()


@given(MASKS, MASKS)
def test_warping_keeps_the_number_of_cells_and_of_membranes(truth: Mask, prediction: Mask) -> None:
    warped = warp(truth, prediction, np.ones_like(truth))
    assert parts(warped) == parts(truth)
    assert ((warped == truth) | (warped == prediction)).all()


@given(SMALL, SMALL)
def test_the_error_is_an_upper_bound_of_the_least_over_all_orders(truth: Mask, prediction: Mask) -> None:
    assert least(truth, prediction) <= error(prediction, truth) <= (truth != prediction).mean()


def test_the_metric_gives_the_mean_over_images() -> None:
    whole, gap = mask(*["1110111"] * 4), mask("1110111", "1111111", "1110111", "1110111")
    metric = WarpingError()
    prediction, truth = (torch.from_numpy(np.stack(masks)).long() for masks in ([gap, whole], [whole, whole]))
    metric.update(prediction, truth, truth < 2)
    assert metric.compute().item() == pytest.approx(1 / 56)
    assert not metric.higher_is_better


def parts(cells: Mask) -> tuple[int, int]:
    """Return the numbers of cells and of membranes, with that outside the image."""
    padded = np.pad(cells, 1).astype(np.uint8)
    return (
        cv2.connectedComponents(padded, connectivity=4)[0],
        cv2.connectedComponents(1 - padded, connectivity=8)[0],
    )


def least(truth: Mask, prediction: Mask) -> float:
    """Return the least share of differing pixels of all masks that flips of simple pixels reach, in any order."""
    reached, todo = {truth.tobytes()}, [truth]
    while todo:
        current = todo.pop()
        for place in zip(*np.nonzero(current != prediction), strict=True):
            flipped = current.copy()
            flipped[place] ^= True
            if parts(flipped) == parts(current) and flipped.tobytes() not in reached:
                reached.add(flipped.tobytes())
                todo.append(flipped)
    return min(float((np.frombuffer(each, bool).reshape(truth.shape) != prediction).mean()) for each in reached)
