"""Convolution blocks of U-Nets: double, separable and residual."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from unetkit.models.layers import IMAGES, Layers
from unetkit.models.padding import centre_crop


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
