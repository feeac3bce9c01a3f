"""Losses of single pixels: cross-entropy and its weighted forms."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unetkit.errors import UserError, check
from unetkit.losses.per_image import PerImageLoss, mean_of_images, mean_of_pixels


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Compute the binary (C = 1) or categorical (C >= 2) cross-entropy of each pixel, (B, *)."""
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0], (target == 1).float(), reduction="none")
    return F.cross_entropy(logits, target.clamp(max=logits.shape[1] - 1).long(), reduction="none")


class CrossEntropyLoss(PerImageLoss):
    """Binary (C = 1) or categorical (C >= 2) cross-entropy, mean over the pixels of each image.

    Weights and label smoothing are torch's; the weighted loss is divided by the number of pixels, so that an image's
    share of the loss depends on its classes.

    Args:
        class_weights: A weight, at least 0, for each class from 0 on; None for equal ones. Training replaces `auto`.
        pos_weight: A weight, above 0, of the foreground of binary masks, which is class 1; None for 1. Or one for each
            of L labels, of whose masks image i is of label i modulo L, as `EachLabel` gives them. Training replaces
            `auto`.
        label_smoothing: Share, in [0, 1), of the truth that is spread evenly over all classes: Szegedy et al. 2016,
            arXiv 1512.00567, section 7.

    Raises:
        UserError: If an argument is out of its range, or both kinds of weights are given.
    """

    weights: Tensor | None

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        pos_weight: float | Sequence[float] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if class_weights is not None and pos_weight is not None:
            problem = "both weigh the foreground"
            raise UserError("loss.class_weights and loss.pos_weight", problem, "set one of them to null")
        if class_weights is not None:
            are_weights = isinstance(class_weights, Sequence) and all(map(_is_weight, class_weights))
            wanted = "a list of a weight of at least 0 for each class, not all 0"
            check("loss.class_weights", class_weights, are_weights and any(class_weights), wanted)
        foreground = (
            list(pos_weight) if isinstance(pos_weight, Sequence) else [1.0 if pos_weight is None else pos_weight]
        )
        is_positive = bool(foreground) and all(_is_weight(weight) and weight > 0 for weight in foreground)
        wanted = "null, auto, a number above 0, or a list of one for each label"
        check("loss.pos_weight", pos_weight, is_positive, wanted)
        is_share = _is_weight(label_smoothing) and label_smoothing < 1
        check("loss.label_smoothing", label_smoothing, is_share, "at least 0 and below 1")
        given = class_weights if pos_weight is None else [[1.0] * len(foreground), foreground]
        # No part of a checkpoint: the weights are in the configuration.
        self.register_buffer("weights", None if given is None else torch.tensor(given).float(), persistent=False)
        self.label_smoothing = label_smoothing

    def per_image(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Compute the loss (B,).

        Raises:
            UserError: If there is not one weight for each class.
        """
        classes, smoothing = max(logits.shape[1], 2), self.label_smoothing
        if self.weights is not None and len(self.weights) != classes:
            problem = f"holds {len(self.weights)} weights for {classes} classes"
            raise UserError("loss.class_weights", problem, "give one for each; loss.pos_weight is for binary masks")
        if logits.shape[1] == 1:
            truth = (target == 1).float() * (1 - smoothing) + smoothing / 2
            if self.weights is None:
                losses = F.binary_cross_entropy_with_logits(logits[:, 0], truth, reduction="none")
            else:  # torch's pos_weight weighs only one of the two
                background, foreground = (self._of_images(weight, logits) for weight in self.weights.unbind())
                of_each = foreground * F.softplus(-logits[:, 0]), background * F.softplus(logits[:, 0])
                losses = truth * of_each[0] + (1 - truth) * of_each[1]
        else:
            truth = target.clamp(max=classes - 1).long()
            losses = F.cross_entropy(logits, truth, self.weights, reduction="none", label_smoothing=smoothing)
        return mean_of_pixels(losses, valid)

    def _of_images(self, weight: Tensor, logits: Tensor) -> Tensor:
        """Return a weight, or those of L labels, as (B, 1, ...) for images (B, 1, *) of these labels in turn."""
        images, labels = len(logits), weight.numel()
        if images % labels:
            problem = f"holds {labels} weights, one for each label, but the masks are of one class"
            raise UserError("loss.pos_weight", problem, "give one number")
        return weight.reshape(-1).repeat(images // labels).view(-1, *[1] * (logits.ndim - 2))


def _is_weight(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


class FocalLoss(PerImageLoss):
    """Focal loss, cross-entropy that down-weights easy pixels: Lin et al. 2017, arXiv 1708.02002, eq. 5.

        -alpha_t (1 - p_t)^gamma log p_t

    where p_t is the probability of the true class and alpha_t is alpha in the foreground, 1 - alpha in the background;
    mean over the pixels of each image.

    Args:
        alpha: Weight of the foreground, in [0, 1]; None for equal weights.
        gamma: Exponent of (1 - p_t), at least 0; 0 gives cross-entropy.

    Raises:
        UserError: If an argument is out of its range.
    """

    def __init__(self, alpha: float | None = 0.25, gamma: float = 2.0) -> None:
        super().__init__()
        check("loss.alpha", alpha, alpha is None or 0 <= alpha <= 1, "null, or in [0, 1]")
        check("loss.gamma", gamma, gamma >= 0, "at least 0")
        self.alpha = alpha
        self.gamma = gamma

    def per_image(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Compute the loss (B,)."""
        entropy = cross_entropy(logits, target)
        wrong = (-torch.expm1(-entropy)).clamp(min=1e-6)  # 1 - p_t; for gamma below 1 its gradient is infinite at 0
        loss = wrong**self.gamma * entropy
        if self.alpha is not None:
            loss = loss * torch.where(target > 0, self.alpha, 1 - self.alpha)
        return mean_of_pixels(loss, valid)


class TopKLoss(PerImageLoss):
    """Cross-entropy of the hardest pixels of each image: online bootstrapping, Wu et al. 2016, arXiv 1605.06885.

    Args:
        share: Share of the valid pixels to use, in (0, 1]; 1 gives cross-entropy.

    Raises:
        UserError: If the share is out of its range.
    """

    def __init__(self, share: float = 0.1) -> None:
        super().__init__()
        check("loss.share", share, 0 < share <= 1, "above 0 and at most 1")
        self.share = share

    def per_image(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Compute the loss (B,)."""
        hardest = (cross_entropy(logits, target) * valid).flatten(1).sort(1, descending=True).values
        wanted = (valid.flatten(1).sum(1, keepdim=True) * self.share).ceil()
        is_taken = torch.arange(hardest.shape[1], device=hardest.device) < wanted
        return mean_of_pixels(hardest, is_taken)


class WeightedCrossEntropyLoss(nn.Module):
    """Cross-entropy times a weight for each pixel, mean over the pixels of each image.

    Ronneberger et al. 2015, arXiv 1505.04597, eq. 1. The weights (eq. 2), higher between touching objects, come with
    the batch: see `unetkit.data.borders`.
    """

    wants_weight = True

    def forward(self, logits: Tensor, target: Tensor, valid: Tensor, weight: Tensor | None) -> Tensor:
        """Compute the loss, a scalar, of logits (B, C, *), class indices, valid pixels and weights (B, *).

        Raises:
            UserError: If the batch has no weights.
        """
        if weight is None:
            problem = "needs a border weight map, but the batch has none"
            raise UserError("WeightedCrossEntropyLoss", problem, "pass weights (B, *), or choose loss=bce")
        return mean_of_images(mean_of_pixels(cross_entropy(logits.float(), target) * weight, valid), valid)
