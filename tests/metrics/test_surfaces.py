"""Scores of surfaces of volumes, with the spacing of their voxels."""

import numpy as np
import pytest
from conftest import Array
from volume_files import SPACING, ellipsoid

from unetkit.errors import UserError
from unetkit.evaluation.registry import BY_NAME
from unetkit.metrics import boundary_iou, hausdorff95, surface_dice

SIZE = (6, 7, 8)


def voxel(*places: tuple[int, int, int]) -> Array:
    mask = np.zeros(SIZE, np.bool_)
    for place in places:
        mask[place] = True
    return mask


def test_distances_are_in_mm() -> None:
    here = voxel((1, 2, 3))
    assert hausdorff95(here, voxel((3, 2, 3)), spacing=(3.0, 1.0, 0.5)) == 6  # two slices of 3 mm
    assert hausdorff95(here, voxel((1, 2, 7)), spacing=(3.0, 1.0, 0.5)) == 2  # four voxels of 0.5 mm
    assert hausdorff95(here, voxel((1, 5, 7))) == 5  # 3 and 4 voxels
    assert surface_dice(here, voxel((2, 2, 3)), spacing=(3.0, 1.0, 0.5)) == 1  # one slice is the longest side
    assert surface_dice(here, voxel((3, 2, 3)), spacing=(3.0, 1.0, 0.5)) == 0
    # Of 1 and 2 surface voxels, the one at (1, 2, 3) is shared, and the other lies 4 voxels away.
    assert surface_dice(here, voxel((1, 2, 3), (5, 2, 3))) == pytest.approx(2 / 3)


def test_empty_masks_score_as_those_of_images() -> None:
    none, some = voxel(), voxel((1, 1, 1))
    assert (hausdorff95(none, none), surface_dice(none, none), boundary_iou(none, none)) == (0, 1, 1)
    assert (surface_dice(none, some), boundary_iou(some, none)) == (0, 0)
    diagonal = np.sqrt((6 * 3) ** 2 + 7**2 + 4**2)
    assert hausdorff95(none, some, spacing=(3.0, 1.0, 0.5)) == pytest.approx(diagonal)


def surface(mask: Array) -> Array:
    """Return the places (N, 3) in mm of the voxels with a neighbour outside, found one by one."""
    padded = np.pad(mask, 1)
    inside = [
        padded[z + 1 + d, y + 1 + e, x + 1 + f]
        for z, y, x in np.argwhere(mask)
        for d, e, f in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))
    ]
    is_outer = ~np.array(inside).reshape(-1, 6).all(1)
    return np.argwhere(mask)[is_outer] * SPACING


def test_the_scores_are_those_of_all_distances_between_both_surfaces() -> None:
    one, other = (ellipsoid(seed, (12, 16, 16))[1] > 0 for seed in (1, 2))
    gaps = np.linalg.norm(surface(one)[:, None] - surface(other)[None], axis=2)
    there, back = gaps.min(1), gaps.min(0)
    wanted = max(np.percentile(there, 95), np.percentile(back, 95))
    assert hausdorff95(one, other, spacing=SPACING) == pytest.approx(wanted, rel=1e-5)
    near = (there <= 2.5).sum() + (back <= 2.5).sum()
    assert surface_dice(one, other, spacing=SPACING) == pytest.approx(near / (len(there) + len(back)))


def test_scores_of_images_refuse_volumes() -> None:
    mask = voxel((1, 1, 1))
    with pytest.raises(UserError, match=r"metrics.extra=v_rand is a score of images, but the data are volumes"):
        BY_NAME["v_rand"].of_masks(mask, mask, mask)
