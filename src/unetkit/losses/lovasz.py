"""The Lovasz losses, convex surrogates of 1 - IoU.

Berman, Rannen Triki, Blaschko 2018, *The Lovasz-Softmax Loss*, arXiv 1705.08790; sections and equations are of it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from unetkit.losses.per_image import PerImageLoss, every_class

INVALID = -1e4  # error of invalid pixels, below all others: sorted last, they don't change the other weights


class LovaszLoss(PerImageLoss):
    """The Lovasz hinge (C = 1) or the Lovasz-softmax (C >= 2) of each image.

    Hinge (section 3.1): errors are margins 1 - logit * sign, here through elu + 1 instead of a hinge, so that correct
    pixels keep a small gradient. Softmax (eq. 11): errors are |truth - probability| for each class; the loss is the
    mean over the classes, also those that are not in the image, so that false positives of these have a gradient.

    Args:
        symmetric: Include the background as a class.
    """

    def __init__(self, symmetric: bool = True) -> None:
        super().__init__()
        self.symmetric = symmetric

    def per_image(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Compute the loss (B,)."""
        if logits.shape[1] > 1:
            return self._softmax(logits, target, valid)
        scores, truth, counts = logits[:, 0].flatten(1), (target == 1).flatten(1), valid.flatten(1)
        margins = torch.where(
            truth, 1 - scores, 1 + scores
        )  # those of the background, of -scores and ~truth, are the same
        margins, order = sorted_errors(margins, counts)
        weights = jaccard_steps(truth, counts, order)
        if self.symmetric:
            weights = (weights + jaccard_steps(~truth, counts, order)) / 2
        return ((F.elu(margins) + 1) * weights).sum(1)

    def _softmax(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        first = 0 if self.symmetric else 1
        probabilities, truth = (maps[:, first:].flatten(2) for maps in every_class(logits, target))
        counts = valid.flatten(1)[:, None].expand_as(truth).flatten(0, 1)
        errors = (truth - probabilities).abs().flatten(0, 1)
        errors, order = sorted_errors(errors, counts)
        weights = jaccard_steps(truth.flatten(0, 1).bool(), counts, order)
        return (errors.relu() * weights).sum(1).view(len(logits), -1).mean(1)


def sorted_errors(errors: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Sort errors (N, pixels) in descending order, invalid ones last; also returns their indices (N, pixels)."""
    falling, order = torch.where(valid, errors, INVALID).sort(dim=1, descending=True)
    return falling, order


def jaccard_steps(truth: Tensor, valid: Tensor, order: Tensor) -> Tensor:
    """Compute by how much each error, in `order`, lowers the IoU (eqs. 8 and 9, algorithm 1); all (N, pixels)."""
    truth = (truth & valid).gather(1, order).float()
    positives = truth.sum(1, keepdim=True)
    intersection = positives - truth.cumsum(1)
    union = positives + (1 - truth).cumsum(1)
    jaccard = 1 - intersection / union
    return jaccard.diff(dim=1, prepend=jaccard.new_zeros(len(jaccard), 1))
