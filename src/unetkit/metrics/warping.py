"""The warping error of the ISBI 2012 challenge: pixels that stay wrong although outlines may be moved.

Jain et al. 2010, *Boundary Learning by Optimization with Topological Constraints*, CVPR.
"""

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from unetkit.metrics.scores import MaskScore

Mask = NDArray[np.bool_]

AROUND = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))  # steps to the eight neighbours
BESIDE = tuple(row == 0 or column == 0 for row, column in AROUND)  # which of them share an edge with the pixel


def warping_error(prediction: Mask, truth: Mask, valid: Mask) -> float:
    """Compute the share of pixels that differ between a predicted mask and the truth warped to it, in [0, 1].

    A membrane that lies aside of the true one and touches it costs nothing; what still differs are mostly the gaps and
    bridges of the prediction. The definition asks for the fewest differences that any flips of simple pixels leave; see
    `warp` for the flips done here, which make this an upper bound of it.

    Args:
        prediction: Predicted pixels of cells, booleans (H, W).
        truth: True pixels of cells, likewise.
        valid: Valid pixels, likewise; others are neither flipped nor counted. There must be one.
    """
    differs = (warp(truth, prediction, valid) != prediction) & valid
    return int(differs.sum()) / int(valid.sum())


def warp(mask: Mask, target: Mask, valid: Mask) -> Mask:
    """Move the outlines of a mask towards those of another: flip pixels that differ and are simple.

    No cell is merged, split, added or lost, and no hole. Cells are 4-connected, membranes 8-connected, and outside the
    image is membrane. As in the challenge's own script, in Fiji, only pixels that differ are flipped, column by column,
    again and again until no more can be.

    Args:
        mask: Pixels of cells, booleans (H, W).
        target: Pixels of the cells to warp to, likewise.
        valid: Pixels that may be flipped, likewise.

    Returns:
        The warped mask, booleans (H, W).
    """
    padded = np.pad(mask, 1).T  # column after column; a cell is 1
    warped = bytearray(padded.tobytes())
    around = [row + column * padded.shape[1] for row, column in AROUND]
    left = np.flatnonzero(np.pad((mask != target) & valid, 1).T).tolist()
    simple = simple_squares()
    before = len(left) + 1
    while len(left) < before:
        before, differing, left = len(left), left, []
        for pixel in differing:
            if simple[sum(warped[pixel + step] << bit for bit, step in enumerate(around))]:
                warped[pixel] ^= 1
            else:
                left.append(pixel)
    return np.frombuffer(warped, np.bool_).reshape(padded.shape).T[1:-1, 1:-1]


@cache
def simple_squares() -> tuple[bool, ...]:
    """Return whether the pixel in the middle of a square of 3x3 is simple, for each pattern of its neighbours.

    It is if one cell touches it by an edge within the square, and one membrane by an edge or a corner (Bertrand and
    Malandain 1994, *A new characterization of three-dimensional simple points*). Bit i of a pattern tells whether the
    neighbour `AROUND[i]` is in a cell.
    """
    simple = []
    for pattern in range(256):
        of_cells = [bool(pattern >> bit & 1) for bit in range(len(AROUND))]
        of_membranes = [not is_cell for is_cell in of_cells]
        cells = _parts(of_cells, connectivity=4)
        beside = {part for part, touches in zip(cells, BESIDE, strict=True) if part and touches}
        simple.append(len(beside) == max(_parts(of_membranes, connectivity=8)) == 1)
    return tuple(simple)


def _parts(neighbours: list[bool], connectivity: int) -> list[int]:
    """Number the connected parts of the neighbours of a pixel, without the pixel itself; 0 for those that are false."""
    square = np.zeros((3, 3), np.uint8)
    for (row, column), is_part in zip(AROUND, neighbours, strict=True):
        square[1 + row, 1 + column] = is_part
    parts = cv2.connectedComponents(square, connectivity=connectivity)[1]
    return [int(parts[1 + row, 1 + column]) for row, column in AROUND]


class WarpingError(MaskScore):
    """The warping error of each image, whose cells are class 1; lower is better."""

    higher_is_better = False

    def __init__(self) -> None:
        super().__init__(warping_error)
