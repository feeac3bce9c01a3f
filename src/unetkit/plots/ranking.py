"""Which members of a long list a picture shows: some spread evenly, or the best, the median and the worst."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def evenly(total: int, wanted: int) -> list[int]:
    """Return at most `wanted` different numbers, spread evenly over 0 .. total - 1."""
    return [int(i) for i in np.linspace(0, total - 1, min(wanted, total)).round()]


def three_groups(ranking: Sequence[T], each: int) -> tuple[Sequence[T], Sequence[T], Sequence[T]]:
    """Return the first, middle and last members of a ranking, at most `each` a group; no member is in two groups."""
    first = min(each, -(-len(ranking) // 3))
    last = min(each, (len(ranking) - first + 1) // 2)
    between = ranking[first : len(ranking) - last]
    start = (len(between) - min(each, len(between))) // 2
    return ranking[:first], between[start : start + each], ranking[len(ranking) - last :]
