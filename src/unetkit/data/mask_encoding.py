"""What the values in mask files mean: the class that each stands for, void pixels, and the keys that state it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from unetkit.data.types import VOID
from unetkit.errors import UserError, is_whole

BINARY_VALUES = (1, 255, 65535)  # each may stand for the foreground of a binary mask, whose background is 0
LARGEST_BESIDE_VOID = 100  # where classes are numbered up to this, a 255 beside them usually marks void pixels
CLASSES, MULTILABEL = LABELS = "classes", "multilabel"  # data.labels: one class in each pixel; labels that may overlap
MOST_LABELS = 7  # bits of a mask in memory, as 255 is void
HALF = 65504  # the largest float16
VOID_COLOUR = 0xE0E0C0  # PASCAL VOC draws void pixels in this colour


@dataclass(frozen=True)
class MaskEncoding:
    """Which value in mask files stands for which class. A colour is the value 0xRRGGBB.

    Attributes:
        values: The values of class 0, 1, ...; None for binary masks, which hold 0 and one of `BINARY_VALUES`.
        void: The value of void pixels, which count neither in the loss nor in the scores; None if there is none.
        is_colour: Whether the values are colours.
        labels: The number of labels of multi-label masks, where the value is the sum of 2^k over the labels k of a
            pixel; 0 where each pixel is of one class.
        instances: `foreground` or `boundary` where the values are the numbers of objects: the classes that become of
            them, see `unetkit.data.objects.classes_of_objects`; None where the values are classes.
    """

    values: tuple[int, ...] | None = None
    void: int | None = None
    is_colour: bool = False
    labels: int = 0
    instances: str | None = None

    @classmethod
    def of_keys(
        cls,
        num_classes: int | Literal["auto"] = "auto",
        mask_values: Sequence[int] | None = None,
        mask_colours: Sequence[Sequence[int]] | None = None,
        ignore_index: int | Sequence[int] | None = None,
    ) -> Self:
        """Return the encoding that the keys `data.num_classes`, `data.mask_values`, ... describe.

        Raises:
            UserError: If a key has a wrong value, or two keys contradict each other.
        """
        values = _checked_values(num_classes, mask_values, mask_colours)
        void = _checked_void(ignore_index, mask_colours is not None)
        if void is not None and void in (values if values is not None else (0,)):
            problem = "is the value of a class too"
            raise UserError(f"data.ignore_index={ignore_index}", problem, "void pixels must have a value of their own")
        return cls(values, void, mask_colours is not None)

    @classmethod
    def guess(
        cls, found: Iterable[int], *, is_colour: bool = False, void: int | None = None, background: int = 0
    ) -> Self:
        """Return the encoding under which the values found in many masks make most sense; of at most 255 classes.

        Args:
            found: The values.
            is_colour: Whether they are colours.
            void: The value of void pixels, if it is known. Otherwise 255 is taken for void beside classes of small
                numbers, -1 beside classes from 0 on, and `VOID_COLOUR` beside other colours.
            background: The colour that becomes class 0, if it is among the colours.
        """
        values = sorted(found)
        if void is None and len(values) > 2:
            stands_apart = values[-1] == VOID and values[-2] <= LARGEST_BESIDE_VOID
            is_unlabelled = values[0] == -1 and values[1] == 0  # as many frameworks mark pixels without a label
            number = VOID if stands_apart else -1 if is_unlabelled else None
            void = (VOID_COLOUR if VOID_COLOUR in values else None) if is_colour else number
        classes = [value for value in values if value != void]
        if is_colour:
            return cls(tuple(sorted(classes, key=lambda value: value != background))[:VOID], void, True)
        if not classes or (classes[0] == 0 and len(classes) < 3 and set(classes) <= {0, *BINARY_VALUES}):
            return cls(None, void)
        return cls(tuple(classes[:VOID]), void)

    @property
    def num_classes(self) -> int:
        """The number of classes; 1 for any two classes, because one logit tells them apart; or that of labels."""
        if self.labels or self.instances:
            return self.labels or (3 if self.instances == "boundary" else 1)
        return 1 if self.values is None or len(self.values) == 2 else len(self.values)

    @property
    def key(self) -> list[object]:
        """Key for the cache, as plain containers; it changes when masks are read differently."""
        return [self.values, self.void, self.is_colour, *filter(None, (self.labels, self.instances))]

    @property
    def stated_by(self) -> dict[str, Any]:
        """The keys under `data`, with their values, that state this encoding; none for binary masks without void."""
        values = self.values
        keys: dict[str, Any] = {"labels": MULTILABEL} if self.labels else {}
        keys |= {"instances": self.instances} if self.instances else {}
        if values is not None:
            if self.is_colour:
                keys["mask_colours"] = [rgb(value) for value in values]
            elif len(values) > 2 and values == tuple(range(len(values))):
                keys["num_classes"] = len(values)
            else:
                keys["mask_values"] = list(values)
        if self.void is not None:
            keys["ignore_index"] = rgb(self.void) if self.is_colour else self.void
        return keys

    @property
    def typed(self) -> str:
        """The same keys as they are typed, as in `data.mask_values=[0,7] data.ignore_index=255`."""
        return " ".join(f"data.{key}={value}".replace(", ", ",") for key, value in self.stated_by.items())

    @property
    def known_values(self) -> list[int]:
        """The values that a mask with 255 for the foreground may hold, void included."""
        return [*(self.values or (0, 255)), *([] if self.void is None else [self.void])]

    def indices(self, mask: NDArray[Any]) -> NDArray[np.uint8] | None:
        """Return class indices (H, W), `VOID` where void, of a mask (H, W) of values; None if it holds other values.

        Of multi-label masks, the values are returned, with `VOID` where void.
        """
        if self.labels:
            is_void = mask == self.void if self.void is not None else np.zeros(mask.shape, np.bool_)
            is_known = ((mask >= 0) & (mask < 2**self.labels)) | is_void
            return np.where(is_void, VOID, mask).astype(np.uint8) if is_known.all() else None
        known = self.values if self.values is not None else (0, *(v for v in BINARY_VALUES if v != self.void))
        found = np.setdiff1d(np.unique(mask), [] if self.void is None else [self.void])
        is_mixed = self.values is None and np.count_nonzero(found) > 1  # as 1 and 255, where 255 often marks void
        if is_mixed or np.setdiff1d(found, known).size:
            return None
        indices = np.full(mask.shape, VOID, np.uint8)
        for index, value in enumerate(known):
            if mask.dtype == np.float16 and value > HALF:  # which no number of 16 bits equals
                continue
            indices[mask == value] = min(index, 1) if self.values is None else index
        return indices

    def nearest(self, mask: NDArray[Any]) -> NDArray[Any]:
        """Replace each value of a JPEG mask, which blurs values, by the nearest one of `known_values`."""
        known = np.array(self.known_values)
        return np.asarray(known[np.abs(mask[..., None].astype(np.int64) - known).argmin(-1)])


def rgb(colour: int) -> list[int]:
    """Unpack 0xRRGGBB into [red, green, blue]."""
    return [colour >> 16, colour >> 8 & 255, colour & 255]


def pack(red: Any, green: Any, blue: Any) -> Any:
    """Pack numbers, or arrays of them, in 0..255 into 0xRRGGBB."""
    return red << 16 | green << 8 | blue


def _checked_values(
    num_classes: int | Literal["auto"],
    mask_values: Sequence[int] | None,
    mask_colours: Sequence[Sequence[int]] | None,
) -> tuple[int, ...] | None:
    if num_classes != "auto" and not (is_whole(num_classes, 1) and num_classes <= VOID):
        raise UserError(f"data.num_classes={num_classes}", f"must be auto, or from 1 (binary) to {VOID}")
    if mask_values is not None and mask_colours is not None:
        raise UserError("data.mask_values and data.mask_colours", "are both set", "keep the one that fits the files")
    if mask_colours is not None:
        if not _are_different(mask_colours) or not all(map(_is_colour, mask_colours)):
            wanted = f"must be 2 to {VOID} different colours, as in [[0,0,0],[255,0,0]]"
            raise UserError(f"data.mask_colours={mask_colours}", wanted)
        return tuple(pack(*colour) for colour in mask_colours)
    if mask_values is not None:
        if not _are_different(mask_values) or not all(isinstance(value, int) for value in mask_values):
            wanted = f"must be 2 to {VOID} different numbers, as in [0,100,200]"
            raise UserError(f"data.mask_values={mask_values}", wanted)
        return tuple(mask_values)
    return tuple(range(num_classes)) if num_classes != "auto" and num_classes > 2 else None


def _checked_void(ignore_index: int | Sequence[int] | None, is_colour: bool) -> int | None:
    if ignore_index is None:
        return None
    if is_colour and _is_colour(ignore_index):
        return int(pack(*ignore_index))  # type: ignore[misc]  # _is_colour has shown that it is a sequence
    if is_colour or not isinstance(ignore_index, int):
        wanted = "a colour, as in [224,224,192], with data.mask_colours" if is_colour else "a whole number"
        raise UserError(f"data.ignore_index={ignore_index}", f"must be {wanted}", "null if no pixel is void")
    return ignore_index


def _are_different(values: object) -> bool:
    return isinstance(values, Sequence) and 2 <= len(values) <= VOID and len(set(map(str, values))) == len(values)


def _is_colour(value: object) -> bool:
    is_triple = isinstance(value, Sequence) and len(value) == 3
    return is_triple and all(isinstance(v, int) and 0 <= v <= 255 for v in value)  # type: ignore[attr-defined]
