"""Finds out whether masks number objects, such as nuclei, or hold a file for each, and plans how they are read."""

from collections.abc import Sequence

import numpy as np

from unetkit.data.drawn import MergedMask
from unetkit.data.findings import Finding, Severity
from unetkit.data.mask_advice import ARE_OBJECTS, MANY_CLASSES
from unetkit.data.mask_encoding import MaskEncoding
from unetkit.data.objects import BOUNDARY
from unetkit.doctor.masks.values import Masks
from unetkit.doctor.survey.pairs import PairStats

NEARLY_ALL = 0.9  # share of the masks
LEAST_COUNTS = 3  # different numbers of objects, where there are no more values than classes might have
ENCODING = MaskEncoding(instances=BOUNDARY)


def are_numbered(masks: Masks) -> bool:
    """Return whether the values are the numbers of objects.

    In nearly all masks each value is one connected part; and there are more values than classes, or the values count
    1, 2, 3, ... up to numbers that differ from mask to mask.
    """
    several = [mask for mask in masks.values() if np.count_nonzero(mask.values > 0) > 1]
    if not several or sum(mask.is_numbered for mask in several) < NEARLY_ALL * len(several):
        return False
    values = {value for mask in several for value in mask.values[mask.values > 0].tolist()}
    count_up = [mask for mask in several if mask.values[-1] == np.count_nonzero(mask.values > 0)]
    counts = {len(mask.values) for mask in count_up}
    return len(values) > MANY_CLASSES or (len(count_up) >= NEARLY_ALL * len(several) and len(counts) >= LEAST_COUNTS)


def numbered_objects(masks: Masks) -> tuple[str, Finding]:
    """Return the description of masks that number objects, and what to know of them."""
    counts = [int(np.count_nonzero(mask.values > 0)) for mask in masks.values()]
    values = {value for mask in masks.values() for value in mask.values.tolist()}
    what = f"the masks hold {len(values)} values: {ARE_OBJECTS}"
    fix = (
        "the proposed experiment takes them for objects, by data.instances=boundary, as each is one connected part; "
        "if none of them touch, foreground will do; if they are classes, leave it out and list them in data.mask_values"
    )
    return _described(counts), Finding(Severity.WARNING, what, fix)


def objects_in_files(stats: Sequence[PairStats]) -> tuple[str, Finding] | None:
    """Return the same of masks that lie in a file for each object; None if most images have one file at most."""
    counts = [len(pair.pair.mask.refs) for pair in stats if isinstance(pair.pair.mask, MergedMask)]
    if sum(count > 1 for count in counts) <= len(stats) / 2:
        return None
    fix = (
        "nothing to do: the proposed experiment tells them apart, by data.instances=boundary; leave it out to learn "
        "their foreground only"
    )
    return _described(counts), Finding(Severity.NOTE, "images have several mask files each, one for each object", fix)


def _described(counts: Sequence[int]) -> str:
    return f"numbered objects: {min(counts)} to {max(counts)} in a mask"
