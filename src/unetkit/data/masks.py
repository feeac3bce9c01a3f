"""Mask files of users: what their numbers or colours stand for, and how they become class indices."""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from unetkit.data.files import FileRef, read_image, read_palette_indices
from unetkit.data.jpeg import FLAT, flat_counts, flat_levels, is_jpeg
from unetkit.data.rle import decode_rle
from unetkit.data.sources import Pair
from unetkit.data.types import VOID
from unetkit.errors import UserError

BINARY_VALUES = (1, 255, 65535)
LOOKED_THROUGH = 200  # masks from which an error gathers what it shows
SHOWN = 40  # classes that it lists at most
STRAY = 0.01  # share of a mask below which a value that hardly another mask has is a slip of the pen


@dataclass(frozen=True)
class MaskEncoding:
    """What the values in mask files stand for. A colour's value is 0xRRGGBB.

    Attributes:
        values: Of class 0, 1, ...; None for binary masks, which hold 0 and one of 1, 255 and 65535.
        void: The value of pixels that count nowhere, or None.
        is_colour: Whether the classes are colours of RGB images.
    """

    values: tuple[int, ...] | None = None
    void: int | None = None
    is_colour: bool = False

    @classmethod
    def of_keys(
        cls,
        num_classes: int | Literal["auto"] = "auto",
        mask_values: Sequence[int] | None = None,
        mask_colours: Sequence[Sequence[int]] | None = None,
        ignore_index: int | Sequence[int] | None = None,
    ) -> Self:
        """The code that the keys of these names under `data` describe.

        Raises:
            UserError: If they hold a mistake, or contradict each other.
        """
        values = _stated(num_classes, mask_values, mask_colours)
        void = _void(ignore_index, mask_colours is not None)
        if void is not None and void in (values if values is not None else (0,)):
            raise UserError(f"data.ignore_index={ignore_index} is the value of a class too; it must be one of its own")
        return cls(values, void, mask_colours is not None)

    @property
    def num_classes(self) -> int:
        """1 for binary masks, however stated."""
        return 1 if self.values is None or len(self.values) == 2 else len(self.values)

    @property
    def key(self) -> list[object]:
        """Plain containers that differ when masks are read differently."""
        return [self.values, self.void, self.is_colour]

    @property
    def in_jpegs(self) -> list[int]:
        """The values that JPEG masks may hold, apart from blur: `1` for the foreground is lost in it."""
        return [*(self.values or (0, 255)), *([] if self.void is None else [self.void])]

    def indices(self, mask: NDArray[Any]) -> NDArray[np.uint8] | None:
        """Class indices (H, W), `VOID` where void, of a mask (H, W) of values; None if it holds others."""
        known = self.values if self.values is not None else (0, *(v for v in BINARY_VALUES if v != self.void))
        found = np.setdiff1d(np.unique(mask), [] if self.void is None else [self.void])
        is_mixed = self.values is None and np.count_nonzero(found) > 1  # such as 1 and 255, which often is void
        if is_mixed or np.setdiff1d(found, known).size:
            return None
        indices = np.full(mask.shape, VOID, np.uint8)
        for index, value in enumerate(known):
            indices[mask == value] = min(index, 1) if self.values is None else index
        return indices

    def nearest(self, mask: NDArray[Any]) -> NDArray[Any]:
        """The mask with each value replaced by the nearest that means something, for the blurred ones of a JPEG."""
        known = np.array(self.in_jpegs)
        return np.asarray(known[np.abs(mask[..., None].astype(np.int64) - known).argmin(-1)])


def read_mask(pair: Pair, shape: tuple[int, int], code: MaskEncoding, others: Sequence[Pair] = ()) -> NDArray[np.uint8]:
    """The mask (H, W) of class indices, `VOID` where void.

    Palette PNGs are read as their indices, unless the palette is grey. JPEG masks, whose values are blurred, are read
    to the nearest value; flat areas of another value are no blur.

    Args:
        pair: Its mask is read, or its run-length code where it has no mask file.
        shape: Of the image.
        code: What the values stand for.
        others: Pairs whose masks an error looks through, to list all values instead of one mask's.

    Raises:
        UserError: If the mask holds other values, or is not of the image's shape, or contradicts its code.
    """
    if pair.mask is None:
        return _decode_code(pair, shape)
    values, is_colour = file_values(pair.mask, code.is_colour)
    if values.shape != shape:
        turned = "; was a camera's orientation applied to one of the two?" if values.shape == shape[::-1] else ""
        raise UserError(f"{pair.mask} is {values.shape[0]}x{values.shape[1]}, its image {shape[0]}x{shape[1]}{turned}")
    if is_jpeg(pair.mask):
        if is_colour:
            raise UserError(f"{pair.mask} is a JPEG, which blurs colours; save masks as PNG")
        if code.values is None and 0 < values.max() < 128:
            raise UserError(f"{pair.mask} is a JPEG whose values end at {values.max()}, not 255; save masks as PNG")
        further = flat_levels(flat_counts(values), code.in_jpegs).keys() - set(code.in_jpegs)
        if further:
            raise UserError(f"{pair.mask} {_advice_on_jpeg(sorted(further), _levels_of([pair, *others], code), code)}")
        known = sorted(set(code.in_jpegs))
        if np.diff(known).min() < 2 * FLAT:
            raise UserError(
                f"{pair.mask} is a JPEG, which blurs values as near as {_listed(known, False)}; save masks as PNG"
            )
        values = code.nearest(values)
    indices = code.indices(values) if is_colour == code.is_colour else None
    if indices is None:
        raise UserError(f"{pair.mask} {_why_not(values, _values_of(pair, others, is_colour, code), is_colour, code)}")
    if pair.rle is not None and (_decode_code(pair, shape) != indices).any():
        raise UserError(f"{pair.mask} and the run-length code of {pair.id} in train.csv differ; remove the wrong one")
    return indices


