"""Chooses crops, the network's depth and the batch size by the images and the memory."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from unetkit.data.findings import Finding, Severity, finding_on
from unetkit.doctor.proposal.machine import Machine
from unetkit.doctor.survey.pairs import PairStats
from unetkit.models import UNet, activation_bytes

SMALL, LARGE = (8, 16, 24, 32, 40), (64, 128, 256, 512, 1024)  # channels of conf/model/plain_small and unet_large
MIN_DEEPEST = 6  # pixels of a side on the network's deepest level
MAX_WHOLE = 384  # pixels of a side up to which training takes whole images
CROP = 256  # pixels of a side
MAX_BATCH = 32
MIN_STEPS = 4  # of an epoch
MEMORY_SHARE = 0.5  # of the free memory, for activations; their gradients and the rest take as much again
PROBE = 64  # pixels of a side of the image for which activations are measured
FLOAT = 4  # bytes of a float32


@dataclass(frozen=True)
class BatchSize:
    """A batch size.

    Attributes:
        size: Images of a batch.
        gibibytes: Memory that the backward pass keeps for them in float32.
        is_limited_by_images: Whether memory would hold more, but an epoch would have too few steps.
    """

    size: int
    gibibytes: float
    is_limited_by_images: bool


def choose_side(stats: Sequence[PairStats]) -> int:
    """Return the side in pixels of what the network sees: of the largest image, or of a crop if that is large."""
    longest = max(max(pair.image.shape) for pair in stats if pair.image)
    return longest if longest <= MAX_WHOLE else CROP


def choose_channels(side: int, machine: Machine) -> tuple[int, ...]:
    """Return the channels of each level, with as many levels as images of this side allow."""
    levels = int(np.clip(np.log2(max(side / MIN_DEEPEST, 1)) + 1, 2, len(LARGE)))
    return (LARGE if machine.is_gpu else SMALL)[:levels]


def choose_batch(
    image_channels: int, num_classes: int, network: Sequence[int], side: int, count: int, machine: Machine
) -> BatchSize:
    """Return the largest power of two that fits into memory and leaves enough steps in an epoch.

    Args:
        image_channels: Channels of the images.
        num_classes: The network's outputs.
        network: Its channels on each level.
        side: Pixels of a side of the images.
        count: Images to train on.
        machine: The machine that will train.
    """
    is_small = network[0] == SMALL[0]
    net = UNet(
        image_channels,
        num_classes,
        network,
        padding="reflect",
        upsampling="bilinear" if is_small else "transposed",  # as in conf/model/plain_small and unet_large
    )
    padded = -(-side // 16) * 16
    one = activation_bytes(net, torch.zeros(1, image_channels, PROBE, PROBE)) * (padded / PROBE) ** 2
    # Weights, gradients, and the two averages that Adam keeps.
    fixed = 4 * FLOAT * sum(parameter.numel() for parameter in net.parameters())
    fits = max((MEMORY_SHARE * machine.memory - fixed) / one, 1)
    size = min(MAX_BATCH, _power_of_two(fits), _power_of_two(max(count / MIN_STEPS, 1)))
    return BatchSize(size, size * one / 2**30, size < min(MAX_BATCH, fits / 2))


def check_memory(stats: Sequence[PairStats], machine: Machine) -> list[Finding]:
    """Report images that may be too large for validation, which takes them whole."""
    width = LARGE[0] if machine.is_gpu else SMALL[0]
    # At full size the network holds about four arrays of its first level's features.
    bytes_per_pixel = 4 * width * FLOAT
    large = [pair for pair in stats if pair.image and bytes_per_pixel * np.prod(pair.image.shape) > machine.memory]
    ids = [pair.pair.id for pair in large]
    return finding_on(
        Severity.WARNING,
        f"{{n}} image{{s}} may be too large for the {machine.memory / 2**30:.0f} GiB of memory, as validation takes "
        "whole images",
        "cut images and masks into tiles of at most 2048 pixels a side",
        ids,
        ids,
    )


def _power_of_two(number: float) -> int:
    """Return the largest power of two that is not above the number, which is at least 1."""
    return 1 << int(np.log2(number))
