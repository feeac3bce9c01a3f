"""UTNet (Gao, Zhou, Metaxas: UTNet, MICCAI 2021, arXiv 2107.00781)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unetkit.models.arguments import check, is_positive
from unetkit.models.checkpointing import checkpointed_levels, run
from unetkit.models.padding import centre_crop, mirror_pad, missing_to_multiple


class UTNet(nn.Module):
    """A U-Net of residual blocks, with self-attention on the way down and on the way up (figure 1a).

    Level i works on 1 / 2**i of the size with `channels[i]` features. Down: max-pooling, a residual block, and
    attention blocks. Up: each pixel of the skip asks the map below, by attention, what it is part of; the answer is
    concatenated with the skip, and a residual block follows. A level without attention blocks has two residual
    blocks down, and up bilinear upsampling and two residual blocks.

    (B, in_channels, H, W) to logits (B, num_classes, H, W), for any size. Nothing is pretrained and timm isn't needed.

    Args:
        in_channels: Channels of the image.
        num_classes: Channels of the logits; 1 means binary, through a sigmoid.
        channels: Features of each level, shallowest first.
        attention_blocks: Attention blocks of each level on the way down, shallowest first; where it is 0 there is
            none on the way up either.
        heads: Of each attention; they divide the channels of the levels that have it.
        reduced_size: Rows and columns to which keys and values are brought (section 2.2); the cost of attention is
            the number of pixels times its square.
        dropout: Of attention's weights and of its output.
        gradient_checkpointing: As in `UNet`.

    Raises:
        UserError: If an argument is outside the above.
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
        counts = {"in_channels": in_channels, "num_classes": num_classes, "heads": heads}
        for name, value in (counts | {"reduced_size": reduced_size}).items():
            check(name, value, is_positive(value), "a positive integer")
        check("channels", channels, all(map(is_positive, channels)) and levels > 1, "two or more positive integers")
        fits = len(attention_blocks) == levels and all(is_positive(n) or n == 0 for n in attention_blocks)
        check("attention_blocks", attention_blocks, fits, f"{levels} numbers of at least 0, for {levels} channels")
        attended = [width for width, blocks in zip(channels, attention_blocks, strict=True) if blocks]
        check("heads", heads, all(width % heads == 0 for width in attended), f"a divisor of each of {attended}")
        check("dropout", dropout, 0 <= dropout < 1, "at least 0 and below 1")
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
        """Logits (B, num_classes, H, W) of images (B, in_channels, H, W)."""
        height, width = x.shape[-2:]
        x = mirror_pad(x, *(missing_to_multiple(side, self.num_downsamplings) for side in (height, width)))
        skips = []
        for level, block in enumerate(self.encoder):
            if level > 0:
                x = F.max_pool2d(x, 2)  # (B, channels[level - 1], H / 2**level, W / 2**level)
            x = run(block, level < self.num_checkpointed, x)  # (B, channels[level], same)
            skips.append(x)
        x = skips.pop()
        for block in self.decoder:
            level = len(skips) - 1
            x = run(block, level < self.num_checkpointed, x, skips.pop())  # (B, channels[level], skip's size)
        logits: Tensor = self.head(x)
        return centre_crop(logits, height, width)


class EncoderLevel(nn.Sequential):
    """A residual block, then attention blocks, or one more residual block: (B, c_in, H, W) to (B, c_out, H, W)."""

    def __init__(self, c_in: int, c_out: int, blocks: int, attention: tuple[int, int, float]) -> None:
        attended: list[nn.Module] = [AttentionBlock(c_out, *attention) for _ in range(blocks)]
        super().__init__(ResidualBlock(c_in, c_out), *(attended or [ResidualBlock(c_out, c_out)]))


class AttentionUp(nn.Module):
    """The transformer decoder (figure 1d): (B, c_below, h, w) and skip (B, c, H, W) to (B, c, H, W)."""

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
        """Queries from the skip, keys and values from below; both join what upsampling alone would give."""
        query = self.query(self.norm_skip(skip))  # (B, c, H, W)
        key, value = self.key_value(self.norm_below(below)).chunk(2, dim=1)  # (B, c, h, w) each
        x = upsample(self.narrow(below), skip) + self.attention(query, key, value)  # (B, c, H, W)
        merged: Tensor = self.merge(torch.cat([self.mlp(x), skip], dim=1))
        return merged


