"""Attention of U-Nets by gates in (0, 1): of skips, and of channels and pixels."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unetkit.models.layers import IMAGES, Layers


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
