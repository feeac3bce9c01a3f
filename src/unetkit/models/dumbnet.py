"""DumbNet, the smallest baseline: an encoder and a decoder without skips, to compare U-Nets with."""

import torch.nn.functional as F
from torch import Tensor, nn

from unetkit.models.arguments import check_positive
from unetkit.models.layers import he_initialisation


class DumbNet(nn.Module):
    """A stride-2 convolution, bilinear upsampling (align_corners), a convolution, and a 1x1 head.

    (B, in_channels, H, W) to logits (B, num_classes, H, W), for any size.

    Args:
        in_channels: Channels of the image.
        num_classes: Channels of the logits; 1 means binary, through a sigmoid.
        channels: Features of both convolutions.

    Raises:
        UserError: If an argument is not a positive integer.
    """

    def __init__(self, in_channels: int = 1, num_classes: int = 1, channels: int = 64) -> None:
        super().__init__()
        check_positive(in_channels=in_channels, num_classes=num_classes, channels=channels)
        self.down = nn.Conv2d(in_channels, channels, kernel_size=3, stride=2, padding=1)
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.head = nn.Conv2d(channels, num_classes, kernel_size=1)
        self.apply(he_initialisation)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (B, num_classes, H, W) of images (B, in_channels, H, W)."""
        features = F.relu(self.down(x))  # (B, channels, ceil(H / 2), ceil(W / 2))
        features = F.interpolate(features, x.shape[-2:], mode="bilinear", align_corners=True)  # (B, channels, H, W)
        logits: Tensor = self.head(F.relu(self.conv(features)))
        return logits
