"""Counts the pixels of each value in each mask; of JPEG masks, whose outlines are blurred, those in flat areas."""

from collections.abc import Iterable

import numpy as np

from unetkit.data.findings import Finding, Severity, finding_on
from unetkit.data.jpeg import flat_levels
from unetkit.data.mask_encoding import pack
from unetkit.doctor.survey.masks import MaskStats
from unetkit.doctor.survey.pairs import PairStats

VALUES_SHOWN = 12

Masks = dict[PairStats, MaskStats]
ValueCounts = dict[PairStats, dict[int, int]]  # pixels of each value in a mask; a colour's value is 0xRRGGBB


def count_values(masks: Masks, is_colour: bool) -> ValueCounts:
    """Count the pixels of each value; if masks are in colour, grey ones count as colours too."""
    plain = {pair: _plain_counts(mask, is_colour) for pair, mask in masks.items() if mask.flat_counts is None}
    flat = {pair: mask.flat_counts for pair, mask in masks.items() if mask.flat_counts is not None}
    if not flat:
        return plain
    expected = {0, 255, *(value for held in plain.values() for value in held if value < 256)}
    levels = flat_levels(np.sum(list(flat.values()), axis=0), expected)
    # Small objects have no flat area; the masks of a binary problem hold 0 and 255 all the same.
    least = {0: 1, 255: 1} if levels.keys() <= {0, 255} else {}
    return plain | {pair: least | flat_levels(counts, levels) for pair, counts in flat.items()}


def check_jpegs(masks: Masks, counts: ValueCounts) -> list[Finding]:
    """Report JPEG masks, and which values their flat areas have."""
    jpegs = [pair for pair, mask in masks.items() if mask.flat_counts is not None]
    held = sorted({value for pair in jpegs for value in counts[pair]})
    what = "{n} mask{s} {is} JPEG or lossy WebP, which blurs outlines"
    if set(held) <= {0, 255}:
        fix = "pixels are read as the nearest of 0 and 255; if you have the masks from before, save them as PNG"
        return finding_on(Severity.NOTE, what, fix, *names_and_ids(jpegs))
    return finding_on(
        Severity.WARNING,
        f"{what}: between flat areas of {shown_values(held)} they pass through the values of other classes",
        "if you have the masks from before, save them as PNG; else pixels are read as the nearest of data.mask_values",
        *names_and_ids(jpegs),
    )


def names_and_ids(pairs: Iterable[PairStats]) -> tuple[list[str], list[str]]:
    """Return the file names of masks, and the ids of their pairs."""
    pairs = list(pairs)
    names = [pair.pair.mask.name.name if pair.pair.mask else pair.pair.id for pair in pairs]
    return names, [pair.pair.id for pair in pairs]


def shown_values(values: Iterable[object]) -> str:
    """Join the first values."""
    shown = list(map(str, values))
    return ", ".join(shown[:VALUES_SHOWN]) + ", ..." * (len(shown) > VALUES_SHOWN)


def _plain_counts(mask: MaskStats, is_colour: bool) -> dict[int, int]:
    values = list(map(int, mask.values))
    if is_colour and not mask.is_colour:
        values = [pack(value, value, value) for value in values]
    return dict(zip(values, mask.counts.tolist(), strict=True))
