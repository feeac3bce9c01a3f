"""From a decoded image to the input of a network: the same in training and in prediction."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unetkit.data.counting import count_values
from unetkit.data.nodata import is_nodata
from unetkit.data.resize import Resize, is_resize, resize_image, working_size
from unetkit.errors import UserError, check

QUANTILES = (0.001, 0.999)


@dataclass(frozen=True)
class Preprocessing:
    """How images become the network's input; plain numbers, which are stored in the checkpoint.

    Attributes:
        channels: Number of the network's input channels.
        value_range: The values that become 0 and 255; None where images are 8-bit already.
        mean: Mean of each channel of the training images, whose values are scaled to [0, 1].
        std: Standard deviation of each channel of the same.
        resize: The scale, or the height and width in pixels, that the network sees images at; None for their own size.
        spacing: Spacing (z, y, x) in mm of the volumes that a network was trained on; None for images, and where
            volumes kept their own.
        patch_size: Voxels (D, H, W) of the patches that a network of volumes was trained on; None for images, and where
            it was trained on whole volumes.
        file_per_channel: Whether each channel of the training images had a file of its own.
        channel_ranges: The values of each channel that become 0 and 255, instead of `value_range`, which spans them;
            None where all channels share it. Channels of different files may be of different kinds, such as CT and PET.
    """

    channels: int
    value_range: tuple[float, float] | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    resize: Resize | None = None
    spacing: tuple[float, float, float] | None = None
    patch_size: tuple[int, int, int] | None = None
    file_per_channel: bool = False
    channel_ranges: tuple[tuple[float, float], ...] | None = None

    @property
    def channel_files(self) -> int:
        """Number of files of each image: above 1 if each channel has a file, as in training."""
        return self.channels if self.file_per_channel else 1

    @property
    def ends(self) -> tuple[Any, Any]:
        """The values that become 0 and 255: two numbers, or two arrays (C,) where each channel has its own.

        Raises:
            ValueError: If images are 8-bit already.
        """
        if self.channel_ranges is not None:
            low, high = np.array(self.channel_ranges).T
            return low, high
        if self.value_range is None:
            raise ValueError("8-bit images have no range")
        return self.value_range

    @property
    def is_sound(self) -> bool:
        """Whether the numbers can be used: one or `channels` means and deviations, all finite, in rising ranges.

        The size to resize to, and spacing and patches of volumes, must be in range too, if they are there.
        """
        of_volumes = [*(self.spacing or (1,) * 3), *(self.patch_size or (1,) * 3)]
        numbers = [*of_volumes, *self.mean, *self.std]
        if not all(isinstance(x, int | float) and math.isfinite(x) for x in numbers):
            return False
        if len(of_volumes) != 6 or min(of_volumes) <= 0 or not all(isinstance(x, int) for x in of_volumes[3:]):
            return False
        sizes = (len(self.mean), len(self.std))
        are_rising = self.value_range is None or _is_rising(self.value_range)
        if self.channel_ranges is not None:
            are_many = isinstance(self.channel_ranges, tuple) and len(self.channel_ranges) == self.channels
            are_rising &= self.value_range is not None and are_many and all(map(_is_rising, self.channel_ranges))
        is_sized = self.resize is None or is_resize(self.resize)
        are_statistics = isinstance(self.channels, int) and set(sizes) <= {1, self.channels} and min(self.std) >= 0
        return are_statistics and are_rising and is_sized

    def to_uint8(self, image: NDArray[Any], name: str = "the image") -> NDArray[np.uint8]:
        """Convert an image (H, W) or (H, W, C) of any dtype to (H, W, channels) uint8; volumes (D, H, W, C) likewise.

        Args:
            image: The image.
            name: Its name, for errors.

        Raises:
            UserError: If the image has another kind of dtype than the training images, or other channels.
        """
        if (image.dtype == np.uint8) != (self.value_range is None):
            trained = "8-bit" if self.value_range is None else f"16-bit or float, {self.value_range}"
            raise UserError(name, f"is {image.dtype}, but the training images are {trained}", "use one kind")
        image = image[..., None] if image.ndim == 2 else image
        if self.value_range is not None:
            low, high = self.ends
            if np.ndim(low) and image.shape[-1] != len(low):
                problem = f"is one file, but the network was trained on {self.channels} files for the channels of each"
                raise UserError(name, problem, "give an image of all channels")
            with np.errstate(over="ignore"):  # of values such as -1.8e308, which stand for missing data
                span = np.subtract(high, low)
                scaled = (image.astype(np.float64) - low) * (255 / np.where(span > 0, span, 1e-12))
            if image.dtype.kind == "f":
                scaled = np.nan_to_num(scaled, copy=False, nan=0.0)
            image = scaled.clip(0, 255).round().astype(np.uint8)
        if image.shape[-1] == self.channels:
            return image
        if image.shape[-1] == 1:
            return np.repeat(image, self.channels, axis=-1)
        if image.shape[-1] == 3 and self.channels == 1:
            rows = np.ascontiguousarray(image).reshape(-1, *image.shape[-2:])
            return cv2.cvtColor(rows, cv2.COLOR_RGB2GRAY).reshape(*image.shape[:-1], 1).astype(np.uint8)
        raise UserError(name, f"has {image.shape[-1]} channels, but the network takes {self.channels}")

    def resized(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return an image (H, W, channels) at the size that the network sees it at."""
        return resize_image(image, self.working_size(*image.shape[:2]))

    def working_size(self, *size: int) -> tuple[int, ...]:
        """Return the height and width that the network sees an image of this size at."""
        return working_size(self.resize, *size)

    def normalise(self, images: Tensor) -> Tensor:
        """Convert (B, channels, *) uint8 to float32 so that training images have mean 0 and standard deviation 1."""
        x = images.float()
        along_channels = 1, -1, *[1] * (x.ndim - 2)
        mean = filled(x, self.mean).mul_(255).view(along_channels)
        std = filled(x, self.std).mul_(255).view(along_channels)
        return (x - mean) / std

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers, for a checkpoint, which earlier versions read too if nothing is resized."""
        optional = ("resize", "spacing", "patch_size", "file_per_channel", "channel_ranges")
        return {key: value for key, value in asdict(self).items() if key not in optional or value not in (None, False)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the preprocessing that `to_dict` describes."""
        return cls(**{key: _as_tuples(value) for key, value in values.items()})


