"""Checks whether the values that all masks hold together make sense as classes."""

from collections.abc import Sequence
from dataclasses import replace

from unetkit.data.findings import Finding, Severity
from unetkit.data.mask_advice import ARE_OBJECTS, AS_OBJECTS, MANY_CLASSES, MOST_CLASSES, are_too_many
from unetkit.data.mask_encoding import BINARY_VALUES, MaskEncoding
from unetkit.doctor.masks.values import shown_values


def check_encoding(encoding: MaskEncoding, found: Sequence[int]) -> list[Finding]:
    """Report on the sorted values found in all masks, and on what they are taken for."""
    if encoding.is_colour:
        return _check_colours(encoding)
    return [*_check_foregrounds(encoding, found), *_check_void(encoding, found), *_check_classes(encoding)]


def _check_colours(encoding: MaskEncoding) -> list[Finding]:
    count = len(encoding.values or ())
    if count <= MOST_CLASSES:
        return []
    what = f"the masks hold {count} colours in all, too many for classes"
    fix = "save one colour for each class, as PNG; were masks resized smoothly?"
    return [Finding(Severity.FAULT, what, fix)]


def _check_foregrounds(encoding: MaskEncoding, found: Sequence[int]) -> list[Finding]:
    foregrounds = [value for value in found if value in BINARY_VALUES and value != encoding.void]
    if encoding.values is not None or len(foregrounds) < 2:
        return []
    what = f"the foreground is {' in some masks, '.join(map(str, foregrounds))} in others"
    fix = "nothing to do if these mean the same, as they are read alike; else give them different classes"
    return [Finding(Severity.NOTE, what, fix)]


def _check_void(encoding: MaskEncoding, found: Sequence[int]) -> list[Finding]:
    if encoding.void is None:
        return []
    classes = shown_values(encoding.values or (0, 1))
    what = (
        f"the masks hold {encoding.void} besides the classes {classes}: it is taken for void, pixels that are ignored"
    )
    if_class = replace(encoding, values=tuple(found), void=None).typed
    return [
        Finding(
            Severity.WARNING, what, f"nothing to do if this is right; if {encoding.void} is a class, set {if_class}"
        )
    ]


def _check_classes(encoding: MaskEncoding) -> list[Finding]:
    values = list(encoding.values or ())
    if len(values) == 1:
        what = f"all masks hold the single value {values[0]}"
        return [Finding(Severity.FAULT, what, "give the background the value 0, or another one of its own")]
    if are_too_many(values):
        what = f"the masks hold {len(values)} values in all, too many for classes"
        return [Finding(Severity.FAULT, what, "save one value for each class; were masks resized smoothly?")]
    if len(values) > MANY_CLASSES:
        what = f"the masks hold {len(values)} values: {ARE_OBJECTS}"
        return [Finding(Severity.WARNING, what, AS_OBJECTS)]
    return []
