"""Losses of single pixels: cross-entropy and its weighted forms."""

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
    """Binary (C = 1) or categorical (C >= 2) cross-entropy, mean over the pixels of each image."""

    def per_image(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Compute the loss (B,)."""
        return mean_of_pixels(cross_entropy(logits, target), valid)


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
