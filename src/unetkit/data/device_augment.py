"""Random changes of a whole batch in torch, on its device: flip, affine and elastic in one resampling."""

from collections.abc import Sequence
from functools import lru_cache
from math import radians
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unetkit.data.counter_random import normal, random_bits, uniform
from unetkit.data.elastic import cubic_basis, interpolated_rms
from unetkit.data.types import Batch, Image
from unetkit.errors import check

CHUNK = 2**19  # pixels that a CPU changes at once: allocating memory for more costs more time than the work
UNIFORMS = 11  # uniform numbers for a pair: 4 for probabilities, then 7 for amounts
FLIPS = 2  # more of them for a volume, which is flipped along three axes


class AugmentParams(NamedTuple):
    """How each pair of a batch is to be changed.

    Attributes:
        coefficients: C (B, 2, grid + 2, grid + 2), for x and for y. The pixel at (row, column) is taken from the place
            sum_kl C_kl b_k(row) b_l(column), where b are the functions of `basis`. For volumes (B, 3, grid + 2,
            grid + 2, grid + 2), for x, y and z, with a third function, of the slice.
        intensity: Contrast and brightness (B, 2).
    """

    coefficients: Tensor
    intensity: Tensor


class DeviceAugmentation:
    """Flip, zoom, shift, rotation, elastic deformation, brightness and contrast of a batch on a CPU or a GPU.

    The place that a pixel is taken from is a sum of products, each of a function of the pixel's row and a function of
    its column. This holds for the U-Net paper's deformation (a coarse grid of random vectors, bicubic in between:
    Ronneberger et al. 2015, section 3.1) and for affine maps. So a few coefficients for each pair, drawn on the
    device from (seed, epoch, index) alone, give all places in two matrix products, and the batch is resampled once.
    Borders are mirrored; masks take the nearest class. Nothing here waits for the device.

    Volumes are flipped along each of their axes and deformed in three dimensions, in proportion to the voxels along
    each; zoom, shift and rotation leave a voxel in its slice.

    Args:
        seed: Seed of the random numbers.
        flip: Probability of a horizontal flip; of volumes, of a flip along each axis.
        displacement_px: Root mean square of the elastic displacement along each axis, over the pixels, in pixels; of
            volumes, in per cent of the side.
        grid: Points of the coarse grid along each axis.
        elastic_p: Probability of the deformation.
        zoom: Least and largest magnification, drawn for each axis.
        shift: Largest shift along each axis, as a share of its length.
        rotate: Largest angle, in degrees.
        affine_p: Probability of zoom, shift and rotation.
        brightness: Largest change, as a share of 255.
        contrast: Largest relative change.
        intensity_p: Probability of brightness and contrast.
        interpolation: Interpolation of images: `bilinear` or `bicubic`.

    Raises:
        UserError: If an argument is out of range.
    """

    def __init__(
        self,
        seed: int,
        *,
        flip: float = 0.5,
        displacement_px: float = 3.0,
        grid: int = 4,
        elastic_p: float = 0.8,
        zoom: Sequence[float] = (1.0, 1.0),
        shift: float = 0.0,
        rotate: float = 0.0,
        affine_p: float = 0.0,
        brightness: float = 0.0,
        contrast: float = 0.0,
        intensity_p: float = 0.0,
        interpolation: str = "bilinear",
    ) -> None:
        chances = {"flip": flip, "elastic_p": elastic_p, "affine_p": affine_p, "intensity_p": intensity_p}
        for name, value in chances.items():
            check(f"augment.{name}", value, 0 <= value <= 1, "a probability, from 0 to 1")
        amounts = {"displacement_px": displacement_px, "shift": shift, "brightness": brightness, "contrast": contrast}
        for name, value in {**amounts, "rotate": rotate}.items():
            check(f"augment.{name}", value, value >= 0, "at least 0")
        check("augment.grid", grid, isinstance(grid, int) and grid >= 2, "a whole number of at least 2")
        check("augment.zoom", zoom, len(zoom) == 2 and 0 < zoom[0] <= zoom[1], "two rising numbers above 0")
        check("augment.interpolation", interpolation, interpolation in ("bilinear", "bicubic"), "bilinear or bicubic")
        self.seed = seed
        self.chances = chances
        self.amounts = amounts
        self.grid = grid
        self.zoom = zoom
        self.rotate = rotate
        self.interpolation = interpolation

    def __call__(self, image: Image, mask: Image, epoch: int, index: int) -> tuple[Image, Image]:
        """Change a single pair as in a batch: an image (H, W, C) uint8 and its mask (H, W) or (H, W, K).

        A volume is (D, H, W, C), and its mask (D, H, W).
        """
        params = self.sample_params(epoch, torch.tensor([index]), *image.shape[:-1])
        channels = mask if mask.ndim == image.ndim else mask[..., None]
        pixels, classes = (torch.from_numpy(np.array(x))[None] for x in (image, channels))
        moved, classes = self.warp(pixels.movedim(-1, 1), classes.movedim(-1, 1), params)
        new_image, new_mask = (x[0].movedim(0, -1).numpy() for x in (moved, classes))
        return new_image, new_mask.reshape(mask.shape)

    def apply(self, batch: Batch, params: AugmentParams) -> Batch:
        """Change the images, masks and weights of a batch that is on the device of `params`."""
        image, mask = self.warp(batch["image"], batch["mask"][:, None], params)
        changed: Batch = {**batch, "image": image, "mask": mask[:, 0]}
        if "weight" in batch:
            places = self._places(mask, params.coefficients)
            changed["weight"] = resample(batch["weight"][:, None], places, "nearest")[:, 0]
        return changed

    def sample_params(self, epoch: int | Tensor, indices: Tensor, *size: int) -> AugmentParams:
        """Draw how pairs are changed, on the device of their indices.

        Args:
            epoch: The epoch, or a scalar int64 tensor that holds it.
            indices: Indices (B,) int64 of the pairs.
            *size: Height and width of the images, or depth, height and width of volumes, in pixels.
        """
        axes, (height, width) = len(size), size[-2:]
        count = axes * self.grid**axes
        bits = random_bits(self.seed, epoch, indices, count + UNIFORMS + FLIPS * (axes == 3))
        numbers = uniform(bits[:, count:])
        is_flipped, is_bent, is_moved, is_shaded = (
            number < p for number, p in zip(numbers.unbind(1), self.chances.values(), strict=False)
        )
        amount = 2 * numbers[:, len(self.chances) :] - 1  # in [-1, 1)

        per_pixel = [2 / max(side - 1, 1) for side in reversed(size)]  # coordinates of grid_sample: from -1 to 1
        rms = self.amounts["displacement_px"] / interpolated_rms(self.grid, *size)
        strength = (is_bent * rms).view(-1, *[1] * (axes + 1))
        bending = normal(bits[:, :count]).view(-1, axes, *[self.grid] * axes) * strength
        coefficients = F.pad(bending, (0, 2) * axes)  # room for the affine map
        for axis, scale, side in zip(coefficients.unbind(1), per_pixel, reversed(size), strict=True):
            axis.mul_(scale if axes == 2 else scale * side / 100)
        g, in_plane = self.grid, self._affine(amount, is_moved, height, width, per_pixel)
        if axes == 2:
            coefficients[:, :, g:, g:] = in_plane
            coefficients[:, 0].mul_((1 - 2 * is_flipped.float())[:, None, None])
        else:
            coefficients[:, :2, g, g:, g:] = in_plane  # the same in each slice
            coefficients[:, 2, g + 1, g, g] = 1  # z stays
            flips = torch.cat([is_flipped[:, None], (amount[:, -FLIPS:] + 1) / 2 < self.chances["flip"]], 1)
            coefficients.mul_((1 - 2 * flips.float())[:, :, None, None, None])

        intensity = amount[:, 5:7] * is_shaded[:, None]
        contrast, brightness = intensity.unbind(1)
        contrast.mul_(self.amounts["contrast"]).add_(1)
        brightness.mul_(self.amounts["brightness"] * 255)
        return AugmentParams(coefficients, intensity)

    def _affine(self, amount: Tensor, is_moved: Tensor, height: int, width: int, per_pixel: Sequence[float]) -> Tensor:
        """Return zoom, shift and rotation by amounts (B, 7) in [-1, 1), where `is_moved` (B,).

        Returns:
            Coefficients (B, 2, 2, 2), or (2, 2, 2) if they are the same for all pairs: for x and y, of the row's
            constant 1 and position, of the column's.
        """
        if self.chances["affine_p"] == 0:  # the identity, in fewer operations
            identity = amount.new_zeros(2, 2, 2)
            identity[0, 0, 1] = identity[1, 1, 0] = 1
            return identity
        least, most = self.zoom
        zoom = (least + (most - least) / 2 * (amount[:, :2] + 1)).where(is_moved[:, None], 1)
        angle = (amount[:, 4] * (is_moved * radians(self.rotate)))[:, None]
        aspect = per_pixel[0] / per_pixel[1]
        along, (across_x, across_y) = angle.cos() / zoom, (angle.sin() / zoom).unbind(1)
        shift = amount[:, 2:4] * (is_moved * self.amounts["shift"])[:, None]
        shift_x, shift_y = shift[:, 0] * (width * per_pixel[0]), shift[:, 1] * (height * per_pixel[1])
        zero = torch.zeros_like(shift_x)
        x, y = along.unbind(1)
        parts = [shift_x, x, across_x * -aspect, zero, shift_y, across_y / aspect, y, zero]
        return torch.stack(parts, 1).view(-1, 2, 2, 2)

    def warp(self, image: Tensor, mask: Tensor, params: AugmentParams) -> tuple[Tensor, Tensor]:
        """Change images (B, C, H, W) and masks (B, K, H, W), both uint8; or volumes."""
        at_a_time = len(mask) if mask.is_cuda else max(CHUNK // mask[0, 0].numel(), 1)
        columns = (torch.split(x, at_a_time) for x in (image, mask, *params))
        images, masks = zip(*(self._warp(*part) for part in zip(*columns, strict=True)), strict=True)
        return torch.cat(images), torch.cat(masks)

    def _warp(self, image: Tensor, mask: Tensor, coefficients: Tensor, intensity: Tensor) -> tuple[Tensor, Tensor]:
        places = self._places(mask, coefficients)
        pixels = resample(image, places, self.interpolation)
        if self.chances["intensity_p"]:
            contrast, brightness = (column.view(-1, *[1] * (image.ndim - 1)) for column in intensity.unbind(1))
            pixels = pixels.mul_(contrast).add_(brightness)
        moved = resample(mask, places, "nearest")
        if self.chances["intensity_p"] or self.interpolation == "bicubic":  # else no value is out of range
            pixels = pixels.clamp_(0, 255)
        return pixels.round_().to(torch.uint8), moved.to(torch.uint8)

    def _places(self, image: Tensor, coefficients: Tensor) -> Tensor:
        """Return the place (B, H, W, 2) that each pixel is taken from, from -1 to 1; of voxels (B, D, H, W, 3)."""
        *slices, rows, columns = (basis(self.grid, size, image.device) for size in image.shape[2:])
        places = rows @ coefficients @ columns.T
        for of_slice in slices:
            places = torch.einsum("dk,bakhw->badhw", of_slice, places)
        return places.movedim(1, -1)


def resample(images: Tensor, places: Tensor, mode: str) -> Tensor:
    """Return images (B, C, H, W) at places (B, H, W, 2) as float32; beyond the border, their mirror image.

    Volumes (B, C, D, H, W) are taken at places (B, D, H, W, 3), linearly where `mode` is `bilinear`.
    """
    return F.grid_sample(images.float(), places, mode, padding_mode="reflection", align_corners=True)


@lru_cache(maxsize=64)
def basis(grid: int, size: int, device: torch.device) -> Tensor:
    """Return functions (size, grid + 2) of a pixel's position along an axis, used to compute where it is taken from.

    They are the bicubic weights of the grid's points, the constant 1, and the position itself, from -1 to 1.
    """
    position = np.linspace(-1, 1, size, dtype=np.float32) if size > 1 else np.zeros(1, np.float32)
    columns = [*cubic_basis(grid, size).T, np.ones_like(position), position]
    return torch.from_numpy(np.stack(columns, axis=1)).to(device)
