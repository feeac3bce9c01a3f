"""What the transformer segmenters take from timm (extra `zoo`): blocks, weights; and positions for any size."""

from functools import partial
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unetkit.errors import UserError


def import_timm() -> ModuleType:
    """The timm library, imported when a network is built that needs it.

    Raises:
        UserError: If it is not installed.
    """
    try:
        import timm
    except ImportError as error:
        raise UserError('this model needs timm: pip install -e ".[zoo]"') from error
    return timm


def transformer_blocks(width: int, depth: int, heads: int, dropout: float) -> nn.Sequential:
    """ViT's blocks (Dosovitskiy et al. 2021, equations 2 and 3), (B, N, width) to the same each, in a Sequential.

    Each is x + MSA(LN(x)), then x + MLP(LN(x)) with 4 times the width inside.

    Args:
        width: Of a token.
        depth: Number of blocks.
        heads: Of the attention; they divide the width.
        dropout: Probability of dropping a feature within the MLP and of what a block adds.
    """
    block = import_timm().models.vision_transformer.Block
    norm = partial(nn.LayerNorm, eps=1e-6)
    layers = [block(width, heads, qkv_bias=True, proj_drop=dropout, norm_layer=norm) for _ in range(depth)]
    return nn.Sequential(*layers).apply(vit_initialisation)


def vit_initialisation(module: nn.Module) -> None:
    """Weights of linear layers from a normal of standard deviation 0.02, cut at 2; biases 0, as in DeiT."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def resized_positions(positions: Tensor, grid: int, rows: int, columns: int) -> Tensor:
    """Positional embeddings (1, grid * grid, D), learnt for a square of tokens, as (1, rows * columns, D).

    Dosovitskiy et al. 2021, section 3.2: 2-D interpolation; bicubic as in DeiT. The identity at the learnt size.
    """
    square = torch.unflatten(positions.transpose(1, 2), 2, (grid, grid))
    resized = F.interpolate(square.float(), (rows, columns), mode="bicubic", align_corners=False)
    return resized.flatten(2).transpose(1, 2).to(positions.dtype)


def pretraining_statistics(channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, on [0, 1], that timm's `augreg` weights of ViT were trained with."""
    return (0.5,) * channels, (0.5,) * channels


def pretrained_vit(name: str, in_channels: int, image_size: int, drop_path_rate: float = 0.0) -> nn.Module:
    """A timm network with the weights that timm has for it, fitted to the image's channels and to the token grid.

    Raises:
        UserError: If they can't be had.
    """
    create = partial(import_timm().create_model, name, in_chans=in_channels, img_size=image_size, num_classes=0)
    try:
        network: nn.Module = create(pretrained=True, drop_path_rate=drop_path_rate)
    except Exception as error:  # whatever the network, the hub or a cut file make timm raise
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(
            f"model.encoder_weights=imagenet: timm can't download {name} ({reason}); connect to the network or use null"
        ) from error
    return network
