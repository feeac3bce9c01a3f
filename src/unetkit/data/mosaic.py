"""Find the tiles that were cut from one mosaic by their edges, so that a split keeps them together.

A tile that validates must not be a neighbour of one that trains. Two tiles are neighbours if the correlation of their
facing edges is high, if each is the other's best match, and if any other match is at least twice as far from a perfect
one (the ratio test of Lowe, *Distinctive Image Features from Scale-Invariant Keypoints*, 2004). Tiles that are equal,
or nearly so, belong together as well. Edges and tiles without contrast match nothing.
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

VERSION = 1  # raise it when other groups are found in the same tiles
MIN_CORRELATION = 0.8  # of the facing edges of neighbours
RATIO = 2.0  # the correlation of any other match must be so many times farther from 1
MIN_LIKENESS = 0.995  # correlation of the pixels of duplicates
MIN_CONTRAST = 0.05  # standard deviation along an edge, or in a tile, as a share of that in all tiles
THUMBNAIL = 16  # pixels of the side to which tiles are averaged before duplicates are searched
MIN_SIDE = 16  # pixels of a tile's side; shorter edges match by chance
BLOCK = 1024  # tiles that are compared with all others at a time

Vectors = NDArray[np.float32]
Indices = NDArray[np.int64]


class Features(NamedTuple):
    """What tiles are compared by; of a single tile, without the N.

    Attributes:
        left: The left edges (N, H), extrapolated to the line that neighbours share.
        right: The right edges (N, H).
        top: The upper edges (N, W).
        bottom: The lower edges (N, W).
        thumbnail: The averaged tiles (N, THUMBNAIL * THUMBNAIL).
    """

    left: Vectors
    right: Vectors
    top: Vectors
    bottom: Vectors
    thumbnail: Vectors


def find_mosaics(tiles: Iterable[tuple[str, NDArray[Any]]]) -> Indices:
    """Return the number (N,) of the mosaic that each tile belongs to; a tile may be alone in its mosaic.

    Args:
        tiles: Name and pixels (H, W) or (H, W, C) of each tile, as decoded.

    Raises:
        UserError: If the tiles differ in size, or are too small.
    """
    features = Features(*map(np.stack, zip(*starmap(_features, _of_one_size(tiles)), strict=True)))
    least = MIN_CONTRAST * float(features.thumbnail.std())
    left, right, top, bottom, thumbnail = (_unit(part, least) for part in features)
    alike = connected_groups(len(thumbnail), _duplicates(thumbnail))
    _, first = np.unique(alike, return_index=True)  # one of each group of duplicates, as they would match alike
    beside = [first[_neighbours(a[first], b[first])] for a, b in ((right, left), (bottom, top))]
    return connected_groups(
        len(thumbnail), np.concatenate([*beside, np.stack([first[alike], np.arange(len(alike))], 1)])
    )


def _of_one_size(tiles: Iterable[tuple[str, NDArray[Any]]]) -> Iterator[tuple[str, NDArray[Any]]]:
    first: tuple[str, tuple[int, ...]] | None = None
    for name, tile in tiles:
        first = first or (name, tile.shape[:2])
        if tile.shape[:2] != first[1] or min(tile.shape[:2]) < MIN_SIDE:
            sizes = " and ".join(f"{a} is {h}x{w}" for a, (h, w) in dict([first, (name, tile.shape[:2])]).items())
            problem = f"needs tiles of one size, of at least {MIN_SIDE} pixels a side, but {sizes}"
            raise UserError("data.split=mosaic", problem, "use data.split=kfold")
        yield name, tile


def _features(name: str, tile: NDArray[Any]) -> Features:
    grey = np.asarray(tile, np.float32)
    grey = grey if grey.ndim == 2 else grey.mean(2)
    return Features(
        left=_outside(grey[:, 0], grey[:, 1]),
        right=_outside(grey[:, -1], grey[:, -2]),
        top=_outside(grey[0], grey[1]),
        bottom=_outside(grey[-1], grey[-2]),
        thumbnail=np.ravel(cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)).astype(np.float32),
    )


def _outside(edge: Vectors, inner: Vectors) -> Vectors:
    """Extrapolate an edge by half a pixel, to the line that neighbours share."""
    return 1.5 * edge - 0.5 * inner


def _unit(vectors: Vectors, least: float) -> Vectors:
    """Scale rows so that their products are correlations; 0 where the standard deviation is at most `least`."""
    centred = vectors - vectors.mean(1, keepdims=True)
    deviation = centred.std(1, keepdims=True)
    scale = np.sqrt(vectors.shape[1]) * np.maximum(deviation, 1e-12)
    return np.where(deviation > least, centred / scale, 0).astype(np.float32)


def _neighbours(edges: Vectors, facing: Vectors) -> Indices:
    """Return the pairs (P, 2) of tiles of which the first's edge continues in the second's facing edge."""
    there, value, second = _best(edges, facing)
    back, _, rival = _best(facing, edges)
    second = np.maximum(second, rival[there])
    is_sure = (value > MIN_CORRELATION) & (1 - second > RATIO * (1 - value)) & (back[there] == np.arange(len(edges)))
    return np.stack([np.flatnonzero(is_sure), there[is_sure]], 1)


def _best(edges: Vectors, facing: Vectors) -> tuple[Indices, Vectors, Vectors]:
    """Return the tile that each edge matches best, their correlation, and the highest one with any other tile."""
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
    """Return the pairs (P, 2) of tiles that are equal, or nearly so."""
    blocks = _products(thumbs, thumbs)
    return np.concatenate([np.argwhere(products > MIN_LIKENESS) + np.array([start, 0]) for start, products in blocks])


def _products(a: Vectors, b: Vectors) -> Iterator[tuple[int, Vectors]]:
    """Give the products of all rows with all rows, block by block, so that memory stays small."""
    return ((start, a[start : start + BLOCK] @ b.T) for start in range(0, len(a), BLOCK))


def connected_groups(count: int, pairs: Indices) -> Indices:
    """Return the number (count,) of the group of each member, where both members of a pair (P, 2) are in one group."""
    graph = coo_array((np.ones(len(pairs)), tuple(pairs.T)), (count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)
