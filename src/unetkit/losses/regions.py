"""Losses of whole regions: functions of soft counts, that is, of pixels counted by their probability.

Each is computed for each image and each class without the background, and averaged. On a mask without the class, s
pixels on which prediction and truth agree are added, so that an empty prediction is perfect, and false positives have a
gradient: for Dice s / (predicted + s)^2. With s = 1 pixel it would be almost 0 wherever many pixels are predicted.
"""

import logging
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from unetkit.errors import check
from unetkit.losses.per_image import PerImageLoss, check_positive, every_class, foreground

log = logging.getLogger(__name__)

SMOOTHING = 0.01  # share of an image's pixels: 102 pixels of 101x101


@dataclass(frozen=True)
class SoftCounts:
    """Numbers of pixels of each image and class (B, K), each pixel counted by its probability.

    Attributes:
        overlap: Pixels that are true and predicted.
        predicted: Pixels that are predicted.
        actual: Pixels that are true.
        pixels: All valid pixels (B, 1).
    """

    overlap: Tensor
    predicted: Tensor
    actual: Tensor
    pixels: Tensor

    @classmethod
    def of(cls, probabilities: Tensor, truth: Tensor, valid: Tensor) -> "SoftCounts":
        """Count the pixels of maps (B, K, *), in [0, 1], where `valid` (B, *) is true."""
        probabilities, truth = (probabilities * valid[:, None]).flatten(2), (truth * valid[:, None]).flatten(2)
        pixels = valid.flatten(1).sum(1, keepdim=True)
        return cls((probabilities * truth).sum(2), probabilities.sum(2), truth.sum(2), pixels)

    @property
    def false_positives(self) -> Tensor:
        """Pixels that are predicted, but not true."""
        return self.predicted - self.overlap

    @property
    def false_negatives(self) -> Tensor:
        """Pixels that are true, but not predicted."""
        return self.actual - self.overlap

    @property
    def true_negatives(self) -> Tensor:
        """Pixels that are neither true nor predicted."""
        return self.pixels - self.predicted - self.false_negatives


class Smoothing:
    """A number of pixels that are added to the counts, as if prediction and truth agreed on them.

    Args:
        smooth: The earlier form: a number of pixels, above 0, for all masks, whether the class is in them or not.
        share: A share of the image's valid pixels, in (0, 1], if `smooth` is None.

    Raises:
        UserError: If an argument is out of its range.
    """

    def __init__(self, smooth: float | None, share: float) -> None:
        check("loss.smoothing", share, 0 < share <= 1, "a share of the image's pixels, above 0 and at most 1")
        if smooth is not None:
            check_positive(smooth=smooth)
            _log_new_key(smooth)
        self.smooth = smooth
        self.share = share

    def of(self, pixels: Tensor) -> Tensor:
        """Compute the smoothing of images (B, 1) that have these numbers of valid pixels."""
        share = self.share * pixels.clamp(min=1)
        return share if self.smooth is None else torch.full_like(share, self.smooth)

    def of_empty(self, counts: SoftCounts) -> Tensor:
        """Compute the smoothing (B, K) of losses that need it only for classes that are not in the mask."""
        smooth = self.of(counts.pixels).expand_as(counts.actual)
        return smooth if self.smooth is not None else torch.where(counts.actual > 0, 0, smooth)


@cache  # one line, however many losses are made
def _log_new_key(smooth: float) -> None:
    log.warning(
        "smooth=%g is in pixels, as before; the present key is smoothing=%g, a share of the pixels of empty masks",
        smooth,
        SMOOTHING,
    )


