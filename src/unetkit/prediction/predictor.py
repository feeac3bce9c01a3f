"""Predict the mask of an image of any size, in tiles if it is large, averaged over flips and rotations."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from unetkit.data import Preprocessing
from unetkit.data.resampling import rows_at
from unetkit.errors import UserError
from unetkit.models import classify, predict_full_frame, probabilities
from unetkit.prediction.inputs import as_array, volume_of
from unetkit.prediction.tiling import AT_ONCE, Array, blended_rows

if TYPE_CHECKING:
    from PIL.Image import Image

WHOLE_VOLUMES = (64, 128, 128)  # tiles of a network that was trained on whole volumes
# Views whose predictions are averaged: angle in degrees, and whether mirrored left to right after the rotation.
TTA: dict[str, list[tuple[float, bool]]] = {
    "none": [(0, False)],
    "flip": [(0, False), (0, True)],
    "d4": [(angle, mirrored) for angle in (0, 90, 180, 270) for mirrored in (False, True)],
    "rotations": [(360 / 7 * turn, False) for turn in range(7)],  # the U-Net paper's number; its angles are not known
}


@dataclass(frozen=True)
class Prediction:
    """The prediction for an image.

    Attributes:
        probability: Probability in [0, 1] of the foreground, (H, W) float32; for more classes of each, (C, H, W). Of a
            volume (D, H, W) or (C, D, H, W).
        mask: Class indices (H, W) uint8; 1 is the foreground. Of a volume (D, H, W). Of a multi-label network the sum
            of 2^k over the labels k of a pixel, so that `mask >> k & 1` is the mask of label k.
    """

    probability: NDArray[np.float32]
    mask: NDArray[np.uint8]

    @property
    def is_binary(self) -> bool:
        """Whether the probability is that of a single foreground."""
        return self.probability.ndim == self.mask.ndim

    @classmethod
    def of(cls, probability: Tensor, threshold: float, min_area: int = 0, *, is_multilabel: bool) -> "Prediction":
        """Return the prediction from probabilities (1 or C, H, W); a mask below `min_area` pixels is made empty."""
        array = probability.numpy()
        mask = classify(probability[None], threshold, is_multilabel=is_multilabel)[0].numpy()
        if np.count_nonzero(mask) < min_area:
            mask[:] = 0
        return cls(array[0] if len(array) == 1 else array, mask)


@dataclass
class Predictor:
    """A network ready for images as read from files.

    Attributes:
        network: Maps normalised images (B, C, H, W) to logits.
        preprocessing: Preprocessing used in training.
        threshold: Probability above which a pixel is foreground.
        tta: Views whose predictions are averaged: `none`, `flip` (the mirror image too), `d4` (all eight flips and
            quarter turns) or `rotations` (seven equal steps of a full turn).
        tile: Side in pixels above which an image is predicted in tiles. A volume is predicted in tiles of the size of
            the patches of training, if these are not larger.
        overlap: Pixels that neighbouring tiles share and are blended over; of volumes at most half a tile.
        min_area: Masks with fewer pixels than this are made empty.
        is_multilabel: Whether each channel of the output is a label with a sigmoid of its own.
    """

    network: nn.Module
    preprocessing: Preprocessing
    threshold: float = 0.5
    tta: str = "none"
    tile: int = 1024
    overlap: int = 128
    min_area: int = 0
    is_multilabel: bool = False

    def __post_init__(self) -> None:
        if self.tta not in TTA:
            raise UserError(f"tta={self.tta}", f"must be one of {', '.join(TTA)}")
        if self.has_volumes and self.tta == "rotations":
            raise UserError("tta=rotations", "is for images, but the network is for volumes", "use tta=d4")
        if not 0 <= self.overlap < self.tile:
            raise UserError(f"overlap={self.overlap}", f"must be at least 0 and smaller than tile={self.tile}")

    def __call__(self, image: "str | Path | Array | Tensor | Image") -> Prediction:
        """Predict an image of the dtype of the training images.

        Args:
            image: A path, an array (H, W) or (H, W, C), a tensor (H, W) or (C, H, W), or an image of Pillow.

        Raises:
            UserError: If it can't be read, dtype or channels are not those of the training images, or a probability is
                not a number.
        """
        if self.has_volumes:
            volume = volume_of(image, self.preprocessing)
            return self.predict_volume(volume.values, volume.spacing)
        return self.predict_prepared(self.preprocessing.to_uint8(as_array(image, self.preprocessing)))

    def predict_prepared(self, pixels: NDArray[np.uint8]) -> Prediction:
        """Predict an image (H, W, channels) uint8 that went through `Preprocessing.to_uint8`; a volume likewise."""
        probability = torch.cat(list(self.rows(pixels)), dim=1)
        return Prediction.of(probability, self.threshold, self.min_area, is_multilabel=self.is_multilabel)

    def predict_volume(self, values: Array, spacing: Sequence[float] | None, name: str = "the volume") -> Prediction:
        """Predict a volume at the spacing of training; the result has the size of the volume.

        Args:
            values: The volume (D, H, W, C), of the dtype of the training volumes.
            spacing: Its spacing (z, y, x) in mm; None if it is not known, and taken as that of training.
            name: Its name, for errors.

        Raises:
            UserError: If dtype or channels are not those of the training volumes.
        """

        def rows(image: Array) -> Iterator[Tensor]:
            return self.rows(self.preprocessing.to_uint8(image, name))

        slabs = rows_at(values, spacing, self.preprocessing.spacing, rows)
        return Prediction.of(
            torch.cat(list(slabs), dim=1), self.threshold, self.min_area, is_multilabel=self.is_multilabel
        )

    def rows(self, pixels: NDArray[np.uint8], count_tile: Callable[[], object] = lambda: None) -> Iterator[Tensor]:
        """Yield probabilities (1 or C, rows, W) of a prepared image, from top to bottom, tile by tile.

        Args:
            pixels: (H, W, channels) of any size; of a volume (D, H, W, channels), which gives (1 or C, d, H, W).
            count_tile: Called after each tile.
        """

        def predict(window: Array) -> Tensor:
            probabilities = self.probabilities(window[None], self.margin)[0]
            count_tile()
            return probabilities

        resized = pixels if self.has_volumes else self.preprocessing.resized(pixels)
        tiles, overlaps = self.tiling
        rows = blended_rows(resized, predict, tiles, overlaps, self.stride, self.margin, gaussian=self.has_volumes)
        if resized is pixels:
            return rows
        return rows_at_size(torch.cat(list(rows), dim=1), *pixels.shape[:2])

    @property
    def has_volumes(self) -> bool:
        """Whether the network is for volumes (B, C, D, H, W)."""
        return getattr(self.network, "spatial_dims", 2) == 3

    @property
    def tiling(self) -> tuple[list[int], list[int]]:
        """Largest sides of the tiles, and the pixels that they share, along each axis of an image or volume."""
        if not self.has_volumes:
            return [self.tile] * 2, [self.overlap] * 2
        tiles = [min(side, self.tile) for side in self.preprocessing.patch_size or WHOLE_VOLUMES]
        return tiles, [min(side // 2, self.overlap) for side in tiles]

    @property
    def margin(self) -> int:
        """Pixels that the network's output loses on each side; a tile needs so many of its surroundings."""
        return int(getattr(self.network, "margin", 0))

    @property
    def stride(self) -> int:
        """Side in pixels of what becomes one pixel of the smallest feature map; 32 if the network does not say."""
        return int(2 ** getattr(self.network, "num_downsamplings", 5))

    @torch.inference_mode()
    def probabilities(self, pixels: NDArray[np.uint8], margin: int = 0) -> Tensor:
        """Return probabilities (B, 1 or C, H, W) of prepared images, on the CPU, without tiles and without resizing.

        Args:
            pixels: (B, H + 2 margin, W + 2 margin, channels).
            margin: Pixels of surroundings on each side: at least `self.margin`, or 0 to have them mirrored.

        Raises:
            UserError: If a probability is not a number.
        """
        self.network.eval()
        spare = max(margin - self.margin, 0)
        pixels = pixels[:, *(slice(spare, side - spare) for side in pixels.shape[1:-1])]
        device = next(self.network.parameters()).device
        images = torch.from_numpy(np.ascontiguousarray(pixels)).to(device).movedim(-1, 1)
        x = self.preprocessing.normalise(images)
        views = TTA[self.tta]
        total = self._view(x, margin, *views[0])
        for view in views[1:]:
            total += self._view(x, margin, *view)
        result = (total / len(views)).float().cpu()  # not bfloat16, in which tiles would be blended inexactly
        if result.sum().isnan():
            problem = "predicts values that are not numbers (NaN)"
            raise UserError("the network", problem, "its training diverged or its weights are damaged: give another")
        return result

    def _view(self, x: Tensor, margin: int, degrees: float, mirrored: bool) -> Tensor:
        """Return the probabilities for x, computed after a rotation and a mirroring, and turned back."""
        height, width = (side - 2 * margin for side in x.shape[-2:])
        side = math.ceil(math.hypot(height, width)) + 2 * margin
        x = rotated(x, degrees, side, side)
        x = x.flip(-1) if mirrored else x
        logits = self.network(x) if margin else predict_full_frame(self.network, x)
        y = probabilities(logits, is_multilabel=self.is_multilabel)
        y = y.flip(-1) if mirrored else y
        return rotated(y, -degrees, height, width)


