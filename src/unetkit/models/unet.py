"""The U-Net in 2-D and 3-D, and its variants.

Ronneberger, Fischer, Brox 2015, *U-Net: Convolutional Networks for Biomedical Image Segmentation*, arXiv 1505.04597.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from unetkit.errors import UserError
from unetkit.models.arguments import check, check_choice, check_positive, check_rate, is_positive
from unetkit.models.attention import SCSE, AttentionGate
from unetkit.models.blocks import BLOCKS
from unetkit.models.checkpointing import checkpointed_levels, run
from unetkit.models.layers import Layers, Norm, Padding, he_initialisation
from unetkit.models.padding import centre_crop, mirror_pad, missing_to_multiple
from unetkit.models.pyramid import PyramidPooling

Upsampling = Literal["transposed", "bilinear", "nearest"]
Block = Literal["double", "residual", "separable"]
Attention = Literal["none", "gate", "scse"]
Bottleneck = Literal["none", "pyramid"]


class UNet(nn.Module):
    """A U-Net: an encoder, a decoder, and at each level a skip that is concatenated.

    Encoder level i (from 0) works on 1 / 2**i of the size with `channels[i]` features; the last level is the
    bottleneck. Decoder level i upsamples, concatenates (skip, upsampled) and convolves down to `decoder_channels[i]`.
    A 1x1 convolution turns the last features into logits. Parameters are registered in the order encoder, decoder
    (deepest level first; in each level up, then convs), head.

    The defaults give the paper's figure 1 with same-size padding and BatchNorm. `spatial_dims=3` makes the same network
    for volumes (B, C, D, H, W), with 3x3x3 convolutions (Cicek et al. 2016, arXiv 1606.06650). `block`, `attention`,
    `dilation` and `bottleneck` exchange single parts, which `blocks.py`, `attention.py` and `pyramid.py` describe.

    With same-size padding the logits have the size of the input, for any size. With `padding="valid"`, as in the
    paper, each side loses `margin` pixels: (B, in_channels, H, W) gives (B, num_classes, H - 2 * margin,
    W - 2 * margin); the paper's network turns 572 into 388.

    Args:
        in_channels: Channels of the image, as 1 (grey) or 3 (RGB).
        num_classes: Channels of the logits; 1 means binary, through a sigmoid.
        channels: Features of each level, shallowest first; any number of levels.
        decoder_channels: Features of each decoder level's output, shallowest first; default `channels[:-1]`.
        padding: `valid` (unpadded convolutions, skips are cropped), or same-size with `zeros`, `reflect` or
            `replicate` at the border.
        upsampling: `transposed` (2x2, stride 2), `bilinear`, or `nearest` followed by a 3x3 convolution (Odena
            et al. 2016, which avoids checkerboards); in 3-D `bilinear` is trilinear.
        align_corners: For `bilinear`: whether corner pixels keep their values.
        norm: Normalisation after each 3x3 convolution: `none`, `batch` or `group`.
        spatial_dims: 2 for images, 3 for volumes.
        block: Block of each level: `double` (two 3x3 convolutions), `residual` (with a shortcut) or `separable`
            (depthwise, then 1x1).
        attention: `gate` for each skip (Attention U-Net), `scse` at the end of each decoder level, or `none`.
        dilation: Dilation of the bottleneck's 3x3 convolutions, which multiplies their reach.
        bottleneck: `pyramid` for pyramid pooling (PSPNet) at the end of the bottleneck, or `none`.
        dropout: Probability of dropping a feature of the bottleneck's output.
        gradient_checkpointing: Levels whose activations are recomputed in the backward pass instead of kept: `none`,
            `all`, or a number N for the N shallowest, whose activations are the largest. Loss, gradients, buffers and
            `state_dict` keys stay the same.

    Attributes:
        margin: Pixels that each side loses; 0 with same-size padding.
        num_downsamplings: How often the size is halved.

    Raises:
        UserError: If an argument is out of its range.
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
        spatial_dims: int = 2,
        block: Block = "double",
        attention: Attention = "none",
        dilation: int = 1,
        bottleneck: Bottleneck = "none",
        dropout: float = 0.0,
        gradient_checkpointing: int | str = "none",
    ) -> None:
        super().__init__()
        check_positive(in_channels=in_channels, num_classes=num_classes, dilation=dilation)
        check_choice("padding", padding, get_args(Padding))
        check_choice("upsampling", upsampling, get_args(Upsampling))
        check_choice("norm", norm, get_args(Norm))
        check("spatial_dims", spatial_dims, spatial_dims in (2, 3), "2 (images) or 3 (volumes)")
        check_choice("block", block, get_args(Block))
        check_choice("attention", attention, get_args(Attention))
        check_choice("bottleneck", bottleneck, get_args(Bottleneck))
        check_rate("dropout", dropout)
        self.decoder_channels = checked_widths(channels, decoder_channels)
        self.num_checkpointed = checkpointed_levels(gradient_checkpointing, len(channels))
        self.num_downsamplings = len(channels) - 1
        self.padding = padding
        self.dilation = dilation
        self.spatial_dims = spatial_dims

        self.layers = layers = Layers(spatial_dims, padding, norm)
        dilations = [1] * self.num_downsamplings + [dilation]
        self.encoder = nn.ModuleList(
            BLOCKS[block](c_in, c_out, c_out, layers, dilation=d)
            for c_in, c_out, d in zip([in_channels, *channels], channels, dilations, strict=False)
        )
        if bottleneck == "pyramid":
            self.encoder[-1] = nn.Sequential(self.encoder[-1], PyramidPooling(channels[-1], layers))
        widths = [channels[-1], *self.decoder_channels[::-1]]  # of the bottleneck, then of each decoder level
        self.decoder = nn.ModuleList(
            DecoderLevel(below, skip, out, layers, block, upsampling, align_corners, attention)
            for (below, out), skip in zip(pairwise(widths), channels[-2::-1], strict=True)
        )
        self.dropout = nn.Dropout(dropout)
        self.head = layers.conv(widths[-1], num_classes, kernel=1)
        self.margin = self._margin()
        self.apply(he_initialisation)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (B, num_classes, H, W) of images (B, in_channels, H, W); `valid` loses `margin` per side."""
        size = x.shape[2:]
        x = mirror_pad(x, *map(self._missing, size))
        skips = []
        for level, block in enumerate(self.encoder):  # to (B, channels[level], H / 2**level, W / 2**level)
            pool = self.layers.max_pool if level > 0 else None  # recomputed with its level
            x = run(block, level < self.num_checkpointed, x, before=pool)
            skips.append(x)
        x = self.dropout(skips.pop())
        for block in self.decoder:  # to (B, decoder_channels[level], H / 2**level, W / 2**level)
            level = len(skips) - 1
            head = self.head if level == 0 else None  # recomputed with the last level
            x = run(block, level < self.num_checkpointed, x, skips.pop(), after=head)
        logits: Tensor = x if self.num_downsamplings else self.head(x)
        return centre_crop(logits, *(side - 2 * self.margin for side in size))

    def _missing(self, size: int) -> tuple[int, int]:
        """Return the pixels to add (before, after) an axis, so that every pooling has an input of even size.

        Raises:
            UserError: If the size is too small for unpadded convolutions.
        """
        if self.padding != "valid":
            return missing_to_multiple(size, self.num_downsamplings, least=max(2, self.dilation + 1))
        if size <= 2 * self.margin:
            raise UserError(
                "model.padding=valid",
                f"loses {2 * self.margin} pixels of each axis, so {size} pixels are too few",
                f"set mirror_border=true, or give images of at least {2 * self.margin + 1} pixels",
            )
        # Each level takes 4 pixels, then halves: sizes 2**n * k - 4 stay even, such as 572 = 16 * 36 - 4.
        total = -(size + 4) % 2**self.num_downsamplings
        return total // 2, total - total // 2

    def _margin(self) -> int:
        """Return the pixels that unpadded convolutions take from each side of the input."""
        if self.padding != "valid":
            return 0
        lost = 2 * self.dilation << self.num_downsamplings
        for level, block in enumerate(reversed(self.decoder)):
            assert isinstance(block, DecoderLevel)  # narrows the type for mypy
            lost += (2 + block.shrinkage) << level
        return lost


def checked_widths(channels: Sequence[int], decoder_channels: Sequence[int] | None) -> list[int]:
    """Check the features of encoder and decoder levels, and return those of the decoder."""
    are_widths = isinstance(channels, Sequence) and len(channels) > 0 and all(map(is_positive, channels))
    check("channels", channels, are_widths, "a list of positive integers, as in [64,128,256]")
    widths = list(channels[:-1] if decoder_channels is None else decoder_channels)
    fits = len(widths) == len(channels) - 1 and all(map(is_positive, widths))
    check("decoder_channels", widths, fits, f"{len(channels) - 1} positive integers, one fewer than channels")
    return widths


class Upsample(nn.Sequential):
    """Double height and width: (B, c_in, H, W) to (B, out_channels, 2 H, 2 W).

    `transposed` and `nearest` change the number of features to that of the skip; `bilinear` has no weights and keeps
    it. With `valid` padding the convolution after `nearest` takes one pixel from each side.
    """

    def __init__(self, c_in: int, c_skip: int, mode: Upsampling, align_corners: bool, layers: Layers) -> None:
        parts: list[nn.Module]
        if mode == "transposed":
            parts = [layers.up_conv(c_in, c_skip)]
        elif mode == "bilinear":
            parts = [nn.Upsample(scale_factor=2, mode=layers.linear, align_corners=align_corners)]
        else:
            parts = [nn.Upsample(scale_factor=2, mode="nearest"), layers.conv(c_in, c_skip)]
        super().__init__(*parts)
        self.out_channels = c_in if mode == "bilinear" else c_skip
        self.shrinkage = 1 if mode == "nearest" and layers.padding == "valid" else 0


class DecoderLevel(nn.Module):
    """Upsample the features below, concatenate (skip, upsampled), convolve.

    (B, below, H, W) and the skip (B, skip, 2 H, 2 W) to (B, out, 2 H, 2 W). With `valid` padding the skip is larger and
    is cropped, and the output is smaller.
    """

    def __init__(
        self,
        below: int,
        skip: int,
        out: int,
        layers: Layers,
        block: Block,
        upsampling: Upsampling,
        align_corners: bool,
        attention: Attention,
    ) -> None:
        super().__init__()
        self.up = Upsample(below, skip, upsampling, align_corners, layers)
        self.convs = BLOCKS[block](skip + self.up.out_channels, skip, out, layers)
        self.gate = AttentionGate(skip, below, layers) if attention == "gate" else None
        self.scse = SCSE(out, layers) if attention == "scse" else None
        self.is_cropping = layers.padding == "valid"
        self.shrinkage = 2 + self.up.shrinkage

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        """Merge the features below with the skip."""
        x = self.up(below)
        if self.gate is not None:
            skip = self.gate(self._cropped(skip, [2 * side for side in below.shape[2:]]), below)
        skip = self._cropped(skip, x.shape[2:])
        y: Tensor = self.convs(torch.cat([skip, x], dim=1))
        return y if self.scse is None else self.scse(y)

    def _cropped(self, skip: Tensor, size: Sequence[int]) -> Tensor:
        return centre_crop(skip, *size) if self.is_cropping else skip
