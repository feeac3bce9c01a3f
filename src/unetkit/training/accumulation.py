"""Weigh the images of several batches alike where one step is taken on them, in turn or in several processes."""

from collections.abc import Iterable

import torch
from lightning.pytorch.strategies import Strategy
from torch import Tensor


class Accumulation:
    """Turn the sum of the batches' gradients into the gradient of the mean loss over all images of a group of batches.

    Lightning divides each batch's mean loss by `accumulate_grad_batches`, which is wrong for the last group of an epoch
    if that has fewer batches, and for batches of different size.
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget the batches so far; called when an epoch starts, and after each step of the optimiser."""
        self.reference = 0
        self.total: Tensor | None = None

    def weigh(self, loss: Tensor, valid: Tensor, batches: int) -> Tensor:
        """Return the loss of a batch times its number of images, relative to the first batch of the group.

        Args:
            loss: Mean loss over the images of the batch, a scalar.
            valid: Valid pixels (B, H, W); an image without any does not count.
            batches: Number of batches that Lightning divides by.
        """
        self.reference = self.reference or len(valid)  # keeps the loss in the range of float16
        weight = valid.flatten(1).any(1).sum() / self.reference
        self.total = weight if self.total is None else self.total + weight
        return loss * weight * batches

    def average(self, parameters: Iterable[torch.nn.Parameter], strategy: Strategy) -> None:
        """Divide the gradients by the number of images in the group, of all processes; and start the next group."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self.total is not None and gradients:
            total = strategy.reduce(self.total, reduce_op="mean")  # gradients are the mean over processes, too
            torch._foreach_div_(gradients, torch.where(total > 0, total, 1.0))
        self.restart()
