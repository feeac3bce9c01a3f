"""From an image as read to its mask: any size, tiles for large ones, averaging over flips."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unetkit.data import Preprocessing
from unetkit.models import classify, predict_full_frame, probabilities


@dataclass(frozen=True)
class Prediction:
    """What a network says of an image.

    Attributes:
        probability: Of the foreground (H, W) float32 in [0, 1], or of each of more classes (C, H, W).
        mask: Class indices (H, W) uint8; 1 is the foreground.
    """

    probability: NDArray[np.float32]
    mask: NDArray[np.uint8]


@dataclass
class Predictor:
    """A network ready for images as read from files.

    Attributes:
        network: Images (B, C, H, W) to logits.
        preprocessing: That it was trained with.
        threshold: Probability above which a pixel is foreground.
        flip: Average with the prediction of the mirrored image.
        tile: Side in pixels above which an image is predicted in tiles.
        overlap: Pixels that neighbouring tiles share and blend over.
    """

    network: nn.Module
    preprocessing: Preprocessing
    threshold: float = 0.5
    flip: bool = False
    tile: int = 1024
    overlap: int = 128

    def __call__(self, image: NDArray[Any]) -> Prediction:
        """Predict an image (H, W) or (H, W, C), of the dtype of the training images.

        Raises:
            UserError: If dtype or channels are not those of the training images.
        """
        return self.predict_prepared(self.preprocessing.to_uint8(image))

    def predict_prepared(self, pixels: NDArray[np.uint8]) -> Prediction:
        """Predict an image (H, W, channels) uint8 that went through `Preprocessing.to_uint8`."""
        batch = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None]
        probability = self.probabilities(batch)
        mask = classify(probability, self.threshold)[0].numpy()
        array = probability[0].numpy()
        return Prediction(array[0] if len(array) == 1 else array, mask)

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """Probabilities (B, 1 or C, H, W) on the CPU of prepared images (B, C, H, W) uint8."""
        self.network.eval()
        height, width = images.shape[-2:]
        if max(height, width) <= self.tile:
            return self._whole(images)
        total, weights = torch.zeros(1), torch.zeros(1, 1, height, width)
        for top, left in tile_corners(height, width, self.tile, self.overlap):
            window = (..., slice(top, top + self.tile), slice(left, left + self.tile))
            part = self._whole(images[window])
            if total.ndim == 1:
                total = torch.zeros(len(images), part.shape[1], height, width)
            weight = blending_weight(part.shape[-2], part.shape[-1], self.overlap)
            total[window] += part * weight
            weights[window] += weight
        return total / weights

    def _whole(self, images: Tensor) -> Tensor:
        device = next(self.network.parameters()).device
        x = self.preprocessing.normalise(images.to(device))
        result = probabilities(predict_full_frame(self.network, x))
        if self.flip:
            mirrored = predict_full_frame(self.network, x.flip(-1)).flip(-1)
            result = (result + probabilities(mirrored)) / 2
        return result.cpu()


def tile_corners(height: int, width: int, tile: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Top left corners of tiles that cover the image and share at least `overlap` pixels."""
    for top in _starts(height, tile, overlap):
        for left in _starts(width, tile, overlap):
            yield top, left


def _starts(size: int, tile: int, overlap: int) -> list[int]:
    count = max(-(-(size - overlap) // (tile - overlap)), 1)
    return [int(start) for start in np.linspace(0, max(size - tile, 0), count).round()]


def blending_weight(height: int, width: int, overlap: int) -> Tensor:
    """Weights (height, width) that fall linearly towards the border over `overlap` pixels, never to zero."""

    def ramp(size: int) -> Tensor:
        distance = torch.arange(size).minimum(torch.arange(size).flip(0)) + 1
        return (distance / (overlap + 1)).clamp(max=1)

    return ramp(height)[:, None] * ramp(width)
