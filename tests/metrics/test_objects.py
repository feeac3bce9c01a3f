"""Scores of objects by hand, and predicted masks that are split into objects."""

import numpy as np
import pytest

from unetkit.data.objects import classes_of_objects
from unetkit.metrics import object_counts, object_precision
from unetkit.prediction.objects import split_objects


def row(*runs: tuple[int, int]) -> np.ndarray:
    """An image of one row, of runs of (number, pixels)."""
    return np.concatenate([np.full(pixels, number, np.int32) for number, pixels in runs])[None]


def test_objects_match_above_each_iou() -> None:
    true = row((1, 10), (0, 5), (2, 10), (0, 5))
    predicted = row((7, 8), (0, 7), (3, 10), (0, 5))  # IoU 0.8 and 1
    counts = object_counts(predicted, true)
    assert counts[:6].tolist() == [[2, 0, 0]] * 6  # 0.50 to 0.75
    assert counts[6:].tolist() == [[1, 1, 1]] * 4  # 0.8 does not exceed 0.80
    assert object_precision(counts).mean().item() == pytest.approx((6 * 1 + 4 / 3) / 10)


def test_an_iou_of_a_threshold_does_not_exceed_it() -> None:
    counts = object_counts(row((1, 11), (0, 9)), row((1, 20)))  # 11 / 20 = 0.55
    assert counts[:, 0].tolist() == [1] + [0] * 9


def test_merged_and_split_objects_are_wrong() -> None:
    true = row((1, 10), (2, 10), (0, 2))
    merged = object_counts(row((1, 20), (0, 2)), true)  # IoU 0.5 with each
    assert merged[0].tolist() == [0, 1, 2]
    split = object_counts(true, row((1, 20), (0, 2)))
    assert split[0].tolist() == [0, 2, 1]
    assert object_precision(merged).mean() == 0


def test_images_without_objects() -> None:
    nothing, one = row((0, 6)), row((1, 3), (0, 3))
    assert object_precision(object_counts(nothing, nothing)).mean() == 1
    assert object_precision(object_counts(one, nothing)).mean() == 0
    assert object_precision(object_counts(nothing, one)).mean() == 0


def test_void_pixels_are_left_out() -> None:
    assert object_counts(row((1, 4), (2, 6)), row((1, 4), (-1, 6)))[0].tolist() == [1, 0, 0]


def discs(touching: bool = True) -> np.ndarray:
    y, x = np.indices((40, 60))
    numbers = np.zeros((40, 60), np.int32)
    for number, (cy, cx) in enumerate(((20, 16), (20, 16 + 20 + 6 * (not touching)), (5, 55)), 1):
        numbers[np.hypot(y - cy, x - cx) < (10.5 if number < 3 else 4)] = number
    return numbers


@pytest.mark.parametrize("kind", ["foreground", "boundary"])
def test_the_classes_of_touching_discs_are_split_into_them_again(kind: str) -> None:
    numbers = discs()
    found = split_objects(classes_of_objects(numbers, kind))
    assert found.max() == 3
    assert object_precision(object_counts(found, numbers)).mean() > 0.9


def test_a_boundary_lies_within_objects_and_at_each_neighbour() -> None:
    numbers = row((1, 3), (2, 3), (0, 3)).repeat(3, 0)
    assert classes_of_objects(numbers, "boundary")[1].tolist() == [1, 1, 2, 2, 1, 2, 0, 0, 0]
    assert (
        classes_of_objects(np.where(numbers == 2, -1, numbers), "foreground")[0].tolist()
        == [1] * 3 + [255] * 3 + [0] * 3
    )


def test_masks_without_objects_and_full_masks_are_split() -> None:
    assert split_objects(np.zeros((5, 5), np.uint8)).max() == 0
    assert split_objects(np.ones((5, 5), np.uint8)).min() == 1
    only_boundary = np.zeros((6, 12), np.uint8)
    only_boundary[2:4, 1:3], only_boundary[1:5, 6:11] = 2, 2
    only_boundary[2:4, 7:10] = 1
    assert len(np.unique(split_objects(only_boundary))) == 3