def _is_rising(ends: Any) -> bool:
    """Return whether these are two finite numbers, the lower one first."""
    are_two = isinstance(ends, tuple) and len(ends) == 2
    return are_two and all(isinstance(x, int | float) and math.isfinite(x) for x in ends) and bool(ends[0] <= ends[1])


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list | tuple) else value


def filled(like: Tensor, values: Sequence[float]) -> Tensor:
    """Return a tensor of these values, with the dtype and device of another; no memory of the host is read."""
    tensor = like.new_empty(len(values))
    for place, value in zip(tensor.unbind(), values, strict=True):
        place.fill_(value)
    return tensor


def drop_equal_channels(image: NDArray[Any]) -> NDArray[Any]:
    """Return (H, W) or (H, W, C) as (H, W, C), with C = 1 where three channels are equal, as in grey RGB files.

    Volumes (D, H, W, C) likewise.
    """
    image = image[..., None] if image.ndim == 2 else image
    # Most colour images show it in their first row, which is sooner compared than all.
    is_grey = image.shape[-1] == 3 and all(bool((part == part[..., :1]).all()) for part in (image[:1], image))
    return image[..., :1] if is_grey else image


def value_quantiles(image: NDArray[Any], nodata: Sequence[float] = ()) -> tuple[float, float] | None:
    """Return the 0.1 and 99.9 % quantiles of an image's values; None for an 8-bit image, whose values stay.

    Args:
        image: The image.
        nodata: Numbers that stand for missing data, which are left out; NaN is returned if nothing else is there.
    """
    if image.dtype == np.uint8:
        return None
    values = image[~is_nodata(image, nodata)] if nodata else image
    low, high = np.quantile(values, QUANTILES).tolist() if values.size else (np.nan, np.nan)
    return low, high


def find_value_range(
    quantiles: Sequence[tuple[float, float] | None], names: Iterable[str]
) -> tuple[float, float] | None:
    """Return the range that holds 98 % of the images' quantiles; None if all images are 8-bit.

    Args:
        quantiles: Result of `value_quantiles` for each image.
        names: The name of each image, for errors.

    Raises:
        UserError: If 8-bit images are mixed with others, or all images hold a single value.
    """
    wide = [pair for pair in quantiles if pair is not None]
    if not wide:
        return None
    if len(wide) < len(quantiles):
        are_few_wide = 2 * len(wide) < len(quantiles)
        few = [name for name, pair in zip(names, quantiles, strict=True) if (pair is not None) == are_few_wide]
        kind = f"{'not ' if are_few_wide else ''}8-bit"
        problem = f"mixes 8-bit images with 16-bit or float ones; {few[0]} is of the {len(few)} that are {kind}"
        raise UserError("data.root", problem, "convert all images to one kind")
    low, high = range_of(wide)
    if np.isnan(low):
        raise UserError("every image", "holds no pixel with data", "are these the right files?")
    if low == high:
        raise UserError("every image", f"holds the single value {low}", "are these the right files?")
    return low, high


def rising(key: str, given: object, wanted: str) -> tuple[float, float]:
    """Return a value range that was typed as two numbers, the lower one first.

    Args:
        key: The key, for errors.
        given: What was typed.
        wanted: What may be typed, for errors.

    Raises:
        UserError: If it is not two finite numbers that rise.
    """
    numbers = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else []
    are_two = len(numbers) == 2 and all(isinstance(x, int | float) and math.isfinite(x) for x in numbers)
    check(key, given, are_two and numbers[0] < numbers[1], wanted)
    return float(numbers[0]), float(numbers[1])


def range_of(quantiles: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the range that holds 98 % of the quantiles of `value_quantiles`; NaN if all are NaN."""
    lows, highs = np.transpose([pair for pair in quantiles if not np.isnan(pair[0])] or [(np.nan, np.nan)])
    return float(np.quantile(lows, 0.01)), float(np.quantile(highs, 0.99))


def mean_and_std(images: Iterable[NDArray[np.uint8]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel of images (..., C), whose values are scaled to [0, 1]."""
    counts = np.zeros((1, 256), np.int64)  # of each value, by channel
    for image in images:
        planes = np.moveaxis(image, -1, 0)
        counts = counts + np.stack([count_values(plane) for plane in planes])
    values, pixels = np.arange(256) / 255, np.maximum(counts.sum(1), 1)
    mean = counts @ values / pixels
    std = np.sqrt(np.maximum(counts @ np.square(values) / pixels - np.square(mean), 0))
    return tuple(mean.tolist()), tuple(np.maximum(std, 1e-3).tolist())
