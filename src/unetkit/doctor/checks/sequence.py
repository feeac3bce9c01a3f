"""Recognises images that are slices of a volume or frames of a film, which a random split would mix."""

import re
from collections.abc import Sequence

import numpy as np

from unetkit.data.findings import Finding, Severity
from unetkit.doctor.checks.duplicates import thumbnails
from unetkit.doctor.survey.pairs import PairStats

MAX_RATIO = 0.75  # difference of neighbours by that of images far apart, below which the images are a sequence
MIN_IMAGES = 6  # of a sequence
MIN_NUMBERED = 0.8  # share of the images that must have a number in their names


def is_sequence(stats: Sequence[PairStats]) -> bool:
    """Return whether names are numbered and images with neighbouring numbers are more alike than others."""
    keys = {pair: _name_and_number(pair.pair.id) for pair in stats if pair.image and pair.image.thumbnail is not None}
    numbered = sorted(((key, i, pair) for i, (pair, key) in enumerate(keys.items()) if key), key=lambda item: item[:2])
    if len(numbered) < max(MIN_IMAGES, MIN_NUMBERED * len(stats)):
        return False
    thumbs = thumbnails([pair for *_, pair in numbered])
    beside = np.sqrt(np.square(thumbs[1:] - thumbs[:-1]).mean(1))
    apart = np.sqrt(np.square(thumbs - np.roll(thumbs, len(thumbs) // 2, axis=0)).mean(1))
    return bool(np.median(beside) < MAX_RATIO * np.median(apart))


def is_sorted_by_number(stats: Sequence[PairStats]) -> bool:
    """Return whether sorting by name sorts by number too, which it doesn't for 1, 10, 2."""
    keys = [key for pair in sorted(stats, key=lambda pair: pair.pair.id) if (key := _name_and_number(pair.pair.id))]
    return keys == sorted(keys)


def check_sequence(stats: Sequence[PairStats]) -> list[Finding]:
    """Report a sequence, unless the user's folders say what validates."""
    if any(pair.pair.split == "val" for pair in stats) or not is_sequence(stats):
        return []
    if is_sorted_by_number(stats):
        what = "images with neighbouring numbers are alike (slices of a volume, or frames?): a random split would make "
        fix = "the proposed configuration validates on a block of neighbours: data.split=contiguous"
        return [Finding(Severity.NOTE, what + "scores too high", fix)]
    what = "images with neighbouring numbers are alike, but sort by name as 1, 10, 2, so no block of neighbours can be "
    fix = "write numbers with leading zeros (01, 02, 10), and run this again: it will propose data.split=contiguous"
    return [Finding(Severity.WARNING, what + "chosen to validate", fix)]


def _name_and_number(id: str) -> tuple[str, int] | None:
    """Split a name into its text and its last number; None if there is no number."""
    match = re.fullmatch(r"(.*?)(\d+)(\D*)", id)
    return (match[1] + match[3], int(match[2])) if match else None
