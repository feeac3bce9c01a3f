"""Random numbers that depend on counters alone, drawn where they are used: on a CPU or a GPU, without a state.

The same counters give the same bits on every device, in a batch of any size and order. Each counter is mixed by the
finaliser of SplitMix64 (Steele, Lea, Flood 2014, *Fast Splittable Pseudorandom Number Generators*), in int64, whose
products wrap around as those of unsigned numbers do.
"""

import torch
from torch import Tensor

from unetkit.data.types import derived_seed

GAMMA = 0x9E3779B97F4A7C15 - 2**64  # odd, close to 2^64 divided by the golden ratio; as a signed number
FIRST, SECOND = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64


def random_bits(seed: int, epoch: int | Tensor, indices: Tensor, count: int) -> Tensor:
    """Draw 64 random bits (B, count), as int64, for each of the indices (B,) int64 in an epoch.

    Args:
        seed: Seed of the whole run, at least 0.
        epoch: The epoch, or a scalar int64 tensor that holds it.
        indices: Numbers of the images, at least 0.
        count: Numbers to draw for each index.
    """
    of_image = mixed(indices * GAMMA + (torch.as_tensor(epoch) * FIRST + derived_seed(seed) * 2**31))
    return mixed(of_image[:, None] + torch.arange(1, count + 1, device=indices.device) * GAMMA)


def uniform(bits: Tensor) -> Tensor:
    """Turn random bits into uniform float32 numbers, in [0, 1)."""
    return _high_bits(bits, 24) * 2.0**-24


def normal(bits: Tensor) -> Tensor:
    """Turn random bits into float32 numbers of the standard normal distribution, all within 5.4 of 0."""
    numbers: Tensor = torch.special.ndtri((_high_bits(bits, 23) + 0.5) * 2.0**-23)
    return numbers


def mixed(x: Tensor) -> Tensor:
    """Mix int64 numbers, one to one, so that a change of one bit changes half of the bits of the result."""
    x = (x ^ _shifted(x, 30)) * FIRST
    x = (x ^ _shifted(x, 27)) * SECOND
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, by: int) -> Tensor:
    """Shift to the right as unsigned numbers are shifted: zeros move in."""
    shifted: Tensor = (x >> by) & (2 ** (64 - by) - 1)
    return shifted


def _high_bits(x: Tensor, count: int) -> Tensor:
    return _shifted(x, 64 - count).float()
