"""UTNet.

Gao, Zhou, Metaxas 2021, *UTNet: A Hybrid Transformer Architecture for Medical Image Segmentation*, MICCAI,
arXiv 2107.00781. Sections, figures and equations below are those of the paper.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unetkit.models.arguments import check, check_positive, check_rate, is_positive
from unetkit.models.checkpointing import checkpointed_levels, run
from unetkit.models.padding import centre_crop, mirror_pad, missing_to_multiple


class UTNet(nn.Module):
    """A U-Net of residual blocks with attention in encoder and decoder (figure 1a).

    (B, in_channels, H, W) to logits (B, num_classes, H, W), for any size. It has no pretrained weights.

    Level i works on 1 / 2**i of the size with `channels[i]` features. Encoder level: max pooling, a residual block,
    self-attention blocks. Decoder level: cross-attention with queries from the skip, keys and values from the features
    below; its output is concatenated with the skip, and a residual block follows. A level without attention blocks has
    two residual blocks in the encoder, and upsampling, concatenation and two residual blocks in the decoder.

    Args:
        in_channels: Channels of the image.
        num_classes: Channels of the logits; 1 means binary, through a sigmoid.
        channels: Features of each level, shallowest first.
        attention_blocks: Attention blocks of each encoder level, shallowest first; a level with 0 has no attention in
            the decoder either.
        heads: Attention heads, a divisor of the channels of each level with attention.
        reduced_size: Rows and columns to which keys and values are reduced (section 2.2); attention costs
            H * W * reduced_size**2.
        dropout: Probability of dropping an attention weight, and a feature of attention's output.
        gradient_checkpointing: As in `UNet`.

    Raises:
        UserError: If an argument is out of its range.
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 1,
        channels: Sequence[int] = (16, 32, 64, 128),
        *,
        attention_blocks: Sequence[int] = (0, 1, 1, 1),
        heads: int = 4,
        reduced_size: int = 8,
        dropout: float = 0.1,
        gradient_checkpointing: int | str = "none",
    ) -> None:
        super().__init__()
        channels, attention_blocks, levels = list(channels), list(attention_blocks), len(channels)
        check_positive(in_channels=in_channels, num_classes=num_classes, heads=heads, reduced_size=reduced_size)
        check("channels", channels, all(map(is_positive, channels)) and levels > 1, "two or more positive integers")
        fits = len(attention_blocks) == levels and all(is_positive(n) or n == 0 for n in attention_blocks)
        check("attention_blocks", attention_blocks, fits, f"{levels} numbers of at least 0, one for each level")
        attended = [width for width, blocks in zip(channels, attention_blocks, strict=True) if blocks]
        check("heads", heads, all(width % heads == 0 for width in attended), f"a divisor of each of {attended}")
        check_rate("dropout", dropout)
        self.num_checkpointed = checkpointed_levels(gradient_checkpointing, levels)
        self.num_downsamplings = levels - 1

        attention = (heads, reduced_size, dropout)
        self.encoder = nn.ModuleList(
            EncoderLevel(c_in, c_out, blocks, attention)
            for c_in, c_out, blocks in zip([in_channels, *channels[:-1]], channels, attention_blocks, strict=True)
        )
        self.decoder = nn.ModuleList(
            AttentionUp(below, width, attention) if blocks else ConvolutionUp(below, width)
            for below, width, blocks in zip(channels[:0:-1], channels[-2::-1], attention_blocks[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(channels[0], num_classes, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (B, num_classes, H, W) of images (B, in_channels, H, W)."""
        height, width = x.shape[-2:]
        x = mirror_pad(x, *(missing_to_multiple(side, self.num_downsamplings) for side in (height, width)))
        skips = []
        for level, block in enumerate(self.encoder):
            if level > 0:
                x = F.max_pool2d(x, 2)  # (B, channels[level - 1], H / 2**level, W / 2**level)
            x = run(block, level < self.num_checkpointed, x)  # (B, channels[level], H / 2**level, W / 2**level)
            skips.append(x)
        x = skips.pop()
        for block in self.decoder:
            level = len(skips) - 1
            x = run(block, level < self.num_checkpointed, x, skips.pop())  # (B, channels[level], H / 2**level, ...)
        logits: Tensor = self.head(x)
        return centre_crop(logits, height, width)


class EncoderLevel(nn.Sequential):
    """A residual block, then attention blocks, or another residual block: (B, c_in, H, W) to (B, c_out, H, W)."""

    def __init__(self, c_in: int, c_out: int, blocks: int, attention: tuple[int, int, float]) -> None:
        attended: list[nn.Module] = [AttentionBlock(c_out, *attention) for _ in range(blocks)]
        super().__init__(ResidualBlock(c_in, c_out), *(attended or [ResidualBlock(c_out, c_out)]))


class AttentionUp(nn.Module):
    """The transformer decoder (figure 1d): (B, below, h, w) and the skip (B, width, H, W) to (B, width, H, W)."""

    def __init__(self, below: int, width: int, attention: tuple[int, int, float]) -> None:
        super().__init__()
        self.norm_below = nn.BatchNorm2d(below)
        self.norm_skip = nn.BatchNorm2d(width)
        self.narrow = nn.Conv2d(below, width, kernel_size=1)
        self.query = separable_convolution(width, width)
        self.key_value = separable_convolution(below, 2 * width)
        self.attention = EfficientAttention(width, *attention)
        self.mlp = PointwiseLayer(width)
        self.merge = ResidualBlock(2 * width, width)

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        """Add attention, from skip to below, to the upsampled features, and merge the sum with the skip."""
        query = self.query(self.norm_skip(skip))  # (B, width, H, W)
        key, value = self.key_value(self.norm_below(below)).chunk(2, dim=1)  # (B, width, h, w) each
        x = upsample(self.narrow(below), skip) + self.attention(query, key, value)  # (B, width, H, W)
        merged: Tensor = self.merge(torch.cat([self.mlp(x), skip], dim=1))
        return merged


class ConvolutionUp(nn.Module):
    """The decoder level without attention: (B, below, h, w) and the skip (B, width, H, W) to (B, width, H, W)."""

    def __init__(self, below: int, width: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(below, width, kernel_size=1)
        self.merge = nn.Sequential(ResidualBlock(2 * width, width), ResidualBlock(width, width))

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        """Upsample, concatenate (skip, upsampled), and apply two residual blocks."""
        merged: Tensor = self.merge(torch.cat([skip, upsample(self.narrow(below), skip)], dim=1))
        return merged


class AttentionBlock(nn.Module):
    """The transformer encoder (figure 1c): x + attention(BN(x)), then `PointwiseLayer`; (B, C, H, W) stays."""

    def __init__(self, channels: int, heads: int, reduced_size: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.query_key_value = separable_convolution(channels, 3 * channels)
        self.attention = EfficientAttention(channels, heads, reduced_size, dropout)
        self.mlp = PointwiseLayer(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, C, H, W) to (B, C, H, W)."""
        query, key, value = self.query_key_value(self.norm(x)).chunk(3, dim=1)  # (B, C, H, W) each
        seen: Tensor = self.mlp(x + self.attention(query, key, value))
        return seen


class EfficientAttention(nn.Module):
    """Multi-head attention with keys and values of reduced size (section 2.2, equation 2).

        softmax((Q K'^T + B) / sqrt(d)) V'

    where K' and V' are interpolated to reduced_size x reduced_size, so the cost grows with the number of pixels, not
    with its square; d is channels / heads. B is a bias for the relative position (section 2.3), here the 2-D one
    that doesn't depend on the input, the default of the authors' code.

    Args:
        channels: Features of queries, keys and values.
        heads: Attention heads, a divisor of the channels.
        reduced_size: Rows and columns of the reduced keys and values.
        dropout: Probability of dropping an attention weight, and a feature of the output.
    """

    def __init__(self, channels: int, heads: int, reduced_size: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.reduced_size = heads, reduced_size
        self.position = RelativePosition(heads, reduced_size)
        self.out = separable_convolution(channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend from query (B, C, H, W) to key and value (B, C, h, w); returns (B, C, H, W)."""
        height, width = query.shape[-2:]
        q, k, v = (self._split(x) for x in (query, self._reduce(key), self._reduce(value)))
        bias = self.position(height, width).to(q.dtype) * q.shape[-1] ** -0.5  # (heads, H W, reduced_size**2)
        found = F.scaled_dot_product_attention(q, k, v, bias, self.dropout.p if self.training else 0.0)
        found = torch.unflatten(found.permute(0, 3, 1, 2).flatten(1, 2), 2, (height, width))  # (B, C, H, W)
        out: Tensor = self.dropout(self.out(found))
        return out

    def _reduce(self, x: Tensor) -> Tensor:
        """Interpolate (B, C, h, w) to (B, C, reduced_size, reduced_size)."""
        return F.interpolate(x, (self.reduced_size, self.reduced_size), mode="bilinear", align_corners=True)

    def _split(self, x: Tensor) -> Tensor:
        """Reshape (B, d * heads, H, W) to (B, heads, H * W, d)."""
        return torch.unflatten(x.flatten(2), 1, (-1, self.heads)).permute(0, 2, 3, 1)


class RelativePosition(nn.Module):
    """A learnt bias for each head and each offset of query and key, in cells of the reduced map (section 2.3)."""

    def __init__(self, heads: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.table = nn.Parameter(0.02 * torch.randn(heads, 2 * size - 1, 2 * size - 1))

    def forward(self, height: int, width: int) -> Tensor:
        """Return biases (heads, height * width, size * size) for a map of queries (height, width)."""
        rows, columns = self._offsets(height), self._offsets(width)  # (H, size), (W, size)
        bias = self.table[:, rows][..., columns]  # (heads, H, size, W, size)
        return bias.transpose(2, 3).flatten(3, 4).flatten(1, 2)

    def _offsets(self, length: int) -> Tensor:
        """Return the offsets (length, size), from 0, along an axis: cell of each query minus cell of each key."""
        cells = torch.arange(self.size, device=self.table.device)
        queries = torch.arange(length, device=self.table.device) * self.size // length
        return queries[:, None] - cells + self.size - 1


class PointwiseLayer(nn.Module):
    """x + conv(ReLU(BN(x))) with a 1x1 convolution, instead of a transformer's MLP; (B, C, H, W) stays."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        conv = nn.Conv2d(channels, channels, kernel_size=1, bias=False)
        self.layers = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(), conv)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, C, H, W) to (B, C, H, W)."""
        mixed: Tensor = x + self.layers(x)
        return mixed


class ResidualBlock(nn.Module):
    """Pre-activation residual block (figure 1b): x + twice (BN, ReLU, 3x3 convolution).

    (B, c_in, H, W) to (B, c_out, H, W); if c_in and c_out differ, BN, ReLU and a 1x1 convolution are applied to x.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*norm_relu_conv(c_in, c_out, kernel=3), *norm_relu_conv(c_out, c_out, kernel=3))
        self.shortcut = nn.Sequential(*(norm_relu_conv(c_in, c_out, kernel=1) if c_in != c_out else []))

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, c_in, H, W) to (B, c_out, H, W)."""
        refined: Tensor = self.shortcut(x) + self.layers(x)
        return refined


def norm_relu_conv(c_in: int, c_out: int, kernel: int) -> list[nn.Module]:
    """Make BatchNorm, ReLU and a convolution that keeps the size."""
    conv = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False)
    return [nn.BatchNorm2d(c_in), nn.ReLU(inplace=True), conv]


def separable_convolution(c_in: int, c_out: int) -> nn.Sequential:
    """Make a 3x3 convolution of each channel, then a 1x1 convolution across channels."""
    depthwise = nn.Conv2d(c_in, c_in, kernel_size=3, padding=1, groups=c_in, bias=False)
    return nn.Sequential(depthwise, nn.Conv2d(c_in, c_out, kernel_size=1, bias=False))


def upsample(x: Tensor, like: Tensor) -> Tensor:
    """Upsample x (B, C, h, w) bilinearly to the height and width of `like`."""
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=True)
