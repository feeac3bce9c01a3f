"""Samples of cross-products, so that the default run of the tests is short."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
from _pytest.mark import ParameterSet


def sampled(*axes: Sequence[Any]) -> list[ParameterSet]:
    """Return the product of the axes for `parametrize`, all but a sample marked `slow`.

    The sample is a diagonal: case i takes value i of each axis, the shorter ones repeated, so that each value of each
    axis is in it.
    """
    diagonal = {tuple(i % len(axis) for axis in axes) for i in range(max(map(len, axes)))}
    return [
        pytest.param(
            *(axis[i] for axis, i in zip(axes, place, strict=True)),
            marks=() if place in diagonal else pytest.mark.slow,
        )
        for place in product(*(range(len(axis)) for axis in axes))
    ]
