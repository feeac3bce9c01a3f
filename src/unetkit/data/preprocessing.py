"""From an image as read to what the network sees: the same in training and in prediction."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unetkit.errors import UserError

QUANTILES = (0.001, 0.999)


@dataclass(frozen=True)
class Preprocessing:
    """How images become the network's input; plain numbers, stored in the checkpoint.

    Attributes:
        channels: Of the network's input.
        value_range: The values that become 0 and 255, or None where images are 8-bit already.
        mean: Of each channel on [0, 1], over the training images.
        std: Standard deviation of each channel on [0, 1], over the training images.
    """

    channels: int
    value_range: tuple[float, float] | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def to_uint8(self, image: NDArray[Any], name: str = "the image") -> NDArray[np.uint8]:
        """(H, W) or (H, W, C) of any dtype to (H, W, channels) uint8.

        Raises:
            UserError: If the image is not of the kind that the network was trained on.
        """
        if (image.dtype == np.uint8) != (self.value_range is None):
            trained = "8-bit" if self.value_range is None else f"16-bit or float, {self.value_range}"
            raise UserError(f"{name} is {image.dtype}, but the training images are {trained}; use one kind")
        if self.value_range is not None:
            low, high = self.value_range
            scaled = (image.astype(np.float64) - low) * (255 / max(high - low, 1e-12))
            image = scaled.clip(0, 255).round().astype(np.uint8)
        image = image if image.ndim == 3 else image[..., None]
        if image.shape[2] == self.channels:
            return image
        if image.shape[2] == 1:
            return np.repeat(image, self.channels, axis=2)
        if image.shape[2] == 3 and self.channels == 1:
            return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].astype(np.uint8)
        raise UserError(f"{name} has {image.shape[2]} channels, but the network takes {self.channels}")

    def normalise(self, images: Tensor) -> Tensor:
        """(B, channels, H, W) uint8 to float32 with mean 0 and deviation 1 over the training images."""
        x = images.float()
        mean = x.new_tensor(self.mean).mul_(255).view(1, -1, 1, 1)
        std = x.new_tensor(self.std).mul_(255).view(1, -1, 1, 1)
        return (x - mean) / std

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The reverse of `to_dict`."""
        plain: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**plain)


def probe(image: NDArray[Any]) -> dict[str, Any]:
    """What to know of an image before all are decoded: its shape, its true channels, its values.

    Channels that are all equal count as one, as in TGS Salt's grey images stored as RGB.
    """
    grey = image.ndim == 2 or bool((image == image[..., :1]).all())
    wide = None if image.dtype == np.uint8 else np.quantile(image, QUANTILES).tolist()
    return {"shape": image.shape[:2], "channels": 1 if grey else image.shape[2], "range": wide}


def find_value_range(probes: Sequence[dict[str, Any]], names: Sequence[str]) -> tuple[float, float] | None:
    """None if all images are 8-bit, else the range that 98 % of the images' 0.1 to 99.9 % quantiles lie in.

    Args:
        probes: Of the images.
        names: Of their files.

    Raises:
        UserError: If 8-bit images are mixed with others, or all images hold a single value.
    """
    wide = [p["range"] for p in probes if p["range"] is not None]
    if not wide:
        return None
    if len(wide) < len(probes):
        are_few_wide = 2 * len(wide) < len(probes)
        few = [name for name, p in zip(names, probes, strict=True) if (p["range"] is not None) == are_few_wide]
        raise UserError(
            f"data.root mixes 8-bit images with 16-bit or float ones; {few[0]} is of the {len(few)} that are "
            f"{'not ' if are_few_wide else ''}8-bit: convert them to one kind"
        )
    lows, highs = np.transpose(wide)
    low, high = float(np.quantile(lows, 0.01)), float(np.quantile(highs, 0.99))
    if low == high:
        raise UserError(f"all images hold the single value {low}; are these the right files?")
    return low, high


def mean_and_std(images: Iterable[NDArray[np.uint8]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel on [0, 1], of images (H, W, C)."""
    count, total, squares = 0, 0.0, 0.0
    for image in images:
        pixels = image.reshape(-1, image.shape[2]).astype(np.float64) / 255
        count += len(pixels)
        total, squares = total + pixels.sum(0), squares + np.square(pixels).sum(0)
    mean = np.asarray(total) / count
    std = np.sqrt(np.maximum(np.asarray(squares) / count - np.square(mean), 0))
    return tuple(mean.tolist()), tuple(np.maximum(std, 1e-3).tolist())
