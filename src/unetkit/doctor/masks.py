"""What the values of all masks together mean, and which masks do not fit in."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetkit.data.dataset import VOID
from unetkit.doctor.findings import Finding, Severity, of_files
from unetkit.doctor.survey import Look, MaskFacts

BINARY_VALUES = (1, 255, 65535)
MOST_CLASSES = 40  # more values than these are no classes, unless they count 0, 1, 2, ...
MANY_CLASSES = 20  # from which numbers may be those of objects
MOST_OBJECTS = 200
VOID_COLOUR = 0xE0E0C0  # of PASCAL VOC


@dataclass(frozen=True)
class MaskPlan:
    """How masks are to be read.

    Attributes:
        values: Of class 0, 1, ...; None for binary masks of 0 and one of 1, 255 and 65535.
        void: The value that counts nowhere, or None.
        is_colour: Whether values are colours 0xRRGGBB.
        kind: In words.
        keys: To be set under `data`, with the reason for each.
        findings: What does not fit.
    """

    values: tuple[int, ...] | None
    void: int | None
    is_colour: bool
    kind: str
    keys: dict[str, tuple[Any, str]] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    @property
    def num_classes(self) -> int:
        """1 for binary masks."""
        return 1 if self.values is None or len(self.values) == 2 else len(self.values)

    def classes(self, values: NDArray[Any], facts: MaskFacts) -> NDArray[np.uint8]:
        """Class indices of a mask's values, `VOID` for void and unknown ones; smooth masks are cut at half."""
        if facts.is_soft or (facts.is_jpeg and self.values is None):
            return np.asarray(values > facts.values.max() / 2, np.uint8)
        if self.is_colour and not facts.is_colour:
            values = values.astype(np.int64) * 0x10101
        indices = np.full(values.shape, VOID, np.uint8)
        known = self.values if self.values is not None else (0, *(v for v in BINARY_VALUES if v != self.void))
        for index, value in enumerate(known):
            indices[values == value] = min(index, 1) if self.values is None else index
        return indices

    def fits(self, facts: MaskFacts) -> bool:
        """Whether all values mean something."""
        unknown = facts.values[self.classes(facts.values, facts) == VOID]
        return not np.setdiff1d(unknown, [] if self.void is None else [self.void]).size

    def pixels(self, facts: MaskFacts) -> NDArray[np.int64]:
        """Pixels of each class, void ones left out."""
        classes = self.classes(facts.values, facts)
        shown = classes < VOID
        counts = np.bincount(classes[shown], facts.counts[shown], max(self.num_classes, 2))
        return counts.astype(np.int64)


def plan_masks(looks: Sequence[Look]) -> MaskPlan:
    """The reading under which the masks make sense, with findings about those that do not."""
    masks = {look: look.mask for look in looks if look.mask is not None}
    colours = [look for look, mask in masks.items() if mask.is_colour]
    is_colour = len(colours) > len(masks) / 2
    findings, odd = _odd(masks, set() if is_colour else set(colours))
    used = {look: mask for look, mask in masks.items() if look not in odd}
    jpegs = [look for look, mask in used.items() if mask.is_jpeg]
    findings += of_files(
        Severity.NOTE,
        "{n} mask{s} {are} JPEG, which blurs outlines: read to the nearest value",
        "save masks as PNG, if you have them from before",
        *_named(jpegs),
    )
    union: Counter[int] = Counter()
    for mask in used.values():
        factor = 0x10101 if is_colour and not mask.is_colour else 1
        union.update({0, 255} if mask.is_jpeg else {int(value) * factor for value in mask.values})
    values = sorted(union)
    if is_colour:
        plan = _colour_plan(values, used)
    else:
        mixes = any(np.count_nonzero(mask.values) > 1 for mask in used.values() if not mask.is_jpeg)
        plan = _binary_plan(values) if not mixes and set(values) <= {0, *BINARY_VALUES} else _class_plan(values)
    findings += [*plan.findings, *_rare(union, len(used), plan, used)]
    return MaskPlan(plan.values, plan.void, plan.is_colour, plan.kind, plan.keys, tuple(findings))


def _odd(masks: dict[Look, MaskFacts], foreign: set[Look]) -> tuple[list[Finding], set[Look]]:
    """Masks that can't be read as classes, each by its own fault."""
    kinds = (
        (
            "{n} mask{s} {are} in colour, the others are not",
            "save all alike, as one channel of class values",
            foreign,
        ),
        (
            "{n} mask{s} {have} soft edges: grey levels between the values, as from smooth resizing or JPEG",
            "cut them at half, as in cv2.imwrite(file, np.uint8(mask > mask.max() / 2) * 255), and save as PNG; "
            "resize masks with cv2.INTER_NEAREST",
            {look for look, mask in masks.items() if mask.is_soft},
        ),
        (
            "{n} JPEG mask{s} {have} values that end below 128, or colours, which JPEG blurs",
            "save masks as PNG",
            {k for k, m in masks.items() if m.is_jpeg and (m.is_colour or 0 < m.values.max() < 128)},
        ),
        (
            "{n} mask{s} {have} fractions or negative numbers for values",
            "save class numbers, as 0 and 255",
            {k for k, m in masks.items() if (m.values < 0).any() or (m.values != np.floor(m.values)).any()},
        ),
        (
            "{n} mask{s} {have} dozens of values, like a photograph",
            "a mask has one value for each class: are these the right files?",
            {k for k, m in masks.items() if not m.is_jpeg and _are_too_many(m.values.tolist())},
        ),
    )
    findings: list[Finding] = []
    odd: set[Look] = set()
    for what, fix, looks in kinds:
        new = [look for look in masks if look in looks and look not in odd]
        odd |= set(new)
        findings += of_files(Severity.FAULT, what, fix, *_named(new))
    return findings, odd


