"""TransUNet (Chen, Lu, Yu, Luo, Adeli, Wang, Lu, Yuille, Zhou: TransUNet, 2021, arXiv 2102.04306)."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from unetkit.models.arguments import check, check_choice, is_positive
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

LEVELS = 5  # sizes from 1 to 1/16
PRETRAINED = "vit_base_r50_s16_384"  # timm's name of R50 + ViT-B/16
PAPER = {"resnet_width": 64, "resnet_blocks": [3, 4, 9], "width": 768, "depth": 12, "heads": 12}


class TransUNet(nn.Module):
    """A ResNet sees detail, a Vision Transformer on its 1/16 map sees all, a U-Net's decoder joins both (figure 1).

    (B, in_channels, H, W) to logits (B, num_classes, H, W), for any size: mirrored up to 16 pixels, cropped back.

    Args:
        in_channels: Channels of the image.
        num_classes: Channels of the logits; 1 means binary, through a sigmoid.
        resnet_width: Features of the ResNet at 1/2 of the size, a multiple of 8; its stages at 1/4, 1/8 and 1/16 have
            4, 8 and 16 times as many.
        resnet_blocks: Bottleneck blocks of each of the three stages.
        width: Of a token, D in the paper.
        depth: Blocks of the transformer, L in the paper.
        heads: Of each attention; they divide the width.
        grid: Tokens a side for which positions are learnt, e.g. 7 for 101 pixels; other sizes interpolate them.
        decoder_channels: Features of the map that the tokens become at 1/16, then of the cascaded upsampler at 1/8,
            1/4, 1/2 and 1.
        dropout: Of the tokens, and of what each transformer block adds.
        encoder_weights: None, or `imagenet` for timm's weights of the paper's encoder; `statistics` are then those
            that the images must be normalised with.
        gradient_checkpointing: Levels whose activations are computed again in the backward pass instead of kept:
            `none`, `all`, or a number N for the N shallowest of sizes 1, 1/2, 1/4, 1/8 and 1/16.

    Raises:
        UserError: If an argument is outside the above, timm is missing, or weights can't be downloaded.
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
        counts = {"in_channels": in_channels, "num_classes": num_classes, "width": width, "depth": depth}
        for name, value in (counts | {"heads": heads, "grid": grid}).items():
            check(name, value, is_positive(value), "a positive integer")
        eights = is_positive(resnet_width) and resnet_width % 8 == 0
        check("resnet_width", resnet_width, eights, "a positive multiple of 8")
        lists = {"resnet_blocks": (resnet_blocks, 3), "decoder_channels": (decoder_channels, LEVELS)}
        for name, (values, count) in lists.items():
            fits = len(values) == count and all(map(is_positive, values))
            check(name, values, fits, f"{count} positive integers")
        check("heads", heads, width % heads == 0, f"a divisor of model.width={width}")
        check("dropout", dropout, 0 <= dropout < 1, "at least 0 and below 1")
        self.num_checkpointed = checkpointed_levels(gradient_checkpointing, LEVELS)
        self.grid = grid

        self.resnet: Any = resnet_v2(in_channels, resnet_width, resnet_blocks)
        self.embed = nn.Conv2d(16 * resnet_width, width, kernel_size=1)  # E in equation 1, on patches of one cell
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
        """Logits (B, num_classes, H, W) of images (B, in_channels, H, W)."""
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
            skip = skips[level - 1 : level]  # the one of this size; none at full size
            x = run(block, level < self.num_checkpointed, x, *skip)  # (B, ..., H / 2**level, W / 2**level)
        logits: Tensor = self.head(x)
        return centre_crop(logits, height, width)

    def _transform(self, x: Tensor) -> Tensor:
        """The transformer (equations 1 to 3) on a map (B, 16 w, H / 16, W / 16), as a map (B, D, same)."""
        rows, columns = x.shape[-2:]
        tokens = self.embed(x).flatten(2).transpose(1, 2)  # (B, N, D)
        tokens = self.dropout(tokens + resized_positions(self.positions, self.grid, rows, columns))  # z_0
        for block in self.blocks:
            tokens = run(block, self.num_checkpointed == LEVELS, tokens)  # z_l (B, N, D)
        return torch.unflatten(self.norm(tokens).transpose(1, 2), 2, (rows, columns))

    def _load_encoder(self, source: nn.Module) -> None:
        """Take over a timm hybrid's weights; the decoder stays as it is."""
        parts = {"resnet": "patch_embed.backbone", "embed": "patch_embed.proj", "blocks": "blocks", "norm": "norm"}
        for ours, theirs in parts.items():
            self.get_submodule(ours).load_state_dict(source.get_submodule(theirs).state_dict())
        self.positions.data.copy_(source.get_parameter("pos_embed")[:, 1:])  # without the class token's


class DecoderLevel(nn.Module):
    """A block of the cascaded upsampler: twice the size, concatenate (upsampled, skip), two 3x3 convolutions.

    (B, below, H, W) and (B, c_skip, 2 H, 2 W), where there is a skip, to (B, out, 2 H, 2 W).
    """

    def __init__(self, below: int, c_skip: int, out: int) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.convs = nn.Sequential(conv_norm_relu(below + c_skip, out, kernel=3), conv_norm_relu(out, out, kernel=3))

    def forward(self, below: Tensor, *skip: Tensor) -> Tensor:
        """Merge what comes from below with the skip."""
        merged: Tensor = self.convs(torch.cat([self.up(below), *skip], dim=1))
        return merged


def resnet_v2(in_channels: int, width: int, blocks: Sequence[int]) -> nn.Module:
    """A timm ResNet with weight-standardised convolutions and GroupNorm (Kolesnikov et al. 2020), up to 1/16.

    The groups are of two features at the narrowest, 32 of them at the paper's width of 64.
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
