"""What the values of all masks together mean, and which masks do not fit in."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetkit.data.jpeg import flat_levels
from unetkit.data.mask_encoding import BINARY_VALUES, MaskEncoding
from unetkit.data.types import VOID
from unetkit.doctor.findings import Finding, Severity, of_files
from unetkit.doctor.survey import MaskFacts, PairStats

MOST_CLASSES = 40  # more values than these are no classes, unless they count 0, 1, 2, ...
MANY_CLASSES = 20  # from which numbers may be those of objects
MOST_OBJECTS = 200
VOID_COLOUR = 0xE0E0C0  # of PASCAL VOC
FEW_MASKS, FEW_PIXELS = 1 / 50, 1 / 1000  # shares of all up to which a value is a slip of the pen

Amounts = dict[PairStats, dict[int, int]]  # pixels of each value of a mask


@dataclass(frozen=True)
class MaskPlan:
    """How masks are to be read.

    Attributes:
        code: What values stand for.
        kind: The same in words.
        keys: To be set under `data`, with the reason for each.
        findings: What does not fit.
    """

    code: MaskEncoding
    kind: str
    keys: dict[str, tuple[Any, str]] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    @property
    def num_classes(self) -> int:
        """1 for binary masks."""
        return self.code.num_classes

    def classes(self, values: NDArray[Any], facts: MaskFacts) -> NDArray[np.uint8] | None:
        """Class indices of a mask's values, `VOID` where void; None if it has others. Soft ones are cut at half."""
        if facts.is_soft or (facts.is_jpeg and self.code.values is None):
            return np.asarray(values > facts.values.max() / 2, np.uint8)
        if facts.is_jpeg:
            values = self.code.nearest(values)
        return self.code.indices(values.astype(np.int64) * 0x10101 if self.code.is_colour > facts.is_colour else values)

    def pixels(self, facts: MaskFacts) -> NDArray[np.int64] | None:
        """Pixels of each class, void ones left out; None if the mask has other values."""
        classes = self.classes(facts.values, facts)
        if classes is None:
            return None
        shown = classes < VOID
        return np.bincount(classes[shown], facts.counts[shown], max(self.num_classes, 2)).astype(np.int64)


def plan_masks(looks: Sequence[PairStats]) -> MaskPlan:
    """The reading under which the masks make sense, with findings about those that do not."""
    masks = {look: look.mask for look in looks if look.mask is not None}
    colours = [look for look, mask in masks.items() if mask.is_colour]
    is_colour = len(colours) > len(masks) / 2
    findings, odd = _odd(masks, set() if is_colour else set(colours))
    used = {look: mask for look, mask in masks.items() if look not in odd}
    amounts = _amounts(used, is_colour)
    findings += _about_jpegs(used, amounts)
    strays = _strays(amounts)
    findings += _told_strays(strays, amounts, is_colour)
    union = Counter(value for held in amounts.values() for value in held if value not in strays)
    values = sorted(union)
    if is_colour:
        plan = _colour_plan(values, amounts)
    else:
        mixes = any(len(held.keys() - strays - {0}) > 1 for held in amounts.values())
        plan = _binary_plan(values) if not mixes and set(values) <= {0, *BINARY_VALUES} else _class_plan(values)
    findings += [*plan.findings, *_rare(union, plan, amounts)]
    return MaskPlan(plan.code, plan.kind, plan.keys, tuple(findings))


def _amounts(masks: dict[PairStats, MaskFacts], is_colour: bool) -> Amounts:
    """Of JPEG masks, the values of flat areas; 0 and 255 where these have no others."""
    plain = {
        look: {
            int(value) * (0x10101 if is_colour and not mask.is_colour else 1): int(count)
            for value, count in zip(mask.values, mask.counts, strict=True)
        }
        for look, mask in masks.items()
        if mask.flat is None
    }
    flats = {look: mask.flat for look, mask in masks.items() if mask.flat is not None}
    known = {0, 255, *(value for held in plain.values() for value in held if value < 256)}
    levels = flat_levels(np.sum(list(flats.values()), axis=0), known) if flats else {}
    least = {0: 1, 255: 1} if levels.keys() <= {0, 255} else {}
    return plain | {look: least | flat_levels(flat, levels) for look, flat in flats.items()}


