"""Scores of outlines: how far they lie apart, and how well they overlap. One image and one class at a time."""

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

SQUARE = np.ones((3, 3), np.uint8)
CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


def hausdorff95(prediction: Mask, target: Mask, valid: Mask | None = None) -> float:
    """Distance in pixels below which 95 % of each outline lies from the other one; lower is better.

    The larger of the two directed 95th percentiles (Huttenlocher et al., *Comparing Images Using the Hausdorff
    Distance*, 1993, with a percentile against outliers, as in MONAI). Where both masks (H, W) are empty it is 0, where
    one is, the image's diagonal: the largest distance that could be.

    Args:
        prediction: Where the class is predicted.
        target: Where it is.
        valid: What counts; None for all. The edge of what does not is no outline.
    """
    valid = np.ones_like(target) if valid is None else valid
    prediction, target = prediction & valid, target & valid
    if not (prediction.any() and target.any()):
        return 0.0 if prediction.any() == target.any() else float(np.hypot(*target.shape))
    one, other = outline(prediction, valid, CROSS), outline(target, valid, CROSS)
    there = np.percentile(_distance_to(other)[one], 95)
    back = np.percentile(_distance_to(one)[other], 95)
    return float(max(there, back))


def boundary_iou(prediction: Mask, target: Mask, valid: Mask | None = None, dilation_ratio: float = 0.02) -> float:
    """Intersection over union of the bands within a distance of the outlines, in [0, 1].

    Cheng et al., *Boundary IoU: Improving Object-Centric Image Segmentation Evaluation*, CVPR 2021. Empty masks as in
    `unetkit.metrics.counts`.

    Args:
        prediction: Where the class is predicted, (H, W).
        target: Where it is.
        valid: What counts; None for all. The edge of what does not is no outline.
        dilation_ratio: Width of the band as a share of the image's diagonal; at least a pixel.
    """
    valid = np.ones_like(target) if valid is None else valid
    width = max(round(dilation_ratio * float(np.hypot(*target.shape))), 1)
    one, other = (outline(mask & valid, valid, SQUARE, width) for mask in (prediction, target))
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0


def outline(mask: Mask, valid: Mask, kernel: NDArray[np.uint8], width: int = 1) -> Mask:
    """The mask's pixels within `width` steps of what is not in it, the world outside the image included.

    A mask that ends only where nothing counts has no outline; it then stands for itself.
    """
    solid = (mask | ~valid).astype(np.uint8)
    inner = cv2.erode(solid, kernel, iterations=width, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    band: Mask = mask & (inner == 0)
    return band if band.any() else mask


def _distance_to(places: Mask) -> NDArray[np.float32]:
    distance = cv2.distanceTransform((~places).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance, np.float32)
