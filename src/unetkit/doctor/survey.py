"""Each file read once, and what is to be known of it kept; faults are collected, not raised."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from unetkit.data.files import UNREADABLE, FileRef, read_image
from unetkit.data.jpeg import flat_counts, is_jpeg
from unetkit.data.masks import file_values
from unetkit.data.preprocessing import probe
from unetkit.data.rle import decode_rle
from unetkit.data.sources import Pair
from unetkit.errors import UserError

THUMB = 16  # side of the averaged image by which near duplicates are found
MOST_VALUES = 300  # distinct values of a mask that are kept
SOFT_VALUES = 3  # values between the ends from which on a mask may be a smoothed one


@dataclass(frozen=True, eq=False)
class ImageFacts:
    """Of an image: its size, kind and content.

    Attributes:
        shape: (H, W).
        channels: Channels that differ.
        stored: Channels of the file.
        dtype: As numpy calls it.
        value_range: Least and greatest value.
        digest: Equal for equal pixels.
        thumb: (256,) float32 of mean 0 and deviation 1, None where there is no contrast.
        has_alpha: Whether it is a PNG with an alpha channel, which is dropped.
    """

    shape: tuple[int, int]
    channels: int
    stored: int
    dtype: str
    value_range: tuple[float, float]
    digest: bytes
    thumb: NDArray[np.float32] | None
    has_alpha: bool


@dataclass(frozen=True, eq=False)
class MaskFacts:
    """Of a mask: its size, and its values (a colour's is 0xRRGGBB) with how many pixels have each.

    `is_soft` says that its values fade into one another along outlines; `code_differs` that train.csv contradicts it;
    `flat` counts the pixels (256,) amid flat areas, if it is a grey JPEG.
    """

    shape: tuple[int, int]
    dtype: str
    values: NDArray[Any]
    counts: NDArray[np.int64]
    is_colour: bool
    is_jpeg: bool
    is_soft: bool
    digest: bytes
    code_differs: bool = False
    flat: NDArray[np.int64] | None = None


@dataclass(frozen=True, eq=False)
class PairStats:
    """What was seen of a pair; None and an error for what can't be read, None alone for a mask that is missing.

    An error is the name of the file, what is wrong with it, and the fix.
    """

    pair: Pair
    image: ImageFacts | None
    mask: MaskFacts | None
    errors: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class _Loaded(FileRef):
    """A file whose content is in memory, so that several readers read it once."""

    content: bytes = b""

    def read(self) -> bytes:
        return self.content


def survey(pairs: Iterable[Pair]) -> Iterator[PairStats]:
    """Look at pairs one by one."""
    for pair in pairs:
        errors: list[tuple[str, str, str]] = []
        image = mask = None
        try:
            image = image_facts(pair.image)
        except UserError as error:
            errors.append(_told(pair.image, error))
        try:
            mask = mask_facts(pair, image.shape if image else None)
        except UserError as error:
            errors.append(_told(pair.mask or pair.image, error))
        yield PairStats(pair, image, mask, tuple(errors))


def image_facts(ref: FileRef) -> ImageFacts:
    """Read and measure an image.

    Raises:
        UserError: If it can't be read.
    """
    loaded = _load(ref)
    image = read_image(loaded)
    return ImageFacts(
        image.shape[:2],
        probe(image[..., :1] if image.ndim == 3 and image.shape[2] == 1 else image)["channels"],
        1 if image.ndim == 2 else image.shape[2],
        str(image.dtype),
        (float(image.min()), float(image.max())),
        _digest(image),
        _thumb(image),
        loaded.content.startswith(b"\x89PNG") and loaded.content[25:26] in (b"\x04", b"\x06"),
    )


def mask_facts(pair: Pair, shape: tuple[int, int] | None) -> MaskFacts | None:
    """Read and count a mask, from its file or its run-length code; None where there is neither.

    Raises:
        UserError: If it can't be read.
    """
    code = None
    if pair.rle is not None and shape is not None:
        try:
            code = decode_rle(pair.rle, *shape)
        except UserError as error:
            raise UserError(f"a wrong line in train.csv, {error}") from error
    if pair.mask is None:
        return None if code is None else _counted(code, False, False)
    values, is_colour = file_values(_load(pair.mask), as_colour=False)
    differs = code is not None and (code.shape != values.shape or bool(((values > 0) != (code > 0)).any()))
    return _counted(values, is_colour, is_jpeg(pair.mask), differs)


def _told(ref: FileRef, error: UserError) -> tuple[str, str, str]:
    """What readers say begins with the file, and has details in brackets."""
    what, _, fix = str(error).removeprefix(str(ref)).strip().partition("; ")
    return f"{ref.name.parent.name}/{ref.name.name}", what.partition(" (")[0], fix or "put it right, or remove it"


def _load(ref: FileRef) -> _Loaded:
    try:
        return _Loaded(ref.path, ref.member, ref.read())
    except UNREADABLE as error:
        raise UserError(f"{ref} can't be read as an image ({error}); replace or remove it") from error


def _counted(mask: NDArray[Any], is_colour: bool, blurred: bool, code_differs: bool = False) -> MaskFacts:
    if mask.dtype in (np.uint8, np.uint16):
        every = np.bincount(mask.ravel())
        values = np.flatnonzero(every)
        counts = every[values]
    else:
        values, counts = np.unique(mask, return_counts=True)
    soft = not is_colour and not blurred and _is_soft(mask, values)
    kept = slice(MOST_VALUES)
    return MaskFacts(
        mask.shape,
        str(mask.dtype),
        values[kept],
        counts[kept],
        is_colour,
        blurred,
        soft,
        _digest(mask),
        code_differs,
        flat_counts(mask) if blurred and not is_colour else None,
    )


def _is_soft(mask: NDArray[Any], values: NDArray[Any]) -> bool:
    """Whether there are many values, those between the ends only where these meet, as from smooth resizing."""
    margin = (values[-1] - values[0]) / 16
    low, high = values[0] + margin, values[-1] - margin
    if values[-1] < 1 or np.count_nonzero((values > low) & (values < high)) < SOFT_VALUES:
        return False
    near_low, near_high = (cv2.dilate(end.astype(np.uint8), np.ones((9, 9))) > 0 for end in (mask <= low, mask >= high))
    between = (mask > low) & (mask < high)
    return bool(between.mean() < 0.5 and (near_low & near_high)[between].mean() > 0.8)


def _digest(array: NDArray[Any]) -> bytes:
    kind = f"{array.shape}{array.dtype}".encode()
    return blake2b(np.ascontiguousarray(array).data, digest_size=16, key=kind[:64]).digest()


def _thumb(image: NDArray[Any]) -> NDArray[np.float32] | None:
    plain = image[..., :3] if image.ndim == 3 else image
    plain = plain if plain.dtype in (np.uint8, np.uint16, np.float32) else plain.astype(np.float32)
    small = cv2.resize(np.ascontiguousarray(plain), (THUMB, THUMB), interpolation=cv2.INTER_AREA).astype(np.float32)
    flat = (small if small.ndim == 2 else small.mean(2)).ravel()
    flat = flat - flat.mean()
    deviation = float(flat.std())
    least = max(float(np.ptp(image)), 1e-12) / 1000
    return None if deviation <= least else flat / np.float32(deviation)
