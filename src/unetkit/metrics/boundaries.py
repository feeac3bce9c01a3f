"""Scores of outlines, for one image and one class: the distance between them, and their overlap.

The outline of a volume is its surface: the voxels of a mask that touch its outside. Distances then are in mm.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

SQUARE = np.ones((3, 3), np.uint8)
CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


def hausdorff95(
    prediction: Mask, target: Mask, valid: Mask | None = None, spacing: Sequence[float] | None = None
) -> float:
    """Compute the 95 % Hausdorff distance in pixels, or in mm for volumes, at least 0; lower is better.

    The larger of the two directed 95th percentiles of the distances between the outlines: Huttenlocher et al. 1993,
    *Comparing Images Using the Hausdorff Distance*, with a percentile instead of the maximum, which is robust to
    outliers, as in MONAI. 0 if both masks are empty; the diagonal of the image, the largest possible distance, if only
    one is.

    Args:
        prediction: Predicted pixels of the class, booleans (H, W) or (D, H, W).
        target: True pixels of the class, likewise.
        valid: Valid pixels, likewise; None for all. The border of an invalid region is no outline.
        spacing: Distance of neighbouring voxels along (D, H, W), in mm; None for 1.
    """
    valid = np.ones_like(target) if valid is None else valid
    prediction, target = prediction & valid, target & valid
    if not (prediction.any() and target.any()):
        diagonal = float(np.linalg.norm(np.array(target.shape) * (spacing or 1)))
        return 0.0 if prediction.any() == target.any() else diagonal
    there, back = _distances(prediction, target, valid, spacing)
    return float(max(np.percentile(there, 95), np.percentile(back, 95)))


def surface_dice(
    prediction: Mask, target: Mask, valid: Mask | None = None, spacing: Sequence[float] | None = None
) -> float:
    """Compute the share of both outlines that lies within the longest side of a voxel of the other, in [0, 1].

    The normalised surface distance of Nikolov et al. 2018, arXiv 1809.04430, with voxels of the surface counted instead
    of its area. 1 if both masks are empty, 0 if only one is.

    Args:
        prediction: Predicted pixels of the class, booleans (H, W) or (D, H, W).
        target: True pixels of the class, likewise.
        valid: Valid pixels, likewise; None for all. The border of an invalid region is no outline.
        spacing: Distance of neighbouring voxels along (D, H, W), in mm, of which the largest is the tolerance; None
            for 1.
    """
    valid = np.ones_like(target) if valid is None else valid
    prediction, target = prediction & valid, target & valid
    if not (prediction.any() and target.any()):
        return float(prediction.any() == target.any())
    distances = np.concatenate(_distances(prediction, target, valid, spacing))
    return float((distances <= max(spacing or (1.0,)) * (1 + 1e-6)).mean())  # of float32


def _distances(
    prediction: Mask, target: Mask, valid: Mask, spacing: Sequence[float] | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the distances from each place of the predicted outline to the true one, and back."""
    one, other = outline(prediction, valid, CROSS), outline(target, valid, CROSS)
    return _distance_to(other, spacing)[one], _distance_to(one, spacing)[other]


def boundary_iou(
    prediction: Mask,
    target: Mask,
    valid: Mask | None = None,
    spacing: Sequence[float] | None = None,
    dilation_ratio: float = 0.02,
) -> float:
    """Compute the boundary IoU, in [0, 1]: intersection over union of the bands inside both outlines.

    Cheng et al. 2021, *Boundary IoU: Improving Object-Centric Image Segmentation Evaluation*, arXiv 2103.16562. 1 if
    both masks are empty, 0 if only one is.

    Args:
        prediction: Predicted pixels of the class, booleans (H, W) or (D, H, W).
        target: True pixels of the class, likewise.
        valid: Valid pixels, likewise; None for all. The border of an invalid region is no outline.
        spacing: Not used: the width is a number of pixels, or voxels.
        dilation_ratio: Width of the bands as a share of the image's diagonal; the width is at least 1 pixel.
    """
    valid = np.ones_like(target) if valid is None else valid
    width = max(round(dilation_ratio * float(np.linalg.norm(target.shape))), 1)
    one, other = (outline(mask & valid, valid, SQUARE, width) for mask in (prediction, target))
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0


def outline(mask: Mask, valid: Mask, kernel: NDArray[np.uint8], width: int = 1) -> Mask:
    """Return the pixels of a mask within `width` steps of its outside, which includes what is outside the image.

    The steps are those of the kernel. A mask that only ends at invalid regions has no outline; then the mask itself is
    returned.
    """
    solid = mask | ~valid
    if mask.ndim == 2:
        inner = cv2.erode(
            solid.astype(np.uint8), kernel, iterations=width, borderType=cv2.BORDER_CONSTANT, borderValue=0
        )
    else:
        from scipy.ndimage import binary_erosion, generate_binary_structure  # here, because SciPy takes long to import

        neighbours = generate_binary_structure(mask.ndim, mask.ndim if kernel.all() else 1)
        inner = binary_erosion(solid, neighbours, iterations=width)
    band: Mask = mask & (inner == 0)
    return band if band.any() else mask


def _distance_to(places: Mask, spacing: Sequence[float] | None) -> NDArray[np.float32]:
    """Compute the Euclidean distance to the nearest true pixel (H, W) in pixels, or voxel (D, H, W) in mm."""
    if places.ndim > 2:
        from scipy.ndimage import distance_transform_edt

        return np.asarray(distance_transform_edt(~places, sampling=spacing), np.float32)
    distance = cv2.distanceTransform((~places).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance, np.float32)
