"""What is found in the files of a data set: its pairs, decoded once, and what they hold."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetkit.data.compact import Pairs, Repeated
from unetkit.data.counting import count_values
from unetkit.data.decode import read_layers
from unetkit.data.mask_encoding import MaskEncoding
from unetkit.data.masks import read_mask, read_objects
from unetkit.data.nodata import nodata_values, void_pixels
from unetkit.data.pair import Pair
from unetkit.data.parallel import in_order
from unetkit.data.preprocessing import drop_equal_channels, value_quantiles
from unetkit.data.store import ArrayStore, cached_arrays, cached_json, digest, memory_mapped
from unetkit.data.types import VOID
from unetkit.data.volumes import Spacing, Volume, VolumeRef, decoded_spacing
from unetkit.errors import UserError

WITH_ALPHA = (2, 4)  # channels of grey or RGB with an alpha channel

# Of an image file: whether its alpha channel varies and was left out, which numbers stand for missing data, and whether
# a mask within it says where there are data.
ImageFacts = tuple[bool, list[float], bool]


@dataclass(frozen=True)
class FoundData:
    """The pairs of a data set and the content of their files, before it is known which pair trains.

    Attributes:
        pairs: The N pairs, sorted by id.
        images: The image of each pair (H, W, C) as decoded, in the file's dtype; C = 1 where an RGB image is grey. For
            volumes (D, H, W, C); masks, too, then have the axis D.
        masks: The mask of each pair (H, W) uint8: class indices, `VOID` where void.
        pixels: The number of pixels (N, K) of each class in each mask, void pixels left out; of each label of
            multi-label masks.
        sizes: The number of pixels (N, 2) of each mask that are of class 0, or of no label, and that are not void.
        quantiles: Lowest and highest value of each image without outliers; None for an 8-bit image.
        channel_quantiles: The same of each channel of each image; none where a file holds all channels, or all are
            8-bit.
        nodata: The numbers in each image that stand for pixels without data, which are void in its mask.
        masked: Indices of the images whose files have a mask that says where there are data; other pixels are void.
        hidden_alpha: Ids of the pairs whose image has an alpha channel that varies and was left out.
        spacings: Distance of neighbouring voxels along (D, H, W), in mm, of each volume as decoded; None for an image,
            and where the file does not say.
        images_key: Key for the cache, as plain containers; it changes when an image file changes.
    """

    pairs: Pairs
    images: ArrayStore
    masks: ArrayStore
    pixels: NDArray[np.int64]
    sizes: NDArray[np.int64]
    quantiles: Sequence[tuple[float, float] | None]
    channel_quantiles: Sequence[tuple[tuple[float, float], ...]]
    nodata: Sequence[tuple[float, ...]]
    masked: frozenset[int]
    hidden_alpha: tuple[str, ...]
    spacings: Sequence[Spacing | None]
    images_key: tuple[str, ...]

    @cached_property
    def coverage(self) -> NDArray[np.float64]:
        """The share (N,) of foreground in the valid pixels of each mask; nan where all pixels are void."""
        with np.errstate(invalid="ignore"):
            return np.asarray(1 - self.sizes[:, 0] / self.sizes[:, 1], np.float64)

    def valid_pixels(self, index: int) -> NDArray[np.bool_] | None:
        """Return which pixels (H, W) of an image have data; None where all have."""
        return _valid_pixels(self.pairs[index], self.images[index], self.nodata[index], index in self.masked)

    @property
    def has_file_per_channel(self) -> bool:
        """Whether each channel of the images has a file of its own."""
        return bool(self.pairs[0].image.channels)

    @property
    def class_shares(self) -> list[float]:
        """The share of each class, or label, in the valid pixels of all masks."""
        return [round(float(share), 4) for share in self.pixels.sum(0) / self.sizes[:, 1].sum()]

    def image(self, index: int) -> NDArray[Any]:
        """Return a copy of an image as `read_image` gives it, (H, W) where it has one channel."""
        image = np.array(self.images[index])
        return image[..., 0] if image.shape[2] == 1 else image

    def volume(self, index: int) -> Volume:
        """Return a copy of a volume as `read_volume` gives it."""
        return Volume(np.array(self.images[index]), self.spacings[index])

    def mosaics(self, cache_dir: Path) -> NDArray[np.int64]:
        """Find the number (N,) of the mosaic that each image is a tile of, or take it from the cache."""
        from unetkit.data.mosaic import VERSION, find_mosaics  # here, because SciPy takes long to import

        tiles = zip((pair.id for pair in self.pairs), self.images, strict=True)
        key = [self.images_key, VERSION]
        return np.array(cached_json(cache_dir, key, lambda: find_mosaics(tiles).tolist(), "mosaics"), np.int64)


def find_data(
    name: str,
    find_pairs: Callable[[], Pairs],
    encoding: MaskEncoding,
    cache_dir: Path,
    channels: int | None = None,
    value_range: tuple[float, float] | None = None,
) -> FoundData:
    """Find the pairs and decode each file that is not in the cache, once.

    Args:
        name: The name of the data set, for errors.
        find_pairs: Finds the pairs, sorted by id.
        encoding: The meaning of the values in the mask files.
        cache_dir: Folder of decoded files.
        channels: Number of channels that are asked for: an alpha channel is read only if it makes up that number.
        value_range: Lowest and highest value of data; a number between them is no sign of missing data.

    Raises:
        UserError: If no pair is found, a file can't be read, or a mask does not fit its image or the encoding.
    """
    pairs = find_pairs()
    if not pairs:
        raise UserError(f"data={name}", "found no image")
    images_key: tuple[str, ...] = (digest(pair.image.fingerprint() for pair in pairs),)
    if channels in WITH_ALPHA:
        images_key += (f"{channels} channels",)
    images, facts = _read_images(pairs, channels, cache_dir, images_key)
    low, high = value_range or (np.inf, -np.inf)
    nodata = Repeated.of(tuple(value for value in values if not low <= value <= high) for _, values, _ in facts)
    masked = frozenset(index for index, (_, _, has_mask) in enumerate(facts) if has_mask)
    nodata_key: list[object] = [list(map(str, values)) for values in nodata] if any(nodata.distinct) else []
    nodata_key += [sorted(masked)] if masked else []

    def valid_pixels(index: int) -> NDArray[np.bool_] | None:
        return _valid_pixels(pairs[index], images[index], nodata[index], index in masked)

    def of_valid(index: int) -> NDArray[Any]:
        valid = valid_pixels(index)
        return images[index] if valid is None else images[index][valid]

    mask_sources = digest((pair.mask and pair.mask.fingerprint(), pair.rle) for pair in pairs)
    masks_key = [images_key, mask_sources, *encoding.key, *nodata_key]
    masks = _read_masks(pairs, images, valid_pixels, encoding, cache_dir, masks_key)
    counts = np.array(cached_json(cache_dir, masks_key, lambda: _class_counts(masks, encoding), "pixels"), np.int64)
    pixels, sizes = memory_mapped(_pixels_and_sizes(counts, encoding), cache_dir, "sizes")
    if not sizes[:, 1].any():
        raise UserError("every pixel of every mask", "is void", "does data.ignore_index mark the right value?")
    quantiles = cached_json(
        cache_dir,
        [images_key, *nodata_key],
        lambda: [value_quantiles(of_valid(index), nodata[index]) for index in range(len(pairs))],
        "quantiles",
    )
    return FoundData(
        pairs,
        images,
        masks,
        pixels,
        sizes,
        Repeated.of(pair and (pair[0], pair[1]) for pair in quantiles),
        _channel_quantiles(pairs, images, nodata, cache_dir, [images_key, *nodata_key]),
        nodata,
        masked,
        tuple(pair.id for pair, (hides_alpha, *_) in zip(pairs, facts, strict=True) if hides_alpha),
        _spacings(pairs, cache_dir, images_key),
        images_key,
    )


def find_objects(
    found: FoundData, indices: Sequence[int], encoding: MaskEncoding, cache_dir: Path
) -> dict[int, NDArray[np.int32]]:
    """Read which object the pixels (H, W) of some masks are of, or take it from the cache.

    Returns:
        By the index of the pair, the number of the object of each pixel; 0 is background, -1 void.

    Raises:
        UserError: If a mask can't be read, or does not number objects.
    """

    def decoded(index: int) -> NDArray[np.int32]:
        numbers = read_objects(found.pairs[index], found.masks.shapes[index], encoding)
        return np.where(found.masks[index] == VOID, np.int32(-1), numbers)

    masks = digest(mask and mask.fingerprint() for mask in (found.pairs[index].mask for index in indices))
    nodata = [[str(value) for value in found.nodata[index]] for index in indices]
    key = [found.images_key, masks, *encoding.key, nodata, [*indices]]
    stored = cached_arrays(cache_dir, key, lambda: in_order(decoded, indices), len(indices), "objects")
    return dict(zip(indices, stored, strict=True))


def _read_images(
    pairs: Sequence[Pair], channels: int | None, cache_dir: Path, key: Sequence[object]
) -> tuple[ArrayStore, list[ImageFacts]]:
    """Decode the images of pairs, or take them from the cache; the facts are found in the same reading."""
    read: list[ImageFacts] = []

    def decoded(pair: Pair) -> tuple[NDArray[Any], ImageFacts]:
        layers = read_layers(pair.image)
        image = layers.image(channels)
        hides_alpha = layers.has_varying_alpha and image is layers.pixels
        return drop_equal_channels(image), (hides_alpha, nodata_values(image, layers.nodata), layers.valid is not None)

    def images() -> Iterator[NDArray[Any]]:
        for image, found in in_order(decoded, pairs):
            read.append(found)
            yield image

    def facts() -> list[ImageFacts]:
        if len(read) < len(pairs):  # the images are in the cache, but this is not
            read.clear()
            deque(images(), maxlen=0)
        return read

    return cached_arrays(cache_dir, key, images, len(pairs), "images"), cached_json(
        cache_dir, key, facts, "image-facts"
    )


def _valid_pixels(pair: Pair, image: NDArray[Any], nodata: Sequence[float], has_mask: bool) -> NDArray[np.bool_] | None:
    """Return which pixels (H, W) of an image have data, as its numbers and the mask in its file say; None if all."""
    valid = ~void_pixels(image, nodata) if nodata else None
    own = read_layers(pair.image).valid if has_mask else None
    if own is None or valid is None:
        return valid if own is None else own
    return valid & own


def _channel_quantiles(
    pairs: Sequence[Pair],
    images: ArrayStore,
    nodata: Sequence[Sequence[float]],
    cache_dir: Path,
    key: Sequence[object],
) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Return `FoundData.channel_quantiles`."""
    if not pairs[0].image.channels or all(dtype == np.uint8 for dtype in images.dtypes):
        return ()
    found = cached_json(
        cache_dir,
        key,
        lambda: [
            [value_quantiles(channel, values) for channel in np.moveaxis(image, -1, 0)]
            for image, values in zip(images, nodata, strict=True)
        ],
        "channel-quantiles",
    )
    return tuple(tuple((pair[0], pair[1]) for pair in channels if pair is not None) for channels in found)


