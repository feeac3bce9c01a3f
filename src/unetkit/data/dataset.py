"""From stored arrays to batches: the data set, the order in which it is read, and how items are put together."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from unetkit.data.borders import BorderWeights
from unetkit.data.store import ArrayStore
from unetkit.data.types import VOID, Batch, Image, Item, SampleKey, derived_seed

Augment = Callable[[Image, Image, int, int], tuple[Image, Image]]  # of image, mask, epoch and index


class PairDataset(Dataset[Item]):
    """Pairs of the stores at `indices`, cropped and augmented when training.

    Args:
        images: Images (H, W, C) uint8.
        masks: Masks (H, W) of class indices.
        indices: Which pairs belong to this part of the data.
        augmentation: Applied after cropping, or None.
        crop_size: Side of a random square to cut from larger images, in pixels, or None.
        borders: Weights the pixels of the masks, or None.
        seed: Of the squares.
    """

    def __init__(
        self,
        images: ArrayStore,
        masks: ArrayStore,
        indices: Sequence[int],
        augmentation: Augment | None = None,
        crop_size: int | None = None,
        borders: BorderWeights | None = None,
        seed: int = 0,
    ) -> None:
        self.images = images
        self.masks = masks
        self.indices = list(indices)
        self.augmentation = augmentation
        self.crop_size = crop_size
        self.borders = borders
        self.seed = seed

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, draw: SampleKey | int) -> Item:
        """An item in an epoch."""
        draw = SampleKey.of(draw)
        index = self.indices[draw.item]
        image, mask = self.images[index], self.masks[index]
        if self.borders is not None:
            mask = np.dstack([mask, self.borders.maps[index]])  # two channels, which move alike
        if self.crop_size is not None:
            seed = derived_seed(self.seed, draw.epoch, index, self.crop_size)
            image, mask = random_crop(image, mask, self.crop_size, seed)
        if self.augmentation is not None:
            image, mask = self.augmentation(image, mask, draw.epoch, index)
        if self.borders is not None:
            mask, border = np.ascontiguousarray(mask.transpose(2, 0, 1))
        if draw.is_padding:
            mask = np.full_like(mask, VOID)
        item: Item = {"image": image, "mask": mask, "index": index}
        if self.borders is not None:
            item["weight"] = self.borders.weight(mask, border)
        return item


class EpochSampler(Sampler[SampleKey]):
    """The order of a data set in each epoch, a function of seed and epoch alone.

    Every process of a distributed run takes every `world_size`-th item; the last round is filled up with items
    whose masks are void, so that all take as many steps and none counts twice. `epoch` is the first one: workers draw
    from it before the Trainer tells it.
    """

    def __init__(
        self, size: int, *, shuffle: bool, seed: int, rank: int = 0, world_size: int = 1, epoch: int = 0
    ) -> None:
        self.size = size
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = epoch

    def set_epoch(self, epoch: int) -> None:
        """Told by the Trainer when an epoch begins."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.size // self.world_size)

    def __iter__(self) -> Iterator[SampleKey]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(self.size) if self.shuffle else np.arange(self.size)
        for position in range(self.rank, len(self) * self.world_size, self.world_size):
            yield SampleKey(self.epoch, int(order[position % self.size]), is_padding=position >= self.size)


def random_crop(image: Image, mask: Image, size: int, seed: int) -> tuple[Image, Image]:
    """The same random part, at most size x size, of an image (H, W, C) and its mask (H, W) or (H, W, K)."""
    rng = np.random.default_rng(seed)
    top, left = (int(rng.integers(max(side - size, 0) + 1)) for side in mask.shape[:2])
    window = slice(top, top + size), slice(left, left + size)
    return image[window], mask[window]


def collate(items: Sequence[Item]) -> Batch:
    """Stack items; smaller ones are mirrored to the size of the largest, where their masks are void."""
    height = max(item["mask"].shape[0] for item in items)
    width = max(item["mask"].shape[1] for item in items)
    images, masks = [], []
    for item in items:
        missing = (0, height - item["mask"].shape[0]), (0, width - item["mask"].shape[1])
        image, mask = item["image"], item["mask"]
        if missing != ((0, 0), (0, 0)):
            image = np.pad(image, (*missing, (0, 0)), "reflect" if min(mask.shape) > 1 else "edge")
            mask = np.pad(mask, missing, constant_values=VOID)
        images.append(image)
        masks.append(mask)
    batch: Batch = {
        "image": torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy()),
        "mask": torch.from_numpy(np.stack(masks)),
        "index": torch.tensor([item["index"] for item in items]),
    }
    weights = [item["weight"] for item in items if "weight" in item]
    if weights:
        batch["weight"] = torch.from_numpy(
            np.stack([np.pad(w, ((0, height - w.shape[0]), (0, width - w.shape[1]))) for w in weights])
        )
    return batch
