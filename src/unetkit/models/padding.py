"""One policy for sizes: mirror up to what a network needs, crop back to the true pixels."""

import torch
from torch import Tensor, nn


def mirrored_indices(size: int, before: int, after: int, device: torch.device) -> Tensor:
    """Indices (before + size + after,) that extend an axis by mirroring it, as often as needed.

    The edge pixel is not repeated: size 3, 2 on each side gives 2 1 | 0 1 2 | 1 0.
    """
    positions = torch.arange(size + before + after, device=device) - before
    period = torch.full_like(positions, max(2 * size - 2, 1))  # a tensor, as ONNX wants it
    positions = positions.remainder(period)
    return torch.minimum(positions, (period - positions).remainder(period))


def mirror_pad(x: Tensor, height: tuple[int, int], width: tuple[int, int]) -> Tensor:
    """Mirror-pad (B, C, H, W) by (before, after) rows and columns, wider than the image if need be."""
    if height == (0, 0) and width == (0, 0):
        return x
    rows = mirrored_indices(x.shape[-2], *height, x.device)
    columns = mirrored_indices(x.shape[-1], *width, x.device)
    return x.index_select(-2, rows).index_select(-1, columns)


def missing_to_multiple(size: int, halvings: int) -> tuple[int, int]:
    """Pixels to add (before, after) an axis so that it can be halved so often, and is at least 2 long then.

    Reflection and BatchNorm need those 2 at the bottleneck.
    """
    multiple = 2**halvings
    total = max(-size % multiple, (2 * multiple if halvings else 1) - size)
    return total // 2, total - total // 2


def centre_crop(x: Tensor, height: int, width: int) -> Tensor:
    """The centre (..., height, width) of (..., H, W)."""
    top, left = (x.shape[-2] - height) // 2, (x.shape[-1] - width) // 2
    return x[..., top : top + height, left : left + width]


def predict_full_frame(network: nn.Module, x: Tensor) -> Tensor:
    """Logits (B, C, H, W) for every pixel of x (B, in_channels, H, W), also from a valid-convolution network.

    Such a network loses `network.margin` pixels on each side; they are supplied by mirroring the borders
    (Ronneberger et al. 2015, section 2, the overlap-tile strategy).
    """
    margin = int(getattr(network, "margin", 0))
    logits: Tensor = network(mirror_pad(x, (margin, margin), (margin, margin)))
    return logits
