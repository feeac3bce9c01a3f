"""Random changes of a whole batch in torch, on its device: flip, affine and elastic in one resampling."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from unetkit.data.elastic import cubic_basis, interpolated_rms
from unetkit.data.types import Batch, Image
from unetkit.errors import check

ROWS = 1024  # pairs whose random numbers are drawn at once
CHUNK = 2**19  # pixels that a CPU changes at once: allocating memory for more costs more time than the work
UNIFORMS = 11  # uniform numbers for a pair: 4 for probabilities, then 7 for amounts


T = TypeVar("T")


class AugmentParams(NamedTuple):
    """How each pair of a batch is to be changed.

    Attributes:
        coefficients: C (B, 2, grid + 2, grid + 2), for x and for y. The pixel at (row, column) is taken from the place
            sum_kl C_kl b_k(row) b_l(column), where b are the functions of `basis`.
        intensity: Contrast and brightness (B, 2).
    """

    coefficients: Tensor
    intensity: Tensor


class WithParams(NamedTuple, Generic[T]):
    """A batch on its way to the device, with the numbers that are drawn for it on the CPU."""

    batch: T
    params: AugmentParams


class DeviceAugmentation:
    """Flip, zoom, shift, rotation, elastic deformation, brightness and contrast of a batch on a CPU or a GPU.

    The place that a pixel is taken from is a sum of products, each of a function of the pixel's row and a function of
    its column. This holds for the U-Net paper's deformation (a coarse grid of random vectors, bicubic in between:
    Ronneberger et al. 2015, section 3.1) and for affine maps. So a few coefficients for each pair, drawn on the CPU
    from (seed, epoch, index) alone, give all places in two matrix products, and the batch is resampled once. Borders
    are mirrored; masks take the nearest class.

    Args:
        seed: Seed of the random numbers.
        flip: Probability of a horizontal flip.
        displacement_px: Root mean square of the elastic displacement along each axis, over the pixels, in pixels.
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
        self._epoch = -1
        self._tables: dict[int, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}

    def __call__(self, image: Image, mask: Image, epoch: int, index: int) -> tuple[Image, Image]:
        """Change a single pair as in a batch: an image (H, W, C) uint8 and its mask (H, W) or (H, W, K)."""
        params = self.sample_params(epoch, np.array([index]), *mask.shape[:2])
        pixels, classes = (torch.from_numpy(np.array(x))[None] for x in (image, np.atleast_3d(mask)))
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

    def sample_params(self, epoch: int, indices: NDArray[np.int64], height: int, width: int) -> AugmentParams:
        """Draw, on the CPU, how the pairs of these indices (B,) are changed in an epoch, for images (height, width)."""
        normal, uniform = self._numbers(epoch, indices)
        is_flipped, is_bent, is_moved, is_shaded = (uniform[:, i] < p for i, p in enumerate(self.chances.values()))
        amount = 2 * uniform[:, 4:] - 1  # in [-1, 1)
        sides = np.array([width, height], np.float32)
        # From pixels to the coordinates of grid_sample, which go from -1 to 1.
        per_pixel = np.asarray(2 / np.maximum(sides - 1, 1), np.float32)

        coefficients = self._affine(amount * is_moved[:, None], sides, per_pixel)
        pixels = is_bent * self.amounts["displacement_px"] / interpolated_rms(self.grid, height, width)
        coefficients[:, :, : self.grid, : self.grid] = normal * np.outer(pixels, per_pixel)[..., None, None]
        coefficients[:, 0] *= np.where(is_flipped, -1, 1)[:, None, None]

        contrast = 1 + is_shaded * amount[:, 5] * self.amounts["contrast"]
        brightness = is_shaded * amount[:, 6] * self.amounts["brightness"] * 255
        intensity = np.stack([contrast, brightness], axis=1).astype(np.float32)
        return AugmentParams(torch.from_numpy(coefficients), torch.from_numpy(intensity))

    def _affine(
        self, amount: NDArray[np.float32], sides: NDArray[np.float32], per_pixel: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the coefficients of zoom, shift and rotation by amounts (B, 7) in [-1, 1); of the identity for 0."""
        least, most = self.zoom
        moves = amount.any(axis=1, keepdims=True)
        zoom = np.where(moves, least + (most - least) * (amount[:, :2] + 1) / 2, 1)
        angle = amount[:, 4] * np.deg2rad(self.rotate)
        aspect = per_pixel[0] / per_pixel[1]
        constant, position = self.grid, self.grid + 1
        coefficients = np.zeros((len(amount), 2, self.grid + 2, self.grid + 2), np.float32)
        coefficients[:, 0, constant, position] = np.cos(angle) / zoom[:, 0]
        coefficients[:, 0, position, constant] = -np.sin(angle) / zoom[:, 0] * aspect
        coefficients[:, 1, position, constant] = np.cos(angle) / zoom[:, 1]
        coefficients[:, 1, constant, position] = np.sin(angle) / zoom[:, 1] / aspect
        coefficients[:, :, constant, constant] = amount[:, 2:4] * self.amounts["shift"] * sides * per_pixel
        return coefficients

    def warp(self, image: Tensor, mask: Tensor, params: AugmentParams) -> tuple[Tensor, Tensor]:
        """Change images (B, C, H, W) and masks (B, K, H, W), both uint8."""
        at_a_time = len(mask) if mask.is_cuda else max(CHUNK // mask[0, 0].numel(), 1)
        columns = (torch.split(x, at_a_time) for x in (image, mask, *params))
        images, masks = zip(*(self._warp(*part) for part in zip(*columns, strict=True)), strict=True)
        return torch.cat(images), torch.cat(masks)

    def _warp(self, image: Tensor, mask: Tensor, coefficients: Tensor, intensity: Tensor) -> tuple[Tensor, Tensor]:
        places = self._places(mask, coefficients)
        pixels = resample(image, places, self.interpolation)
        if self.chances["intensity_p"]:
            contrast, brightness = (column[:, None, None, None] for column in intensity.unbind(1))
            pixels = pixels.mul_(contrast).add_(brightness)
        moved = resample(mask, places, "nearest")
        return pixels.round_().clamp_(0, 255).to(torch.uint8), moved.to(torch.uint8)

    def _places(self, image: Tensor, coefficients: Tensor) -> Tensor:
        """Return the place (B, H, W, 2) that each pixel is taken from: x and y from -1 to 1."""
        rows, columns = (basis(self.grid, size, image.device) for size in image.shape[2:])
        return (rows @ coefficients @ columns.T).permute(0, 2, 3, 1)

    def _numbers(self, epoch: int, indices: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Draw normal (B, 2, grid, grid) and uniform (B, UNIFORMS) numbers for pairs; those of an epoch are kept."""
        if epoch != self._epoch:
            self._epoch, self._tables = epoch, {}
        for table in set((indices // ROWS).tolist()) - self._tables.keys():
            rng = np.random.default_rng([self.seed, epoch, table])
            normal = rng.standard_normal((ROWS, 2, self.grid, self.grid), np.float32)
            self._tables[table] = normal, rng.random((ROWS, UNIFORMS), np.float32)
        rows = [(self._tables[index // ROWS], index % ROWS) for index in indices.tolist()]
        return np.stack([table[0][row] for table, row in rows]), np.stack([table[1][row] for table, row in rows])


def resample(images: Tensor, places: Tensor, mode: str) -> Tensor:
    """Return images (B, C, H, W) at places (B, H, W, 2) as float32; beyond the border, their mirror image."""
    return F.grid_sample(images.float(), places, mode, padding_mode="reflection", align_corners=True)


@lru_cache(maxsize=64)
def basis(grid: int, size: int, device: torch.device) -> Tensor:
    """Return functions (size, grid + 2) of a pixel's position along an axis, used to compute where it is taken from.

    They are the bicubic weights of the grid's points, the constant 1, and the position itself, from -1 to 1.
    """
    position = np.linspace(-1, 1, size, dtype=np.float32) if size > 1 else np.zeros(1, np.float32)
    columns = [*cubic_basis(grid, size).T, np.ones_like(position), position]
    return torch.from_numpy(np.stack(columns, axis=1)).to(device)
