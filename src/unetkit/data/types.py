"""Types that the modules of `unetkit.data` exchange, and the seeds of random draws."""

from typing import NamedTuple, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

VOID = 255  # mask value of void pixels, which count neither in the loss nor in the scores

Image = NDArray[np.uint8]


class SampleKey(NamedTuple):
    """What a sampler asks a data set for.

    Attributes:
        epoch: The epoch, from 0, on which random draws depend.
        item: The position of the pair in the data set.
        is_padding: Whether the pair only fills up the last round of a distributed run, with a void mask.
    """

    epoch: int
    item: int
    is_padding: bool = False

    @classmethod
    def of(cls, key: "SampleKey | int") -> "SampleKey":
        """Return a key as it is; a plain number, which Lightning gives for `overfit_batches`, is an item in epoch 0."""
        return cls(0, key) if isinstance(key, int) else key


class Item(TypedDict):
    """A pair: an image (H, W, C) uint8, its mask (H, W) of class indices or `VOID`, and its index among all pairs.

    A volume is (D, H, W, C), and its mask (D, H, W).

    `draw` is the number that random draws depend on: the index, or another one for each further part of an image.

    `weight` (H, W) float32, 0 where the mask is void, is there only for a loss that needs it.
    """

    image: Image
    mask: Image
    index: int
    draw: NotRequired[int]
    weight: NotRequired[NDArray[np.float32]]


class Batch(TypedDict):
    """Images (B, C, H, W) uint8, masks (B, H, W) uint8 of class indices or `VOID`, and indices (B,) among all pairs.

    Volumes are (B, C, D, H, W), and their masks (B, D, H, W).

    `draw` (B,) are the numbers that random draws depend on, see `Item`; without them, the indices are.
    `weight` (B, H, W) float32, 0 where the mask is void, is there only for a loss that needs it.
    """

    image: Tensor
    mask: Tensor
    index: Tensor
    draw: NotRequired[Tensor]
    weight: NotRequired[Tensor]


def of_label(mask: Image, label: int) -> Image:
    """Return the binary mask of a label, 0 and 1, `VOID` where void, from a multi-label mask of any shape."""
    return np.where(mask == VOID, np.uint8(VOID), mask >> np.uint8(label) & np.uint8(1))


def derived_seed(*numbers: int) -> int:
    """Return a seed that depends on all of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
