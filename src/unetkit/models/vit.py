"""Parts of Vision Transformers, from timm (extra `zoo`): blocks, pretrained weights, positions for any size."""

from functools import partial
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unetkit.errors import UserError


def import_timm() -> ModuleType:
    """Import timm, which takes seconds, when a network needs it.

    Raises:
        UserError: If it is not installed.
    """
    try:
        import timm
    except ImportError as error:
        fix = 'run pip install "unetkit[zoo]"'
        raise UserError("timm", "is not installed, but this network needs it", fix) from error
    return timm


def transformer_blocks(width: int, depth: int, heads: int, dropout: float) -> nn.Sequential:
    """Make the blocks of ViT (Dosovitskiy et al. 2021, arXiv 2010.11929, eqs. 2 and 3): (B, N, width) stays.

    Each block is x + MSA(LN(x)), then x + MLP(LN(x)) with 4 times the width inside.

    Args:
        width: Features of a token.
        depth: Number of blocks.
        heads: Attention heads, a divisor of the width.
        dropout: Probability of dropping a feature of the MLP's hidden layer, of its output and of attention's output.
    """
    block = import_timm().models.vision_transformer.Block
    norm = partial(nn.LayerNorm, eps=1e-6)
    layers = [block(width, heads, qkv_bias=True, proj_drop=dropout, norm_layer=norm) for _ in range(depth)]
    return nn.Sequential(*layers).apply(vit_initialisation)


def vit_initialisation(module: nn.Module) -> None:
    """Initialise a linear layer as DeiT does: weights from N(0, 0.02), truncated at -2 and 2; biases 0."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def resized_positions(positions: Tensor, grid: int, rows: int, columns: int) -> Tensor:
    """Interpolate positional embeddings (1, grid * grid, D) of a square of tokens to (1, rows * columns, D).

    Dosovitskiy et al. 2021, section 3.2: interpolation in 2-D, here bicubic, as in DeiT. At the learnt size the
    embeddings stay as they are.
    """
    square = torch.unflatten(positions.transpose(1, 2), 2, (grid, grid))
    resized = F.interpolate(square.float(), (rows, columns), mode="bicubic", align_corners=False)
    return resized.flatten(2).transpose(1, 2).to(positions.dtype)


def pretraining_statistics(channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel, on [0, 1], that timm's `augreg` weights of ViT expect."""
    return (0.5,) * channels, (0.5,) * channels


def pretrained_vit(name: str, in_channels: int, image_size: int, drop_path_rate: float = 0.0) -> nn.Module:
    """Build a timm network with its pretrained weights, adapted to the number of channels and to the token grid.

    Raises:
        UserError: If the weights can't be downloaded.
    """
    create = partial(import_timm().create_model, name, in_chans=in_channels, img_size=image_size, num_classes=0)
    try:
        network: nn.Module = create(pretrained=True, drop_path_rate=drop_path_rate)
    except Exception as error:  # timm raises many kinds: of the connection, the hub, a damaged file
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(
            "model.encoder_weights=imagenet",
            f"can't be downloaded as timm's {name} ({reason})",
            "connect to the network, or set model.encoder_weights=null",
        ) from error
    return network
