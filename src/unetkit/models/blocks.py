"""Building blocks of U-Nets, for images (B, C, H, W) and, with `Layers(dims=3)`, volumes (B, C, D, H, W)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unetkit.models.dilation import DilatedConv2d
from unetkit.models.padding import centre_crop

Padding = Literal["valid", "zeros", "reflect", "replicate"]
Norm = Literal["none", "batch", "group"]


@dataclass(frozen=True)
class Layers:
    """Settings that all layers of a network share, and the layers that follow them.

    Attributes:
        dims: Spatial dimensions, 2 or 3.
        padding: Padding of convolutions: `valid` (none), or `zeros`, `reflect` or `replicate`, which keep the size.
        norm: Normalisation after each convolution.
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
        """Make a convolution. With stride 1 it keeps the size; `valid` loses dilation * (kernel // 2) on each side."""
        pad = 0 if self.padding == "valid" else dilation * (kernel // 2)
        mode = "zeros" if self.padding == "valid" or pad == 0 else self.padding
        images = DilatedConv2d if dilation > 1 else nn.Conv2d
        kind = images if self.dims == 2 else nn.Conv3d
        return kind(c_in, c_out, kernel, stride, pad, dilation, groups, bias, mode)

    def conv_norm_relu(
        self, c_in: int, c_out: int, kernel: int = 3, *, stride: int = 1, dilation: int = 1, groups: int = 1
    ) -> list[nn.Module]:
        """Make a convolution, the norm, and a ReLU. The convolution has a bias only if there is no norm."""
        has_bias = self.norm == "none"
        conv = self.conv(c_in, c_out, kernel, stride=stride, dilation=dilation, groups=groups, bias=has_bias)
        return [conv, *self.normalisation(c_out), nn.ReLU(inplace=True)]

    def normalisation(self, channels: int) -> list[nn.Module]:
        """Make the norm of so many features. GroupNorm has at most 8 groups, each of at least 4 features."""
        if self.norm == "batch":
            return [nn.BatchNorm2d(channels) if self.dims == 2 else nn.BatchNorm3d(channels)]
        if self.norm == "group":
            groups = max(g for g in range(1, 9) if channels % g == 0 and (channels // g >= 4 or g == 1))
            return [nn.GroupNorm(groups, channels)]
        return []

    def up_conv(self, c_in: int, c_out: int) -> nn.ConvTranspose2d | nn.ConvTranspose3d:
        """Make a transposed convolution that doubles the size: kernel 2, stride 2."""
        kind = nn.ConvTranspose2d if self.dims == 2 else nn.ConvTranspose3d
        return kind(c_in, c_out, kernel_size=2, stride=2)

    def down_conv(self, c_in: int, c_out: int) -> nn.Conv2d | nn.Conv3d:
        """Make a convolution that halves the size: kernel 2, stride 2, no bias."""
        kind = nn.Conv2d if self.dims == 2 else nn.Conv3d
        return kind(c_in, c_out, kernel_size=2, stride=2, bias=False)

    def max_pool(self, x: Tensor) -> Tensor:
        """Halve the size by max pooling over 2x2 (2x2x2) pixels."""
        return F.max_pool2d(x, 2) if self.dims == 2 else F.max_pool3d(x, 2)

    @property
    def linear(self) -> str:
        """Return torch's name of linear interpolation."""
        return "bilinear" if self.dims == 2 else "trilinear"


IMAGES = Layers()


class DoubleConv(nn.Sequential):
    """Twice (3x3 convolution, norm, ReLU): (B, c_in, H, W) to (B, c_out, H, W), or to (H - 4, W - 4) if `valid`."""

    def __init__(self, c_in: int, c_mid: int, c_out: int, layers: Layers, *, dilation: int = 1) -> None:
        super().__init__(
            *layers.conv_norm_relu(c_in, c_mid, dilation=dilation),
            *layers.conv_norm_relu(c_mid, c_out, dilation=dilation),
        )


class SeparableConv(nn.Sequential):
    """DoubleConv of depthwise-separable convolutions: a 3x3 convolution of each feature, then a 1x1 across features.

    MobileNet (Howard et al. 2017, arXiv 1704.04861, figure 3): norm and ReLU follow both. A pair has
    9 c_in + c_in c_out weights, a plain convolution 9 c_in c_out.
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

    He et al. 2016, arXiv 1512.03385, figure 2. The shortcut is the identity, or, if the widths differ, a 1x1
    convolution with a norm (equation 2, option B). With `valid` padding the output is (H - 4, W - 4), and the shortcut
    is cropped to it.
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
        second = layers.conv_norm_relu(c_mid, c_out, dilation=dilation)[:-1]  # without its ReLU, which follows the sum
        self.layers = nn.Sequential(*first, *second)
        projection = [] if c_in == c_out else layers.conv_norm_relu(c_in, c_out, kernel=1)[:-1]
        self.shortcut = nn.Sequential(*projection)
        self.is_cropped = layers.padding == "valid"

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, c_in, H, W) to (B, c_out, H, W)."""
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
    """The attention gate of a skip: Attention U-Net (Oktay et al. 2018, arXiv 1804.03999, figure 2, eqs. 1 and 2).

    x * alpha, where x is the skip, g (the gating signal) the features of half the size from the level below, and

        alpha = upsample(sigmoid(psi(ReLU(W_x x + W_g g + b_g)) + b_psi))

    W_x is a 2x2 convolution with stride 2, as in the authors' code. W_x x and W_g g have half as many features as x.
    """

    def __init__(self, c_skip: int, c_below: int, layers: Layers) -> None:
        super().__init__()
        between = max(c_skip // 2, 1)
        self.w_x = layers.down_conv(c_skip, between)
        self.w_g = layers.conv(c_below, between, kernel=1)
        self.psi = layers.conv(between, 1, kernel=1)
        self.up = nn.Upsample(scale_factor=2, mode=layers.linear, align_corners=False)

    def forward(self, skip: Tensor, below: Tensor) -> Tensor:
        """Weight the skip (B, c_skip, 2 H, 2 W), given the features below (B, c_below, H, W)."""
        return skip * self.coefficients(skip, below)

    def coefficients(self, skip: Tensor, below: Tensor) -> Tensor:
        """Compute alpha (B, 1, 2 H, 2 W), in (0, 1)."""
        alpha: Tensor = self.up(torch.sigmoid(self.psi(F.relu(self.w_x(skip) + self.w_g(below)))))
        return alpha


class SCSE(nn.Module):
    """Spatial and channel squeeze and excitation (Roy et al. 2018, arXiv 1803.02579, section 3.3); shape stays.

    x times a gate in (0, 1) for each channel, computed from the channels' means, plus x times a gate in (0, 1) for each
    pixel, computed from its features.
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
        """Weight x (B, C, H, W) by the gates (B, C, 1, 1) of channels and (B, 1, H, W) of pixels."""
        gated: Tensor = x * (self.channel(x) + self.pixel(x))
        return gated


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


def he_initialisation(module: nn.Module) -> None:
    """Initialise a convolution: weights from N(0, sqrt(2 / N)), where N is the number of inputs of a unit; biases 0.

    He et al. 2015, arXiv 1502.01852; the U-Net paper, section 3. Use as `network.apply(he_initialisation)`.
    """
    if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        inputs = module.in_channels // module.groups
        if isinstance(module, nn.Conv2d | nn.Conv3d):  # a transposed one has one input pixel
            inputs *= math.prod(module.kernel_size)
        nn.init.normal_(module.weight, std=math.sqrt(2 / inputs))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
