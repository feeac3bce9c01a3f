"""Pixels without data: a number far outside the values of a raster stands for them."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

USUAL = (-9999, -99999, -32768, -32767, -2147483648)  # what GIS programs write where they have no data
HUGE = 1e30  # beyond it only the ends of a type are found, such as -3.4e38 of float32
ISOLATED = 0.1  # share of the range of all other values that must lie between these and such a number
MOST = 3  # numbers in one image


def nodata_values(image: NDArray[Any], noted: float | None = None) -> list[float]:
    """Return the numbers in an image that stand for pixels without data.

    Args:
        image: The image; NaN is such a number only where the file says so.
        noted: What the file says. Otherwise a usual number is one if it is the lowest of signed or float values (or is
            huge) and no other value is near it.
    """
    if noted is not None:
        return [noted] if is_nodata(image, [noted]).any() else []
    found: list[float] = []
    rest = image.ravel()
    while image.dtype.kind in "if" and rest.size and len(found) < MOST:
        low, high = float(rest.min()), float(rest.max())
        value = low if low in USUAL or low < -HUGE else high
        if not (value in USUAL or abs(value) > HUGE):
            break
        rest = rest[rest != value]
        plain = rest[np.abs(rest.astype(np.float64)) < HUGE]
        if not plain.size and len(np.unique(rest)) > MOST:  # the image itself holds huge numbers
            break
        if plain.size and np.abs(plain - value).min() <= ISOLATED * np.ptp(plain.astype(np.float64)):
            break
        found.append(value)
    return found


def is_nodata(image: NDArray[Any], values: Iterable[float]) -> NDArray[np.bool_]:
    """Return which values of an image are among the given ones; a bool for each."""
    found = np.zeros(image.shape, np.bool_)
    for value in values:
        if np.isnan(value):
            found |= np.isnan(image) if image.dtype.kind == "f" else False
        elif image.dtype.kind == "f":
            with np.errstate(over="ignore"):
                found |= image == image.dtype.type(value)
        else:
            found |= image == value
    return found


def void_pixels(image: NDArray[Any], values: Sequence[float]) -> NDArray[np.bool_]:
    """Return which pixels (H, W) of an image (H, W, C), or (D, H, W) of a volume, have no data in any band."""
    return np.asarray(is_nodata(image, values).all(axis=-1))
