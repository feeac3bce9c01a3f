"""Losses on logits (B, C, H, W) and targets (B, H, W) of class indices, with a mask of the pixels that count.

C = 1 means binary, through a sigmoid; C >= 2 through a softmax. For binary targets both give the same, since the
softmax of two logits is the sigmoid of their difference.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unetkit.errors import UserError


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
    classes = torch.arange(1, logits.shape[1], device=target.device).view(-1, *[1] * (target.ndim - 1))
    return logits.softmax(1)[:, 1:], (target[:, None] == classes).float()


def soft_dice(probabilities: Tensor, truth: Tensor, smooth: float) -> Tensor:
    """Smoothed Dice (B, K) of maps (B, K, H, W)."""
    overlap = (probabilities * truth).flatten(2).sum(2)
    total = probabilities.flatten(2).sum(2) + truth.flatten(2).sum(2)
    return (2 * overlap + smooth) / (total + smooth)


class LovaszHingeLoss(nn.Module):
    """The Lovasz hinge of each image, binary (C = 1) only: a convex surrogate of 1 - IoU.

    Berman et al. 2018, arXiv 1705.08790, algorithm 1 and section 3.1: margins 1 - logit * sign, sorted, weighted by how
    much each would lower the IoU. The margin goes through elu + 1 instead of a hinge, so that pixels on the right
    side keep a small gradient.

    Args:
        symmetric: Take the mean with the same loss of the background.
    """

    def __init__(self, symmetric: bool = True) -> None:
        super().__init__()
        self.symmetric = symmetric

    def forward(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """A scalar of logits (B, 1, H, W), class indices (B, H, W) and booleans (B, H, W) that tell what counts."""
        if logits.shape[1] != 1:
            raise UserError(f"the Lovasz hinge takes one logit, not {logits.shape[1]}; use loss=dice_bce")
        scores, truth, counts = logits[:, 0].float().flatten(1), (target == 1).flatten(1), valid.flatten(1)
        loss = lovasz_hinge(scores, truth, counts)
        if self.symmetric:
            loss = (loss + lovasz_hinge(-scores, ~truth, counts)) / 2
        images = counts.any(1)
        return (loss * images).sum() / images.sum().clamp(min=1)


def lovasz_hinge(scores: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """The loss (B,) of logits, booleans and what counts, each (B, pixels)."""
    truth = truth & valid
    margins = torch.where(truth, 1 - scores, 1 + scores)
    # What does not count is put last, where it has no error left and changes no weight before it.
    margins = torch.where(valid, margins, -1e4)
    margins, order = margins.sort(dim=1, descending=True)
    truth = truth.gather(1, order).float()
    positives = truth.sum(1, keepdim=True)
    intersection = positives - truth.cumsum(1)
    union = positives + (1 - truth).cumsum(1)
    jaccard = 1 - intersection / union
    weights = jaccard.diff(dim=1, prepend=jaccard.new_zeros(len(jaccard), 1))
    return ((F.elu(margins) + 1) * weights).sum(1)


class WeightedSum(nn.Module):
    """The sum of several losses, each times its weight.

    Args:
        terms: Losses by name.
        weights: A factor for each of these names.

    Raises:
        UserError: If the names differ.
    """

    def __init__(self, terms: Mapping[str, nn.Module], weights: Mapping[str, float]) -> None:
        super().__init__()
        if terms.keys() != weights.keys():
            raise UserError(f"loss.weights={dict(weights)} must give one factor for each of {', '.join(terms)}")
        self.terms = nn.ModuleDict(terms)
        self.weights = dict(weights)

    def forward(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """A scalar of logits (B, C, H, W), class indices (B, H, W) and booleans (B, H, W) that tell what counts."""
        losses = [self.weights[name] * term(logits, target, valid) for name, term in self.terms.items()]
        return torch.stack(losses).sum()


class Staged(nn.Module):
    """One loss in the first part of a run, another in the rest.

    Args:
        first: The loss at the beginning.
        second: The loss once `progress`, the share of epochs done, which the trainer's module keeps, reaches `switch`.
        switch: In [0, 1].
    """

    def __init__(self, first: nn.Module, second: nn.Module, switch: float = 0.5) -> None:
        super().__init__()
        self.first = first
        self.second = second
        self.switch = switch
        self.progress = 0.0

    def forward(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """A scalar of logits (B, C, H, W), class indices (B, H, W) and booleans (B, H, W) that tell what counts."""
        loss: Tensor = (self.first if self.progress < self.switch else self.second)(logits, target, valid)
        return loss
