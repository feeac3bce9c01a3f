"""Scores of how well predicted cells separate the true ones: V_rand and V_info of the ISBI 2012 challenge.

Arganda-Carreras et al. 2015, *Crowdsourcing the creation of image segmentation algorithms for connectomics*, Frontiers
in Neuroanatomy 9:142. Both compare two partitions of the pixels of true cells: a gap of one pixel in a membrane, which
merges two cells, costs much, and the width of a membrane costs nothing.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from unetkit.metrics.scores import MaskScore

Labels = NDArray[np.int32]
Mask = NDArray[np.bool_]


class Shares(NamedTuple):
    """Shares of the pixels of true cells; each predicted membrane pixel is a cell of its own.

    Attributes:
        both: Share of each pair of a true cell and a predicted cell that overlap, (P,).
        true: Share of each true cell, (T,).
        predicted: Share of each predicted cell, (S,).
        single: Share of the pixels that are predicted as membrane.
        pixels: Number of pixels of true cells.
    """

    both: NDArray[np.float64]
    true: NDArray[np.float64]
    predicted: NDArray[np.float64]
    single: float
    pixels: int


def v_rand(predicted: Labels, true: Labels) -> float:
    """Compute the foreground-restricted Rand score, in [0, 1].

        V_rand = sum p_ij^2 / (sum s_i^2 / 2 + sum t_j^2 / 2)

    where p_ij is the probability that a pixel of a true cell lies in the predicted cell i and the true cell j, s_i and
    t_j are its sums over j and i: the F-score of two random pixels' being in one cell.

    Args:
        predicted: Number of the predicted cell of each pixel (H, W); 0 is membrane.
        true: Number of the true cell of each pixel (H, W); 0 is membrane, and does not count. There must be a cell.
    """
    shares = overlaps(predicted, true)
    single = shares.single / shares.pixels
    both, s, t = (float((each**2).sum()) for each in (shares.both, shares.predicted, shares.true))
    return 2 * (both + single) / (s + single + t)


def v_info(predicted: Labels, true: Labels) -> float:
    """Compute the foreground-restricted information score, in [0, 1].

        V_info = I(S; T) / (H(S) / 2 + H(T) / 2)

    where S and T are the predicted and the true cell of a random pixel of a true cell, I is their mutual information
    and H the entropy. 1 if there is one cell, and it is predicted.

    Args:
        predicted: Number of the predicted cell of each pixel (H, W); 0 is membrane.
        true: Number of the true cell of each pixel (H, W); 0 is membrane, and does not count. There must be a cell.
    """
    shares = overlaps(predicted, true)
    single = shares.single * np.log(shares.pixels)
    both, s, t = (-float((each * np.log(each)).sum()) for each in (shares.both, shares.predicted, shares.true))
    joint, s = both + single, s + single
    return 2 * (s + t - joint) / (s + t) if s + t > 0 else 1.0


def overlaps(predicted: Labels, true: Labels) -> Shares:
    """Count which predicted cells overlap which true cells."""
    in_cell = true > 0
    s, t = predicted[in_cell].astype(np.int64), true[in_cell].astype(np.int64)
    both = np.unique((s * (t.max() + 1) + t)[s > 0], return_counts=True)[1]
    of_true, of_predicted = (pixels[pixels > 0] for pixels in (np.bincount(t), np.bincount(s[s > 0])))
    return Shares(both / len(t), of_true / len(t), of_predicted / len(t), float((s == 0).mean()), len(t))


def cells_of(mask: Mask) -> Labels:
    """Number the cells of a mask (H, W): its 4-connected parts; 0 is membrane."""
    return np.asarray(cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[1], np.int32)


def thinned_cells_of(mask: Mask) -> Labels:
    """Number the cells of a mask (H, W), grown until only membranes of one pixel are left between them.

    The challenge does this to predictions by a watershed of the mask, so that thick membranes cost nothing. Here each
    membrane pixel goes to its nearest cell.
    """
    cells = cells_of(mask)
    if not mask.any():
        return cells
    _, nearest = cv2.distanceTransformWithLabels(
        (~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    cell_of_pixel = np.zeros(nearest.max() + 1, np.int32)
    cell_of_pixel[nearest[mask]] = cells[mask]
    grown = cell_of_pixel[nearest]
    is_line = np.zeros_like(mask)
    for line, cell, label in ((is_line, mask, grown), (is_line.T, mask.T, grown.T)):  # rows, then columns
        differs = label[1:] != label[:-1]
        line[:-1] |= differs
        line[1:] |= differs & cell[:-1]
    return np.asarray(np.where(is_line & ~mask, 0, grown), np.int32)


def v_rand_of_masks(prediction: Mask, truth: Mask, valid: Mask) -> float:
    """Compute `v_rand` of the cells of two masks (H, W), in [0, 1], as the challenge does; see `_of_masks`."""
    return _of_masks(v_rand, prediction, truth, valid)


def v_info_of_masks(prediction: Mask, truth: Mask, valid: Mask) -> float:
    """Compute `v_info` of the cells of two masks (H, W), in [0, 1], as the challenge does; see `_of_masks`."""
    return _of_masks(v_info, prediction, truth, valid)


def _of_masks(
    score: Callable[[Labels, Labels], float], prediction: Mask, truth: Mask, valid: Mask, thinned: bool = True
) -> float:
    """Score the cells of a predicted mask, whose membranes are thinned first unless `thinned` is false.

    Pixels that are not valid count neither as true cells nor as predicted ones. Without a true cell, 1 if no cell is
    predicted, else 0.
    """
    true = cells_of(truth & valid)
    if not true.any():
        return float(not (prediction & valid).any())
    return score(thinned_cells_of(prediction) if thinned else cells_of(prediction), true)


class VRand(MaskScore):
    """The foreground-restricted Rand score of each image, whose cells are class 1.

    Args:
        thinned: Whether predicted membranes are thinned to one pixel first, as in the challenge.
    """

    def __init__(self, thinned: bool = True) -> None:
        super().__init__(partial(_of_masks, v_rand, thinned=thinned))


class VInfo(MaskScore):
    """The foreground-restricted information score of each image, whose cells are class 1.

    Args:
        thinned: Whether predicted membranes are thinned to one pixel first, as in the challenge.
    """

    def __init__(self, thinned: bool = True) -> None:
        super().__init__(partial(_of_masks, v_info, thinned=thinned))
