"""An efficient U-Net of residual blocks: wide at low resolution, narrow at high resolution.

Our own design, made of published parts: He et al. 2016, arXiv 1512.03385 (residual blocks); Chaurasia & Culurciello
2017, arXiv 1707.03718 (LinkNet, added skips); Shi et al. 2016, arXiv 1609.05158 and Aitken et al. 2017,
arXiv 1707.02937 (sub-pixel convolution and its initialisation); Roy et al. 2018, arXiv 1803.02579 (scSE); Zhao et al.
2017, arXiv 1612.01105 (pyramid pooling).
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unetkit.models.arguments import check, check_choice, check_positive, is_positive
from unetkit.models.attention import SCSE
from unetkit.models.blocks import ResidualBlock
from unetkit.models.checkpointing import checkpointed_levels, run
from unetkit.models.layers import IMAGES, he_initialisation
from unetkit.models.padding import centre_crop, mirror_pad, missing_to_multiple
from unetkit.models.pyramid import PyramidPooling


class ResidualUNet(nn.Module):
    """A U-Net whose levels are residual blocks, and whose skips are added instead of concatenated.

    (B, in_channels, H, W) to logits (B, num_classes, H, W), for any size.

    Encoder: a stride-2 convolution to half of the size; to each deeper level max pooling and a 1x1 convolution; in each
    level residual blocks, the last one dilated. Decoder level: a 1x1 convolution, bilinear upsampling, addition of the
    skip, residual blocks, and, in each level but the shallowest, scSE. The head computes 2x2 logits for each pixel at
    half of the size (sub-pixel convolution). BatchNorm follows every convolution but the head. Parameters are
    registered in the order encoder, decoder (deepest level first), head.

    Why: added skips need no convolution over twice the features, so parameters and arithmetic go to blocks at low
    resolution, where a dilated one has a large receptive field. At full size memory traffic is what costs time, so no
    features have it.

    Args:
        in_channels: Channels of the image.
        num_classes: Channels of the logits; 1 means binary, through a sigmoid.
        channels: Features of each level, from half of the size down.
        encoder_blocks: Residual blocks of each encoder level.
        decoder_blocks: Residual blocks of each decoder level, shallowest first; 0 means one 3x3 convolution.
        dilations: Dilation of the last block of each encoder level.
        attention: `scse` at the end of each decoder level but the shallowest, or `none`.
        bottleneck: `pyramid` for pyramid pooling after the deepest blocks, or `none`.
        gradient_checkpointing: As in `UNet`.

    Raises:
        UserError: If an argument is out of its range.
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 1,
        channels: Sequence[int] = (16, 32, 36),
        *,
        encoder_blocks: Sequence[int] = (1, 2, 2),
        decoder_blocks: Sequence[int] = (1, 1),
        dilations: Sequence[int] = (1, 1, 2),
        attention: str = "scse",
        bottleneck: str = "none",
        gradient_checkpointing: int | str = "none",
    ) -> None:
        super().__init__()
        levels = len(channels)
        check_positive(in_channels=in_channels, num_classes=num_classes)
        check("channels", channels, all(map(is_positive, channels)) and levels > 1, "two or more positive integers")
        check_numbers("encoder_blocks", encoder_blocks, levels, least=0)
        check_numbers("decoder_blocks", decoder_blocks, levels - 1, least=0)
        check_numbers("dilations", dilations, levels, least=1)
        check_choice("attention", attention, ("none", "scse"))
        check_choice("bottleneck", bottleneck, ("none", "pyramid"))
        self.num_checkpointed = checkpointed_levels(gradient_checkpointing, levels)
        self.num_downsamplings = levels
        self.decoder_stride = 2
        self.decoder_channels = list(channels[:-1])

        first = conv_norm_relu(in_channels, channels[0], stride=2)
        downs = [nn.Sequential(nn.MaxPool2d(2), conv_norm_relu(a, b, kernel=1)) for a, b in pairwise(channels)]
        self.encoder = nn.ModuleList(
            nn.Sequential(down, *residual_blocks(width, count, dilation))
            for down, width, count, dilation in zip([first, *downs], channels, encoder_blocks, dilations, strict=True)
        )
        if bottleneck == "pyramid":
            self.encoder[-1].append(PyramidPooling(channels[-1], IMAGES))  # type: ignore[operator]
        self.decoder = nn.ModuleList(
            AdditiveLevel(channels[i + 1], channels[i], decoder_blocks[i], attention if i > 0 else "none")
            for i in reversed(range(levels - 1))
        )
        self.head = nn.Conv2d(channels[0], 4 * num_classes, kernel_size=1)
        self.apply(he_initialisation)
        with torch.no_grad():  # begin with 2x2 equal logits, which avoids checkerboards (Aitken et al. 2017)
            self.head.weight.copy_(self.head.weight[::4].repeat_interleave(4, dim=0))

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (B, num_classes, H, W) of images (B, in_channels, H, W)."""
        height, width = x.shape[-2:]
        rows, columns = (missing_to_multiple(side, self.num_downsamplings) for side in (height, width))
        x = mirror_pad(x, rows, columns)
        skips = []
        for level, block in enumerate(self.encoder):
            x = run(block, level < self.num_checkpointed, x)  # (B, channels[level], h, w), h = H / 2**(level + 1)
            skips.append(x)
        x = skips.pop()
        for block in self.decoder:
            level = len(skips) - 1
            x = run(block, level < self.num_checkpointed, x, skips.pop())  # (B, channels[level], h, w)
        logits = F.pixel_shuffle(self.head(x), 2)  # (B, 4 num_classes, H / 2, W / 2) to (B, num_classes, H, W)
        return centre_crop(logits, height, width)


class AdditiveLevel(nn.Module):
    """A decoder level: (B, below, H, W) and the skip (B, width, 2 H, 2 W) to (B, width, 2 H, 2 W)."""

    def __init__(self, below: int, width: int, blocks: int, attention: str) -> None:
        super().__init__()
        self.narrow = conv_norm_relu(below, width, kernel=1)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        refine = residual_blocks(width, blocks, dilation=1) if blocks else [conv_norm_relu(width, width)]
        self.refine = nn.Sequential(*refine, *([SCSE(width)] if attention == "scse" else []))

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        """Narrow and upsample the features below, add the skip, and refine the sum."""
        refined: Tensor = self.refine(skip + self.up(self.narrow(below)))
        return refined


def conv_norm_relu(c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Make a convolution with BatchNorm and ReLU: (B, c_in, H, W) to (B, c_out, H / stride, W / stride)."""
    return nn.Sequential(*IMAGES.conv_norm_relu(c_in, c_out, kernel, stride=stride))


def residual_blocks(channels: int, count: int, dilation: int) -> list[nn.Module]:
    """Make `count` residual blocks that keep the shape (B, channels, H, W), the last one dilated."""
    return [ResidualBlock(channels, dilation=dilation if i == count - 1 else 1) for i in range(count)]


def check_numbers(name: str, values: Sequence[int], count: int, least: int) -> None:
    """Check an argument that has a number for each level."""
    fits = len(values) == count and min(values) >= least
    check(name, values, fits, f"{count} numbers of at least {least}, one for each level")
