"""Predict an image in overlapping tiles, from top to bottom, with only one row of tiles in memory.

The overlap-tile strategy (Ronneberger et al. 2015, section 2), with two additions. Tiles start at multiples of the
network's stride, and their sides have the same remainder modulo the stride as the image's, so that a pixel falls into
the same pooling window in a tile as in the whole image. Tiles are blended, and the outermost quarter of their overlap,
where a tile has the fewest surroundings, is not used at all.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unetkit.errors import UserError
from unetkit.models.padding import mirrored_indices

Array = NDArray[Any]
AT_ONCE = 64  # rows of a prediction that are yielded at once, so that what is computed from them needs little memory


class Raster(Protocol):
    """An image (H, W) or (H, W, C) whose windows can be read: an array, or a file that is read as needed."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W) or (H, W, C)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its values."""

    def __getitem__(self, window: tuple[slice, slice]) -> Array:
        """Return a window of it, by rows and columns."""


@dataclass(frozen=True)
class Tiling:
    """How one axis is cut into tiles.

    Attributes:
        side: Pixels of each tile.
        starts: First pixel of each tile.
        weights: Weights of each tile's pixels, (tiles, side); they add up to 1 at each pixel of the axis.
    """

    side: int
    starts: list[int]
    weights: Tensor


def cut(size: int, tile: int, overlap: int, stride: int) -> Tiling:
    """Cut `size` pixels into tiles of at most `tile` pixels that share at least `overlap` with the next.

    Raises:
        UserError: If the tile is too small for the overlap.
    """
    if size <= tile:
        return Tiling(size, [0], torch.ones(1, size))
    side = tile - (tile - size) % stride
    step = (side - overlap) // stride * stride
    if step < 1:
        raise UserError(
            f"tile={tile}", f"is too small for overlap={overlap}", f"give at least tile={overlap + 2 * stride}"
        )
    starts = [min(start, size - side) for start in range(0, size - side + step, step)]
    return Tiling(side, starts, _weights(size, side, starts, overlap))


def _weights(size: int, side: int, starts: list[int], overlap: int) -> Tensor:
    unused = overlap // 4
    ramp = ((torch.arange(side) + 0.5 - unused) / max(overlap - 2 * unused, 1)).clamp(0, 1)
    weights = (ramp * ramp.flip(0)).repeat(len(starts), 1)
    weights[0] = ramp.flip(0)  # no tile overlaps at the image's own border
    weights[-1] = ramp
    total = torch.zeros(size)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + side] += weight
    return torch.stack(
        [weight / total[start : start + side] for start, weight in zip(starts, weights, strict=True)],
    )


def blended_rows(
    image: Raster, predict: Callable[[Array], Tensor], tile: int, overlap: int, stride: int, margin: int
) -> Iterator[Tensor]:
    """Yield the predictions (C, rows, W) of an image, from top to bottom without gaps.

    Args:
        image: The image to predict.
        predict: Maps a window (h + 2 margin, w + 2 margin[, C]) of the image to (C, h, w).
        tile: Largest side of a tile, without margin.
        overlap: Pixels that neighbouring tiles share.
        stride: Side in pixels of what becomes one pixel of the network's smallest feature map.
        margin: Pixels that the network needs around a tile; beyond the image's border they are mirrored.
    """
    height, width = image.shape[:2]
    rows, columns = cut(height, tile, overlap, stride), cut(width, tile, overlap, stride)
    carried: Tensor | None = None  # weighted predictions of the rows that the next tiles share
    for top, end, row_weight in zip(rows.starts, [*rows.starts[1:], height], rows.weights, strict=True):
        strip: Tensor | None = None
        for left, weight in zip(columns.starts, columns.weights, strict=True):
            part = predict(read_window(image, top, left, rows.side, columns.side, margin))
            if strip is None:
                strip = part.new_zeros(len(part), rows.side, width)
            strip[..., left : left + columns.side] += part * weight
        assert strip is not None  # each axis has a tile
        strip *= row_weight[:, None]
        if carried is not None:
            strip[:, : carried.shape[1]] += carried
        for part in torch.split(strip[:, : end - top], AT_ONCE, dim=1):
            yield part.clone()  # a view would keep the whole strip in memory
        carried = strip[:, end - top :].clone()


def read_window(image: Raster, top: int, left: int, height: int, width: int, margin: int) -> Array:
    """Read (height + 2 margin, width + 2 margin[, C]) of an image around a tile, mirrored where the image ends."""
    here = torch.device("cpu")
    rows = mirrored_indices(image.shape[0], margin, margin, here)[top : top + height + 2 * margin].numpy()
    columns = mirrored_indices(image.shape[1], margin, margin, here)[left : left + width + 2 * margin].numpy()
    first_row, first_column = int(rows.min()), int(columns.min())
    part = image[slice(first_row, int(rows.max()) + 1), slice(first_column, int(columns.max()) + 1)]
    window: Array = part[rows - first_row][:, columns - first_column]
    return window