class ConvolutionUp(nn.Module):
    """Upsample, concatenate (skip, upsampled), two residual blocks: the same shapes without attention."""

    def __init__(self, below: int, width: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(below, width, kernel_size=1)
        self.merge = nn.Sequential(ResidualBlock(2 * width, width), ResidualBlock(width, width))

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        """Merge what comes from below with the skip."""
        merged: Tensor = self.merge(torch.cat([skip, upsample(self.narrow(below), skip)], dim=1))
        return merged


class AttentionBlock(nn.Module):
    """The transformer encoder (figure 1c): x + attention(BN(x)), then x + mlp(x); (B, C, H, W) stays."""

    def __init__(self, channels: int, heads: int, reduced_size: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.query_key_value = separable_convolution(channels, 3 * channels)
        self.attention = EfficientAttention(channels, heads, reduced_size, dropout)
        self.mlp = PointwiseLayer(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Let each pixel see the whole map."""
        query, key, value = self.query_key_value(self.norm(x)).chunk(3, dim=1)  # (B, C, H, W) each
        seen: Tensor = self.mlp(x + self.attention(query, key, value))
        return seen


class EfficientAttention(nn.Module):
    """Multi-head attention whose keys and values are a small picture of their map (section 2.2, equation 2).

    softmax((Q K'^T + B) / sqrt(d)) V', where K' and V' are interpolated to reduced_size x reduced_size, so that the
    cost grows with the number of pixels, not with its square. B is a bias for the relative position (section 2.3),
    here the 2-D one that depends on no input, which the authors' code prefers.

    Args:
        channels: Of all of them; d is this by `heads`.
        heads: They divide the channels.
        reduced_size: Rows and columns of reduced keys and values.
        dropout: Of attention's weights and of the output.
    """

    def __init__(self, channels: int, heads: int, reduced_size: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.reduced_size = heads, reduced_size
        self.position = RelativePosition(heads, reduced_size)
        self.out = separable_convolution(channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """What each pixel of query (B, C, H, W) finds in key and value (B, C, h, w): (B, C, H, W)."""
        height, width = query.shape[-2:]
        q, k, v = (self._split(x) for x in (query, self._reduce(key), self._reduce(value)))
        bias = self.position(height, width).to(q.dtype) * q.shape[-1] ** -0.5  # (heads, H W, reduced_size**2)
        found = F.scaled_dot_product_attention(q, k, v, bias, self.dropout.p if self.training else 0.0)
        found = torch.unflatten(found.permute(0, 3, 1, 2).flatten(1, 2), 2, (height, width))  # (B, C, H, W)
        out: Tensor = self.dropout(self.out(found))
        return out

    def _reduce(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C, reduced_size, reduced_size)."""
        return F.interpolate(x, (self.reduced_size, self.reduced_size), mode="bilinear", align_corners=True)

    def _split(self, x: Tensor) -> Tensor:
        """(B, d * heads, H, W) to (B, heads, H * W, d)."""
        return torch.unflatten(x.flatten(2), 1, (-1, self.heads)).permute(0, 2, 3, 1)


class RelativePosition(nn.Module):
    """A learnt number for each head and offset, in cells of the reduced map, from a query to a key (section 2.3)."""

    def __init__(self, heads: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.table = nn.Parameter(0.02 * torch.randn(heads, 2 * size - 1, 2 * size - 1))

    def forward(self, height: int, width: int) -> Tensor:
        """(heads, height * width, size * size)."""
        rows, columns = self._offsets(height), self._offsets(width)  # (H, size), (W, size)
        bias = self.table[:, rows][..., columns]  # (heads, H, size, W, size)
        return bias.transpose(2, 3).flatten(3, 4).flatten(1, 2)

    def _offsets(self, length: int) -> Tensor:
        """Cell of each query minus cell of each key along an axis, counted from 0: (length, size)."""
        cells = torch.arange(self.size, device=self.table.device)
        queries = torch.arange(length, device=self.table.device) * self.size // length
        return queries[:, None] - cells + self.size - 1


class PointwiseLayer(nn.Module):
    """x + conv(ReLU(BN(x))) with a 1x1 convolution, in the place of a transformer's MLP; (B, C, H, W) stays."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        conv = nn.Conv2d(channels, channels, kernel_size=1, bias=False)
        self.layers = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(), conv)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the features of each pixel."""
        mixed: Tensor = x + self.layers(x)
        return mixed


class ResidualBlock(nn.Module):
    """Pre-activation residual block (figure 1b): twice (BN, ReLU, 3x3 convolution), added to the input.

    (B, c_in, H, W) to (B, c_out, H, W); where these differ, BN, ReLU and a 1x1 convolution fit the input.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*norm_relu_conv(c_in, c_out, kernel=3), *norm_relu_conv(c_out, c_out, kernel=3))
        self.shortcut = nn.Sequential(*(norm_relu_conv(c_in, c_out, kernel=1) if c_in != c_out else []))

    def forward(self, x: Tensor) -> Tensor:
        """Refine x."""
        refined: Tensor = self.shortcut(x) + self.layers(x)
        return refined


def norm_relu_conv(c_in: int, c_out: int, kernel: int) -> list[nn.Module]:
    """BatchNorm, ReLU, and a convolution that keeps the size."""
    conv = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False)
    return [nn.BatchNorm2d(c_in), nn.ReLU(inplace=True), conv]


def separable_convolution(c_in: int, c_out: int) -> nn.Sequential:
    """A 3x3 convolution of each channel, then a 1x1 convolution across them."""
    depthwise = nn.Conv2d(c_in, c_in, kernel_size=3, padding=1, groups=c_in, bias=False)
    return nn.Sequential(depthwise, nn.Conv2d(c_in, c_out, kernel_size=1, bias=False))


def upsample(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear upsampling to the height and width of another map."""
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=True)
