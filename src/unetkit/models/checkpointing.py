"""Gradient checkpointing: computing activations again in the backward pass instead of keeping them."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from unetkit.models.arguments import check


def checkpointed_levels(value: int | str, levels: int) -> int:
    """How many of the shallowest levels `none`, `all` or a number means.

    Raises:
        UserError: If the value is another, or more than there are.
    """
    if value == "none":
        return 0
    if value == "all":
        return levels
    fits = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= levels
    check("gradient_checkpointing", value, fits, f"none, all, or a number of levels from 0 to {levels}")
    return int(value)


def run(
    block: nn.Module,
    recompute: bool,
    *inputs: Tensor,
    before: Callable[[Tensor], Tensor] | None = None,
    after: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Run a block, either keeping its activations or computing them again (Chen et al. 2016, arXiv 1604.06174).

    The second run leaves BatchNorm's running statistics alone, so that they move once a step.

    Args:
        block: To run.
        recompute: Whether to compute again.
        inputs: Of the block, which are kept.
        before: Done to the first input first, and again with the block: a pooling keeps 8 bytes for each maximum.
        after: Done to the output, and again with the block, so that what the two hand over is not kept.
    """

    def forward(x: Tensor, *others: Tensor) -> Tensor:
        y: Tensor = block(x if before is None else before(x), *others)
        return y if after is None else after(y)

    output: Tensor = _recomputed(block, forward, *inputs) if recompute else forward(*inputs)
    return output


def recompute_in_place(block: nn.Module) -> None:
    """Let a library's block compute its activations again from now on; its class, place and keys stay."""
    block.forward = partial(_recomputed, block, partial(_with_own_lists, block.forward))


def _recomputed(block: nn.Module, forward: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*inputs, **named)
    if not torch.compiler.is_compiling():  # which moves buffers once by itself, and takes no contexts
        named["context_fn"] = partial(_first_and_second_run, block)
    return checkpoint(forward, *inputs, use_reentrant=False, **named)


def _with_own_lists(forward: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
    """Some blocks, as timm's HRNet, write into the list they are given, which the second run needs as it was."""
    return forward(*(list(x) if isinstance(x, list) else x for x in inputs), **named)


def _first_and_second_run(
    block: nn.Module,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _frozen_statistics(block)


@contextmanager
def _frozen_statistics(block: nn.Module) -> Iterator[None]:
    """Let BatchNorm use its buffers as ever, since autograd keeps them, but move them by nothing."""
    norms = [(m, m.momentum, m.num_batches_tracked) for m in block.modules() if isinstance(m, _BatchNorm)]
    for norm, _, _ in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, momentum, tracked in norms:
            norm.momentum, norm.num_batches_tracked = momentum, tracked
