"""Losses of whole regions: functions of how much of a class is predicted, there, and both.

All are taken for each image and each class but the background, and averaged. `smooth` adds pixels on which prediction
and truth agree, so that an empty mask without a prediction is right, and a false positive on it has a gradient.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from unetkit.losses.per_image import PerImageLoss, check_positive, every_class, foreground


@dataclass(frozen=True)
class SoftCounts:
    """Pixels of each image and class (B, K), each counted by its probability."""

    overlap: Tensor
    predicted: Tensor
    actual: Tensor
    pixels: Tensor

    @classmethod
    def of(cls, probabilities: Tensor, truth: Tensor, valid: Tensor) -> "SoftCounts":
        """Count maps (B, K, *) in [0, 1] where `valid` (B, *) is true."""
        probabilities, truth = (probabilities * valid[:, None]).flatten(2), (truth * valid[:, None]).flatten(2)
        pixels = valid.flatten(1).sum(1, keepdim=True)
        return cls((probabilities * truth).sum(2), probabilities.sum(2), truth.sum(2), pixels)

    @property
    def false_positives(self) -> Tensor:
        """Predicted, but not there."""
        return self.predicted - self.overlap

    @property
    def false_negatives(self) -> Tensor:
        """There, but not predicted."""
        return self.actual - self.overlap

    @property
    def true_negatives(self) -> Tensor:
        """Neither there nor predicted."""
        return self.pixels - self.predicted - self.false_negatives


class RegionLoss(PerImageLoss):
    """1 - the mean of a score over the classes but the background.

    Args:
        smooth: In pixels, above 0; more makes small masks count less.
    """

    def __init__(self, smooth: float = 1.0) -> None:
        super().__init__()
        check_positive(smooth=smooth)
        self.smooth = smooth

    def per_image(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The loss (B,)."""
        return 1 - self.score(SoftCounts.of(*foreground(logits, target), valid)).mean(1)

    def score(self, counts: SoftCounts) -> Tensor:
        """1 for a perfect prediction, (B, K)."""
        raise NotImplementedError


class DiceLoss(RegionLoss):
    """1 - (2 overlap + smooth) / (predicted + actual + smooth): Milletari et al. 2016, V-Net, eq. 3, unsquared sums."""

    def score(self, counts: SoftCounts) -> Tensor:
        """Dice (B, K)."""
        return (2 * counts.overlap + self.smooth) / (counts.predicted + counts.actual + self.smooth)


class JaccardLoss(RegionLoss):
    """1 - (overlap + smooth) / (union + smooth): Rahman & Wang 2016, Optimizing Intersection-Over-Union, section 3."""

    def score(self, counts: SoftCounts) -> Tensor:
        """IoU (B, K)."""
        return (counts.overlap + self.smooth) / (counts.predicted + counts.false_negatives + self.smooth)


class TverskyLoss(RegionLoss):
    """Dice with a price for each kind of mistake: Salehi et al. 2017, arXiv 1706.05721, T(alpha, beta).

        1 - (overlap + smooth) / (overlap + alpha false positives + beta false negatives + smooth)

    Both 0.5 is Dice (with half the smoothing), both 1 is Jaccard.

    Args:
        alpha: Price of a false positive.
        beta: Price of a false negative; the paper's best for small lesions is 0.7 against 0.3.
        smooth: In pixels, above 0; more makes small masks count less.
    """

    def __init__(self, alpha: float = 0.3, beta: float = 0.7, smooth: float = 1.0) -> None:
        super().__init__(smooth)
        check_positive(alpha=alpha, beta=beta)
        self.alpha = alpha
        self.beta = beta

    def score(self, counts: SoftCounts) -> Tensor:
        """The Tversky index (B, K)."""
        agreed = counts.overlap + self.smooth
        return agreed / (agreed + self.alpha * counts.false_positives + self.beta * counts.false_negatives)


class FocalTverskyLoss(TverskyLoss):
    """(1 - Tversky index)^(1 / gamma) of each class: Abraham & Khan 2018, arXiv 1810.07842, FTL.

    Args:
        alpha: Price of a false positive (the paper's beta).
        beta: Price of a false negative (the paper's alpha).
        gamma: Above 1 weighs nearly right images more, as the paper does with 4/3; 1 is the Tversky loss.
        smooth: In pixels, above 0; more makes small masks count less.
    """

    def __init__(self, alpha: float = 0.3, beta: float = 0.7, gamma: float = 4 / 3, smooth: float = 1.0) -> None:
        super().__init__(alpha, beta, smooth)
        check_positive(gamma=gamma)
        self.gamma = gamma

    def score(self, counts: SoftCounts) -> Tensor:
        """1 - the loss (B, K)."""
        wrong = (1 - super().score(counts)).clamp(min=1e-6)  # the root has no gradient at 0
        return 1 - wrong ** (1 / self.gamma)


class MCCLoss(RegionLoss):
    """1 - Matthews' correlation of prediction and truth: Abhishek & Hamarneh 2021, arXiv 2010.13454, eqs. 3 to 5.

    Unlike Dice it counts what is rightly background, so that full masks are no easier than empty ones.
    `smooth` pixels are added to both the true positives and the true negatives.
    """

    def score(self, counts: SoftCounts) -> Tensor:
        """Matthews' correlation (B, K), in [-1, 1]."""
        tp, tn = counts.overlap + self.smooth, counts.true_negatives + self.smooth
        fp, fn = counts.false_positives, counts.false_negatives
        # Two roots, as the product of all four overflows float32 in large volumes.
        return (tp * tn - fp * fn) / (((tp + fp) * (tn + fn)).sqrt() * ((tp + fn) * (tn + fp)).sqrt())


class GeneralizedDiceLoss(PerImageLoss):
    """Dice over all classes at once, background too, each weighted by 1 / its area^2.

        1 - 2 sum_l w_l overlap_l / sum_l w_l (predicted_l + actual_l)

    Sudre et al. 2017, arXiv 1707.03237, section 2.1, for each image. A class that is not there, whose weight would be
    infinite, gets the largest of the others', so that to predict it costs something.
    """

    def per_image(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The loss (B,)."""
        counts = SoftCounts.of(*every_class(logits, target), valid)
        is_there = counts.actual > 0
        weights = torch.where(is_there, counts.actual.clamp(min=1) ** -2.0, 0)
        weights = torch.where(is_there, weights, weights.amax(1, keepdim=True))
        total = (weights * (counts.predicted + counts.actual)).sum(1)
        return 1 - 2 * (weights * counts.overlap).sum(1) / total.clamp(min=1e-12)  # 0 where nothing counts
