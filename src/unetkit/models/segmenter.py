"""Segmenter.

Strudel, Garcia, Laptev, Schmid 2021, *Segmenter: Transformer for Semantic Segmentation*, ICCV, arXiv 2105.05633.
Sections, figures and equations below are those of the paper.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unetkit.models.arguments import check, check_choice, check_positive, check_rate
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

# Table 1 at patch size 16: (width, depth, heads), and timm's name of the pretrained encoder of that size.
PRETRAINED = {
    (192, 12, 3): "vit_tiny_patch16_384",
    (384, 12, 6): "vit_small_patch16_384",
    (768, 12, 12): "vit_base_patch16_384",
    (1024, 24, 16): "vit_large_patch16_384",
}
SIZES = "width, depth, heads one of " + ", ".join(map(str, PRETRAINED))


class Segmenter(nn.Module):
    """A Vision Transformer encodes patches, and a mask transformer compares each patch with each class (figure 2).

    (B, in_channels, H, W) to logits (B, num_classes, H, W), for any size: images are mirrored up to whole patches, and
    logits cropped back.

    Args:
        in_channels: Channels of the image.
        num_classes: Channels of the logits; 1 means binary, through a sigmoid.
        patch_size: Side of a patch in pixels, P in the paper: 4, 8, 16 or 32. Half the side makes 4 times the tokens.
        width: Features of a token, D in the paper.
        depth: Blocks of the encoder, L in the paper.
        heads: Attention heads, a divisor of the width.
        decoder_depth: Blocks of the mask transformer, M in the paper.
        grid: Learnt positions per side, as 13 for 101 pixels in patches of 8; interpolated for other sizes.
        drop_path: Stochastic depth: probability of skipping the encoder's last block; it rises linearly from 0 at the
            first block (section 4.2).
        dropout: Probability of dropping a feature in the decoder's blocks.
        encoder_weights: None, or `imagenet` for timm's weights of the paper's encoders.
        gradient_checkpointing: Blocks whose activations are recomputed in the backward pass instead of kept: `none`,
            `all`, or a number N for the first N, the encoder's before the decoder's.

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
        check_positive(in_channels=in_channels, num_classes=num_classes, width=width, depth=depth)
        check_positive(heads=heads, decoder_depth=decoder_depth, grid=grid)
        check("patch_size", patch_size, patch_size in (4, 8, 16, 32), "4, 8, 16 or 32")
        check("heads", heads, width % heads == 0, f"a divisor of model.width={width}")
        check_rate("drop_path", drop_path)
        check_rate("dropout", dropout)
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
        """Compute logits (B, num_classes, H, W) of images (B, in_channels, H, W)."""
        height, width = x.shape[-2:]
        x = mirror_pad(x, *(missing_to_multiple(side, self.num_downsamplings) for side in (height, width)))
        tokens, rows, columns = self._embed(x)
        for i, block in enumerate(self.encoder.blocks):
            tokens = run(block, i < self.num_checkpointed, tokens)  # (B, 1 + N, D)
        tokens = self.encoder.norm(tokens)[:, 1:]  # z_L (B, N, D), without the class token of ImageNet
        masks = self.decoder(tokens, self.num_checkpointed - len(self.encoder.blocks))  # (B, N, K)
        masks = torch.unflatten(masks.transpose(1, 2), 2, (rows, columns))  # s_mask (B, K, H / P, W / P)
        masks = F.interpolate(masks, x.shape[-2:], mode="bilinear", align_corners=False)  # (B, K, H, W)
        return centre_crop(masks, height, width)

    def _embed(self, x: Tensor) -> tuple[Tensor, int, int]:
        """Embed images (B, C, H, W), section 3.1.

        Returns:
            Tokens z_0 (B, 1 + N, D), and the rows H / P and columns W / P of the N patches.
        """
        patches = self.encoder.patch_embed.proj(x)  # E x (B, D, H / P, W / P)
        rows, columns = patches.shape[-2:]
        positions = resized_positions(self.encoder.pos_embed[:, 1:], self.grid, rows, columns)
        tokens = patches.flatten(2).transpose(1, 2) + positions  # (B, N, D)
        first = (self.encoder.cls_token + self.encoder.pos_embed[:, :1]).expand(x.shape[0], -1, -1)  # (B, 1, D)
        return torch.cat([first, tokens], dim=1), rows, columns


class MaskTransformer(nn.Module):
    """Transform patches together with learnt class embeddings, then compare them (section 3.2, equation 5).

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
        """Compute masks (B, N, num_classes) of tokens (B, N, D); the first `num_checkpointed` blocks are recomputed."""
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
    """A weight and a bias for each class, which replaces the layer norm over classes for one or two classes.

    Layer norm of one value is always 0, and of two values a step, so neither has a useful gradient. The weight begins
    at sqrt(D), which, as the norm would, scales cosines of random directions, of variance 1 / D, to variance 1.
    """

    def __init__(self, num_classes: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((num_classes,), scale))
        self.bias = nn.Parameter(torch.zeros(num_classes))

    def forward(self, masks: Tensor) -> Tensor:
        """Scale and shift masks (B, N, num_classes) class by class."""
        return masks * self.weight + self.bias
