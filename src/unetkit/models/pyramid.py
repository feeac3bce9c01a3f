"""Pyramid pooling, which gives each pixel context from the whole image."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unetkit.models.layers import Layers


class PyramidPooling(nn.Module):
    """Pyramid pooling, context from the whole image: PSPNet (Zhao et al. 2017, arXiv 1612.01105, fig. 3c); shape stays.

    The means over 1, 2, 3 and 6 bins per side pass a 1x1 convolution to a quarter of the features, are upsampled and
    concatenated with x; another 1x1 convolution restores the number of features. The first convolutions have no norm,
    since the mean over one bin of one image has no variance.
    """

    def __init__(self, channels: int, layers: Layers, bins: tuple[int, ...] = (1, 2, 3, 6)) -> None:
        super().__init__()
        self.bins = bins
        self.mode = layers.linear
        width = max(channels // len(bins), 1)
        self.branches = nn.ModuleList(
            nn.Sequential(layers.conv(channels, width, kernel=1), nn.ReLU(inplace=True)) for _ in bins
        )
        self.fuse = nn.Sequential(*layers.conv_norm_relu(channels + len(bins) * width, channels, kernel=1))

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, C, H, W) to (B, C, H, W)."""
        size = x.shape[2:]
        pooled = [branch(bin_means(x, n)) for branch, n in zip(self.branches, self.bins, strict=True)]
        wide = [F.interpolate(means, size, mode=self.mode, align_corners=False) for means in pooled]
        y: Tensor = self.fuse(torch.cat([x, *wide], dim=1))
        return y


def bin_means(x: Tensor, bins: int) -> Tensor:
    """Compute means (B, C, bins, bins) of x (B, C, H, W), and of volumes (B, C, bins, bins, bins).

    The same as `adaptive_avg_pool2d` and `3d`, which ONNX does not have for sizes unknown at export.
    """
    for axis in range(2, x.ndim):
        size = x.shape[axis]
        pixel, start = torch.arange(size, device=x.device), torch.arange(bins, device=x.device)[:, None] * size
        inside = (pixel * bins > start - bins) & (pixel * bins < start + size)  # floor(i s / n) to ceil((i + 1) s / n)
        weights = inside / inside.sum(1, keepdim=True)
        x = torch.tensordot(x, weights.to(x.dtype), dims=([axis], [1])).movedim(-1, axis)
    return x
