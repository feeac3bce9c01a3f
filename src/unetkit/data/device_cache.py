"""Keep all pairs in the device's memory, so that a batch is made there from indices alone."""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from unetkit.data.store import ArrayStore
from unetkit.data.types import VOID, Batch, SampleKey

T = TypeVar("T")


class IndexBatch(NamedTuple):
    """A batch before its pairs are fetched from the device's memory.

    Attributes:
        indices: Indices (B,) of the pairs among all pairs.
        is_padding: Flags (B,) of the pairs that only fill up the last round of a distributed run; no score counts them.
    """

    indices: Tensor
    is_padding: Tensor


def indices_of(batch: IndexBatch | Batch) -> Tensor:
    """Return the indices (B,) of the pairs of a batch among all pairs."""
    return batch.indices if isinstance(batch, IndexBatch) else batch["index"]


class IndexDataset(Dataset[IndexBatch]):
    """Say which pairs a batch holds, where all pairs lie in the device's memory already.

    Args:
        indices: The pairs that belong to this part of the data.
    """

    def __init__(self, indices: NDArray[np.int64]) -> None:
        self.indices = torch.tensor(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitems__(self, keys: Sequence[SampleKey | int]) -> IndexBatch:
        """Return a whole batch at once."""
        wanted = [SampleKey.of(key) for key in keys]
        return IndexBatch(self.indices[[key.item for key in wanted]], torch.tensor([key.is_padding for key in wanted]))


class DeviceCache:
    """All images and masks of a data set whose images have one size.

    Attributes:
        images: (N, C, H, W) uint8; (N, C, D, H, W) of volumes.
        masks: (N, H, W) uint8; (N, D, H, W) of volumes.
    """

    def __init__(self, images: ArrayStore, masks: ArrayStore) -> None:
        self.images = torch.from_numpy(np.stack(list(images))).movedim(-1, 1).contiguous()
        self.masks = torch.from_numpy(np.stack(list(masks)))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of each image."""
        height, width = self.masks.shape[1:]
        return height, width

    def move_to(self, device: torch.device) -> None:
        """Move all pairs to a device, unless they are there."""
        self.images, self.masks = self.images.to(device), self.masks.to(device)

    def fetch(self, batch: IndexBatch) -> Batch:
        """Return the pairs of a batch whose indices are on the device; masks of padding are void."""
        masks = self.masks[batch.indices].masked_fill_(batch.is_padding.view(-1, *[1] * (self.masks.ndim - 1)), VOID)
        return {"image": self.images[batch.indices], "mask": masks, "index": batch.indices}


def unchanged(batch: T) -> T:
    """Return a batch as it is, since the data set already gives whole batches."""
    return batch