class RegionLoss(PerImageLoss):
    """1 - the mean of a score over the classes without the background.

    Args:
        smooth: The earlier form of `smoothing`, in pixels and for all masks, above 0.
        smoothing: Smoothing on masks without the class, as a share of the image's valid pixels, in (0, 1].
    """

    def __init__(self, smooth: float | None = None, *, smoothing: float = SMOOTHING) -> None:
        super().__init__()
        self.smoothing = Smoothing(smooth, smoothing)

    def per_image(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Compute the loss (B,)."""
        return 1 - self.score(SoftCounts.of(*foreground(logits, target), valid)).mean(1)

    def score(self, counts: SoftCounts) -> Tensor:
        """Compute the score (B, K), 1 for a perfect prediction."""
        raise NotImplementedError


class DiceLoss(RegionLoss):
    """1 - (2 overlap + smooth) / (predicted + actual + smooth): Milletari et al. 2016, V-Net, eq. 3, unsquared sums."""

    def score(self, counts: SoftCounts) -> Tensor:
        """Compute Dice (B, K)."""
        smooth = self.smoothing.of_empty(counts)
        return (2 * counts.overlap + smooth) / (counts.predicted + counts.actual + smooth)


class JaccardLoss(RegionLoss):
    """1 - (overlap + smooth) / (union + smooth): Rahman & Wang 2016, Optimizing Intersection-Over-Union, section 3."""

    def score(self, counts: SoftCounts) -> Tensor:
        """Compute the IoU (B, K)."""
        smooth = self.smoothing.of_empty(counts)
        return (counts.overlap + smooth) / (counts.predicted + counts.false_negatives + smooth)


class TverskyLoss(RegionLoss):
    """Dice with a weight for each kind of error: Salehi et al. 2017, arXiv 1706.05721, T(alpha, beta).

        1 - (overlap + smooth) / (overlap + alpha false positives + beta false negatives + smooth)

    alpha = beta = 0.5 is Dice (with half the smoothing), alpha = beta = 1 is Jaccard.

    Args:
        alpha: Weight of false positives, above 0.
        beta: Weight of false negatives, above 0; the paper's best for small lesions is 0.7, with alpha = 0.3.
        smooth: The earlier form of `smoothing`, in pixels and for all masks, above 0.
        smoothing: Smoothing on masks without the class, as a share of the image's valid pixels, in (0, 1].
    """

    def __init__(
        self, alpha: float = 0.3, beta: float = 0.7, smooth: float | None = None, *, smoothing: float = SMOOTHING
    ) -> None:
        super().__init__(smooth, smoothing=smoothing)
        check_positive(alpha=alpha, beta=beta)
        self.alpha = alpha
        self.beta = beta

    def score(self, counts: SoftCounts) -> Tensor:
        """Compute the Tversky index (B, K)."""
        agreed = counts.overlap + self.smoothing.of_empty(counts)
        return agreed / (agreed + self.alpha * counts.false_positives + self.beta * counts.false_negatives)


class FocalTverskyLoss(TverskyLoss):
    """(1 - Tversky index)^(1 / gamma) of each class: Abraham & Khan 2018, arXiv 1810.07842, FTL.

    Args:
        alpha: Weight of false positives (the paper's beta), above 0.
        beta: Weight of false negatives (the paper's alpha), above 0.
        gamma: Above 1 gives nearly correct images a larger gradient, as the paper does with 4/3; 1 is the Tversky loss.
        smooth: The earlier form of `smoothing`, in pixels and for all masks, above 0.
        smoothing: Smoothing on masks without the class, as a share of the image's valid pixels, in (0, 1].
    """

    def __init__(
        self,
        alpha: float = 0.3,
        beta: float = 0.7,
        gamma: float = 4 / 3,
        smooth: float | None = None,
        *,
        smoothing: float = SMOOTHING,
    ) -> None:
        super().__init__(alpha, beta, smooth, smoothing=smoothing)
        check_positive(gamma=gamma)
        self.gamma = gamma

    def score(self, counts: SoftCounts) -> Tensor:
        """Compute 1 - the loss of each class, (B, K)."""
        wrong = (1 - super().score(counts)).clamp(min=1e-6)  # the gradient of the root is infinite at 0
        return 1 - wrong ** (1 / self.gamma)


class MCCLoss(RegionLoss):
    """1 - Matthews' correlation of prediction and truth: Abhishek & Hamarneh 2021, arXiv 2010.13454, eqs. 3 to 5.

    Unlike Dice it counts true negatives, so that full masks are no easier than empty ones.
    The smoothing is added to both the true positives and the true negatives, on all masks, as there is no correlation
    with an empty or a full prediction either.

    Args:
        smooth: The earlier form of `smoothing`, in pixels, above 0.
        smoothing: Share of the image's valid pixels, in (0, 1].
    """

    def score(self, counts: SoftCounts) -> Tensor:
        """Compute Matthews' correlation (B, K), in [-1, 1]."""
        smooth = self.smoothing.of(counts.pixels)
        tp, tn = counts.overlap + smooth, counts.true_negatives + smooth
        fp, fn = counts.false_positives, counts.false_negatives
        # Two roots, as the product of all four overflows float32 in large volumes.
        return (tp * tn - fp * fn) / (((tp + fp) * (tn + fn)).sqrt() * ((tp + fn) * (tn + fp)).sqrt())


class GeneralizedDiceLoss(PerImageLoss):
    """Dice over all classes together, with the background, each class weighted by 1 / its area^2.

        1 - 2 sum_l w_l overlap_l / sum_l w_l (predicted_l + actual_l)

    Sudre et al. 2017, arXiv 1707.03237, section 2.1, for each image. A class that is not in the image would have an
    infinite weight; it gets the largest of the other weights, so that false positives of it have a gradient. This loss
    needs no smoothing: on an empty mask it is the share of the pixels that are false positives, at any size.
    """

    def per_image(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Compute the loss (B,)."""
        counts = SoftCounts.of(*every_class(logits, target), valid)
        is_present = counts.actual > 0
        weights = torch.where(is_present, counts.actual.clamp(min=1) ** -2.0, 0)
        weights = torch.where(is_present, weights, weights.amax(1, keepdim=True))
        total = (weights * (counts.predicted + counts.actual)).sum(1)
        return 1 - 2 * (weights * counts.overlap).sum(1) / total.clamp(min=1e-12)  # total is 0 without a valid pixel
