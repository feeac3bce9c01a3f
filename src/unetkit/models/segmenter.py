"""Segmenter (Strudel, Garcia, Laptev, Schmid: Segmenter, ICCV 2021, arXiv 2105.05633)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unetkit.models.arguments import check, check_choice, is_positive
from unetkit.models.checkpointing import checkpointed_levels, run
from unetkit.models.padding import centre_crop, mirror_pad, missing_to_multiple
from unetkit.models.vit import (
    import_timm,
    pretrained_vit,
    pretraining_statistics,
    resized_positions,
    transformer_blocks,
    vit_initialisation,
)

# The paper's Table 1 at patch size 16: (width, depth, heads) and timm's name of the same encoder with its weights.
PRETRAINED = {
    (192, 12, 3): "vit_tiny_patch16_384",
    (384, 12, 6): "vit_small_patch16_384",
    (768, 12, 12): "vit_base_patch16_384",
    (1024, 24, 16): "vit_large_patch16_384",
}
SIZES = "width, depth, heads one of " + ", ".join(map(str, PRETRAINED))


class Segmenter(nn.Module):
    """A Vision Transformer encodes patches; a mask transformer compares each of them with each class (figure 2).

    (B, in_channels, H, W) to logits (B, num_classes, H, W), for any size: mirrored up to whole patches, cropped back.

    Args:
        in_channels: Channels of the image.
        num_classes: Channels of the logits; 1 means binary, through a sigmoid.
        patch_size: Side of a patch in pixels: 4, 8, 16 or 32. Half of it costs about 4 times the tokens.
        width: Of a token, D in the paper.
        depth: Blocks of the encoder, L in the paper.
        heads: Of each attention; they divide the width.
        decoder_depth: Blocks of the mask transformer, M in the paper.
        grid: Tokens a side for which positions are learnt, e.g. 13 for 101 pixels in patches of 8; other sizes
            interpolate them.
        drop_path: Stochastic depth of the encoder's last block, rising from 0 at the first (section 4.2).
        dropout: Of the decoder's blocks.
        encoder_weights: None, or `imagenet` for timm's weights of the paper's encoders; `statistics` are then those
            that the images must be normalised with.
        gradient_checkpointing: Blocks whose activations are computed again in the backward pass instead of kept:
            `none`, `all`, or a number N for the first N, the encoder's before the decoder's.

    Raises:
        UserError: If an argument is outside the above, timm is missing, or weights can't be downloaded.
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 1,
        *,
        patch_size: int = 8,
        width: int = 128,
        depth: int = 6,
        heads: int = 4,
        decoder_depth: int = 2,
        grid: int = 13,
        drop_path: float = 0.1,
        dropout: float = 0.1,
        encoder_weights: str | None = None,
        gradient_checkpointing: int | str = "none",
    ) -> None:
        super().__init__()
        counts = {"in_channels": in_channels, "num_classes": num_classes, "width": width, "depth": depth}
        for name, value in (counts | {"heads": heads, "decoder_depth": decoder_depth, "grid": grid}).items():
            check(name, value, is_positive(value), "a positive integer")
        check("patch_size", patch_size, patch_size in (4, 8, 16, 32), "4, 8, 16 or 32")
        check("heads", heads, width % heads == 0, f"a divisor of model.width={width}")
        for name, rate in (("drop_path", drop_path), ("dropout", dropout)):
            check(name, rate, 0 <= rate < 1, "at least 0 and below 1")
        self.num_checkpointed = checkpointed_levels(gradient_checkpointing, depth + decoder_depth)
        self.grid, self.num_downsamplings = grid, patch_size.bit_length() - 1
        self.statistics = pretraining_statistics(in_channels) if encoder_weights else None

        if encoder_weights is None:
            self.encoder = import_timm().models.vision_transformer.VisionTransformer(
                grid * patch_size, patch_size, in_channels, embed_dim=width, depth=depth, num_heads=heads,
                num_classes=0, drop_path_rate=drop_path,
            )  # fmt: skip
        else:
            check_choice("encoder_weights", encoder_weights, ("imagenet",))
            known = patch_size == 16 and (width, depth, heads) in PRETRAINED
            check("encoder_weights", encoder_weights, known, f"null, but at patch_size=16 and {SIZES}")
            self.encoder = pretrained_vit(
                PRETRAINED[width, depth, heads], in_channels, grid * patch_size, drop_path_rate=drop_path
            )
        self.decoder = MaskTransformer(width, decoder_depth, heads, num_classes, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, num_classes, H, W) of images (B, in_channels, H, W)."""
        height, width = x.shape[-2:]
        x = mirror_pad(x, *(missing_to_multiple(side, self.num_downsamplings) for side in (height, width)))
        tokens, rows, columns = self._embed(x)
        for i, block in enumerate(self.encoder.blocks):
            tokens = run(block, i < self.num_checkpointed, tokens)  # (B, 1 + N, D)
        tokens = self.encoder.norm(tokens)[:, 1:]  # z_L (B, N, D); the class token of ImageNet has served
        masks = self.decoder(tokens, self.num_checkpointed - len(self.encoder.blocks))  # (B, N, K)
        masks = torch.unflatten(masks.transpose(1, 2), 2, (rows, columns))  # s_mask (B, K, H / P, W / P)
        masks = F.interpolate(masks, x.shape[-2:], mode="bilinear", align_corners=False)  # (B, K, H, W)
        return centre_crop(masks, height, width)

    def _embed(self, x: Tensor) -> tuple[Tensor, int, int]:
        """Tokens z_0 (B, 1 + N, D) of images (B, C, H, W), section 3.1, and N = H / P rows times W / P columns."""
        patches = self.encoder.patch_embed.proj(x)  # E x (B, D, H / P, W / P)
        rows, columns = patches.shape[-2:]
        positions = resized_positions(self.encoder.pos_embed[:, 1:], self.grid, rows, columns)
        tokens = patches.flatten(2).transpose(1, 2) + positions  # (B, N, D)
        first = (self.encoder.cls_token + self.encoder.pos_embed[:, :1]).expand(x.shape[0], -1, -1)  # (B, 1, D)
        return torch.cat([first, tokens], dim=1), rows, columns


class MaskTransformer(nn.Module):
    """Patches and learnt class embeddings pass the same blocks, then are compared (section 3.2, equation 5).

    Tokens (B, N, D) to masks (B, N, num_classes).
    """

    def __init__(self, width: int, depth: int, heads: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.classes = nn.Parameter(torch.empty(1, num_classes, width))
        self.project = nn.Linear(width, width)
        self.blocks = transformer_blocks(width, depth, heads, dropout)
        self.norm = nn.LayerNorm(width)
        self.project_patches = nn.Linear(width, width, bias=False)
        self.project_classes = nn.Linear(width, width, bias=False)
        self.mask_norm = nn.LayerNorm(num_classes) if num_classes > 2 else Scale(num_classes, width**0.5)
        self.apply(vit_initialisation)
        nn.init.trunc_normal_(self.classes, std=0.02)
        for layer in (self.project_patches, self.project_classes):
            nn.init.normal_(layer.weight, std=width**-0.5)

    def forward(self, tokens: Tensor, num_checkpointed: int) -> Tensor:
        """Masks (B, N, num_classes) of tokens (B, N, D)."""
        count = tokens.shape[1]
        x = torch.cat([self.project(tokens), self.classes.expand(tokens.shape[0], -1, -1)], dim=1)  # (B, N + K, D)
        for i, block in enumerate(self.blocks):
            x = run(block, i < num_checkpointed, x)
        x = self.norm(x)
        patches = F.normalize(self.project_patches(x[:, :count]), dim=-1)  # z'_M (B, N, D), of length 1
        classes = F.normalize(self.project_classes(x[:, count:]), dim=-1)  # c (B, K, D), of length 1
        masks: Tensor = self.mask_norm(patches @ classes.transpose(1, 2))  # cosines (B, N, K)
        return masks


class Scale(nn.Module):
    """For one or two classes, in place of the layer norm over classes: its weight and bias alone.

    The norm of one value is 0, that of two is a step: nothing could be learnt through them. The weight begins at
    sqrt(D), which like the norm brings cosines of random directions, of variance 1 / D, to variance 1.
    """

    def __init__(self, num_classes: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((num_classes,), scale))
        self.bias = nn.Parameter(torch.zeros(num_classes))

    def forward(self, masks: Tensor) -> Tensor:
        """Masks (B, N, num_classes), scaled and shifted class by class."""
        return masks * self.weight + self.bias
