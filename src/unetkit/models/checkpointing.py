"""Gradient checkpointing: compute activations again in the backward pass instead of keeping them.

Chen et al. 2016, *Training Deep Nets with Sublinear Memory Cost*, arXiv 1604.06174.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from unetkit.errors import is_whole
from unetkit.models.arguments import check


def checkpointed_levels(value: int | str, levels: int) -> int:
    """Return the number of levels that `model.gradient_checkpointing` asks for: `none`, `all`, or a number.

    Raises:
        UserError: If the value is none of these, or there are fewer levels.
    """
    if value == "none":
        return 0
    if value == "all":
        return levels
    fits = is_whole(value, 0) and value <= levels
    check("gradient_checkpointing", value, fits, f"none, all, or a number of levels from 0 to {levels}")
    return int(value)


def run(
    block: nn.Module,
    recompute: bool,
    *inputs: Tensor,
    before: Callable[[Tensor], Tensor] | None = None,
    after: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Run a block, and either keep its activations or recompute them in the backward pass.

    Args:
        block: The block to run.
        recompute: Whether to recompute. The running statistics of BatchNorm are then updated once, as without.
        inputs: Inputs of the block, which are kept in any case.
        before: Function applied to the first input before the block, and recomputed with it. A max pooling here keeps
            no indices, which take 8 bytes for each output.
        after: Function applied to the block's output, and recomputed with it, so that this output is not kept.
    """

    def forward(x: Tensor, *others: Tensor) -> Tensor:
        y: Tensor = block(x if before is None else before(x), *others)
        return y if after is None else after(y)

    output: Tensor = recomputed(block, forward, *inputs) if recompute else forward(*inputs)
    return output


def recomputed(block: nn.Module, forward: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
    """Call `forward`, which runs the block, so that its activations are recomputed in the backward pass."""
    if not torch.is_grad_enabled():
        return forward(*inputs, **named)
    if not torch.compiler.is_compiling():  # torch.compile updates buffers once by itself, and allows no contexts
        named["context_fn"] = partial(_contexts, block)
    return checkpoint(forward, *inputs, use_reentrant=False, **named)


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return the contexts of the first run and of the recomputation."""
    return nullcontext(), _frozen_statistics(block)


@contextmanager
def _frozen_statistics(block: nn.Module) -> Iterator[None]:
    """Keep the running statistics of BatchNorm as they are.

    With momentum 0 rather than in evaluation mode, since the recomputation must do the same operations as the first
    run.
    """
    norms = [(m, m.momentum, m.num_batches_tracked) for m in block.modules() if isinstance(m, _BatchNorm)]
    for norm, _, _ in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, momentum, tracked in norms:
            norm.momentum, norm.num_batches_tracked = momentum, tracked
