"""Predict an image in overlapping tiles, from top to bottom, with only one row of tiles in memory.

The overlap-tile strategy (Ronneberger et al. 2015, section 2), with two additions. Tiles start at multiples of the
network's stride, and their sides have the same remainder modulo the stride as the image's, so that a pixel falls into
the same pooling window in a tile as in the whole image. Tiles are blended, and the outermost quarter of their overlap,
where a tile has the fewest surroundings, is not used at all. Volumes are predicted in the same way, slab by slab, with
the Gaussian weights that are usual there (Isensee et al. 2021, nnU-Net). As both kinds of weights are products of those
of the axes, they are divided by their sum axis by axis.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unetkit.errors import UserError
from unetkit.models.padding import mirrored_indices

Array = NDArray[Any]
WIDTH = 1 / 8  # standard deviation of Gaussian weights, as a share of the tile's side
AT_ONCE = 64  # rows of a prediction that are yielded at once, so that what is computed from them needs little memory


class Raster(Protocol):
    """An image (H, W) or (H, W, C) whose windows can be read: an array, or a file that is read as needed.

    A volume is (D, H, W, C).
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W) or (H, W, C); (D, H, W, C) of a volume."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its values."""

    def __getitem__(self, window: tuple[slice, ...], /) -> Array:
        """Return a window of it, by rows and columns, or by slices, rows and columns."""


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


def cut(size: int, tile: int, overlap: int, stride: int, *, gaussian: bool = False) -> Tiling:
    """Cut `size` pixels into tiles of at most `tile` pixels that share at least `overlap` with the next.

    Args:
        size: Pixels of the axis.
        tile: Largest side of a tile, in pixels.
        overlap: Pixels that neighbouring tiles share at least.
        stride: Side in pixels of what becomes one pixel of the network's smallest feature map.
        gaussian: Whether weights fall from the middle of a tile on, and not only where tiles overlap.

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
    if gaussian:
        middle = ((torch.arange(side) + 0.5) / side - 0.5) / WIDTH
        weights = torch.exp(-(middle**2) / 2).repeat(len(starts), 1)
    else:
        weights = _ramps(side, len(starts), overlap)
    return Tiling(side, starts, _normalised(weights, size, starts))


def _ramps(side: int, tiles: int, overlap: int) -> Tensor:
    """Return weights (tiles, side) that rise and fall over the overlap, without its outermost quarter."""
    unused = overlap // 4
    ramp = ((torch.arange(side) + 0.5 - unused) / max(overlap - 2 * unused, 1)).clamp(0, 1)
    weights = (ramp * ramp.flip(0)).repeat(tiles, 1)
    weights[0] = ramp.flip(0)  # no tile overlaps at the image's own border
    weights[-1] = ramp
    return weights


def _normalised(weights: Tensor, size: int, starts: list[int]) -> Tensor:
    side, total = weights.shape[1], torch.zeros(size)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + side] += weight
    return torch.stack(
        [weight / total[start : start + side] for start, weight in zip(starts, weights, strict=True)],
    )


def blended_rows(
    image: Raster,
    predict: Callable[[Array], Tensor],
    tile: int | Sequence[int],
    overlap: int | Sequence[int],
    stride: int,
    margin: int,
    *,
    gaussian: bool = False,
) -> Iterator[Tensor]:
    """Yield the predictions (C, rows, W) of an image, from top to bottom without gaps; of a volume (C, d, H, W).

    Args:
        image: The image to predict.
        predict: Maps a window (h + 2 margin, w + 2 margin[, C]) of the image to (C, h, w); of a volume likewise.
        tile: Largest side of a tile, without margin; for volumes one for each axis.
        overlap: Pixels that neighbouring tiles share; for volumes one for each axis.
        stride: Side in pixels of what becomes one pixel of the network's smallest feature map.
        margin: Pixels that the network needs around a tile; beyond the image's border they are mirrored.
        gaussian: See `cut`.
    """
    tiles = [tile] * 2 if isinstance(tile, int) else list(tile)
    overlaps = [overlap] * len(tiles) if isinstance(overlap, int) else list(overlap)
    height, *others = size = image.shape[: len(tiles)]
    rows, *columns = (cut(*of_axis, stride, gaussian=gaussian) for of_axis in zip(size, tiles, overlaps, strict=True))
    sides = [rows.side, *(axis.side for axis in columns)]
    carried: Tensor | None = None  # weighted predictions of the rows that the next tiles share
    for top, end, row_weight in zip(rows.starts, [*rows.starts[1:], height], rows.weights, strict=True):
        strip: Tensor | None = None
        for places in product(*(zip(axis.starts, axis.weights, strict=True) for axis in columns)):
            starts = [start for start, _ in places]
            part = predict(read_window(image, [top, *starts], sides, margin))
            if strip is None:
                strip = part.new_zeros(len(part), rows.side, *others)
            for axis, (_, weight) in enumerate(places, 2):
                part = part * weight.view(-1, *[1] * (part.ndim - 1 - axis))
            strip[:, :, *(slice(a, a + side) for a, side in zip(starts, sides[1:], strict=True))] += part
        assert strip is not None  # each axis has a tile
        strip *= row_weight.view(-1, *[1] * len(others))
        if carried is not None:
            strip[:, : carried.shape[1]] += carried
        for part in torch.split(strip[:, : end - top], max(AT_ONCE // math.prod(others[:-1]), 1), dim=1):
            yield part.clone()  # a view would keep the whole strip in memory
        carried = strip[:, end - top :].clone()


def strips(rows: Iterator[Tensor], height: int) -> Iterator[Tensor]:
    """Join the rows (C, rows, W) of a prediction to strips of so many rows, the last one of fewer."""
    waiting: list[Tensor] = []
    for part in rows:
        waiting.append(part)
        if sum(x.shape[1] for x in waiting) >= height:
            yield torch.cat(waiting, dim=1)
            waiting = []
    if waiting:
        yield torch.cat(waiting, dim=1)


def read_window(image: Raster, starts: Sequence[int], sides: Sequence[int], margin: int) -> Array:
    """Read (height + 2 margin, width + 2 margin[, C]) of an image around a tile, mirrored where the image ends.

    Args:
        image: The image, or a volume.
        starts: First pixel of the tile along each axis.
        sides: Sides of the tile.
        margin: Pixels to read around it.
    """
    here = torch.device("cpu")
    places = [
        mirrored_indices(size, margin, margin, here)[start : start + side + 2 * margin].numpy()
        for size, start, side in zip(image.shape, starts, sides, strict=False)
    ]
    window = image[tuple(slice(int(axis.min()), int(axis.max()) + 1) for axis in places)]
    for number, axis in enumerate(places):
        window = window.take(axis - axis.min(), number)
    return window
