"""The loss of a batch, on that part of its masks where the network has an output."""

from torch import Tensor, nn

from unetkit.data import VOID, Batch
from unetkit.losses import apply_loss
from unetkit.models import centre_crop


def truth_of(batch: Batch, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return class indices and valid pixels (B, h, w), where logits (B, C, h, w) are."""
    target = centre_crop(batch["mask"], *logits.shape[2:])
    return target, target != VOID


def loss_of(loss: nn.Module, batch: Batch, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Compute the loss, a scalar, with the weights of the pixels if the batch has them.

    Args:
        loss: The loss.
        batch: The batch.
        logits: Logits (B, C, h, w).
        target: Class indices (B, h, w), see `truth_of`.
        valid: Valid pixels (B, h, w).
    """
    weight = batch.get("weight")
    if weight is not None:
        weight = centre_crop(weight, *logits.shape[2:])
    return apply_loss(loss, logits, target, valid, weight)
