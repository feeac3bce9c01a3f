"""Losses on logits (B, C, H, W) and targets (B, H, W) of class indices, with a mask of the pixels that count.

C = 1 means binary, through a sigmoid; C >= 2 through a softmax. For binary targets both give the same, since the
softmax of two logits is the sigmoid of their difference.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DiceBCELoss(nn.Module):
    """`dice_weight` * Dice + `bce_weight` * binary (C = 1) or categorical cross-entropy (C >= 2), in float32.

    Dice is taken for each image and each class but the background (Milletari et al. 2016, V-Net, eq. 3, with
    unsquared sums), and smoothed:

        1 - (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth)

    so that a false positive on an empty image costs something, which without smoothing has no gradient. Both
    terms are means over the images of a batch.

    Args:
        dice_weight: Factor of the Dice term.
        bce_weight: Factor of the cross-entropy.
        smooth: In pixels; more makes small masks count less.
    """

    def __init__(self, dice_weight: float = 1.0, bce_weight: float = 1.0, smooth: float = 1.0) -> None:
        super().__init__()
        self.dice_weight = dice_weight
        self.bce_weight = bce_weight
        self.smooth = smooth

    def forward(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """A scalar of logits (B, C, H, W), class indices (B, H, W) and booleans (B, H, W) that tell what counts."""
        logits = logits.float()
        entropy = cross_entropy(logits, target)
        pixels = valid.flatten(1).sum(1).clamp(min=1)
        bce = (entropy * valid).flatten(1).sum(1) / pixels
        probabilities, truth = foreground(logits, target)
        dice = soft_dice(probabilities * valid[:, None], truth * valid[:, None], self.smooth)
        # Images without a pixel that counts have no say in the mean.
        counts = valid.flatten(1).any(1)
        per_image = self.dice_weight * (1 - dice.mean(1)) + self.bce_weight * bce
        return (per_image * counts).sum() / counts.sum().clamp(min=1)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of each pixel (B, H, W)."""
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0], (target == 1).float(), reduction="none")
    return F.cross_entropy(logits, target.clamp(max=logits.shape[1] - 1).long(), reduction="none")


def foreground(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities and one-hot truth (B, K, H, W) of the K classes that are not background."""
    if logits.shape[1] == 1:
        return logits.sigmoid(), (target == 1).float()[:, None]
    classes = torch.arange(1, logits.shape[1], device=target.device).view(1, -1, 1, 1)
    return logits.softmax(1)[:, 1:], (target[:, None] == classes).float()


def soft_dice(probabilities: Tensor, truth: Tensor, smooth: float) -> Tensor:
    """Smoothed Dice (B, K) of maps (B, K, H, W)."""
    overlap = (probabilities * truth).flatten(2).sum(2)
    total = probabilities.flatten(2).sum(2) + truth.flatten(2).sum(2)
    return (2 * overlap + smooth) / (total + smooth)
