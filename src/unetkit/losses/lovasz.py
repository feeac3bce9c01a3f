"""The Lovasz losses: convex surrogates of 1 - IoU (Berman et al. 2018, arXiv 1705.08790)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from unetkit.losses.per_image import PerImageLoss, every_class

NOWHERE = -1e4  # an error below all others, so that it is sorted last and changes no weight before it


class LovaszLoss(PerImageLoss):
    """The Lovasz hinge (C = 1) or the Lovasz-softmax (C >= 2) of each image.

    Hinge (section 3.1): margins 1 - logit * sign. They go through elu + 1 instead of a hinge, so that pixels on
    the right side keep a small gradient. Softmax (eq. 11): errors |truth - probability| of each class, averaged over
    the classes, also those not in the image, so that to predict one there costs something.

    Args:
        symmetric: Let the background count as one of the classes.
    """

    def __init__(self, symmetric: bool = True) -> None:
        super().__init__()
        self.symmetric = symmetric

    def per_image(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The loss (B,)."""
        if logits.shape[1] > 1:
            return self._softmax(logits, target, valid)
        scores, truth, counts = logits[:, 0].flatten(1), (target == 1).flatten(1), valid.flatten(1)
        margins = torch.where(truth, 1 - scores, 1 + scores)  # the same for the background: -scores against ~truth
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
    """Falling errors, those that don't count last, and where they were; all (N, pixels)."""
    falling, order = torch.where(valid, errors, NOWHERE).sort(dim=1, descending=True)
    return falling, order


def jaccard_steps(truth: Tensor, valid: Tensor, order: Tensor) -> Tensor:
    """How much each of the errors in `order` would lower the IoU (eqs. 8 and 9, algorithm 1); all (N, pixels)."""
    truth = (truth & valid).gather(1, order).float()
    positives = truth.sum(1, keepdim=True)
    intersection = positives - truth.cumsum(1)
    union = positives + (1 - truth).cumsum(1)
    jaccard = 1 - intersection / union
    return jaccard.diff(dim=1, prepend=jaccard.new_zeros(len(jaccard), 1))
