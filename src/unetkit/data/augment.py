"""Augment image and mask together with albumentations, which no other module imports."""

import os
from collections.abc import Mapping
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else importing it sends a request to its server

import albumentations as A
import cv2
import numpy as np

from unetkit.data.elastic import interpolated_rms
from unetkit.data.types import Image, derived_seed
from unetkit.errors import UserError, check


class Augmentation:
    """Transforms of albumentations, whose random numbers depend on (seed, epoch, index) of an image alone.

    So a run is the same for any number of workers, and a resumed run draws what it would have drawn without a break.

    Args:
        transforms: Transforms by name, applied in order.
        seed: Seed of the random numbers.

    Raises:
        UserError: If a value is not a transform.
    """

    def __init__(self, transforms: Mapping[str, A.BasicTransform], seed: int) -> None:
        for name, transform in transforms.items():
            is_one = isinstance(transform, A.BasicTransform | A.BaseCompose)
            check(f"augment.transforms.{name}", transform, is_one, "a transform; its _target_ names the class")
        self.seed = seed
        self.compose = A.Compose(list(transforms.values())) if transforms else None

    def __call__(self, image: Image, mask: Image, epoch: int, index: int) -> tuple[Image, Image]:
        """Augment an image (H, W, C) uint8 and its mask (H, W) or (H, W, K) of class indices.

        Raises:
            UserError: If a transform changes the dtype or the dimensions, as one that normalises does.
        """
        if self.compose is None:
            return image, mask
        self.compose.set_random_seed(derived_seed(self.seed, epoch, index))
        augmented = self.compose(image=np.ascontiguousarray(image), mask=np.ascontiguousarray(mask))
        changed, labels = augmented["image"], augmented["mask"]
        if changed.dtype != np.uint8 or changed.ndim != image.ndim or changed.shape[:2] != labels.shape[:2]:
            made = f"{changed.dtype} of shape {tuple(changed.shape)}"
            problem = f"turn an image, uint8 of shape {image.shape}, into {made}"
            fix = "leave out what normalises or makes tensors: both are done later"
            raise UserError("augment.transforms", problem, fix)
        return changed, labels


class GridElastic(A.DualTransform):  # type: ignore[misc]
    """The U-Net paper's elastic deformation, with its strength in pixels.

    Random displacement vectors on a coarse grid, interpolated bicubically to every pixel (Ronneberger et al. 2015,
    section 3.1: a 3x3 grid of N(0, 10 px) for 512 px). Borders are mirrored, masks take the nearest class.

    Args:
        displacement_px: Root mean square of the displacement along each axis, over the pixels, in pixels.
        grid: Grid points along each axis.
        p: Probability of the deformation.

    Raises:
        UserError: If a number is out of range.
    """

    def __init__(self, displacement_px: float = 3.0, grid: int = 4, p: float = 1.0) -> None:
        super().__init__(p=p)
        is_distance = isinstance(displacement_px, int | float) and displacement_px >= 0
        check("displacement_px", displacement_px, is_distance, "a number of pixels, at least 0")
        check("grid", grid, isinstance(grid, int) and grid >= 1, "a whole number of points, at least 1")
        self.displacement_px = displacement_px
        self.grid = grid

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draw the maps (H, W) of the column and the row that each pixel is taken from."""
        height, width = params["shape"][:2]
        dy, dx = self.random_generator.standard_normal((2, self.grid, self.grid), np.float32)
        rows = np.arange(height, dtype=np.float32)[:, None]
        columns = np.arange(width, dtype=np.float32)
        scale = self.displacement_px / interpolated_rms(self.grid, height, width)
        return {
            "map_y": rows + scale * cv2.resize(dy, (width, height), interpolation=cv2.INTER_CUBIC),
            "map_x": columns + scale * cv2.resize(dx, (width, height), interpolation=cv2.INTER_CUBIC),
        }

    def apply(self, img: Image, map_x: Any, map_y: Any, **params: Any) -> Image:
        """Deform an image (H, W, C)."""
        moved = cv2.remap(img, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        return moved.reshape(img.shape).astype(np.uint8)

    def apply_to_mask(self, mask: Image, map_x: Any, map_y: Any, **params: Any) -> Image:
        """Deform a mask (H, W) or (H, W, K)."""
        moved = cv2.remap(mask, map_x, map_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101)
        return moved.astype(np.uint8)
