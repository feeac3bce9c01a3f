"""Pairs that lie in the device's memory as a whole, where batches are put together."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unetkit.data.store import ArrayStore
from unetkit.data.types import VOID, Batch, SampleKey

T = TypeVar("T")


class IndexBatch(TypedDict):
    """Indices (B,) of pairs that lie on the device, and which of them (B,) are stand-ins that count nowhere."""

    index: Tensor
    is_padding: Tensor
    coefficients: NotRequired[Tensor]
    intensity: NotRequired[Tensor]


class IndexDataset(Dataset[IndexBatch]):
    """Says only which pairs a batch holds, where all pairs lie on the device already.

    Args:
        indices: Which pairs belong to this part of the data.
    """

    def __init__(self, indices: Sequence[int]) -> None:
        self.indices = torch.tensor(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitems__(self, draws: Sequence[SampleKey | int]) -> IndexBatch:
        """A whole batch at once."""
        wanted = [SampleKey.of(draw) for draw in draws]
        return {
            "index": self.indices[[draw.item for draw in wanted]],
            "is_padding": torch.tensor([draw.is_padding for draw in wanted]),
        }


class PairsOnDevice:
    """All images and masks of a data set whose images have one size.

    Attributes:
        images: (N, C, H, W) uint8.
        masks: (N, H, W) uint8.
    """

    def __init__(self, images: ArrayStore, masks: ArrayStore) -> None:
        self.images = torch.from_numpy(np.stack([images[i] for i in range(len(images))])).movedim(-1, 1).contiguous()
        self.masks = torch.from_numpy(np.stack([masks[i] for i in range(len(masks))]))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.masks.shape[1:]
        return height, width

    def move_to(self, device: torch.device) -> None:
        """Move them, unless they are there."""
        self.images, self.masks = self.images.to(device), self.masks.to(device)

    def fetch(self, batch: IndexBatch) -> Batch:
        """The pairs of a batch that is on the device; the masks of stand-ins are void."""
        index = batch["index"]
        masks = self.masks[index].masked_fill_(batch["is_padding"][:, None, None], VOID)
        fetched: Batch = {"image": self.images[index], "mask": masks, "index": index}
        if "coefficients" in batch:
            fetched |= {"coefficients": batch["coefficients"], "intensity": batch["intensity"]}
        return fetched


def as_it_is(batch: T) -> T:
    """For a loader whose data set gives whole batches."""
    return batch