def _about_jpegs(masks: dict[PairStats, MaskFacts], amounts: Amounts) -> list[Finding]:
    jpegs = [look for look, mask in masks.items() if mask.flat is not None]
    held = sorted({value for look in jpegs for value in amounts[look]})
    if set(held) <= {0, 255}:
        what = "{n} mask{s} {are} JPEG, which blurs outlines: read to the nearest value"
        return of_files(Severity.NOTE, what, "save masks as PNG, if you have them from before", *_named(jpegs))
    return of_files(
        Severity.WARNING,
        f"{{n}} mask{{s}} {{are}} JPEG with flat areas of {_listed(held)}: classes, whose blurred outlines pass "
        "through the values of others",
        "save masks as PNG, if you have them from before; else data.mask_values reads each pixel to the nearest value",
        *_named(jpegs),
    )


def _strays(amounts: Amounts) -> set[int]:
    """Values of few pixels in few masks, unless the values count up, or few others are left."""
    pixels: Counter[int] = Counter()
    for held in amounts.values():
        pixels.update(held)
    holders = Counter(value for held in amounts.values() for value in held)
    most = max(len(amounts) * FEW_MASKS, 1)
    few = {v for v, n in pixels.items() if holders[v] <= most and n < FEW_PIXELS * pixels.total()}
    mixed = {v for held in amounts.values() if len(held.keys() - {0}) > 1 for v in held}
    few -= set(BINARY_VALUES) - mixed  # a foreground of its own, as of the only JPEG among masks of 0 and 1
    are_classes = sorted(pixels) == list(range(len(pixels)))
    rest = len(pixels) - len(few)
    return few if len(amounts) > 2 and not are_classes and rest >= max(len(few), 2) else set()


def _told_strays(strays: set[int], amounts: Amounts, is_colour: bool) -> list[Finding]:
    findings = []
    for value in sorted(strays):
        having = [look for look, held in amounts.items() if value in held]
        count = sum(amounts[look][value] for look in having)
        findings += of_files(
            Severity.FAULT,
            f"{count:,} stray pixel{'s' * (count > 1)} of value {rgb(value) if is_colour else value} in {{n}} "
            f"mask{{s}} of {len(amounts):,}",
            "mend it: hardly another mask has this value; if it is a class nevertheless, list it in data.mask_"
            + ("colours" if is_colour else "values"),
            *_named(having),
        )
    return findings


def _odd(masks: dict[PairStats, MaskFacts], foreign: set[PairStats]) -> tuple[list[Finding], set[PairStats]]:
    """Masks that can't be read as classes, each by its own fault."""
    flats = [mask.flat for mask in masks.values() if mask.flat is not None]
    are_binary = all(flat_levels(flat, (0, 255)).keys() <= {0, 255} for flat in flats)
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
            {k for k, m in masks.items() if m.is_jpeg and (m.is_colour or (are_binary and 0 < m.values.max() < 128))},
        ),
        (
            "{n} mask{s} {have} fractions or negative numbers for values",
            "save class numbers, as 0 and 255",
            {k for k, m in masks.items() if (m.values < 0).any() or (m.values != np.floor(m.values)).any()},
        ),
        (
            "{n} mask{s} {have} dozens of values, like a photograph",
            "a mask has one value for each class: are these the right files? were they resized smoothly?",
            {k for k, m in masks.items() if not m.is_jpeg and _are_too_many(m.values.tolist())},
        ),
    )
    findings: list[Finding] = []
    odd: set[PairStats] = set()
    for what, fix, looks in kinds:
        new = [look for look in masks if look in looks and look not in odd]
        odd |= set(new)
        findings += of_files(Severity.FAULT, what, fix, *_named(new))
    return findings, odd


def _binary_plan(values: Sequence[int]) -> MaskPlan:
    shown = "/".join(map(str, values)) or "none that fits"
    mixed = [v for v in values if v in BINARY_VALUES]
    findings = []
    if len(mixed) > 1:
        what = f"foreground is {' in some masks, '.join(map(str, mixed))} in others"
        findings = [
            Finding(Severity.NOTE, what, "nothing to do, it is read alike; if they mean different things, say so")
        ]
    return MaskPlan(MaskEncoding(), f"{shown}, binary", {}, tuple(findings))


