"""Split predicted foreground into single objects by the watershed of `scikit-image`."""

from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from unetkit.data.types import VOID
from unetkit.errors import UserError

LEAST_DISTANCE = 3  # pixels between the middles of two objects, where only the foreground is predicted
SMOOTHING = 1.0  # sigma in pixels of the distance to the background, so that rough outlines split no object

Numbers = NDArray[np.int32]


def can_split() -> bool:
    """Return whether scikit-image is installed."""
    return find_spec("skimage") is not None


def check_can_split(subject: str) -> None:
    """Check that scikit-image is installed.

    Raises:
        UserError: If it is not.
    """
    if not can_split():
        raise UserError(subject, "needs scikit-image", 'pip install "unetkit[instances]"')


def split_objects(mask: NDArray[np.uint8]) -> Numbers:
    """Number the objects (H, W) of a predicted mask; 0 is background.

    With a class 2, the boundary, each connected part of class 1 is the seed of an object, which grows over the
    boundary. Otherwise the seeds are the peaks of the distance to the background: Beucher & Lantuejoul 1979, *Use of
    Watersheds in Contour Detection*.

    Args:
        mask: Class indices (H, W); 1 is an object, 2 its boundary.

    Raises:
        UserError: If scikit-image is not installed.
    """
    check_can_split("instances=true")
    from skimage.segmentation import watershed

    foreground = (mask > 0) & (mask != VOID)
    distance = cv2.GaussianBlur(_distance(foreground), (0, 0), SMOOTHING) * foreground
    seeds = _parts(mask == 1) if (mask == 2).any() else _peaks(distance, foreground)
    seeds = _with_all_parts(seeds, distance, foreground)
    return np.asarray(watershed(-distance, seeds, mask=foreground), np.int32)  # type: ignore[no-untyped-call]


def _distance(foreground: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Compute the distance in pixels (H, W) of each pixel to the background; the image's border is none."""
    if foreground.all():
        return np.ones(foreground.shape, np.float32)
    return np.asarray(cv2.distanceTransform(foreground.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE))


def _parts(mask: NDArray[np.bool_]) -> Numbers:
    """Number the 4-connected parts of a mask (H, W)."""
    return np.asarray(cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[1], np.int32)


def _peaks(distance: NDArray[Any], foreground: NDArray[np.bool_]) -> Numbers:
    """Number the peaks of the distance to the background."""
    from skimage.feature import peak_local_max

    labels = _parts(foreground)
    places = peak_local_max(  # type: ignore[no-untyped-call]
        distance, min_distance=LEAST_DISTANCE, labels=labels, exclude_border=False
    )
    seeds = np.zeros(distance.shape, np.int32)
    seeds[tuple(places.T)] = np.arange(1, len(places) + 1)
    return seeds


def _with_all_parts(seeds: Numbers, distance: NDArray[Any], foreground: NDArray[np.bool_]) -> Numbers:
    """Add a seed in each connected part of the foreground that has none, as where the distance has no peak."""
    parts = _parts(foreground)
    for part in np.setdiff1d(parts, [0, *parts[seeds > 0].tolist()]):
        place = np.where(parts == part, distance, -1).argmax()
        seeds.flat[place] = seeds.max() + 1
    return seeds
