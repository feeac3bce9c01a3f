"""Turn logits into probabilities, and probabilities into class indices.

`is_multilabel` has no default: forgotten, it would turn labels that overlap into classes, or into a binary mask.
"""

import torch
from torch import Tensor

from unetkit.errors import UserError, check


def probabilities(logits: Tensor, *, is_multilabel: bool) -> Tensor:
    """Compute probabilities in [0, 1], float32, of logits (B, C, H, W).

    With C = 1 or 2, return those of the foreground alone, (B, 1, H, W): the softmax of two logits is the sigmoid of
    their difference. With more, return those of all classes, (B, C, H, W). With `is_multilabel`, each channel is a
    label with a sigmoid of its own.
    """
    logits = logits.float()
    if is_multilabel or logits.shape[1] == 1:
        return logits.sigmoid()
    if logits.shape[1] == 2:
        return (logits[:, 1:] - logits[:, :1]).sigmoid()
    return logits.softmax(1)


def logits_of(probabilities: Tensor, num_classes: int, *, is_multilabel: bool) -> Tensor:
    """Return logits (B, num_classes, H, W) whose `probabilities` are the given ones, up to rounding."""
    least = torch.finfo(probabilities.dtype).eps
    if is_multilabel:
        return probabilities.logit(least)
    if num_classes > 2:
        return probabilities.clamp(min=least).log()
    foreground = probabilities.logit(least)
    return foreground if num_classes == 1 else torch.cat([torch.zeros_like(foreground), foreground], 1)


def classify(probabilities: Tensor, threshold: float, *, is_multilabel: bool) -> Tensor:
    """Return class indices (B, H, W), uint8, of what `probabilities` returns.

    With one channel, 1 where the probability is above the threshold; with more, the class of the highest probability,
    whatever the threshold. With `is_multilabel`, the sum of 2^k over the labels k whose probability is above the
    threshold.
    """
    if is_multilabel:
        bits = 2 ** torch.arange(probabilities.shape[1], dtype=torch.uint8, device=probabilities.device)
        return ((probabilities > threshold) * bits.view(1, -1, 1, 1)).sum(1, dtype=torch.uint8)
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
