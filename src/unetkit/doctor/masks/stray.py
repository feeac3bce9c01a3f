"""Finds mask values that so few pixels in so few masks have that they are probably mistakes."""

from collections import Counter

from unetkit.data.findings import Finding, Severity, finding_on
from unetkit.data.mask_advice import MOST_CLASSES
from unetkit.data.mask_encoding import BINARY_VALUES, MaskEncoding, rgb
from unetkit.doctor.masks.values import ValueCounts, names_and_ids

FEW_MASKS = 1 / 50  # share of all masks
FEW_PIXELS = 1 / 1000  # share of all pixels
MIN_MASKS = 3  # fewer don't show what is usual


def find_stray_values(counts: ValueCounts) -> set[int]:
    """Return values of few pixels in few masks; none if the values count 0, 1, 2, ... or too few others are left."""
    pixels: Counter[int] = Counter()
    for held in counts.values():
        pixels.update(held)
    holders = Counter(value for held in counts.values() for value in held)
    most_masks = max(len(counts) * FEW_MASKS, 1)
    rare = {v for v, n in pixels.items() if holders[v] <= most_masks and n < FEW_PIXELS * pixels.total()}
    rare -= _single_foregrounds(counts)
    are_numbered = sorted(pixels) == list(range(len(pixels)))
    others = len(pixels) - len(rare)
    return rare if len(counts) >= MIN_MASKS and not are_numbered and others >= max(len(rare), 2) else set()


def check_stray_values(stray: set[int], counts: ValueCounts, is_colour: bool) -> list[Finding]:
    """Report the masks that hold each stray value."""
    key = "mask_colours" if is_colour else "mask_values"
    findings = []
    for value in sorted(stray):
        holding = [pair for pair, held in counts.items() if value in held]
        pixels = sum(counts[pair][value] for pair in holding)
        findings += finding_on(
            Severity.FAULT,
            f"{pixels:,} stray pixel{'s' * (pixels > 1)} of value {rgb(value) if is_colour else value} in {{n}} "
            f"mask{{s}} of {len(counts):,}",
            f"correct them: hardly any other mask has this value; if it is a class, list it in data.{key}",
            *names_and_ids(holding),
        )
    return findings


def check_rare_classes(encoding: MaskEncoding, counts: ValueCounts) -> list[Finding]:
    """Report classes that so few masks have that they may be mistakes."""
    values = encoding.values or ()
    if len(values) > MOST_CLASSES:
        return []
    findings = []
    for value in values:
        holding = [pair for pair, held in counts.items() if value in held]
        shown = rgb(value) if encoding.is_colour else value
        if len(holding) <= len(counts) * FEW_MASKS:
            findings += finding_on(
                Severity.WARNING,
                f"only {{n}} mask{{s}} of {len(counts):,} {{has}} the value {shown}",
                "is it a class or a mistake? if a mistake, correct it and run this again",
                *names_and_ids(holding),
            )
    return findings


def _single_foregrounds(counts: ValueCounts) -> set[int]:
    """Return the usual values of foreground that no mask holds beside another one.

    The only JPEG among masks of 0 and 1 has such a value: its foreground is 255.
    """
    mixed = {value for held in counts.values() if len(held.keys() - {0}) > 1 for value in held}
    return set(BINARY_VALUES) - mixed