def _binary_plan(values: Sequence[int]) -> MaskPlan:
    shown = "/".join(map(str, values)) or "none"
    mixed = [v for v in values if v in BINARY_VALUES]
    findings = []
    if len(mixed) > 1:
        what = f"foreground is {' in some masks, '.join(map(str, mixed))} in others"
        findings = [
            Finding(Severity.NOTE, what, "nothing to do, it is read alike; if they mean different things, say so")
        ]
    return MaskPlan(None, None, False, f"{shown}, binary", {}, tuple(findings))


def _class_plan(values: Sequence[int]) -> MaskPlan:
    classes, void, findings = list(values), None, []
    keys: dict[str, tuple[Any, str]] = {}
    if len(values) > 2 and values[-1] == 255 and values[-2] <= 100:
        classes, void = classes[:-1], 255
        keys["ignore_index"] = (255, f"255 beside {_listed(classes)}: pixels that count nowhere")
        what = f"255 stands beside the classes {_listed(classes)}: taken as void, pixels that count nowhere"
        findings.append(Finding(Severity.WARNING, what, "if it is a class, list it in data.mask_values"))
    if len(classes) == 2 and classes[0] == 0 and classes[1] in BINARY_VALUES:
        return MaskPlan(None, void, False, f"{_listed(classes)} and void 255", keys, tuple(findings))
    if _are_too_many(classes):
        what = f"the masks hold {len(classes)} values together, too many for classes"
        findings.append(Finding(Severity.FAULT, what, "save one value for each class; was something resized smoothly?"))
    elif len(classes) > MANY_CLASSES:
        what = f"the masks hold {len(classes)} values: classes, or numbers of objects?"
        findings.append(Finding(Severity.WARNING, what, "of numbered objects, save (mask > 0) * 255"))
    if len(classes) > MOST_CLASSES:
        return MaskPlan(tuple(classes[:VOID]), void, False, f"{len(classes)} values", keys, tuple(findings))
    keys["mask_values"] = (classes, f"the values in the masks, of class 0 to {len(classes) - 1}")
    kind = f"{_listed(classes)}: {len(classes)} classes" + (" and void 255" if void else "")
    return MaskPlan(tuple(classes), void, False, kind, keys, tuple(findings))


def _are_too_many(values: Sequence[int]) -> bool:
    """For classes; those that count up from 0 may be numbers of objects, if they aren't a photograph's 256."""
    return len(values) > MOST_CLASSES and not (list(values) == list(range(len(values))) and len(values) < MOST_OBJECTS)


def _colour_plan(values: Sequence[int], masks: dict[Look, MaskFacts]) -> MaskPlan:
    void = VOID_COLOUR if VOID_COLOUR in values else None
    area: Counter[int] = Counter()
    for mask in masks.values():
        area.update(dict(zip(mask.values.tolist(), mask.counts.tolist(), strict=True)))
    background = 0 if 0 in values else max(values, key=lambda value: area[value], default=0)
    classes = [background, *(v for v in values if v not in (background, void))]
    if len(classes) > MOST_CLASSES:
        what = f"the masks hold {len(classes)} colours together, too many for classes"
        finding = Finding(
            Severity.FAULT, what, "save one colour for each class, as PNG; was something resized smoothly?"
        )
        return MaskPlan(tuple(classes[:VOID]), void, True, f"{len(classes)} colours", {}, (finding,))
    colours = [_rgb(value) for value in classes]
    keys: dict[str, tuple[Any, str]] = {"mask_colours": (colours, "the colours in the masks, background first")}
    if void is not None:
        keys["ignore_index"] = (_rgb(void), "PASCAL VOC's colour of pixels that count nowhere")
    kind = f"{len(classes)} colours, " + " ".join(map(str, colours[:6])) + (" ..." if len(colours) > 6 else "")
    return MaskPlan(tuple(classes), void, True, kind, keys)


def _rare(union: Counter[int], count: int, plan: MaskPlan, masks: dict[Look, MaskFacts]) -> list[Finding]:
    """Values that so few masks have that they may be slips."""
    findings = []
    for value in plan.values or ():
        if union[value] <= count / 50 and len(plan.values or ()) <= MOST_CLASSES:
            # JPEG masks hold any value near their own, so only others are named
            having = [look for look, mask in masks.items() if value in mask.values and not mask.is_jpeg]
            shown = _rgb(value) if plan.is_colour else value
            findings += of_files(
                Severity.WARNING,
                f"the mask value {shown} stands in only {{n}} mask{{s}} of {count:,}",
                "a class, or a slip of the pen? if a slip, put it right and run the doctor again",
                *_named(having),
            )
    return findings


def _named(looks: Sequence[Look]) -> tuple[list[str], list[str]]:
    return [str(look.pair.mask.name.name if look.pair.mask else look.pair.id) for look in looks], [
        look.pair.id for look in looks
    ]


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:12])) + (", ..." if len(values) > 12 else "")


def _rgb(value: int) -> list[int]:
    return [value >> 16, value >> 8 & 255, value & 255]
