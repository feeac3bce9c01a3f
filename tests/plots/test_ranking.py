"""Which members of a ranking a picture shows."""

import pytest

from unetkit.plots.ranking import three_groups


@pytest.mark.parametrize("count", range(14))
def test_no_prediction_stands_in_two_groups(count: int) -> None:
    ranking = list(range(count))
    best, median, worst = three_groups(ranking, 3)
    shown = [*best, *median, *worst]
    assert shown == sorted(set(shown))
    assert len(shown) == min(count, 9)
    assert max(map(len, (best, median, worst))) <= 3
    if count > 1:
        assert (best[0], worst[-1]) == (0, count - 1)
    if count >= 9:
        assert abs(sum(median) / 3 - (count - 1) / 2) <= 0.5
