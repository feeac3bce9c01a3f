"""The classes of a data set, or the labels of multi-label masks: how masks hold them, their number and their names."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from unetkit.data.drawn import LabelMask
from unetkit.data.layout.described import DescribedClasses
from unetkit.data.mask_encoding import CLASSES, LABELS, MOST_LABELS, MULTILABEL, MaskEncoding
from unetkit.data.objects import CLASS_NAMES, INSTANCES
from unetkit.data.pair import Pair
from unetkit.errors import UserError, check

log = logging.getLogger(__name__)

FIX = "name the labels, the first bit plane or channel first: data.class_names=[nucleus,membrane]"


def read_classes(
    find_pairs: Callable[[], Sequence[Pair]],
    *,
    num_classes: int | Literal["auto"] = "auto",
    class_names: Sequence[str] | None = None,
    mask_values: Sequence[int] | None = None,
    mask_colours: Sequence[Sequence[int]] | None = None,
    ignore_index: int | Sequence[int] | None = None,
    labels: str = CLASSES,
    instances: str | None = None,
    described: DescribedClasses | None = None,
) -> tuple[MaskEncoding, int, list[str]]:
    """Return what the values in mask files mean, the number of classes, and their names.

    Binary masks have 1 class, or 2 where these are asked for (two logits), and two names.

    Args:
        find_pairs: Finds the pairs, whose masks may name their labels.
        num_classes: This and the others are the keys under `data`, see `SegmentationDataModule`.
        class_names: The names that are stated; None for usual ones, or those of the folders of labels.
        mask_values: The values of class 0, 1, ...
        mask_colours: The colours of class 0, 1, ..., instead of values.
        ignore_index: The value or colour of void pixels.
        labels: `classes` or `multilabel`.
        instances: `foreground` or `boundary` where masks number objects.
        described: The classes that the data set's own description names, which hold where no key says more.

    Raises:
        UserError: If a key has a wrong value, or two keys contradict each other.
    """
    check("data.labels", labels, labels in LABELS, " or ".join(LABELS))
    if labels == MULTILABEL:
        names = _label_names(find_pairs, num_classes, class_names, mask_values or mask_colours)
        encoding = replace(MaskEncoding.of_keys(ignore_index=ignore_index), labels=len(names))
        return encoding, len(names), names
    if instances is not None:
        check("data.instances", instances, instances in INSTANCES, f"null, {' or '.join(INSTANCES)}")
        encoding = replace(MaskEncoding.of_keys(ignore_index=ignore_index), instances=instances)
        class_names = class_names or CLASS_NAMES[instances]
    else:
        if (
            described
            and class_names is None
            and not (mask_values or mask_colours)
            and num_classes in ("auto", len(described.names))
        ):
            class_names, num_classes, ignore_index = _of_description(described, num_classes, ignore_index)
        encoding = MaskEncoding.of_keys(num_classes, mask_values, mask_colours, ignore_index)
    count = encoding.num_classes if num_classes == "auto" else num_classes
    if count != encoding.num_classes and (encoding.num_classes, count) != (1, 2):
        problem = f"contradicts the masks, which have {encoding.num_classes}"
        raise UserError(f"data.num_classes={count}", problem, f"set data.num_classes=auto or {encoding.num_classes}")
    return encoding, int(count), class_names_of(class_names, max(int(count), 2))


def _of_description(
    described: DescribedClasses, num_classes: int | Literal["auto"], ignore_index: int | Sequence[int] | None
) -> tuple[Sequence[str], int | Literal["auto"], int | Sequence[int] | None]:
    """Return names, number of classes and value of void pixels as a description, and the keys, say."""
    names = described.names
    log.info("%d classes, as the data set's dataset.json says: %s", len(names), ", ".join(names))
    is_binary = len(names) == 2
    return names, num_classes if is_binary else len(names), described.void if ignore_index is None else ignore_index


def class_names_of(given: Sequence[str] | None, count: int) -> list[str]:
    """Return the given names of `count` classes, or `background`, `foreground` or `class 1`, ... where none are given.

    Raises:
        UserError: If there is not one name for each class.
    """
    if given is None:
        return ["background", *(f"class {i}" for i in range(1, count))] if count > 2 else ["background", "foreground"]
    names = [str(name) for name in given]
    if len(set(names)) != len(names) or len(names) != count:
        wanted = f"must be {count} different names, one for each class from 0 (the background) on"
        raise UserError(f"data.class_names=[{','.join(names)}]", wanted)
    return names


def _label_names(
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
