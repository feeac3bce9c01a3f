"""Errors about mask files whose values don't fit their encoding, with the keys to type instead."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetkit.data.drawn import DrawnMask
from unetkit.data.files import FileRef
from unetkit.data.layout.known import known_classes
from unetkit.data.mask_encoding import MaskEncoding, rgb
from unetkit.errors import UserError

MOST_CLASSES = 40  # more values than this, unless they are 0, 1, 2, ..., come from smooth resizing or blur
MANY_CLASSES = 21  # those of PASCAL VOC; more values than these may be the numbers of objects
MOST_OBJECTS = 200  # numbered objects in a mask; a photograph has up to 256 values
ARE_OBJECTS = "are these classes, or numbers of objects?"
AS_OBJECTS = "if objects are numbered, set data.instances=boundary, or foreground where none of them touch"
LARGEST_OF_8_BITS = 255
VALUES_SHOWN = 12
FEW_PIXELS = 1 / 100  # a value is a stray value if it has a smaller share of a mask's pixels, and
FEW_MASKS = 1 / 50  # if a smaller share of the other masks holds it


def advice_on_values(
    ref: FileRef | DrawnMask, mask: NDArray[Any], is_colour: bool, encoding: MaskEncoding, others: Sequence[set[int]]
) -> UserError:
    """Return the error about a mask whose values don't fit.

    It asks to correct stray values, and to list common ones in the configuration.

    Args:
        ref: The mask's file.
        mask: Its values.
        is_colour: Whether its values are colours.
        encoding: The meaning of the values, as stated.
        others: The values of some other masks.
    """
    stray = _stray_values(mask, others)
    values = np.unique(mask)
    rest = np.setdiff1d(values, list(stray))
    is_clean = len(rest) > 0 and is_colour == encoding.is_colour and encoding.indices(rest) is not None
    if stray and is_clean:
        held = ", ".join(f"{_shown(value, is_colour)} in {count} of its pixels" for value, count in stray.items())
        problem = f"holds {held}, which hardly any other of {len(others) + 1} masks does"
        key = "mask_colours" if is_colour else "mask_values"
        return UserError(str(ref), problem, f"correct it (if it is a class, list it in data.{key})")
    found = sorted({*values.tolist(), *(value for held in others for value in held)})
    what = "colours" if is_colour else "values"
    known = known_classes([ref], found) if isinstance(ref, FileRef) and not is_colour else None
    if known is not None:
        problem = f"holds the values {_listed(values, is_colour)}, but {_rule(encoding)}"
        keys = known.encoding.typed + " data.background=null" * (known.background is None)
        return UserError(str(ref), problem, f"for {known.source}, set {keys}")
    are_many = not is_colour and MaskEncoding.guess(found).num_classes > MANY_CLASSES
    if are_many and not are_too_many(found):
        problem = f"holds {len(values)} values, and with other masks {len(found)}: {ARE_OBJECTS}"
        classes = f"if they are classes, set {_keys_for(list(map(int, found)), is_colour, encoding)}"
        return UserError(str(ref), problem, f"{AS_OBJECTS}; {classes}")
    if len(found) > MOST_CLASSES:
        problem = f"holds {len(values)} {what}, and with other masks {len(found)}; a mask has one for each class"
        return UserError(str(ref), problem, "was it resized smoothly, or saved as JPEG?")
    problem = f"holds the {what} {_listed(values, is_colour)}, but {_rule(encoding)}"
    if any(value != int(value) for value in found):
        return UserError(str(ref), problem.partition(", but")[0] + ", but classes are whole numbers", _whole(found))
    found = list(map(int, found))  # a float as 1.0 can't be typed as a class
    return UserError(str(ref), problem, f"for these, set {_keys_for(found, is_colour, encoding)}")


def are_too_many(values: Sequence[float]) -> bool:
    """Return whether sorted values are too many for classes, and not the numbers of objects either."""
    is_dense = len(values) > values[-1] / 2 if values else False
    are_numbers = is_dense and (len(values) < MOST_OBJECTS or values[-1] > LARGEST_OF_8_BITS)
    return len(values) > MOST_CLASSES and not are_numbers


def advice_on_jpeg(ref: FileRef, unknown: Sequence[int], encoding: MaskEncoding, found: Sequence[int]) -> UserError:
    """Return the error about a JPEG mask with flat areas of unknown values.

    Args:
        ref: The mask's file.
        unknown: The values of these areas.
        encoding: The meaning of the values, as stated.
        found: The values of flat areas in many masks.
    """
    classes = ",".join(str(value) for value in found if value != encoding.void)
    problem = f"is a JPEG with flat areas of {_listed(unknown, False)}, but {_rule(encoding)}"
    fix = f"save masks as PNG, or set data.mask_values=[{classes}] to read each pixel to the nearest of these"
    return UserError(str(ref), problem, fix)


def _stray_values(mask: NDArray[Any], others: Sequence[set[int]]) -> dict[int, int]:
    """Return the values that few pixels of this mask and few other masks have, with their numbers of pixels."""
    if len(others) < 2:
        return {}
    values, counts = np.unique(mask, return_counts=True)
    holders = Counter(value for held in others for value in held)
    few_masks = max(FEW_MASKS * (len(others) + 1), 1)
    held = zip(values.tolist(), counts.tolist(), strict=True)
    return {value: n for value, n in held if holders[value] < few_masks and n < FEW_PIXELS * mask.size}


def _keys_for(found: Sequence[int], is_colour: bool, encoding: MaskEncoding) -> str:
    """Return the keys to type for the values found in many masks; void stays as it was stated."""
    stated = encoding.void if encoding.is_colour == is_colour else None
    guess = MaskEncoding.guess(found, is_colour=is_colour, void=stated)
    if is_colour:
        return f"{guess.typed}; the background first, a colour that marks void pixels as data.ignore_index=[R,G,B]"
    if stated is None and guess.void is not None:
        everything = replace(guess, values=tuple(found), void=None).typed
        return f"{guess.typed} if {guess.void} marks void pixels, {everything} if it is a class"
    return guess.typed


def _rule(encoding: MaskEncoding) -> str:
    """Return the clause that says which values the encoding allows."""
    if encoding.values is None:
        return "a binary mask holds 0 and one of 1, 255 and 65535"
    if "num_classes" in encoding.stated_by:
        return f"data.num_classes={encoding.num_classes} stands for 0 to {encoding.num_classes - 1}"
    return f"{replace(encoding, void=None).typed} does not have all of them"


def _whole(found: Sequence[float]) -> str:
    """Return how to save masks of fractions as whole numbers."""
    if len(found) == 2:
        return f'save them as 0 and 255; in Python: cv2.imwrite("mask.png", np.uint8(mask > {found[0]:g}) * 255)'
    return "save the number of the class in each pixel; were masks resized smoothly?"


def _listed(values: Sequence[int] | NDArray[Any], is_colour: bool) -> str:
    shown = ", ".join(_shown(value, is_colour) for value in values[:VALUES_SHOWN])
    return shown + f" and {len(values) - VALUES_SHOWN} more" * (len(values) > VALUES_SHOWN)


def _shown(value: float, is_colour: bool) -> str:
    if is_colour:
        return str(rgb(int(value))).replace(" ", "")
    return str(int(value) if value == int(value) else value)
