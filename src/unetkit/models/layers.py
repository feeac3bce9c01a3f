"""Layers of U-Nets, for images (B, C, H, W) and, with `Layers(dims=3)`, volumes (B, C, D, H, W)."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unetkit.models.dilation import DilatedConv2d

Padding = Literal["valid", "zeros", "reflect", "replicate"]
Norm = Literal["none", "batch", "group"]


@dataclass(frozen=True)
class Layers:
    """Settings that all layers of a network share, and methods that make such layers.

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


def channels_last_of(network: nn.Module) -> torch.memory_format:
    """Return the order of memory with the channels last, of a network for images or for volumes."""
    is_of_volumes = getattr(network, "spatial_dims", 2) == 3
    return torch.channels_last_3d if is_of_volumes else torch.channels_last


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
