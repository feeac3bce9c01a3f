"""What U-Nets are made of, for images (B, C, H, W) and, with `Layers(dims=3)`, volumes (B, C, D, H, W)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unetkit.models.padding import centre_crop

Padding = Literal["valid", "zeros", "reflect", "replicate"]
Norm = Literal["none", "batch", "group"]


@dataclass(frozen=True)
class Layers:
    """What all layers of a network have in common.

    Attributes:
        dims: Spatial dimensions, 2 or 3.
        padding: Of convolutions: `valid` (none), or what stands beyond the border so that the size stays.
        norm: After each convolution.
    """

    dims: int = 2
    padding: Padding = "zeros"
    norm: Norm = "batch"

    def conv(
        self,
        c_in: int,
        c_out: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> nn.Conv2d | nn.Conv3d:
        """A convolution; with stride 1 it keeps the size, or loses dilation * (kernel // 2) on each side if `valid`."""
        pad = 0 if self.padding == "valid" else dilation * (kernel // 2)
        mode = "zeros" if self.padding == "valid" or pad == 0 else self.padding
        kind = nn.Conv2d if self.dims == 2 else nn.Conv3d
        return kind(c_in, c_out, kernel, stride, pad, dilation, groups, bias, mode)

    def conv_norm_relu(
        self, c_in: int, c_out: int, kernel: int = 3, *, stride: int = 1, dilation: int = 1, groups: int = 1
    ) -> list[nn.Module]:
        """A convolution, with a bias only where no norm follows, the norm, a ReLU."""
        has_bias = self.norm == "none"
        conv = self.conv(c_in, c_out, kernel, stride=stride, dilation=dilation, groups=groups, bias=has_bias)
        return [conv, *self.normalisation(c_out), nn.ReLU(inplace=True)]

    def normalisation(self, channels: int) -> list[nn.Module]:
        """The norm of so many features; at most 8 groups, each of at least 4 features."""
        if self.norm == "batch":
            return [nn.BatchNorm2d(channels) if self.dims == 2 else nn.BatchNorm3d(channels)]
        if self.norm == "group":
            groups = max(g for g in range(1, 9) if channels % g == 0 and (channels // g >= 4 or g == 1))
            return [nn.GroupNorm(groups, channels)]
        return []

    def up_conv(self, c_in: int, c_out: int) -> nn.ConvTranspose2d | nn.ConvTranspose3d:
        """Twice the size, each pixel becoming 2x2 (2x2x2) learnt ones."""
        kind = nn.ConvTranspose2d if self.dims == 2 else nn.ConvTranspose3d
        return kind(c_in, c_out, kernel_size=2, stride=2)

    def down_conv(self, c_in: int, c_out: int) -> nn.Conv2d | nn.Conv3d:
        """Half the size, each 2x2 (2x2x2) pixels becoming one."""
        kind = nn.Conv2d if self.dims == 2 else nn.Conv3d
        return kind(c_in, c_out, kernel_size=2, stride=2, bias=False)

    def max_pool(self, x: Tensor) -> Tensor:
        """Half the size, the largest of each 2x2 (2x2x2) pixels."""
        return F.max_pool2d(x, 2) if self.dims == 2 else F.max_pool3d(x, 2)

    @property
    def linear(self) -> str:
        """Torch's name of linear interpolation."""
        return "bilinear" if self.dims == 2 else "trilinear"


IMAGES = Layers()


class DoubleConv(nn.Sequential):
    """Twice (3x3 convolution, norm, ReLU): (B, c_in, H, W) to (B, c_out, H, W), or 4 pixels less if `valid`."""

    def __init__(self, c_in: int, c_mid: int, c_out: int, layers: Layers, *, dilation: int = 1) -> None:
        super().__init__(
            *layers.conv_norm_relu(c_in, c_mid, dilation=dilation),
            *layers.conv_norm_relu(c_mid, c_out, dilation=dilation),
        )


class SeparableConv(nn.Sequential):
    """DoubleConv of depthwise-separable convolutions: each a 3x3 one within a feature, then a 1x1 one across.

    MobileNet (Howard et al. 2017, arXiv 1704.04861, figure 3): norm and ReLU follow both. 9 c_in + c_in c_out weights
    stand in for 9 c_in c_out.
    """

    def __init__(self, c_in: int, c_mid: int, c_out: int, layers: Layers, *, dilation: int = 1) -> None:
        super().__init__(
            *layers.conv_norm_relu(c_in, c_in, dilation=dilation, groups=c_in),
            *layers.conv_norm_relu(c_in, c_mid, kernel=1),
            *layers.conv_norm_relu(c_mid, c_mid, dilation=dilation, groups=c_mid),
            *layers.conv_norm_relu(c_mid, c_out, kernel=1),
        )


class ResidualBlock(nn.Module):
    """ReLU(shortcut(x) + norm(conv(ReLU(norm(conv(x)))))) with 3x3 convolutions: (B, c_in, H, W) to (B, c_out, H, W).

    He et al. 2016, arXiv 1512.03385, figure 2. The shortcut is the identity, or a 1x1 convolution with its norm where
    the widths differ (equation 2, option B). In `valid` mode 4 pixels are lost, and the shortcut is cropped.
    """

    def __init__(
        self,
        c_in: int,
        c_mid: int | None = None,
        c_out: int | None = None,
        layers: Layers = IMAGES,
        *,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        c_out = c_in if c_out is None else c_out
        c_mid = c_out if c_mid is None else c_mid
        first = layers.conv_norm_relu(c_in, c_mid, dilation=dilation)
        second = layers.conv_norm_relu(c_mid, c_out, dilation=dilation)[:-1]  # its ReLU comes after the sum
        self.layers = nn.Sequential(*first, *second)
        projection = [] if c_in == c_out else layers.conv_norm_relu(c_in, c_out, kernel=1)[:-1]
        self.shortcut = nn.Sequential(*projection)
        self.is_cropped = layers.padding == "valid"

    def forward(self, x: Tensor) -> Tensor:
        """Refine x."""
        y: Tensor = self.layers(x)
        if self.is_cropped:
            x = centre_crop(x, *y.shape[2:])
        return F.relu(self.shortcut(x) + y)


BLOCKS: dict[str, Callable[..., nn.Module]] = {
    "double": DoubleConv,
    "residual": ResidualBlock,
    "separable": SeparableConv,
}


class AttentionGate(nn.Module):
    """What a skip lets through: Attention U-Net (Oktay et al. 2018, arXiv 1804.03999, figure 2, equations 1 and 2).

    x is the skip, g the gating signal, the twice smaller features from below:

        alpha = upsampled sigmoid(psi(ReLU(W_x x + W_g g + b_g)) + b_psi), and x * alpha goes on.

    W_x is a 2x2 convolution with stride 2, as in the authors' code; there are half as many features between as in x.
    """

    def __init__(self, c_skip: int, c_below: int, layers: Layers) -> None:
        super().__init__()
        between = max(c_skip // 2, 1)
        self.w_x = layers.down_conv(c_skip, between)
        self.w_g = layers.conv(c_below, between, kernel=1)
        self.psi = layers.conv(between, 1, kernel=1)
        self.up = nn.Upsample(scale_factor=2, mode=layers.linear, align_corners=False)

    def forward(self, skip: Tensor, below: Tensor) -> Tensor:
        """Gate (B, c_skip, 2 H, 2 W) by itself and by (B, c_below, H, W)."""
        return skip * self.coefficients(skip, below)

    def coefficients(self, skip: Tensor, below: Tensor) -> Tensor:
        """Alpha (B, 1, 2 H, 2 W), in (0, 1)."""
        alpha: Tensor = self.up(torch.sigmoid(self.psi(F.relu(self.w_x(skip) + self.w_g(below)))))
        return alpha


class SCSE(nn.Module):
    """Spatial and channel squeeze and excitation (Roy et al. 2018, arXiv 1803.02579, section 3.3); size stays.

    x times a gate for each channel, from its mean, plus x times a gate for each pixel, from its features.
    """

    def __init__(self, channels: int, layers: Layers = IMAGES) -> None:
        super().__init__()
        between = max(channels // 2, 1)
        self.channel = nn.Sequential(
            nn.AdaptiveAvgPool2d(1) if layers.dims == 2 else nn.AdaptiveAvgPool3d(1),
            layers.conv(channels, between, kernel=1),
            nn.ReLU(inplace=True),
            layers.conv(between, channels, kernel=1),
            nn.Sigmoid(),
        )
        self.pixel = nn.Sequential(layers.conv(channels, 1, kernel=1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """Gate x (B, C, H, W) by channel (B, C, 1, 1) and by pixel (B, 1, H, W)."""
        gated: Tensor = x * (self.channel(x) + self.pixel(x))
        return gated


class PyramidPooling(nn.Module):
    """What the whole image and its parts hold: PSPNet (Zhao et al. 2017, arXiv 1612.01105, figure 3c); size stays.

    Means over 1, 2, 3 and 6 bins a side, each through a 1x1 convolution to a quarter of the features, are upsampled,
    joined to x and brought back to its features. The means take no norm: one pixel of one image has no variance.
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
        """Let each pixel of x (B, C, H, W) see the whole."""
        size = x.shape[2:]
        pooled = [branch(bin_means(x, n)) for branch, n in zip(self.branches, self.bins, strict=True)]
        wide = [F.interpolate(means, size, mode=self.mode, align_corners=False) for means in pooled]
        y: Tensor = self.fuse(torch.cat([x, *wide], dim=1))
        return y


def bin_means(x: Tensor, bins: int) -> Tensor:
    """Means (B, C, bins, bins) of x (B, C, H, W), as `adaptive_avg_pool2d`, which ONNX lacks for sizes left open."""
    for axis in range(2, x.ndim):
        size = x.shape[axis]
        pixel, start = torch.arange(size, device=x.device), torch.arange(bins, device=x.device)[:, None] * size
        inside = (pixel * bins > start - bins) & (pixel * bins < start + size)  # floor(i s / n) to ceil((i + 1) s / n)
        weights = inside / inside.sum(1, keepdim=True)
        x = torch.tensordot(x, weights.to(x.dtype), dims=([axis], [1])).movedim(-1, axis)
    return x


def he_initialisation(module: nn.Module) -> None:
    """Weights from N(0, sqrt(2 / N)), N = inputs of a unit (He et al. 2015; the U-Net paper, section 3)."""
    if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        inputs = module.in_channels // module.groups
        if isinstance(module, nn.Conv2d | nn.Conv3d):  # of a stride-2 2x2 transposed one, a pixel sees one input
            inputs *= math.prod(module.kernel_size)
        nn.init.normal_(module.weight, std=math.sqrt(2 / inputs))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