def class_names_of(given: Sequence[str] | None, count: int) -> list[str]:
    """The given names of `count` classes, or made-up ones.

    Raises:
        UserError: If there is not one name for each class.
    """
    if given is None:
        return ["background", *(f"class {i}" for i in range(1, count))] if count > 2 else ["background", "foreground"]
    names = [str(name) for name in given]
    if len(set(names)) != len(names) or len(names) != count:
        raise UserError(
            f"data.class_names=[{','.join(names)}] must be {count} different names, one for each class from 0 "
            "(the background) on"
        )
    return names


def file_values(ref: FileRef, as_colour: bool) -> tuple[NDArray[Any], bool]:
    """The file's values (H, W), and whether they are colours."""
    indices = None if as_colour else read_palette_indices(ref)
    if indices is not None:
        return indices, False
    mask = read_image(ref)
    channels = 1 if mask.ndim == 2 else mask.shape[2]
    is_grey = channels == 1 or not (mask != mask[..., :1]).any()
    if is_grey and not as_colour:
        return (mask if mask.ndim == 2 else mask[..., 0]), False
    if channels not in (1, 3) or mask.dtype != np.uint8:
        raise UserError(f"{ref} holds {channels} channels of {mask.dtype}; save masks as 8-bit class values or colours")
    red, green, blue = np.moveaxis(np.broadcast_to(np.atleast_3d(mask), (*mask.shape[:2], 3)).astype(np.int32), 2, 0)
    return (red << 16) | (green << 8) | blue, True


