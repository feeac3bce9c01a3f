"""Padding of images to the size that a network needs, by mirroring, and cropping back to the true pixels."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mirrored_indices(size: int, before: int, after: int, device: torch.device) -> Tensor:
    """Return indices (before + size + after,) that extend an axis by mirroring it, as often as needed.

    The edge pixel is not repeated: size 3 with 2 on each side gives 2 1 | 0 1 2 | 1 0.
    """
    positions = torch.arange(size + before + after, device=device) - before
    period = torch.full_like(positions, max(2 * size - 2, 1))  # a tensor, as ONNX export needs it
    positions = positions.remainder(period)
    return torch.minimum(positions, (period - positions).remainder(period))


def mirror_pad(x: Tensor, *amounts: tuple[int, int]) -> Tensor:
    """Mirror-pad (B, C, H, W) by (before, after) rows and columns, or (B, C, D, H, W) by three such pairs.

    The amounts may be larger than the image.
    """
    if all(isinstance(n, int) and n == 0 for amount in amounts for n in amount):  # in export, sizes are no integers
        return x
    for axis, amount in enumerate(amounts, start=x.ndim - len(amounts)):
        x = x.index_select(axis, mirrored_indices(x.shape[axis], *amount, x.device))
    return x


def missing_to_multiple(size: int, halvings: int, least: int = 2) -> tuple[int, int]:
    """Return the pixels to add (before, after) an axis so that it can be halved `halvings` times.

    Its length is then at least `least`: reflection and BatchNorm need 2 at the bottleneck, reflection for a dilated
    convolution needs more.
    """
    multiple = 2**halvings
    total = max(-size % multiple, (least * multiple if halvings else 1) - size)
    return total // 2, total - total // 2


def centre_crop(x: Tensor, *size: int) -> Tensor:
    """Crop x (..., H, W) to its centre (..., *size).

    Done by negative padding, whose gradient keeps the memory layout of x. The gradient of a slice is always channels
    first, so a channels-last network would convert it.
    """
    amounts = []
    for whole, part in zip(reversed(x.shape[-len(size) :]), reversed(size), strict=True):
        before = (whole - part) // 2
        amounts += [-before, before + part - whole]
    return F.pad(x, amounts)


def predict_full_frame(network: nn.Module, x: Tensor) -> Tensor:
    """Compute logits (B, C, H, W) for every pixel of x (B, in_channels, H, W), also with unpadded convolutions.

    A network with unpadded convolutions loses `network.margin` pixels on each side, so the borders are mirrored first
    (Ronneberger et al. 2015, section 2, the overlap-tile strategy).
    """
    margin = int(getattr(network, "margin", 0))
    logits: Tensor = network(mirror_pad(x, *[(margin, margin)] * (x.ndim - 2)))
    return logits
