"""Pixels of each value are counted in little memory."""

import tracemalloc

import numpy as np
import pytest

from unetkit.data.counting import AT_ONCE, count_values


@pytest.mark.parametrize("shape", [(0,), (3, 5), (2, AT_ONCE - 1), (AT_ONCE + 1,)])
def test_counts_are_those_of_numpy_for_any_size(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    assert (count_values(values) == np.bincount(values.ravel(), minlength=256)).all()
    assert (count_values(values, 3) == [np.count_nonzero(values == k) for k in range(3)]).all()
    assert (count_values(values.T) == count_values(values)).all()


def test_counting_takes_less_memory_than_the_image() -> None:
    image = np.zeros((5000, 5000), np.uint8)
    tracemalloc.start()
    count_values(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < image.nbytes
