"""Show volumes as pictures: the three orthogonal slices through one voxel, side by side in one array.

All functions that draw images and masks then work on volumes, too.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

GAP = 2  # voxels between the slices
VOID = 255  # mask value between the slices, which is not drawn


class Place(NamedTuple):
    """The slices of a volume that are shown.

    Attributes:
        voxel: The voxel (z, y, x) that all three slices hold.
        depth: Pixels that the axis D is drawn with, so that lengths are right.
    """

    voxel: tuple[int, int, int]
    depth: int


def place_of(mask: NDArray[np.uint8], spacing: Sequence[float] | None = None) -> Place:
    """Choose the slices with most foreground, along each axis; the middle ones if there is none.

    Args:
        mask: Class indices (D, H, W).
        spacing: Distance of neighbouring voxels along (D, H, W); None if they are the same.
    """
    inside = (mask > 0) & (mask < VOID)
    counts = [inside.sum(axes) for axes in ((1, 2), (0, 2), (0, 1))]
    z, y, x = (int(count.argmax()) if count.any() else len(count) // 2 for count in counts)
    stretch = 1.0 if spacing is None else spacing[0] / spacing[2]
    return Place((z, y, x), max(round(mask.shape[0] * stretch), 1))


def three_slices(volume: NDArray[Any], place: Place, blank: int = 0) -> NDArray[Any]:
    """Return the slices through a voxel as one picture.

    Above stands the slice (H, W), beside it (H, D), below it (D, W) with the last slice on top.

    Args:
        volume: (D, H, W) or (D, H, W, C).
        place: The slices.
        blank: Value between the slices.

    Returns:
        (H + GAP + D', W + GAP + D') or (..., C), where D' is `place.depth`.
    """
    depth, height, width = volume.shape[:3]
    z, y, x = place.voxel
    stretched = np.arange(place.depth) * depth // place.depth
    picture = np.full((height + GAP + place.depth, width + GAP + place.depth, *volume.shape[3:]), blank, volume.dtype)
    picture[:height, :width] = volume[z]
    picture[:height, width + GAP :] = volume[stretched, :, x].swapaxes(0, 1)
    picture[height + GAP :, :width] = volume[stretched[::-1], y]
    return picture


def flat_image(image: NDArray[np.uint8], place: Place | None) -> NDArray[np.uint8]:
    """Return an image (H, W, C) as it is, and of a volume (D, H, W, C) its three slices."""
    return image if place is None else three_slices(image, place)


def flat_mask(mask: NDArray[np.uint8], place: Place | None) -> NDArray[np.uint8]:
    """Return a mask (H, W) as it is, and of a volume's mask (D, H, W) its three slices."""
    return mask if place is None else three_slices(mask, place, VOID)


def flat_probability(
    probability: NDArray[np.float32], place: Place | None, is_binary: bool = True
) -> NDArray[np.float32]:
    """Return probabilities (H, W) or (C, H, W) as they are, and of those of a volume their three slices."""
    if place is None:
        return probability
    if is_binary:
        return three_slices(probability, place)
    return np.stack([three_slices(of_class, place) for of_class in probability])
