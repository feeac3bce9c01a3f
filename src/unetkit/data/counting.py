"""How many pixels have each value, counted in little memory."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

AT_ONCE = 2**20  # values that are counted at once: `np.bincount` makes a copy of them that takes 8 bytes each


def count_values(values: NDArray[np.uint8] | NDArray[Any], count: int = 256) -> NDArray[np.int64]:
    """Return how often each of the numbers 0, 1, ..., `count` - 1 is in an array of any shape; others are left out."""
    flat = values.ravel()
    counts = np.zeros(count, np.int64)
    for start in range(0, flat.size, AT_ONCE):
        counts += np.bincount(flat[start : start + AT_ONCE], minlength=count)[:count]
    return counts
