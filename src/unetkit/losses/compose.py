"""Losses made of other losses: weighted sums."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from unetkit.errors import UserError, check
from unetkit.losses.per_image import PerImageLoss
from unetkit.losses.pixels import CrossEntropyLoss
from unetkit.losses.regions import SMOOTHING, DiceLoss


def wants_weight(loss: nn.Module) -> bool:
    """Return whether a loss takes a weight for each pixel as its fourth argument."""
    return bool(getattr(loss, "wants_weight", False))


def is_weight(value: object) -> bool:
    """Return whether a value can be the weight of a loss: a number of at least 0."""
    return isinstance(value, int | float) and value >= 0


def apply_loss(loss: nn.Module, logits: Tensor, target: Tensor, valid: Tensor, weight: Tensor | None) -> Tensor:
    """Compute a loss, a scalar; `weight` (B, *) is passed on only if the loss takes weights."""
    value: Tensor = loss(logits, target, valid, weight) if wants_weight(loss) else loss(logits, target, valid)
    return value


class DiceBCELoss(PerImageLoss):
    """`dice_weight` * `DiceLoss` + `bce_weight` * `CrossEntropyLoss`.

    Args:
        dice_weight: Weight of the Dice loss, at least 0.
        bce_weight: Weight of the cross-entropy, binary (C = 1) or categorical (C >= 2), at least 0.
        smooth: The earlier form of `smoothing`, in pixels and for all masks, above 0.
        smoothing: Smoothing of the Dice loss on masks without the class, as a share of the image's valid pixels, in
            (0, 1].
        class_weights: Weights of the classes in the cross-entropy; this and the next two are its arguments.
        pos_weight: Weight of the foreground of binary masks, or of each label.
        label_smoothing: Share of the truth that is spread over all classes, in [0, 1).

    Raises:
        UserError: If an argument is out of its range.
    """

    def __init__(
        self,
        dice_weight: float = 1.0,
        bce_weight: float = 1.0,
        smooth: float | None = None,
        *,
        smoothing: float = SMOOTHING,
        class_weights: Sequence[float] | None = None,
        pos_weight: float | Sequence[float] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        check("loss.dice_weight", dice_weight, is_weight(dice_weight), "a number of at least 0")
        check("loss.bce_weight", bce_weight, is_weight(bce_weight), "a number of at least 0")
        self.dice_weight = dice_weight
        self.bce_weight = bce_weight
        self.dice = DiceLoss(smooth, smoothing=smoothing)
        self.bce = CrossEntropyLoss(class_weights, pos_weight, label_smoothing)

    def per_image(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Compute the loss (B,)."""
        dice, bce = (term.per_image(logits, target, valid) for term in (self.dice, self.bce))
        return self.dice_weight * dice + self.bce_weight * bce


class WeightedSum(nn.Module):
    """The weighted sum of several losses; a loss of weight 0 is not computed.

    Args:
        terms: Losses by name.
        weights: Weights, at least 0, by the same names.

    Raises:
        UserError: If the names differ, a weight is not a number of at least 0, or all are 0.
    """

    def __init__(self, terms: Mapping[str, nn.Module], weights: Mapping[str, float]) -> None:
        super().__init__()
        if not isinstance(weights, Mapping) or terms.keys() != weights.keys():
            raise UserError(f"loss.weights={weights}", f"must have one weight for each of {', '.join(terms)}")
        for name, weight in weights.items():
            check(f"loss.weights.{name}", weight, is_weight(weight), "a number of at least 0; 0 leaves it out")
        self.weights = {name: weight for name, weight in weights.items() if weight != 0}
        if not self.weights:
            fix = f"set one at least, as loss.weights.{next(iter(terms), 'dice')}=1"
            raise UserError("loss.weights", "are all 0", fix)
        self.terms = nn.ModuleDict({name: terms[name] for name in self.weights})

    @property
    def wants_weight(self) -> bool:
        """Return whether a term takes a weight for each pixel."""
        return any(wants_weight(term) for term in self.terms.values())

    def forward(self, logits: Tensor, target: Tensor, valid: Tensor, weight: Tensor | None = None) -> Tensor:
        """Compute the sum, a scalar; `weight` (B, *) is needed only if a term takes weights."""
        losses = [
            self.weights[name] * apply_loss(term, logits, target, valid, weight) for name, term in self.terms.items()
        ]
        return torch.stack(losses).sum()