def _spacings(pairs: Sequence[Pair], cache_dir: Path, key: Sequence[object]) -> Sequence[Spacing | None]:
    """Return the spacing of each volume, and None for each image."""
    if not any(isinstance(pair.image, VolumeRef) for pair in pairs):
        return Repeated([None], np.zeros(len(pairs)))
    found = cached_json(cache_dir, key, lambda: [decoded_spacing(pair.image) for pair in pairs], "spacings")
    return Repeated.of(spacing and (spacing[0], spacing[1], spacing[2]) for spacing in found)


def _read_masks(
    pairs: Sequence[Pair],
    images: ArrayStore,
    valid_pixels: Callable[[int], NDArray[np.bool_] | None],
    encoding: MaskEncoding,
    cache_dir: Path,
    key: Sequence[object],
) -> ArrayStore:
    """Decode the masks of pairs, or take them from the cache; pixels without data are void."""

    def decoded(index: int) -> NDArray[np.uint8]:
        mask = read_mask(pairs[index], images.shapes[index][:-1], encoding, pairs)
        valid = valid_pixels(index)
        if valid is not None:
            mask[~valid] = VOID
        return mask

    return cached_arrays(cache_dir, key, lambda: in_order(decoded, range(len(pairs))), len(pairs), "masks")


def _class_counts(masks: ArrayStore, encoding: MaskEncoding) -> list[list[int]]:
    """Count the pixels of each value of each mask, void ones left out."""
    values = 2**encoding.labels if encoding.labels else max(encoding.num_classes, 2)
    return [count_values(mask, values).tolist() for mask in masks]


def _pixels_and_sizes(counts: NDArray[np.int64], encoding: MaskEncoding) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return `FoundData.pixels` and `FoundData.sizes` from the pixels (N, V) of each value."""
    sizes = np.stack([counts[:, 0], counts.sum(1)], 1)
    if not encoding.labels:
        return counts, sizes
    bits = np.arange(counts.shape[1])[:, None] >> np.arange(encoding.labels) & 1
    return counts @ bits, sizes
