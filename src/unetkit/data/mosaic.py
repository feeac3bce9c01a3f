"""Which tiles were cut from one mosaic: found by edges that go on in each other, so that a split keeps them together.

What validates must not lie beside what was trained on. Two tiles are neighbours if the correlation of their facing
edges is high, if each is the other's best match, and if any other match is at least twice as far from a perfect one
(the ratio test of Lowe, *Distinctive Image Features from Scale-Invariant Keypoints*, 2004). Tiles that are equal, or
nearly so, belong together as well. Edges and tiles without contrast match nothing.
"""

from collections.abc import Iterable, Iterator
from itertools import starmap
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from unetkit.errors import UserError

VERSION = 1  # change it when other groups are found in the same tiles
NEIGHBOURS = 0.8  # least correlation of the edges of neighbours
RATIO = 2.0  # how much farther from 1 the correlation of any other match has to be
DUPLICATES = 0.995  # least correlation of whole tiles
CONTRAST = 0.05  # least deviation along an edge, or in a tile, as a share of that in all tiles
THUMB = 16  # side of the averaged tile by which duplicates are found
SMALLEST = 16  # side of a tile, in pixels; shorter edges match by chance
BLOCK = 1024  # tiles that are compared with all others at a time

Vectors = NDArray[np.float32]
Indices = NDArray[np.int64]


class Sides(NamedTuple):
    """Of tiles (N, H, W): edges (N, H) or (N, W), extrapolated, and thumbs (N, THUMB²); of one, without the N."""

    left: Vectors
    right: Vectors
    top: Vectors
    bottom: Vectors
    thumb: Vectors


def find_mosaics(tiles: Iterable[tuple[str, NDArray[Any]]]) -> Indices:
    """The number (N,) of the mosaic that each tile belongs to; a tile may be alone in its own.

    Args:
        tiles: Name and pixels (H, W) or (H, W, C) of each, as read.

    Raises:
        UserError: If the tiles are not of one size, or too small.
    """
    sides = Sides(*map(np.stack, zip(*starmap(_sides, _of_one_size(tiles)), strict=True)))
    least = CONTRAST * float(sides.thumb.std())
    left, right, top, bottom, thumb = (_unit(part, least) for part in sides)
    alike = connected_groups(len(thumb), _duplicates(thumb))
    _, first = np.unique(alike, return_index=True)  # one of equal tiles: they would be each other's rivals
    beside = [first[_neighbours(a[first], b[first])] for a, b in ((right, left), (bottom, top))]
    return connected_groups(len(thumb), np.concatenate([*beside, np.stack([first[alike], np.arange(len(alike))], 1)]))


def _of_one_size(tiles: Iterable[tuple[str, NDArray[Any]]]) -> Iterator[tuple[str, NDArray[Any]]]:
    first: tuple[str, tuple[int, ...]] | None = None
    for name, tile in tiles:
        first = first or (name, tile.shape[:2])
        if tile.shape[:2] != first[1] or min(tile.shape[:2]) < SMALLEST:
            sizes = " and ".join(f"{a} is {h}x{w}" for a, (h, w) in dict([first, (name, tile.shape[:2])]).items())
            raise UserError(
                f"data.split=mosaic needs tiles of one size, of at least {SMALLEST} pixels a side, but {sizes}; "
                "use data.split=kfold"
            )
        yield name, tile


def _sides(name: str, tile: NDArray[Any]) -> Sides:
    grey = np.asarray(tile, np.float32)
    grey = grey if grey.ndim == 2 else grey.mean(2)
    return Sides(
        left=_outside(grey[:, 0], grey[:, 1]),
        right=_outside(grey[:, -1], grey[:, -2]),
        top=_outside(grey[0], grey[1]),
        bottom=_outside(grey[-1], grey[-2]),
        thumb=np.ravel(cv2.resize(grey, (THUMB, THUMB), interpolation=cv2.INTER_AREA)).astype(np.float32),
    )


def _outside(edge: Vectors, inner: Vectors) -> Vectors:
    """The edge extrapolated by half a pixel, to the line that neighbours share."""
    return 1.5 * edge - 0.5 * inner


def _unit(vectors: Vectors, least: float) -> Vectors:
    """Rows whose products are correlations; zero where the deviation is below `least`."""
    centred = vectors - vectors.mean(1, keepdims=True)
    deviation = centred.std(1, keepdims=True)
    scale = np.sqrt(vectors.shape[1]) * np.maximum(deviation, 1e-12)
    return np.where(deviation > least, centred / scale, 0).astype(np.float32)


def _neighbours(edges: Vectors, facing: Vectors) -> Indices:
    """Pairs (P, 2) of tiles, of which the first's edge goes on in the facing one of the second."""
    there, value, second = _best(edges, facing)
    back, _, rival = _best(facing, edges)
    second = np.maximum(second, rival[there])
    is_sure = (value > NEIGHBOURS) & (1 - second > RATIO * (1 - value)) & (back[there] == np.arange(len(edges)))
    return np.stack([np.flatnonzero(is_sure), there[is_sure]], 1)


def _best(edges: Vectors, facing: Vectors) -> tuple[Indices, Vectors, Vectors]:
    """Of each edge, the tile that it matches best, their correlation, and the highest with any other tile."""
    found = []
    for start, products in _products(edges, facing):
        rows = np.arange(len(products))
        products[rows, start + rows] = -1  # itself
        best = products.argmax(1)
        value = products[rows, best]
        products[rows, best] = -1
        found.append((best, value, products.max(1)))
    return tuple(map(np.concatenate, zip(*found, strict=True)))  # type: ignore[return-value]


def _duplicates(thumbs: Vectors) -> Indices:
    """Pairs (P, 2) of tiles that are equal, or nearly so."""
    blocks = _products(thumbs, thumbs)
    return np.concatenate([np.argwhere(products > DUPLICATES) + np.array([start, 0]) for start, products in blocks])


def _products(a: Vectors, b: Vectors) -> Iterator[tuple[int, Vectors]]:
    """The products of all rows with all, so many at a time that memory stays small."""
    return ((start, a[start : start + BLOCK] @ b.T) for start in range(0, len(a), BLOCK))


def connected_groups(count: int, pairs: Indices) -> Indices:
    """Return the number (count,) of the group of each member, where both members of a pair (P, 2) are in one group."""
    graph = coo_array((np.ones(len(pairs)), tuple(pairs.T)), (count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)
