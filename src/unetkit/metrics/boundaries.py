"""Scores of outlines, for one image and one class: the distance between them, and their overlap."""

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

SQUARE = np.ones((3, 3), np.uint8)
CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


def hausdorff95(prediction: Mask, target: Mask, valid: Mask | None = None) -> float:
    """Compute the 95 % Hausdorff distance in pixels, at least 0; lower is better.

    The larger of the two directed 95th percentiles of the distances between the outlines: Huttenlocher et al. 1993,
    *Comparing Images Using the Hausdorff Distance*, with a percentile instead of the maximum, which is robust to
    outliers, as in MONAI. 0 if both masks are empty; the diagonal of the image, the largest possible distance, if only
    one is.

    Args:
        prediction: Predicted pixels of the class, booleans (H, W).
        target: True pixels of the class, booleans (H, W).
        valid: Valid pixels, booleans (H, W); None for all. The border of an invalid region is no outline.
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
    """Compute the boundary IoU, in [0, 1]: intersection over union of the bands inside both outlines.

    Cheng et al. 2021, *Boundary IoU: Improving Object-Centric Image Segmentation Evaluation*, arXiv 2103.16562. 1 if
    both masks are empty, 0 if only one is.

    Args:
        prediction: Predicted pixels of the class, booleans (H, W).
        target: True pixels of the class, booleans (H, W).
        valid: Valid pixels, booleans (H, W); None for all. The border of an invalid region is no outline.
        dilation_ratio: Width of the bands as a share of the image's diagonal; the width is at least 1 pixel.
    """
    valid = np.ones_like(target) if valid is None else valid
    width = max(round(dilation_ratio * float(np.hypot(*target.shape))), 1)
    one, other = (outline(mask & valid, valid, SQUARE, width) for mask in (prediction, target))
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0


def outline(mask: Mask, valid: Mask, kernel: NDArray[np.uint8], width: int = 1) -> Mask:
    """Return the pixels of a mask within `width` steps of its outside, which includes what is outside the image.

    The steps are those of the kernel. A mask that only ends at invalid regions has no outline; then the mask itself is
    returned.
    """
    solid = (mask | ~valid).astype(np.uint8)
    inner = cv2.erode(solid, kernel, iterations=width, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    band: Mask = mask & (inner == 0)
    return band if band.any() else mask


def _distance_to(places: Mask) -> NDArray[np.float32]:
    """Compute the Euclidean distance in pixels (H, W) to the nearest true pixel."""
    distance = cv2.distanceTransform((~places).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance, np.float32)
