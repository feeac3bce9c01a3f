"""A frugal U-Net of residual blocks: wide where the image is small, narrow where it is large."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unetkit.models.arguments import check, check_choice, is_positive
from unetkit.models.blocks import IMAGES, SCSE, PyramidPooling, ResidualBlock, he_initialisation
from unetkit.models.checkpointing import checkpointed_levels, run
from unetkit.models.padding import centre_crop, mirror_pad, missing_to_multiple


class ResidualUNet(nn.Module):
    """A U-Net whose levels are residual blocks (He et al. 2016) and whose skips are added, not concatenated.

    Adding needs no convolution over twice the features (LinkNet, Chaurasia & Culurciello 2017), so parameters and
    arithmetic go to blocks at low resolution, where a dilated one sees far. What full size costs is memory traffic, so
    nothing is held there: the first convolution has stride 2, and the head gives 2x2 logits for each pixel of half size
    (sub-pixel convolution, Shi et al. 2016, begun with equal ones, Aitken et al. 2017). Down: max-pooling and a 1x1
    convolution to each deeper level; its blocks. Up, at each level: a 1x1 convolution, bilinear upsampling, addition of
    the skip, its blocks, and, but for the shallowest, attention. BatchNorm follows every convolution but the head.

    (B, in_channels, H, W) to logits (B, num_classes, H, W), for any size. Parameters are registered in the order
    encoder, decoder (deepest level first), head.

    Args:
        in_channels: Channels of the image.
        num_classes: Channels of the logits; 1 means binary, through a sigmoid.
        channels: Features of each level, that at half size first.
        encoder_blocks: Residual blocks of each level on the way down.
        decoder_blocks: Residual blocks of each level but the deepest on the way up; 0 means one 3x3 convolution.
        dilations: Dilation of the last block of each level on the way down.
        attention: `scse` at the end of each decoder level but the shallowest (Roy et al. 2018), or `none`.
        bottleneck: `pyramid` pooling after the deepest blocks (Zhao et al. 2017), or `none`.
        gradient_checkpointing: As in `UNet`.

    Raises:
        UserError: If an argument is outside the above.
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
        check("in_channels", in_channels, is_positive(in_channels), "a positive integer")
        check("num_classes", num_classes, is_positive(num_classes), "a positive integer")
        check("channels", channels, all(map(is_positive, channels)) and levels > 1, "two or more positive integers")
        for name, value, count in (
            ("encoder_blocks", encoder_blocks, levels),
            ("decoder_blocks", decoder_blocks, levels - 1),
            ("dilations", dilations, levels),
        ):
            least = 1 if name == "dilations" else 0
            fits = len(value) == count and min(value) >= least
            check(name, value, fits, f"{count} numbers of at least {least}, for {levels} channels")
        check_choice("attention", attention, ("none", "scse"))
        check_choice("bottleneck", bottleneck, ("none", "pyramid"))
        self.num_checkpointed = checkpointed_levels(gradient_checkpointing, levels)
        self.num_downsamplings = levels
        self.decoder_stride = 2
        self.decoder_channels = list(channels[:-1])

        entries = [
            conv_norm_relu(in_channels, channels[0], stride=2),
            *(nn.Sequential(nn.MaxPool2d(2), conv_norm_relu(a, b, kernel=1)) for a, b in pairwise(channels)),
        ]
        levels_down = [
            [entry, *residual_blocks(width, count, dilation)]
            for entry, width, count, dilation in zip(entries, channels, encoder_blocks, dilations, strict=True)
        ]
        if bottleneck == "pyramid":
            levels_down[-1].append(PyramidPooling(channels[-1], IMAGES))
        self.encoder = nn.ModuleList(nn.Sequential(*blocks) for blocks in levels_down)
        self.decoder = nn.ModuleList(
            AdditiveLevel(channels[i + 1], channels[i], decoder_blocks[i], attention if i > 0 else "none")
            for i in reversed(range(levels - 1))
        )
        self.head = nn.Conv2d(channels[0], 4 * num_classes, kernel_size=1)
        self.apply(he_initialisation)
        with torch.no_grad():  # 2x2 equal logits to begin with, or masks of a young network are chequered
            self.head.weight.copy_(self.head.weight[::4].repeat_interleave(4, dim=0))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, num_classes, H, W) of images (B, in_channels, H, W)."""
        height, width = x.shape[-2:]
        rows, columns = (missing_to_multiple(side, self.num_downsamplings) for side in (height, width))
        x = mirror_pad(x, rows, columns)
        skips = []
        for level, block in enumerate(self.encoder):
            x = run(block, level < self.num_checkpointed, x)  # (B, channels[level], H / 2**(level + 1), ...)
            skips.append(x)
        x = skips.pop()
        for block in self.decoder:
            level = len(skips) - 1
            x = run(block, level < self.num_checkpointed, x, skips.pop())  # (B, channels[level], as the skip)
        logits = F.pixel_shuffle(self.head(x), 2)
        return centre_crop(logits, height, width)


class AdditiveLevel(nn.Module):
    """Narrow, upsample, add the skip, refine: (B, c_below, H, W) and (B, c, 2 H, 2 W) to (B, c, 2 H, 2 W)."""

    def __init__(self, below: int, width: int, blocks: int, attention: str) -> None:
        super().__init__()
        self.narrow = conv_norm_relu(below, width, kernel=1)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        refine = residual_blocks(width, blocks, dilation=1) if blocks else [conv_norm_relu(width, width)]
        self.refine = nn.Sequential(*refine, *([SCSE(width)] if attention == "scse" else []))

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        """Merge what comes from below with the skip."""
        refined: Tensor = self.refine(skip + self.up(self.narrow(below)))
        return refined


def conv_norm_relu(c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU, as one layer."""
    return nn.Sequential(*IMAGES.conv_norm_relu(c_in, c_out, kernel, stride=stride))


def residual_blocks(channels: int, count: int, dilation: int) -> list[nn.Module]:
    """So many blocks, the last one dilated."""
    return [ResidualBlock(channels, dilation=dilation if i == count - 1 else 1) for i in range(count)]
