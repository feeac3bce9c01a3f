"""Resampling of volumes to another size, slice by slice, so that little memory is needed beside input and output."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from unetkit.data.limits import check_voxels

Size = tuple[int, int, int]


def size_at(size: Sequence[int], spacing: Sequence[float], wanted: Sequence[float]) -> Size:
    """Return the size (D, H, W) that a volume has at another spacing, at least one voxel along each axis."""
    depth, height, width = (max(round(n * has / to), 1) for n, has, to in zip(size, spacing, wanted, strict=True))
    return depth, height, width


def resampled(values: NDArray[Any], size: Size, *, nearest: bool = False) -> NDArray[Any]:
    """Resample a volume (D, H, W, C) to (D', H', W', C), linearly or to the nearest voxel; the dtype stays.

    The outer faces of the first and the last voxels stay where they are, as in `torch.nn.functional.interpolate` with
    `align_corners=False`.
    """
    if values.shape[:3] == size:
        return values
    if nearest:
        places = [
            np.floor((np.arange(n) + 0.5) * side / n).astype(int) for n, side in zip(size, values.shape, strict=False)
        ]
        return values[np.ix_(*places)]
    result = np.empty((*size, values.shape[3]), values.dtype)
    slices = (torch.from_numpy(np.ascontiguousarray(plane)).float().movedim(-1, 0) for plane in values)
    is_whole = values.dtype.kind in "ui"
    for target, plane in zip(result, resampled_slices(slices, values.shape[0], size), strict=True):
        numbers = plane.movedim(0, -1).numpy()
        target[:] = numbers.round() if is_whole else numbers
    return result


def resampled_slices(slices: Iterable[Tensor], depth: int, size: Size) -> Iterator[Tensor]:
    """Resample a volume linearly whose slices (C, H, W) come one after the other; yields slices (C, H', W').

    Args:
        slices: The `depth` slices, float.
        depth: Number of slices.
        size: The size (D', H', W') of the result.
    """
    planes = iter(slices)
    held: dict[int, Tensor] = {}  # the slices that the next ones lie between
    arrived = -1
    for place in range(size[0]):
        position = min(max((place + 0.5) * depth / size[0] - 0.5, 0.0), depth - 1.0)
        first = int(position)
        last = min(first + 1, depth - 1)
        while arrived < last:
            arrived += 1
            plane = next(planes)
            if arrived >= first:
                held[arrived] = _resized(plane, size[1:])
        held = {key: plane for key, plane in held.items() if key >= first}
        yield torch.lerp(held[first], held[last], position - first)
    for _ in planes:  # the writers of the slices end after the last one
        pass


def _resized(plane: Tensor, size: Sequence[int]) -> Tensor:
    if plane.shape[1:] == tuple(size):
        return plane
    return F.interpolate(plane[None], tuple(size), mode="bilinear", align_corners=False)[0]


def resampled_rows(rows: Iterable[Tensor], depth: int, size: Size) -> Iterator[Tensor]:
    """Resample a volume whose slabs (C, d, H, W) come from top to bottom; yields slabs (C, 1, H', W')."""
    slices = (plane for slab in rows for plane in slab.unbind(1))
    return (plane[:, None] for plane in resampled_slices(slices, depth, size))


Rows = Callable[[NDArray[Any]], Iterator[Tensor]]


def rows_at(
    image: NDArray[Any], spacing: Sequence[float] | None, wanted: Sequence[float] | None, rows: Rows
) -> Iterator[Tensor]:
    """Yield probabilities (C, d, H, W) of a volume (D, H, W, C), computed at the spacing that a network was trained at.

    Args:
        image: The volume.
        spacing: Its spacing (z, y, x); None if it is not known.
        wanted: The spacing of training; None if volumes kept their own.
        rows: Yields probabilities (C, d, h, w) of a volume of that spacing, from top to bottom.

    Raises:
        UserError: If it has too many voxels at that spacing.
    """
    depth, height, width = image.shape[:3]
    size = (depth, height, width)
    small = size if spacing is None or wanted is None else size_at(size, spacing, wanted)
    if small == size:
        return rows(image)
    check_voxels(small, image.dtype.itemsize * image.shape[3], "the volume at the spacing of training")
    return resampled_rows(rows(resampled(image, small)), small[0], size)
