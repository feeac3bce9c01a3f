"""The U-Net (Ronneberger, Fischer, Brox: U-Net, MICCAI 2015, arXiv 1505.04597) and its plain relatives."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unetkit.errors import UserError
from unetkit.models.arguments import check, check_choice, is_positive
from unetkit.models.checkpointing import checkpointed_levels, run
from unetkit.models.padding import centre_crop, mirror_pad, missing_to_multiple

Padding = Literal["valid", "zeros", "reflect", "replicate"]
Upsampling = Literal["transposed", "bilinear", "nearest"]
Norm = Literal["none", "batch", "group"]


class UNet(nn.Module):
    """A U-Net: contract, expand, and at each level concatenate what was seen on the way down.

    Encoder level i (from 0) works on 1 / 2**i of the size with `channels[i]` features; the last level is the
    bottleneck. Decoder level i upsamples, concatenates (skip, upsampled) and convolves down to
    `decoder_channels[i]`. A 1x1 convolution turns the last features into logits. Parameters are registered in the
    order encoder, decoder (deepest level first; in each level up, then convs), head.

    With same-size padding the logits have the size of the input, for any size. With `padding="valid"`, as in the
    paper, each side loses `margin` pixels: (B, in_channels, H, W) gives (B, num_classes, H - 2 * margin,
    W - 2 * margin); the paper's network turns 572 into 388.

    Args:
        in_channels: Channels of the image, e.g. 1 (grey) or 3 (RGB).
        num_classes: Channels of the logits; 1 means binary, through a sigmoid.
        channels: Features of each level, shallowest first; as many levels as wanted.
        decoder_channels: Features that leave each decoder level, shallowest first; default `channels[:-1]`.
        padding: `valid` (unpadded convolutions, skips are cropped), or same-size with `zeros`, `reflect` or
            `replicate` at the border.
        upsampling: `transposed` (2x2, stride 2), `bilinear`, or `nearest` followed by a 3x3 convolution (Odena
            et al. 2016, which avoids checkerboards).
        align_corners: For `bilinear`: whether corner pixels keep their values.
        norm: Normalisation after each 3x3 convolution: `none`, `batch` or `group`.
        dropout: Probability of dropping a feature at the end of the bottleneck.
        gradient_checkpointing: Levels whose activations are computed again in the backward pass instead of kept:
            `none`, `all`, or a number N for the N shallowest, where activations are largest. Loss, gradients,
            buffers and `state_dict` keys stay the same.

    Raises:
        UserError: If an argument is outside the above.
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 1,
        channels: Sequence[int] = (64, 128, 256, 512, 1024),
        *,
        decoder_channels: Sequence[int] | None = None,
        padding: Padding = "zeros",
        upsampling: Upsampling = "transposed",
        align_corners: bool = False,
        norm: Norm = "batch",
        dropout: float = 0.0,
        gradient_checkpointing: int | str = "none",
    ) -> None:
        super().__init__()
        check("in_channels", in_channels, is_positive(in_channels), "a positive integer")
        check("num_classes", num_classes, is_positive(num_classes), "a positive integer")
        are_widths = isinstance(channels, Sequence) and len(channels) > 0 and all(map(is_positive, channels))
        check("channels", channels, are_widths, "a list of positive integers, as in [64,128,256]")
        decoder_channels = list(channels[:-1] if decoder_channels is None else decoder_channels)
        check(
            "decoder_channels",
            decoder_channels,
            len(decoder_channels) == len(channels) - 1 and all(map(is_positive, decoder_channels)),
            f"{len(channels) - 1} positive integers, one fewer than channels",
        )
        check_choice("padding", padding, ("valid", "zeros", "reflect", "replicate"))
        check_choice("upsampling", upsampling, ("transposed", "bilinear", "nearest"))
        check_choice("norm", norm, ("none", "batch", "group"))
        check("dropout", dropout, 0 <= dropout < 1, "at least 0 and below 1")
        self.padding = padding
        self.num_checkpointed = checkpointed_levels(gradient_checkpointing, len(channels))
        self.num_downsamplings = len(channels) - 1

        convs = partial(DoubleConv, padding=padding, norm=norm)
        self.encoder = nn.ModuleList(
            convs(c_in, c_out, c_out) for c_in, c_out in zip([in_channels, *channels], channels, strict=False)
        )
        self.decoder = nn.ModuleList()
        below = channels[-1]
        for skip, out in zip(channels[-2::-1], decoder_channels[::-1], strict=True):
            up = Upsample(below, skip, upsampling, align_corners, padding)
            self.decoder.append(DecoderLevel(up, convs(skip + up.out_channels, skip, out)))
            below = out
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Conv2d(below, num_classes, kernel_size=1)
        self.margin = self._margin()
        self.apply(he_initialisation)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, num_classes, H, W) of images (B, in_channels, H, W); in `valid` mode `margin` less a side."""
        height, width = x.shape[-2:]
        x = mirror_pad(x, self._missing(height), self._missing(width))
        skips = []
        for level, block in enumerate(self.encoder):
            if level > 0:
                x = F.max_pool2d(x, 2)  # (B, channels[level - 1], H / 2**level, W / 2**level)
            x = run(block, level < self.num_checkpointed, x)  # (B, channels[level], same)
            skips.append(x)
        x = self.dropout(skips.pop())
        for block in self.decoder:
            level = len(skips) - 1
            x = run(block, level < self.num_checkpointed, x, skips.pop())  # (B, decoder_channels[level], skip's size)
        logits: Tensor = self.head(x)
        return centre_crop(logits, height - 2 * self.margin, width - 2 * self.margin)

    def _missing(self, size: int) -> tuple[int, int]:
        """Pixels to add (before, after) an axis, so that every pooling meets an even size.

        Raises:
            UserError: If the size is too small for unpadded convolutions.
        """
        if self.padding != "valid":
            return missing_to_multiple(size, self.num_downsamplings)
        if size <= 2 * self.margin:
            raise UserError(
                f"padding=valid loses {2 * self.margin} pixels, so an image side of {size} is too small: "
                f"mirror its border (mirror_border=true) or give at least {2 * self.margin + 1}"
            )
        # Each level takes 4 pixels, then halves: sizes 2**n * k - 4 stay even, such as 572 = 16 * 36 - 4.
        total = -(size + 4) % 2**self.num_downsamplings
        return total // 2, total - total // 2

    def _margin(self) -> int:
        """Pixels that unpadded convolutions take from each side of the input."""
        if self.padding != "valid":
            return 0
        lost = 2 << self.num_downsamplings
        for level, block in enumerate(reversed(self.decoder)):
            assert isinstance(block, DecoderLevel)  # a ModuleList forgets what it holds
            lost += (2 + block.shrinkage) << level
        return lost


class DoubleConv(nn.Sequential):
    """Twice (3x3 convolution, norm, ReLU): (B, c_in, H, W) to (B, c_out, H, W), or 4 pixels less if `valid`."""

    def __init__(self, c_in: int, c_mid: int, c_out: int, *, padding: Padding, norm: Norm) -> None:
        layers: list[nn.Module] = []
        for a, b in ((c_in, c_mid), (c_mid, c_out)):
            layers += [
                conv3x3(a, b, padding, bias=norm == "none"),
                *normalisation(norm, b),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


class Upsample(nn.Sequential):
    """Twice the height and width: (B, c_in, H, W) to (B, out_channels, 2 H, 2 W).

    `transposed` and `nearest` bring the features to those of the skip, `bilinear` has no weights and keeps them.
    With `valid` padding the convolution after `nearest` takes one pixel from each side.
    """

    def __init__(self, c_in: int, c_skip: int, mode: Upsampling, align_corners: bool, padding: Padding) -> None:
        layers: list[nn.Module]
        if mode == "transposed":
            layers = [nn.ConvTranspose2d(c_in, c_skip, kernel_size=2, stride=2)]
        elif mode == "bilinear":
            layers = [nn.Upsample(scale_factor=2, mode="bilinear", align_corners=align_corners)]
        else:
            layers = [nn.Upsample(scale_factor=2, mode="nearest"), conv3x3(c_in, c_skip, padding, bias=True)]
        super().__init__(*layers)
        self.out_channels = c_in if mode == "bilinear" else c_skip
        self.shrinkage = 1 if mode == "nearest" and padding == "valid" else 0


class DecoderLevel(nn.Module):
    """Upsample from below, crop the skip where it is larger, concatenate (skip, upsampled), convolve."""

    def __init__(self, up: Upsample, convs: DoubleConv) -> None:
        super().__init__()
        self.up = up
        self.convs = convs
        self.shrinkage = 2 + up.shrinkage

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        """(B, c_below, H, W) and (B, c_skip, >= 2 H, >= 2 W) to (B, c_out, about 2 H, about 2 W)."""
        x = self.up(below)
        skip = centre_crop(skip, x.shape[-2], x.shape[-1])
        y: Tensor = self.convs(torch.cat([skip, x], dim=1))
        return y


def conv3x3(c_in: int, c_out: int, padding: Padding, *, bias: bool) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size, or loses a pixel on each side if `valid`."""
    if padding == "valid":
        return nn.Conv2d(c_in, c_out, kernel_size=3, bias=bias)
    return nn.Conv2d(c_in, c_out, kernel_size=3, padding=1, padding_mode=padding, bias=bias)


def normalisation(norm: Norm, channels: int) -> list[nn.Module]:
    """The normalisation of a 3x3 convolution's output; at most 8 groups, each of at least 4 features."""
    if norm == "batch":
        return [nn.BatchNorm2d(channels)]
    if norm == "group":
        groups = max(g for g in range(1, 9) if channels % g == 0 and (channels // g >= 4 or g == 1))
        return [nn.GroupNorm(groups, channels)]
    return []


def he_initialisation(module: nn.Module) -> None:
    """Weights from N(0, sqrt(2 / N)), N = inputs of a unit (He et al. 2015; the U-Net paper, section 3)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        inputs = module.in_channels  # of a stride-2 2x2 transposed convolution: each output pixel sees one input
        if isinstance(module, nn.Conv2d):
            inputs *= math.prod(module.kernel_size)
        nn.init.normal_(module.weight, std=math.sqrt(2 / inputs))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
