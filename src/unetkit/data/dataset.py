"""From stored arrays to batches: the data set, the order of its pairs in an epoch, and how they become a batch."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from unetkit.data.borders import BorderWeights
from unetkit.data.crops import Crops
from unetkit.data.loading_times import LoadingTimes
from unetkit.data.store import ArrayStore
from unetkit.data.types import VOID, Batch, Image, Item, SampleKey

Augment = Callable[[Image, Image, int, int], tuple[Image, Image]]  # (image, mask, epoch, number of the draw) -> both


class PairDataset(Dataset[Item]):
    """The pairs of one part of the data, cropped and augmented when training.

    Args:
        images: The image (H, W, C) uint8 of each pair of the data; (D, H, W, C) of volumes.
        masks: The mask (H, W) uint8 of each pair of the data; (D, H, W) of volumes.
        indices: The pairs that belong to this part.
        augmentation: Applied after cropping; None for none.
        crops: The parts that are cut from larger images; None for whole images.
        borders: Source of weight maps; None if the loss needs none.
        counts: Number of parts of each pair in an epoch; None for one.

    Attributes:
        times: Where the time of loading goes.
        resize: Applied to images, and not to masks, where scores are those at the size of the files; None for none.
    """

    def __init__(
        self,
        images: ArrayStore,
        masks: ArrayStore,
        indices: Sequence[int],
        augmentation: Augment | None = None,
        crops: Crops | None = None,
        borders: BorderWeights | None = None,
        counts: NDArray[np.int64] | None = None,
    ) -> None:
        self.images = images
        self.masks = masks
        self.indices = np.array(indices, np.int64)  # not a list, which the processes that load would copy
        self.augmentation = augmentation
        self.crops = crops
        self.borders = borders
        self.ends = np.arange(1, len(self.indices) + 1) if counts is None else np.cumsum(counts)
        self.times = LoadingTimes()
        self.resize: Callable[[Image], Image] | None = None

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def first_item(self, position: int) -> int:
        """Return the item that is the first part of a pair, given its position in `indices`."""
        return int(self.ends[position - 1]) if position else 0

    def __getitem__(self, key: SampleKey | int) -> Item:
        """Return a pair, or a part of it, cropped and augmented as in the epoch of the key."""
        key = SampleKey.of(key)
        position = int(np.searchsorted(self.ends, key.item, side="right"))
        index, number = int(self.indices[position]), key.item - self.first_item(position)
        draw = index + number * len(self.images)
        with self.times.measured("decode"):
            image, mask = self._cropped(index, key.epoch, number)
            image = image if self.resize is None else self.resize(image)
        if self.augmentation is not None:
            with self.times.measured("augment"):
                image, mask = self.augmentation(image, mask, key.epoch, draw)
        if self.borders is not None:
            mask, border = np.ascontiguousarray(mask.transpose(2, 0, 1))
        if key.is_padding:
            mask = np.full_like(mask, VOID)
        item: Item = {"image": image, "mask": mask, "index": index, "draw": draw}
        if self.borders is not None:
            item["weight"] = self.borders.weight(mask, border)
        return item

    def collate(self, items: Sequence[Item]) -> Batch:
        """Stack items, see `collate`."""
        with self.times.measured("decode"):
            return collate(items)

    def _cropped(self, index: int, epoch: int, number: int) -> tuple[Image, Image]:
        """Return the part of a pair that is used in an epoch; the mask has its map of borders as a second channel.

        Only that part is read from the files' memory maps.
        """
        parts = [self.images[index], self.masks[index], *([] if self.borders is None else [self.borders.maps[index]])]
        if self.crops is not None:
            corner = self.crops.corner(self.masks.shapes[index], epoch, index, number)
            parts = [self.crops.cut(part, corner) for part in parts]
        image, mask, *border = parts
        if border:
            mask = np.dstack([mask, *border])  # channels, to be augmented alike
        if self.augmentation is not None:
            image, mask = np.array(image), np.array(mask)  # read here what a memory map has not read yet
        return image, mask


class EpochSampler(Sampler[SampleKey]):
    """The order of a data set in each epoch, which depends on seed and epoch alone.

    Each process of a distributed run takes every `world_size`-th item. The last round is filled up with padding, items
    whose masks are void, so that all processes take the same number of steps and no item counts twice.

    Args:
        size: Number of items.
        shuffle: Whether the order is random.
        seed: Seed of the order.
        rank: Number of this process, from 0.
        world_size: Number of processes.
        epoch: The first epoch; workers read ahead before the Trainer sets it.
        start: Items of this process that are left out in the first epoch, as they were trained on before.
    """

    def __init__(
        self, size: int, *, shuffle: bool, seed: int, rank: int = 0, world_size: int = 1, epoch: int = 0, start: int = 0
    ) -> None:
        self.size = size
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = epoch
        self.first_epoch = epoch
        self.start = start

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; the Trainer calls this when one begins."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.size // self.world_size)

    def __iter__(self) -> Iterator[SampleKey]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(self.size) if self.shuffle else np.arange(self.size)
        start = self.start if self.epoch == self.first_epoch else 0
        for position in range(self.rank + start * self.world_size, len(self) * self.world_size, self.world_size):
            yield SampleKey(self.epoch, int(order[position % self.size]), is_padding=position >= self.size)


def collate(items: Sequence[Item]) -> Batch:
    """Stack items; smaller images are mirrored to the size of the largest, with void masks there.

    Images that are resized, while their masks are not, all have one size, and so have the masks.
    """
    size = [max(sides) for sides in zip(*(item["mask"].shape for item in items), strict=True)]
    images, masks = [], []
    for item in items:
        image, mask = item["image"], item["mask"]
        missing = _missing(mask, size)
        if any(after for _, after in missing):
            image = np.pad(image, (*missing, (0, 0)), "reflect" if min(mask.shape) > 1 else "edge")
            mask = np.pad(mask, missing, constant_values=VOID)
        images.append(image)
        masks.append(mask)
    batch: Batch = {
        "image": torch.from_numpy(stacked_planes(images)),
        "mask": torch.from_numpy(np.stack(masks)),
        "index": torch.tensor([item["index"] for item in items]),
    }
    if all("draw" in item for item in items):
        batch["draw"] = torch.tensor([item["draw"] for item in items])
    weights = [item["weight"] for item in items if "weight" in item]
    if weights:
        batch["weight"] = torch.from_numpy(np.stack([np.pad(w, _missing(w, size)) for w in weights]))
    return batch


def _missing(array: NDArray[Any], size: Sequence[int]) -> list[tuple[int, int]]:
    """Return the pixels to add (before, after) each axis of an array to bring it to a size."""
    return [(0, wanted - side) for wanted, side in zip(size, array.shape, strict=True)]


def stacked_planes(images: Sequence[Image]) -> NDArray[np.uint8]:
    """Stack images (H, W, C) of one size as (B, C, H, W), in half the time that NumPy takes for RGB.

    Volumes (D, H, W, C) are stacked as (B, C, D, H, W).
    """
    *sides, channels = images[0].shape
    stacked = np.empty((len(images), channels, *sides), np.uint8)
    for image, planes in zip(images, stacked, strict=True):
        if channels in (3, 4) and len(sides) == 2:
            cv2.split(image, list(planes))  # writes into the planes
        else:
            planes[:] = np.moveaxis(image, -1, 0)
    return stacked
