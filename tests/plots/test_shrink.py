"""Pictures are shrunk to a longest side, and never enlarged."""

import cv2
import numpy as np
import pytest

from unetkit.plots.shrink import shrink


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((100, 50), (10, 5)), ((50, 100, 3), (5, 10, 3)), ((30, 20, 1), (10, 7, 1)), ((999, 1), (10, 1))],
)
def test_the_longer_side_becomes_the_wanted_one(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert shrink(np.zeros(shape, np.uint8), 10).shape == expected


def test_small_pictures_stay_as_they_are() -> None:
    picture = np.ones((10, 3), np.float32)
    assert shrink(picture, 10) is picture


def test_class_indices_stay_indices() -> None:
    classes = np.where(np.arange(64).reshape(8, 8) % 2, 3, 1).astype(np.uint8)
    assert set(np.unique(shrink(classes, 4, cv2.INTER_NEAREST))) <= {1, 3}
