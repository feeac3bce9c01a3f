"""Names the classes that few pixels have, with the weights of the loss that can be typed for them."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unetkit.data.balancing import AUTO, foreground_weight, median_frequency_weights
from unetkit.data.classes import class_names_of
from unetkit.data.findings import Finding, Severity
from unetkit.data.splits import SplitOptions, assign_sides
from unetkit.doctor.masks.plan import MaskPlan
from unetkit.doctor.survey.pairs import PairStats
from unetkit.errors import UserError
from unetkit.paths import as_typed

RARE = 0.03  # share of the pixels below which a class is rare
SEED = 47  # of the split, as conf/train.yaml has it


@dataclass(frozen=True)
class RareClasses:
    """The rare classes, and weights against that.

    Attributes:
        shown: The classes with their share of the pixels, in words.
        key: The key of the weights.
        is_focal: Whether the proposed loss is focal.
        typed: The keys to type, with the weights that `auto` computes from the training masks.
    """

    shown: str
    key: str
    is_focal: bool
    typed: str

    @property
    def finding(self) -> Finding:
        """What to tell of them."""
        auto = f"loss.{self.key}={AUTO}"
        same = "" if auto in self.typed else f" (the numbers that {auto} computes from the training masks)"
        start = "the proposed focal loss down-weights easy pixels; to weigh them instead" if self.is_focal else ""
        fix = f"{start or 'to weigh them more'}, add {self.typed}{same}"
        return Finding(Severity.NOTE, f"few pixels are of {self.shown}", fix)


def find_rare_classes(
    stats: Sequence[PairStats], plan: MaskPlan, pixels: dict[str, NDArray[np.int64]], split: str
) -> RareClasses | None:
    """Return the rare classes; None if no class is rare, or objects are numbered, whose boundaries are not counted.

    Args:
        stats: Facts about each pair.
        plan: How masks are read.
        pixels: Pixels (K,) of each class, or of no label and each label, in the mask of each usable pair.
        split: The value of `data.split` that is proposed.
    """
    if plan.encoding.instances:
        return None
    usable = sorted((pair for pair in stats if pair.pair.id in pixels), key=lambda pair: pair.pair.id)
    counts = np.array([pixels[pair.pair.id] for pair in usable])
    has_labels = bool(plan.encoding.labels)
    sizes = np.array([pair.mask.counts.sum() for pair in usable if pair.mask]) if has_labels else counts.sum(1)
    shares = counts.sum(0) / max(sizes.sum(), 1)
    is_binary = plan.num_classes == 1
    names = ["none", *(plan.class_names or ())] if has_labels else class_names_of(plan.class_names, len(shares))
    rare = [k for k in range(int(has_labels or is_binary), len(shares)) if 0 < shares[k] < RARE]
    if not rare:
        return None
    key = "pos_weight" if has_labels or is_binary else "class_weights"
    has_nodata = any(pair.image and (pair.image.nodata or pair.image.is_masked) for pair in usable)
    train = _training_pairs(usable, 1 - counts[:, 0] / np.maximum(sizes, 1), split)
    weights: object = AUTO  # training leaves out pixels without data, which are not counted here
    if not has_nodata and (counts[train][:, rare] > 0).any(0).all():
        weights = _weights(counts[train], sizes[train], plan)
    shown = ", ".join(f"{names[k]} ({shares[k]:.2%})" for k in rare)
    return RareClasses(shown, key, not has_labels, f"loss=dice_bce loss.{key}={as_typed(weights)}")


def _training_pairs(pairs: Sequence[PairStats], coverage: NDArray[np.float64], split: str) -> list[int]:
    """Return the indices of the pairs that train, of pairs sorted by id, as training splits them."""
    sides = [pair.pair.split for pair in pairs]
    free = [i for i, side in enumerate(sides) if side is None]
    with suppress(UserError):  # if no pair would be left to validate, another finding says so
        chosen = (
            assign_sides(SplitOptions(split, seed=SEED), [pairs[i].pair.id for i in free], coverage[free])
            if free
            else []
        )
        for i, side in zip(free, chosen, strict=True):
            sides[i] = side
    return [i for i, side in enumerate(sides) if side == "train"]


def _weights(counts: NDArray[np.int64], sizes: NDArray[np.int64], plan: MaskPlan) -> float | list[float]:
    """Return the weights as training computes them for `auto`, of the pixels (N, K) of each class or label."""
    if plan.encoding.labels:
        size = sizes.sum()
        return [foreground_weight("", np.array([[size - label, label]])) for label in counts[:, 1:].sum(0)]
    return foreground_weight("", counts) if plan.num_classes == 1 else median_frequency_weights(counts)