def _some(pairs: Sequence[Pair]) -> Sequence[Pair]:
    return pairs[:: max(len(pairs) // LOOKED_THROUGH, 1)]


def _values_of(pair: Pair, others: Sequence[Pair], is_colour: bool, code: MaskEncoding) -> list[set[int]]:
    """The values of some other masks of the same kind; those that can't be read will have errors of their own."""
    found: list[set[int]] = []
    for other in _some(others):
        with suppress(UserError):
            if other.mask is None or other.mask == pair.mask:
                continue
            values, kind = file_values(other.mask, code.is_colour)
            if is_jpeg(other.mask) and not kind:
                values = code.nearest(values)
            found += [set(np.unique(values).tolist())] if kind == is_colour else []
    return found


def _levels_of(pairs: Sequence[Pair], code: MaskEncoding) -> list[int]:
    """The values of flat areas in some masks; those that can't be read will have errors of their own."""
    counts = np.zeros(256, np.int64)
    for pair in _some(pairs):
        with suppress(UserError):
            values, is_colour = file_values(pair.mask, False) if pair.mask else (np.zeros(0), True)
            counts += flat_counts(values) if not is_colour and values.dtype == np.uint8 else 0
    return list(flat_levels(counts, [0, 255, *([] if code.void is None else [code.void])]))


def _advice_on_jpeg(further: Sequence[int], levels: Sequence[int], code: MaskEncoding) -> str:
    """What to do about flat areas of values that JPEG's blur does not explain."""
    classes = [level for level in levels if level != code.void]
    return (
        f"is a JPEG with flat areas of {_listed(further, False, ' ')}; {_rule(code)}: save masks as PNG, or set "
        f"data.mask_values=[{_listed(classes, False)}] to read each pixel to the nearest of these"
    )


def _why_not(values: NDArray[Any], others: Sequence[set[int]], is_colour: bool, code: MaskEncoding) -> str:
    """What is wrong with a mask: values that hardly another mask has are to be mended, more common ones stated."""
    here, counts = np.unique(values, return_counts=True)
    pixels = dict(zip(here.tolist(), counts.tolist(), strict=True))
    holders = Counter(value for held in others for value in held)
    stray = {
        value: count
        for value, count in pixels.items()
        if len(others) > 1 and holders[value] < max((len(others) + 1) / 50, 1) and count < STRAY * values.size
    }
    rest = np.setdiff1d(here, list(stray))
    if not stray or not len(rest) or is_colour != code.is_colour or code.indices(rest) is None:
        return _advice(here.tolist(), sorted(set(pixels) | set(holders)), is_colour, code)
    shown = ", ".join(f"{_shown(value, is_colour)} in {count} of its pixels" for value, count in stray.items())
    key = "mask_colours" if is_colour else "mask_values"
    return (
        f"holds {shown}, and hardly another of {len(others) + 1} masks does: mend it "
        f"(if it is a class, list it in data.{key})"
    )


def _advice(here: Sequence[int], found: Sequence[int], is_colour: bool, code: MaskEncoding) -> str:
    """What is wrong with the values `here`, and the keys to type for those `found` in many masks."""
    what = "colours" if is_colour else "values"
    if len(found) > SHOWN and list(found) != list(range(len(found))):
        return (
            f"holds {len(here)} {what}, and with other masks {len(found)}; a mask has one for each class: was it "
            "resized smoothly, or saved as JPEG?"
        )
    stated = code.void if code.is_colour == is_colour else None
    void = "" if stated is None else f" data.ignore_index={_shown(stated, is_colour)}"
    classes = [value for value in found if value != stated]
    if not is_colour and stated is None and classes[-1] == 255 and len(classes) > 2:
        all_of_them = f"data.mask_values=[{_listed(classes, False)}] if it is a class"
        classes, void = classes[:-1], f" data.ignore_index=255 if 255 marks void pixels, {all_of_them}"
    if not is_colour and code.values is None and len(classes) == 2 and classes[0] == 0 and classes[1] in BINARY_VALUES:
        typed = ""
    elif not is_colour and classes == list(range(len(classes))) and len(classes) > 2:
        typed = f" data.num_classes={len(classes)}"
    else:
        typed = f" data.mask_{'colours' if is_colour else 'values'}=[{_listed(classes, is_colour)}]"
    hint = "; the background first, a colour that marks void pixels as data.ignore_index=[R,G,B]" if is_colour else ""
    return f"holds the {what} {_listed(here, is_colour, ' ')}; {_rule(code)}: for these, set{typed}{void}{hint}"


def _rule(code: MaskEncoding) -> str:
    if code.values is None:
        return "a binary mask holds 0 and one of 1, 255 and 65535"
    if code.is_colour:
        return f"data.mask_colours=[{_listed(code.values, True)}] does not have all of them"
    if code.values == tuple(range(len(code.values))):
        return f"data.num_classes={len(code.values)} stands for 0 to {len(code.values) - 1}"
    return f"data.mask_values=[{_listed(code.values, False)}] does not have all of them"


def _listed(values: Iterable[int], is_colour: bool, space: str = "") -> str:
    return f",{space}".join(_shown(value, is_colour) for value in values)


def _shown(value: int, is_colour: bool) -> str:
    if is_colour:
        return f"[{value >> 16},{value >> 8 & 255},{value & 255}]"
    return str(int(value) if value == int(value) else value)


def _stated(
    num_classes: int | Literal["auto"],
    mask_values: Sequence[int] | None,
    mask_colours: Sequence[Sequence[int]] | None,
) -> tuple[int, ...] | None:
    if num_classes != "auto" and not (isinstance(num_classes, int) and 1 <= num_classes <= VOID):
        raise UserError(f"data.num_classes={num_classes} must be auto, or from 1 (binary) to {VOID}")
    if mask_values is not None and mask_colours is not None:
        raise UserError("data.mask_values and data.mask_colours are both set; keep the one that fits the files")
    if mask_colours is not None:
        if not _are_different(mask_colours) or not all(map(_is_colour, mask_colours)):
            raise UserError(f"data.mask_colours={mask_colours} must be 2 to 255 colours, as in [[0,0,0],[255,0,0]]")
        return tuple(map(_packed, mask_colours))
    if mask_values is not None:
        if not _are_different(mask_values) or not all(isinstance(value, int) for value in mask_values):
            raise UserError(f"data.mask_values={mask_values} must be 2 to 255 different numbers, as in [0,100,200]")
        return tuple(mask_values)
    return tuple(range(num_classes)) if num_classes != "auto" and num_classes > 2 else None


def _are_different(values: object) -> bool:
    return isinstance(values, Sequence) and 2 <= len(values) <= VOID and len(set(map(str, values))) == len(values)


def _is_colour(value: object) -> bool:
    is_triple = isinstance(value, Sequence) and len(value) == 3
    return is_triple and all(isinstance(v, int) and 0 <= v <= 255 for v in value)  # type: ignore[attr-defined]


def _packed(colour: Sequence[int]) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def _void(ignore_index: int | Sequence[int] | None, is_colour: bool) -> int | None:
    if ignore_index is None:
        return None
    if is_colour and _is_colour(ignore_index):
        return _packed(ignore_index)  # type: ignore[arg-type]
    if is_colour or not isinstance(ignore_index, int):
        wanted = "a colour, as in [224,224,192], with data.mask_colours" if is_colour else "a whole number"
        raise UserError(f"data.ignore_index={ignore_index} must be {wanted}; null if no pixel is void")
    return ignore_index


def _decode_code(pair: Pair, shape: tuple[int, int]) -> NDArray[np.uint8]:
    try:
        return decode_rle(pair.rle or "", *shape)
    except UserError as error:
        raise UserError(f"{pair.id} in train.csv: {error}") from error
