"""From logits to probabilities to classes: one policy for one logit, two and many."""

import torch
from torch import Tensor

from unetkit.errors import UserError, check


def probabilities(logits: Tensor) -> Tensor:
    """Of each class (B, C, H, W), or of the foreground alone (B, 1, H, W) where there are one or two logits.

    The softmax of two logits is the sigmoid of their difference.
    """
    logits = logits.float()
    if logits.shape[1] == 1:
        return logits.sigmoid()
    if logits.shape[1] == 2:
        return (logits[:, 1:] - logits[:, :1]).sigmoid()
    return logits.softmax(1)


def classify(probabilities: Tensor, threshold: float) -> Tensor:
    """Class indices (B, H, W) uint8: foreground above the threshold, or the likeliest of many classes."""
    if probabilities.shape[1] == 1:
        return (probabilities[:, 0] > threshold).to(torch.uint8)
    return probabilities.argmax(1).to(torch.uint8)


def check_threshold(threshold: object, classes: int = 2) -> None:
    """Check a threshold for `classify`.

    Args:
        threshold: The value of the key `threshold`.
        classes: Number of classes, background included.

    Raises:
        UserError: If it is no probability, or there are more than two classes.
    """
    is_probability = isinstance(threshold, int | float) and not isinstance(threshold, bool) and 0 <= threshold < 1
    check("threshold", threshold, is_probability, "a probability, at least 0 and below 1")
    if classes > 2:
        problem = f"is for binary masks; of {classes} classes the likeliest is taken"
        raise UserError(f"threshold={threshold}", problem, "leave it out")