def at_size(x: Tensor, size: Sequence[int]) -> Tensor:
    """Return maps (B, C, h, w) at another height and width, interpolated bilinearly."""
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)


def rows_at_size(x: Tensor, height: int, width: int) -> Iterator[Tensor]:
    """Yield a map (C, h, w) at another height and width, as `at_size`, in parts (C, rows, width) of little memory."""
    places = ((torch.arange(height) + 0.5) * (x.shape[1] / height) - 0.5).clamp(0, x.shape[1] - 1)
    for part in torch.split(places, AT_ONCE):
        first = part.floor().long()
        second = (first + 1).clamp(max=x.shape[1] - 1)
        rows = torch.lerp(x[:, first], x[:, second], (part - first)[:, None])
        yield at_size(rows[None], (len(part), width))[0]


def rotated(x: Tensor, degrees: float, height: int, width: int) -> Tensor:
    """Rotate images (B, C, H, W) about their centre; volumes in the plane of their last two axes.

    Quarter turns are exact. By other angles the result (B, C, height, width) is interpolated bilinearly, and shows the
    mirror image beyond the border.
    """
    turns, rest = divmod(degrees, 90)
    if not rest:
        return x.rot90(int(turns), (-2, -1))
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    rows, columns = x.shape[2:]
    theta = [[cos * width / columns, -sin * height / columns, 0], [sin * width / rows, cos * height / rows, 0]]
    places = F.affine_grid(
        torch.tensor(theta, device=x.device).expand(len(x), 2, 3), [*x.shape[:2], height, width], align_corners=False
    )
    return F.grid_sample(x, places, padding_mode="reflection", align_corners=False)
