"""TransUNet.

Chen, Lu, Yu, Luo, Adeli, Wang, Lu, Yuille, Zhou 2021, *TransUNet: Transformers Make Strong Encoders for Medical Image
Segmentation*, arXiv 2102.04306. Sections, figures and equations below are those of the paper.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from unetkit.models.arguments import check, check_choice, check_positive, check_rate, is_positive
from unetkit.models.checkpointing import checkpointed_levels, run
from unetkit.models.padding import centre_crop, mirror_pad, missing_to_multiple
from unetkit.models.residual_unet import conv_norm_relu
from unetkit.models.vit import (
    import_timm,
    pretrained_vit,
    pretraining_statistics,
    resized_positions,
    transformer_blocks,
)

LEVELS = 5  # at 1, 1/2, 1/4, 1/8 and 1/16 of the size
PRETRAINED = "vit_base_r50_s16_384"  # timm's name of R50 + ViT-B/16
PAPER = {"resnet_width": 64, "resnet_blocks": [3, 4, 9], "width": 768, "depth": 12, "heads": 12}


class TransUNet(nn.Module):
    """A ResNet, a Vision Transformer on its features at 1/16 of the size, and a U-Net decoder with skips (figure 1).

    (B, in_channels, H, W) to logits (B, num_classes, H, W), for any size: images are mirrored up to a multiple of 16
    pixels, and logits cropped back.

    Args:
        in_channels: Channels of the image.
        num_classes: Channels of the logits; 1 means binary, through a sigmoid.
        resnet_width: Features of the ResNet at 1/2 of the size, a multiple of 8; its stages at 1/4, 1/8 and 1/16 have
            4, 8 and 16 times as many.
        resnet_blocks: Bottleneck blocks of each of the three stages.
        width: Features of a token, D in the paper.
        depth: Blocks of the transformer, L in the paper.
        heads: Attention heads, a divisor of the width.
        grid: Learnt positions per side, as 7 for 101 pixels; interpolated for other sizes.
        decoder_channels: Features at 1/16 after the transformer, then those of the decoder at 1/8, 1/4, 1/2 and 1.
        dropout: Probability of dropping a feature of the embedded tokens, and in the transformer's blocks.
        encoder_weights: None, or `imagenet` for timm's weights of the paper's encoder.
        gradient_checkpointing: Levels whose activations are recomputed in the backward pass instead of kept: `none`,
            `all`, or a number N for the N shallowest of sizes 1, 1/2, 1/4, 1/8 and 1/16.

    Attributes:
        statistics: Mean and standard deviation of each channel, on [0, 1], with which images must be normalised for
            the pretrained encoder; None with random weights.

    Raises:
        UserError: If an argument is out of its range, timm is missing, or weights can't be downloaded.
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 1,
        *,
        resnet_width: int = 16,
        resnet_blocks: Sequence[int] = (2, 2, 2),
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        grid: int = 7,
        decoder_channels: Sequence[int] = (128, 64, 32, 16, 16),
        dropout: float = 0.1,
        encoder_weights: str | None = None,
        gradient_checkpointing: int | str = "none",
    ) -> None:
        super().__init__()
        check_positive(in_channels=in_channels, num_classes=num_classes, width=width, depth=depth)
        check_positive(heads=heads, grid=grid)
        eights = is_positive(resnet_width) and resnet_width % 8 == 0
        check("resnet_width", resnet_width, eights, "a positive multiple of 8")
        check_widths("resnet_blocks", resnet_blocks, 3)
        check_widths("decoder_channels", decoder_channels, LEVELS)
        check("heads", heads, width % heads == 0, f"a divisor of model.width={width}")
        check_rate("dropout", dropout)
        self.num_checkpointed = checkpointed_levels(gradient_checkpointing, LEVELS)
        self.grid = grid

        self.resnet: Any = resnet_v2(in_channels, resnet_width, resnet_blocks)
        self.embed = nn.Conv2d(16 * resnet_width, width, kernel_size=1)  # E in equation 1, for patches of 1x1
        self.positions = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, grid * grid, width), std=0.02))
        self.dropout = nn.Dropout(dropout)
        self.blocks = transformer_blocks(width, depth, heads, dropout)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.bridge = conv_norm_relu(width, decoder_channels[0], kernel=3)
        skips = (8 * resnet_width, 4 * resnet_width, resnet_width, 0)
        self.decoder = nn.ModuleList(
            DecoderLevel(below, skip, out)
            for below, skip, out in zip(decoder_channels[:-1], skips, decoder_channels[1:], strict=True)
        )
        self.head = nn.Conv2d(decoder_channels[-1], num_classes, kernel_size=3, padding=1)
        self.num_downsamplings = LEVELS - 1
        self.statistics = pretraining_statistics(in_channels) if encoder_weights else None
        if encoder_weights is not None:
            check_choice("encoder_weights", encoder_weights, ("imagenet",))
            sizes = [resnet_width, list(resnet_blocks), width, depth, heads]
            check("encoder_weights", encoder_weights, sizes == list(PAPER.values()), f"null, but with {PAPER}")
            self._load_encoder(pretrained_vit(PRETRAINED, in_channels, 16 * grid))

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (B, num_classes, H, W) of images (B, in_channels, H, W)."""
        height, width = x.shape[-2:]
        x = mirror_pad(x, *(missing_to_multiple(side, LEVELS - 1) for side in (height, width)))
        x = run(self.resnet.stem[:2], self.num_checkpointed > 1, x)  # convolution, norm: (B, w, H / 2, W / 2)
        skips = [x]
        x = self.resnet.stem[2](x)  # pooling: (B, w, H / 4, W / 4)
        for level, stage in enumerate(self.resnet.stages, start=2):
            x = run(stage, level < self.num_checkpointed, x)  # (B, 2**level w, H / 2**level, W / 2**level)
            skips.append(x)
        x = self._transform(skips.pop())  # (B, D, H / 16, W / 16)
        x = self.bridge(x)  # (B, decoder_channels[0], H / 16, W / 16)
        for level, block in zip((3, 2, 1, 0), self.decoder, strict=True):
            skip = skips[level - 1 : level]  # a list of one tensor, or of none at full size
            x = run(block, level < self.num_checkpointed, x, *skip)  # (B, decoder_channels, H / 2**level, W / 2**level)
        logits: Tensor = self.head(x)
        return centre_crop(logits, height, width)

    def _transform(self, x: Tensor) -> Tensor:
        """Apply the transformer (equations 1 to 3) to (B, 16 w, H / 16, W / 16); returns (B, D, H / 16, W / 16)."""
        rows, columns = x.shape[-2:]
        tokens = self.embed(x).flatten(2).transpose(1, 2)  # (B, N, D)
        tokens = self.dropout(tokens + resized_positions(self.positions, self.grid, rows, columns))  # z_0
        for block in self.blocks:
            tokens = run(block, self.num_checkpointed == LEVELS, tokens)  # z_l (B, N, D)
        return torch.unflatten(self.norm(tokens).transpose(1, 2), 2, (rows, columns))

    def _load_encoder(self, source: nn.Module) -> None:
        """Copy the weights of a timm hybrid into the encoder."""
        parts = {"resnet": "patch_embed.backbone", "embed": "patch_embed.proj", "blocks": "blocks", "norm": "norm"}
        for ours, theirs in parts.items():
            self.get_submodule(ours).load_state_dict(source.get_submodule(theirs).state_dict())
        self.positions.data.copy_(source.get_parameter("pos_embed")[:, 1:])  # without that of the class token


class DecoderLevel(nn.Module):
    """A block of the cascaded upsampler: upsample, concatenate (upsampled, skip), two 3x3 convolutions.

    (B, below, H, W) and the skip (B, c_skip, 2 H, 2 W), if there is one, to (B, out, 2 H, 2 W).
    """

    def __init__(self, below: int, c_skip: int, out: int) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.convs = nn.Sequential(conv_norm_relu(below + c_skip, out, kernel=3), conv_norm_relu(out, out, kernel=3))

    def forward(self, below: Tensor, *skip: Tensor) -> Tensor:
        """Merge the features below with the skip."""
        merged: Tensor = self.convs(torch.cat([self.up(below), *skip], dim=1))
        return merged


def resnet_v2(in_channels: int, width: int, blocks: Sequence[int]) -> nn.Module:
    """Make a timm ResNet with weight-standardised convolutions and GroupNorm (Kolesnikov et al. 2020), down to 1/16.

    (B, in_channels, H, W) to (B, 16 width, H / 16, W / 16). GroupNorm has width / 2 groups, 32 at the paper's width 64.
    """
    layers = import_timm().layers
    network: nn.Module = import_timm().models.resnetv2.ResNetV2(
        layers=list(blocks),
        channels=(4 * width, 8 * width, 16 * width),
        in_chans=in_channels,
        stem_chs=width,
        num_classes=0,
        global_pool="",
        preact=False,
        conv_layer=partial(layers.StdConv2d, eps=1e-8),
        norm_layer=partial(layers.GroupNormAct, num_groups=width // 2),
    )
    return network


def check_widths(name: str, values: Sequence[int], count: int) -> None:
    """Check an argument that has a positive integer for each level."""
    fits = len(values) == count and all(map(is_positive, values))
    check(name, values, fits, f"{count} positive integers")
