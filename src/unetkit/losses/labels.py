"""Losses of multi-label masks: those of binary masks, applied to each label."""

import torch
from torch import Tensor, nn

from unetkit.errors import UserError
from unetkit.losses.compose import wants_weight


class EachLabel(nn.Module):
    """The mean over labels of a loss of binary masks, each through a sigmoid of its own.

    Args:
        loss: The loss.

    Raises:
        UserError: If the loss weighs pixels by the borders of classes.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        if wants_weight(loss):
            problem = "weighs the borders of classes, which labels that overlap don't have"
            raise UserError("loss=weighted_bce", problem, "use loss=dice_bce")
        self.loss = loss

    def forward(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Compute the loss, a scalar.

        Args:
            logits: Logits (B, L, *) of any floating-point type.
            target: The sum of 2^k over the labels k of each pixel, (B, *) uint8.
            valid: Booleans (B, *), false for pixels to ignore.
        """
        labels = logits.shape[1]
        shifts = torch.arange(labels, device=target.device).view(1, -1, *[1] * (target.ndim - 1))
        truth = target[:, None].long() >> shifts & 1
        loss: Tensor = self.loss(logits.flatten(0, 1)[:, None], truth.flatten(0, 1), valid.repeat_interleave(labels, 0))
        return loss
