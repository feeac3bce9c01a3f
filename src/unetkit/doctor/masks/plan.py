"""Decides how all masks are read: which value means which class, and which masks don't fit."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetkit.data.drawn import LabelMask, OutlinedMask
from unetkit.data.files import FileRef
from unetkit.data.findings import Finding, Severity
from unetkit.data.layout.described import FILE, DescribedClasses
from unetkit.data.layout.known import known_classes
from unetkit.data.mask_encoding import BINARY_VALUES, VOID_COLOUR, MaskEncoding, pack, rgb
from unetkit.data.objects import FOREGROUND, classes_of_objects
from unetkit.data.types import VOID
from unetkit.doctor.masks.encoding import check_encoding
from unetkit.doctor.masks.labels import check_overlap, count_labels
from unetkit.doctor.masks.objects import ENCODING as OBJECTS
from unetkit.doctor.masks.objects import are_numbered, numbered_objects, objects_in_files
from unetkit.doctor.masks.stray import check_rare_classes, check_stray_values, find_stray_values
from unetkit.doctor.masks.unusable import find_unusable, is_dim_jpeg
from unetkit.doctor.masks.values import Masks, ValueCounts, check_jpegs, count_values, shown_values
from unetkit.doctor.survey.masks import MaskStats
from unetkit.doctor.survey.pairs import PairStats

COLOURS_SHOWN = 6


@dataclass(frozen=True)
class MaskPlan:
    """How masks are read.

    Attributes:
        encoding: The meaning of the values.
        description: The same in words.
        findings: Masks and values that don't fit.
        class_names: Names of class 0, 1, ... where the files tell them.
        background: The class that scores leave out, 0; None if class 0 is a class like the others.
    """

    encoding: MaskEncoding
    description: str
    findings: tuple[Finding, ...]
    class_names: tuple[str, ...] | None = None
    background: int | None = 0

    @property
    def num_classes(self) -> int:
        """The number of classes; 1 for binary masks."""
        return self.encoding.num_classes

    def coverage(self, counts: NDArray[np.int64], size: int) -> float:
        """Return the share of foreground, in [0, 1], of a mask of so many pixels from what `count_classes` gives.

        Without a background, it is that of the pixels that are not void.
        """
        if self.background is None:
            return float(counts.sum() / max(size, 1))
        if self.encoding.labels:
            return float(1 - counts[0] / max(size, 1))
        return float(counts[1:].sum() / max(counts.sum(), 1))

    def classes(self, values: NDArray[Any], mask: MaskStats) -> NDArray[np.uint8] | None:
        """Return the class indices of values of a mask, `VOID` where void; None if it holds other values."""
        if self.encoding.instances:
            kind = self.encoding.instances if values.ndim == 2 else FOREGROUND  # a list of values has no boundaries
            return classes_of_objects(values.astype(np.int32), kind)
        if mask.is_soft or (self.encoding.values is None and is_dim_jpeg(mask)):
            # Training refuses such masks; cut at half, they can be shown and counted nevertheless.
            return np.asarray(values > mask.values.max() / 2, np.uint8)
        if mask.is_jpeg:
            values = self.encoding.nearest(values)
        if self.encoding.is_colour and not mask.is_colour:
            values = pack(*[values.astype(np.int64)] * 3)
        return self.encoding.indices(values)

    def count_classes(self, mask: MaskStats) -> NDArray[np.int64] | None:
        """Return the pixels of each class, without void ones; None if the mask holds other values.

        Of multi-label masks, the pixels of no label, then of each one; of numbered objects, those of none and of any.
        """
        if self.encoding.labels:
            return count_labels(mask, self.encoding.labels)
        classes = self.classes(mask.values, mask)
        if classes is None:
            return None
        known = classes != VOID
        count = 2 if self.encoding.instances else max(self.num_classes, 2)
        return np.bincount(classes[known], mask.counts[known], count).astype(np.int64)


def plan_masks(stats: Sequence[PairStats], described: DescribedClasses | None = None) -> MaskPlan:
    """Decide under which encoding the masks make most sense, and report those that don't fit.

    Args:
        stats: Facts about each pair.
        described: The classes that the data set's own description names.
    """
    labels = next((p.pair.mask.names for p in stats if isinstance(p.pair.mask, LabelMask)), None)
    if labels is not None:
        return plan_labels(labels, stats)
    class_names = next((p.pair.mask.class_names for p in stats if isinstance(p.pair.mask, OutlinedMask)), None)
    if class_names is not None:
        return _plan_outlines(class_names)
    masks = {pair: pair.mask for pair in stats if pair.mask is not None}
    is_colour = sum(mask.is_colour for mask in masks.values()) > len(masks) / 2
    unusable, unusable_findings = find_unusable(masks, is_colour)
    in_files = objects_in_files(stats)
    described = None if is_colour else described or _known(masks)
    known = set() if described is None else described.known_values
    is_described = bool(known) and {int(value) for mask in masks.values() for value in mask.values} <= known
    if in_files is not None or (not is_described and are_numbered(masks)):
        description, finding = in_files or numbered_objects(masks)
        return MaskPlan(OBJECTS, description, (*unusable_findings, finding))
    usable = {pair: mask for pair, mask in masks.items() if pair not in unusable}
    counts = count_values(usable, is_colour)
    stray = find_stray_values(counts) - known
    expected = {pair: {v: n for v, n in held.items() if v not in stray} for pair, held in counts.items()}
    found = sorted({value for held in expected.values() for value in held})
    findings = [*unusable_findings, *check_jpegs(usable, counts), *check_stray_values(stray, counts, is_colour)]
    if described is not None and set(found) <= known:
        return _plan_described(described, tuple(findings), found)
    encoding = _guess_encoding(expected, is_colour)
    findings += [*check_encoding(encoding, found), *check_rare_classes(encoding, counts)]
    return MaskPlan(encoding, _describe(encoding, found), tuple(findings))


def _known(masks: Masks) -> DescribedClasses | None:
    """Return the classes of the public data set that the masks are from; None for masks of other data."""
    refs = [pair.pair.mask for pair in masks if isinstance(pair.pair.mask, FileRef)]
    return known_classes(refs, {int(value) for mask in masks.values() for value in mask.values})


def _plan_described(described: DescribedClasses, findings: tuple[Finding, ...], found: Sequence[int]) -> MaskPlan:
    """Return how masks are read whose values the data set's own description names, or a public data set's are."""
    names, encoding, source = described.names, described.encoding, described.source
    if source != FILE:
        background = "no background" if described.background is None else "the background"
        what = f"the masks are those of {source}: class 0 is {names[0]}, {background}, and {described.void} marks void"
        others = MaskEncoding.guess(found).typed + " data.background=0" * (described.background is None)
        fix = f"nothing to do: the proposed experiment says so; if these are other data, set {others}"
        fix += f"; {described.advice}" * bool(described.advice)
        findings = (*findings, Finding(Severity.WARNING, f"{what} pixels", fix))
    return MaskPlan(encoding, f"classes of {source}: {', '.join(names)}", findings, names, described.background)


def plan_labels(names: tuple[str, ...], stats: Sequence[PairStats]) -> MaskPlan:
    """Return how masks of labels in folders of their own are read."""
    encoding = MaskEncoding(labels=len(names))
    return MaskPlan(
        encoding, f"labels, each with masks of its own: {', '.join(names)}", check_overlap(names, stats), names
    )


def _plan_outlines(class_names: tuple[str, ...]) -> MaskPlan:
    """Return how masks are read that are drawn from outlines, as class indices."""
    count = len(class_names)
    encoding = MaskEncoding(tuple(range(count)) if count > 2 else None, VOID)
    return MaskPlan(encoding, f"outlines of {', '.join(class_names[1:])}", (), class_names)


def _guess_encoding(counts: ValueCounts, is_colour: bool) -> MaskEncoding:
    found = {value for held in counts.values() for value in held}
    if is_colour:
        return MaskEncoding.guess(found, is_colour=True, background=_background_colour(counts.values()))
    is_mixed = any(len(held.keys() - {0}) > 1 for held in counts.values())
    if not is_mixed and found <= {0, *BINARY_VALUES}:
        return MaskEncoding()  # also if the foreground is 1 in some masks and 255 in others
    return MaskEncoding.guess(found)


def _background_colour(held_by_masks: Iterable[dict[int, int]]) -> int:
    """Return black, or the colour of most pixels, apart from void ones, if no mask has black."""
    area: Counter[int] = Counter()
    for held in held_by_masks:
        area.update(held)
    del area[VOID_COLOUR]
    return 0 if 0 in area or not area else max(sorted(area), key=area.__getitem__)


def _describe(encoding: MaskEncoding, found: Sequence[int]) -> str:
    void = encoding.void
    classes = [value for value in found if value != void]
    if encoding.is_colour:
        colours = [rgb(value) for value in encoding.values or ()]
        shown = " ".join(map(str, colours[:COLOURS_SHOWN])) + " ..." * (len(colours) > COLOURS_SHOWN)
        return f"{len(colours)} colours: {shown}" + ("" if void is None else f", and {rgb(void)} for void pixels")
    ignored = "" if void is None else f", and {void} for void pixels"
    if encoding.values is None:
        return f"binary: {shown_values(classes) or 'no usable mask'}{ignored}"
    return f"{len(classes)} classes: {shown_values(classes)}{ignored}"