def _class_plan(values: Sequence[int]) -> MaskPlan:
    classes, void, findings = list(values), None, []
    keys: dict[str, tuple[Any, str]] = {}
    if len(values) > 2 and values[-1] == 255 and values[-2] <= 100:
        classes, void = classes[:-1], 255
        keys["ignore_index"] = (255, f"255 beside {_listed(classes)}: pixels that count nowhere")
        what = f"255 stands beside the classes {_listed(classes)}: taken as void, pixels that count nowhere"
        findings.append(Finding(Severity.WARNING, what, "if it is a class, list it in data.mask_values"))
    if len(classes) == 2 and classes[0] == 0 and classes[1] in BINARY_VALUES:
        return MaskPlan(MaskEncoding(None, void), f"{_listed(classes)} and void 255", keys, tuple(findings))
    if _are_too_many(classes):
        what = f"the masks hold {len(classes)} values together, too many for classes"
        findings.append(Finding(Severity.FAULT, what, "save one value for each class; was something resized smoothly?"))
    elif len(classes) > MANY_CLASSES:
        what = f"the masks hold {len(classes)} values: classes, or numbers of objects?"
        findings.append(Finding(Severity.WARNING, what, "of numbered objects, save (mask > 0) * 255"))
    if len(classes) == 1:
        what = f"all masks hold the single value {classes[0]}"
        findings.append(Finding(Severity.FAULT, what, "the background must be 0, or another value of its own"))
    if len(classes) == 2 or classes != list(range(len(classes))):
        keys["mask_values"] = (classes, f"the values in the masks, of class 0 to {len(classes) - 1}")
    kind = f"{_listed(classes)}: {len(classes)} classes" + (" and void 255" if void else "")
    return MaskPlan(MaskEncoding(tuple(classes[:VOID]), void), kind, keys, tuple(findings))


def _are_too_many(values: Sequence[int]) -> bool:
    """For classes; those that nearly count up may be numbered objects, unless they are a photograph's 256."""
    is_dense = len(values) > values[-1] / 2 and len(values) < MOST_OBJECTS if values else False
    return len(values) > MOST_CLASSES and not is_dense


def _colour_plan(values: Sequence[int], amounts: Amounts) -> MaskPlan:
    void = VOID_COLOUR if VOID_COLOUR in values else None
    area: Counter[int] = Counter()
    for held in amounts.values():
        area.update(held)
    background = 0 if 0 in values else max(values, key=lambda value: area[value], default=0)
    classes = [background, *(v for v in values if v not in (background, void))]
    if len(classes) > MOST_CLASSES:
        what = f"the masks hold {len(classes)} colours together, too many for classes"
        finding = Finding(
            Severity.FAULT, what, "save one colour for each class, as PNG; was something resized smoothly?"
        )
        return MaskPlan(MaskEncoding(tuple(classes[:VOID]), void, True), f"{len(classes)} colours", {}, (finding,))
    colours = [rgb(value) for value in classes]
    keys: dict[str, tuple[Any, str]] = {"mask_colours": (colours, "the colours in the masks, background first")}
    if void is not None:
        keys["ignore_index"] = (rgb(void), "PASCAL VOC's colour of pixels that count nowhere")
    kind = f"{len(classes)} colours, " + " ".join(map(str, colours[:6])) + (" ..." if len(colours) > 6 else "")
    return MaskPlan(MaskEncoding(tuple(classes), void, True), kind, keys)


def _rare(union: Counter[int], plan: MaskPlan, amounts: Amounts) -> list[Finding]:
    """Values that so few masks have that they may be slips."""
    findings = []
    for value in plan.code.values or ():
        if union[value] <= len(amounts) * FEW_MASKS and len(plan.code.values or ()) <= MOST_CLASSES:
            having = [look for look, held in amounts.items() if value in held]
            shown = rgb(value) if plan.code.is_colour else value
            findings += of_files(
                Severity.WARNING,
                f"the mask value {shown} stands in only {{n}} mask{{s}} of {len(amounts):,}",
                "a class, or a slip of the pen? if a slip, put it right and run the doctor again",
                *_named(having),
            )
    return findings


def _named(looks: Sequence[PairStats]) -> tuple[list[str], list[str]]:
    return [str(look.pair.mask.name.name if look.pair.mask else look.pair.id) for look in looks], [
        look.pair.id for look in looks
    ]


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:12])) + (", ..." if len(values) > 12 else "")


def rgb(value: int) -> list[int]:
    """Of 0xRRGGBB."""
    return [value >> 16, value >> 8 & 255, value & 255]
