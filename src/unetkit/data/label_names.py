"""The names of the labels of multi-label masks: as stated, or those of the folders that hold their masks."""

from collections.abc import Callable, Sequence
from typing import Literal

from unetkit.data.drawn import LabelMask
from unetkit.data.mask_encoding import MOST_LABELS
from unetkit.data.pair import Pair
from unetkit.errors import UserError

FIX = "name the labels, the first bit plane or channel first: data.class_names=[nucleus,membrane]"


def label_names(
    find_pairs: Callable[[], Sequence[Pair]],
    num_classes: int | Literal["auto"],
    class_names: Sequence[str] | None,
    values: object,
) -> list[str]:
    """Return the names of the labels.

    Args:
        find_pairs: Finds the pairs, whose masks may have names.
        num_classes: The number of labels, or `auto`.
        class_names: The names that are stated; None to find them.
        values: `data.mask_values` or `data.mask_colours`, which have no meaning here.

    Raises:
        UserError: If the labels are not known, or too few or too many, or another key contradicts them.
    """
    if values:
        problem = "are of classes, one in each pixel, and data.labels=multilabel has none"
        raise UserError("data.mask_values and data.mask_colours", problem, "leave them out")
    names = [str(name) for name in class_names] if class_names is not None else _of_masks(find_pairs())
    if not names and isinstance(num_classes, int):
        names = [f"label {k}" for k in range(num_classes)]
    if not names:
        raise UserError("data.labels=multilabel", "finds one mask for each image, which does not name its labels", FIX)
    if not 2 <= len(names) <= MOST_LABELS or len(set(names)) < len(names):
        problem = f"must be 2 to {MOST_LABELS} different labels"
        raise UserError(f"data.class_names=[{','.join(names)}]", problem, "for one label set data.labels=classes")
    if num_classes not in ("auto", len(names)):
        raise UserError(f"data.num_classes={num_classes}", f"contradicts the {len(names)} labels", "leave it out")
    return names


def _of_masks(pairs: Sequence[Pair]) -> list[str]:
    return next((list(pair.mask.names) for pair in pairs if isinstance(pair.mask, LabelMask)), [])
