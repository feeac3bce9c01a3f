"""Losses made of others."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from unetkit.errors import UserError, check
from unetkit.losses.per_image import PerImageLoss
from unetkit.losses.pixels import CrossEntropyLoss
from unetkit.losses.regions import DiceLoss


def wants_weight(loss: nn.Module) -> bool:
    """Whether a loss takes a weight for each pixel as its fourth argument."""
    return bool(getattr(loss, "wants_weight", False))


def is_weight(value: object) -> bool:
    """Whether a value can be a factor of a loss: what is to grow has no place in a sum that is to fall."""
    return isinstance(value, int | float) and value >= 0


def apply_loss(loss: nn.Module, logits: Tensor, target: Tensor, valid: Tensor, weight: Tensor | None) -> Tensor:
    """A loss of logits (B, C, *), class indices, what counts and, if it wants them, weights (B, *)."""
    value: Tensor = loss(logits, target, valid, weight) if wants_weight(loss) else loss(logits, target, valid)
    return value


class DiceBCELoss(PerImageLoss):
    """`dice_weight` * `DiceLoss` + `bce_weight` * `CrossEntropyLoss`.

    Args:
        dice_weight: Factor of the Dice term.
        bce_weight: Factor of the cross-entropy, binary (C = 1) or categorical (C >= 2).
        smooth: In pixels; more makes small masks count less.

    Raises:
        UserError: If a factor is no number of at least 0.
    """

    def __init__(self, dice_weight: float = 1.0, bce_weight: float = 1.0, smooth: float = 1.0) -> None:
        super().__init__()
        check("loss.dice_weight", dice_weight, is_weight(dice_weight), "a number of at least 0")
        check("loss.bce_weight", bce_weight, is_weight(bce_weight), "a number of at least 0")
        self.dice_weight = dice_weight
        self.bce_weight = bce_weight
        self.dice = DiceLoss(smooth)
        self.bce = CrossEntropyLoss()

    def per_image(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The loss (B,)."""
        dice, bce = (term.per_image(logits, target, valid) for term in (self.dice, self.bce))
        return self.dice_weight * dice + self.bce_weight * bce


class WeightedSum(nn.Module):
    """The sum of several losses, each times its weight; those of weight 0 are left out.

    Args:
        terms: Losses by name.
        weights: A factor for each of these names.

    Raises:
        UserError: If the names differ, a weight is no number of at least 0, or none is left.
    """

    def __init__(self, terms: Mapping[str, nn.Module], weights: Mapping[str, float]) -> None:
        super().__init__()
        if not isinstance(weights, Mapping) or terms.keys() != weights.keys():
            raise UserError(f"loss.weights={weights} must give one factor for each of {', '.join(terms)}")
        for name, weight in weights.items():
            check(f"loss.weights.{name}", weight, is_weight(weight), "a number of at least 0; 0 leaves it out")
        self.weights = {name: weight for name, weight in weights.items() if weight != 0}
        if not self.weights:
            raise UserError(f"all loss.weights are 0; set some, as in loss.weights.{next(iter(terms), 'dice')}=1")
        self.terms = nn.ModuleDict({name: terms[name] for name in self.weights})

    @property
    def wants_weight(self) -> bool:
        """Whether a term takes weights."""
        return any(wants_weight(term) for term in self.terms.values())

    def forward(self, logits: Tensor, target: Tensor, valid: Tensor, weight: Tensor | None = None) -> Tensor:
        """A scalar of logits (B, C, *), class indices, what counts and, if a term wants them, weights (B, *)."""
        losses = [
            self.weights[name] * apply_loss(term, logits, target, valid, weight) for name, term in self.terms.items()
        ]
        return torch.stack(losses).sum()
