"""What passes between the parts of `unetkit.data`: pairs, batches, and the keys that random draws depend on."""

from typing import NamedTuple, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

VOID = 255  # mask value of pixels that count neither in the loss nor in the scores

Image = NDArray[np.uint8]


class SampleKey(NamedTuple):
    """What a sampler asks for: an item in an epoch, or a stand-in for it that counts nowhere."""

    epoch: int
    item: int
    is_padding: bool = False

    @classmethod
    def of(cls, draw: "SampleKey | int") -> "SampleKey":
        """A plain number, as Lightning's `overfit_batches` asks for, is an item in epoch 0."""
        return cls(0, draw) if isinstance(draw, int) else draw


class Item(TypedDict):
    """An image (H, W, C) uint8, its mask (H, W) of class indices or `VOID`, its index among all pairs.

    `weight` (H, W) float32 is there for losses that want it.
    """

    image: Image
    mask: Image
    index: int
    weight: NotRequired[NDArray[np.float32]]


class Batch(TypedDict):
    """Images (B, C, H, W) uint8, masks (B, H, W) uint8 with `VOID` outside true pixels, indices (B,).

    `weight` (B, H, W) float32, 0 where the mask is void, is there for losses that want it.
    """

    image: Tensor
    mask: Tensor
    index: Tensor
    weight: NotRequired[Tensor]


def derived_seed(*numbers: int) -> int:
    """One seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
