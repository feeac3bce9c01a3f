"""What an image file holds: colours or bands, opacity, and the number that marks pixels without data."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# How to turn pixels upright, by the orientation that a camera notes (EXIF 2.3, TIFF 6.0); 1 is upright.
TURNS: dict[int, Callable[[Array], Array]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, 3),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: np.rot90,
}


@dataclass(frozen=True)
class Layers:
    """The content of an image file.

    Attributes:
        pixels: (H, W) or (H, W, C), RGB order, in the file's own dtype, not multiplied by the opacity; (D, H, W, C) of
            a volume.
        alpha: Opacity (H, W), or None.
        nodata: The number that the file says marks pixels without data, or None.
        valid: The pixels (H, W) that have data, booleans, from a mask within the file; None if it has none.
    """

    pixels: Array
    alpha: Array | None = None
    nodata: float | None = None
    valid: NDArray[np.bool_] | None = None

    @property
    def has_varying_alpha(self) -> bool:
        """Whether the opacity differs between pixels, so that leaving it out may lose something."""
        return self.alpha is not None and bool(self.alpha.min() < self.alpha.max())

    def image(self, channels: int | None = None) -> Array:
        """Return the pixels; with the opacity as the last channel if that makes as many channels as are asked for."""
        count = 1 if self.pixels.ndim == 2 else self.pixels.shape[2]
        return self.pixels if self.alpha is None or channels != count + 1 else np.dstack([self.pixels, self.alpha])


def upright(pixels: Array, orientation: int) -> Array:
    """Return the pixels turned as the orientation says; an unknown one says nothing."""
    turn = TURNS.get(orientation)
    return pixels if turn is None else np.ascontiguousarray(turn(pixels))
