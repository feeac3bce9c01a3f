"""Images and masks made ready for a network with so many input channels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unetkit.data.borders import BorderWeights, balancing_weights, border_map
from unetkit.data.found import FoundData
from unetkit.data.preprocessing import Preprocessing, find_value_range, mean_and_std, range_of
from unetkit.data.resize import Resize, resize_mask
from unetkit.data.store import ArrayStore, cached_arrays, cached_json
from unetkit.data.types import VOID
from unetkit.data.volumes import spacing_of_refs
from unetkit.errors import UserError


class StoredPairs(NamedTuple):
    """All pairs of a data set, at one of the sizes that they are used at.

    Attributes:
        images: The image of each pair (H, W, channels) uint8.
        masks: The mask of each pair (H, W) uint8: class indices, `VOID` where void.
        borders: The U-Net paper's weight maps of the masks; None if the loss needs none.
    """

    images: ArrayStore
    masks: ArrayStore
    borders: BorderWeights | None


@dataclass(frozen=True)
class PreparedData:
    """What a network is trained and scored on.

    Attributes:
        whole: The pairs at the size of their files, at which they are scored.
        training: The pairs at the size that they are trained at; the same ones unless they are resized.
        preprocessing: How these images, and later any others, become the network's input.
    """

    whole: StoredPairs
    training: StoredPairs
    preprocessing: Preprocessing


def prepare_data(
    found: FoundData,
    train: Sequence[int],
    channels: int,
    borders: tuple[float, float] | None,
    cache_dir: Path,
    value_range: tuple[float, float] | None = None,
    resize: Resize | None = None,
    patch_size: tuple[int, int, int] | None = None,
) -> PreparedData:
    """Turn images to uint8 with so many channels, and take the statistics of the training images.

    Args:
        found: The decoded files.
        train: Indices of the training pairs, which determine value range, mean and standard deviation.
        channels: Number of the network's input channels.
        borders: w0 and sigma (pixels) of the weight maps; None if the loss needs none.
        cache_dir: Folder in which the converted images and the weight maps are kept.
        value_range: The values of 16-bit or float images that become 0 and 255; None for those of `find_value_range`.
        resize: The scale, or the height and width in pixels, to train at; None for the size of the files.
        patch_size: Voxels (D, H, W) of the patches to train on; None for images, and for whole volumes.

    Raises:
        UserError: If an image can't be turned into so many channels, 8-bit images are mixed with others, or the images
            are 8-bit, so that a range has no use.
    """
    names = (str(found.pairs[i].image) for i in train)
    found_range = find_value_range([found.quantiles[i] for i in train], names)
    if value_range is not None and found_range is None:
        problem = "has no use: the images are 8-bit, whose values stay as they are"
        raise UserError(f"data.value_range=[{value_range[0]:g},{value_range[1]:g}]", problem, "leave it out")
    per_channel = None if value_range is not None else _channel_ranges(found, train, channels)
    value_range = value_range or found_range
    preprocessing = Preprocessing(
        channels,
        value_range,
        resize=resize,
        spacing=spacing_of_refs(pair.image for pair in found.pairs),
        patch_size=patch_size,
        file_per_channel=found.has_file_per_channel,
        channel_ranges=per_channel,
    )
    images = _to_uint8(found, preprocessing, cache_dir)
    mean, std = cached_json(
        cache_dir,
        [images.path.name, list(train), *([found.masks.path.name] if any(found.nodata) or found.masked else [])],
        lambda: mean_and_std(_pixels_with_data(images[i], found.valid_pixels(i)) for i in train),
        "statistics",
    )
    preprocessing = replace(preprocessing, mean=tuple(mean), std=tuple(std))

    def with_borders(images: ArrayStore, masks: ArrayStore) -> StoredPairs:
        weights = None if borders is None else _border_weights(masks, train, *borders, cache_dir)
        return StoredPairs(images, masks, weights)

    whole = with_borders(images, found.masks)
    training = whole if resize is None else with_borders(*_resized(images, found.masks, preprocessing, cache_dir))
    return PreparedData(whole, training, preprocessing)


def _to_uint8(found: FoundData, preprocessing: Preprocessing, cache_dir: Path) -> ArrayStore:
    """Return the images as the network takes them; the decoded ones where nothing is left to do."""
    is_done = {shape[-1] for shape in found.images.shapes} == {preprocessing.channels}
    if is_done and set(found.images.dtypes) == {np.dtype(np.uint8)} and preprocessing.value_range is None:
        return found.images

    def converted() -> Iterator[NDArray[np.uint8]]:
        for pair, image in zip(found.pairs, found.images, strict=True):
            yield preprocessing.to_uint8(image, str(pair.image))

    ranges = [preprocessing.channel_ranges] if preprocessing.channel_ranges else []
    key = [found.images_key, preprocessing.channels, preprocessing.value_range, *ranges]
    return cached_arrays(cache_dir, key, converted, len(found.pairs), "inputs")


def _channel_ranges(found: FoundData, train: Sequence[int], channels: int) -> tuple[tuple[float, float], ...] | None:
    """Return the values of each channel that become 0 and 255, where each has a file of its own and is not 8-bit."""
    each = [found.channel_quantiles[i] for i in train] if found.channel_quantiles else []
    if not each or any(len(quantiles) != channels for quantiles in each):
        return None
    ranges = [range_of([quantiles[channel] for quantiles in each]) for channel in range(channels)]
    return tuple((low, high) if low < high else (0.0, 1.0) for low, high in ranges)  # a channel without content


def _resized(
    images: ArrayStore, masks: ArrayStore, preprocessing: Preprocessing, cache_dir: Path
) -> tuple[ArrayStore, ArrayStore]:
    """Return images and masks at the size that the network sees them at."""

    def resized_masks() -> Iterator[NDArray[np.uint8]]:
        return (resize_mask(mask, preprocessing.working_size(*mask.shape)) for mask in masks)

    key, total = [preprocessing.resize], len(images)
    return (
        cached_arrays(cache_dir, [images.path.name, *key], lambda: map(preprocessing.resized, images), total, "inputs"),
        cached_arrays(cache_dir, [masks.path.name, *key], resized_masks, total, "masks"),
    )


def _pixels_with_data(image: NDArray[np.uint8], is_valid: NDArray[np.bool_] | None) -> NDArray[np.uint8]:
    """Return an image (H, W, C), or its pixels (N, C) that have data where some have none."""
    return image if is_valid is None else image[is_valid]


def _border_weights(masks: ArrayStore, train: Sequence[int], w0: float, sigma: float, cache_dir: Path) -> BorderWeights:
    maps = cached_arrays(
        cache_dir,
        [masks.path.name, sigma],
        lambda: (border_map(mask, sigma, VOID) for mask in masks),
        len(masks),
        "borders",
    )
    return BorderWeights(maps, balancing_weights((masks[i] for i in train), VOID), w0)
