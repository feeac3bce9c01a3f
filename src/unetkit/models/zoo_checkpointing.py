"""Gradient checkpointing for a library's network, whose blocks are found in a forward pass."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from unetkit.models.checkpointing import recomputed


def recompute_in_place(block: nn.Module) -> None:
    """Make a block recompute its activations in the backward pass; its class and `state_dict` keys stay."""
    block.forward = partial(recomputed, block, partial(_with_own_lists, block.forward))


def _with_own_lists(forward: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
    """Call `forward` with copies of lists, since some blocks, as timm's HRNet, write into the list they are given."""
    return forward(*(list(x) if isinstance(x, list) else x for x in inputs), **named)


def blocks_by_size(model: nn.Module, x: Tensor) -> list[list[nn.Module]]:
    """Find the outermost blocks of an SMP model's encoder and decoder, grouped by output size, largest first.

    A forward pass of x (B, C, H, W) tells which blocks are called. A block whose input is modified in place
    afterwards is left out, since the recomputation would see the modified input.
    """
    sides: dict[nn.Module, int] = {}
    inputs: dict[nn.Module, list[tuple[Tensor, int]]] = {}

    def before(block: nn.Module, args: Any, named: Any) -> None:
        tensors = [t for t in tree_leaves((args, named)) if isinstance(t, Tensor)]
        inputs[block] = [(t, t._version) for t in tensors]  # the version grows with each modification in place

    def after(block: nn.Module, args: Any, output: Any) -> None:
        sides[block] = max(t.shape[-2] for t in tree_leaves(output))

    parts = [getattr(model.encoder, "model", model.encoder), model.decoder]  # SMP wraps timm's encoders once more
    blocks = [block for part in parts for block in part.modules() if block not in parts]  # type: ignore[union-attr]
    hooks = [block.register_forward_pre_hook(before, with_kwargs=True) for block in blocks]
    hooks += [block.register_forward_hook(after) for block in blocks]
    training = model.training
    with torch.no_grad():
        model.eval()(x)
    model.train(training)
    for hook in hooks:
        hook.remove()
    outermost = [block for part in parts for block in _outermost(part, sides)]  # type: ignore[arg-type]
    safe = [block for block in outermost if all(t._version == version for t, version in inputs[block])]
    return [[b for b in safe if sides[b] == side] for side in sorted({sides[b] for b in safe}, reverse=True)]


def _outermost(part: nn.Module, called: dict[nn.Module, int]) -> Iterator[nn.Module]:
    """Yield the outermost modules of a part that were called and have children."""
    for child in part.children():
        if child not in called:
            yield from _outermost(child, called)
        elif next(child.children(), None) is not None:
            yield child
