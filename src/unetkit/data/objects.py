"""Masks that number objects, such as nuclei: the numbers of their pixels, and the classes that a network learns."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from unetkit.data.drawn import DrawnMask, MergedMask
from unetkit.data.files import FileRef
from unetkit.data.types import VOID
from unetkit.errors import UserError

FOREGROUND, BOUNDARY = INSTANCES = "foreground", "boundary"  # data.instances
CLASS_NAMES = {FOREGROUND: ["background", "object"], BOUNDARY: ["background", "inside", "boundary"]}
MOST_NUMBER = 2**24 - 1  # float32 holds whole numbers up to here, and OpenCV no larger integers

Numbers = NDArray[np.int32]


def number_objects(mask: FileRef | DrawnMask, values: NDArray[Any], void: int | None = None) -> Numbers:
    """Return the number of the object of each pixel (H, W), 0 for the background, -1 where void.

    Args:
        mask: The mask, for errors; one file for each object numbers them in the order of the files.
        values: Its values (H, W): 0 is the background, any other whole number an object.
        void: The value of void pixels.

    Raises:
        UserError: If a value is no whole number from 0 on.
    """
    if isinstance(mask, MergedMask):
        return mask.number(*values.shape)
    is_void = values == void if void is not None else np.zeros(values.shape, np.bool_)
    held = values[~is_void]
    if held.size and (held.min() < 0 or held.max() > MOST_NUMBER or (held != held.astype(np.int64)).any()):
        problem = f"holds values from {held.min()} to {held.max()}, but numbers of objects are whole, from 0 on"
        raise UserError(str(mask), problem, "0 is the background; give the value of void pixels as data.ignore_index")
    return np.where(is_void, -1, values).astype(np.int32)


def classes_of_objects(numbers: Numbers, kind: str) -> NDArray[np.uint8]:
    """Return class indices (H, W), `VOID` where void.

    Args:
        numbers: What `number_objects` gives.
        kind: `foreground`: 1 for all objects; `boundary`: 2 for pixels of an object that have a neighbour, of eight,
            which is not of it, so that objects that touch stay apart, and 1 for the others.
    """
    classes = (numbers > 0).astype(np.uint8)
    if kind == BOUNDARY:
        padded = cv2.copyMakeBorder(numbers.astype(np.float32), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        square = np.ones((3, 3), np.uint8)
        differs = (cv2.dilate(padded, square) != cv2.erode(padded, square))[1:-1, 1:-1]
        classes[differs & (numbers > 0)] = 2
    classes[numbers < 0] = VOID
    return classes
