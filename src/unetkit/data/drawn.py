"""Masks that no file holds as they are: drawn from outlines, or merged from the files of single objects."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from unetkit.data.decode import read_image
from unetkit.data.files import FileRef
from unetkit.data.jpeg import is_jpeg
from unetkit.errors import UserError

SHIFT = 6  # binary digits of a pixel's fractions, in coordinates for OpenCV
FINER = (16, 8, 4)  # grids to draw polygons on, as parts of a pixel's side; the first that has at most
MOST_PIXELS = 2**24


class DrawnMask(ABC):
    """A mask (H, W) that is made from other files."""

    @property
    @abstractmethod
    def name(self) -> PurePosixPath:
        """The path of the file, or of the first one."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a text that differs when the mask does."""

    @abstractmethod
    def draw(self, height: int, width: int) -> NDArray[np.uint8]:
        """Return the mask (height, width).

        Raises:
            UserError: If it can't be drawn at this size.
        """


@dataclass(frozen=True)
class MergedMask(DrawnMask):
    """The foreground of several masks of one image, such as one file for each nucleus.

    Attributes:
        refs: The files; a pixel is foreground where one of them is not 0.
    """

    refs: tuple[FileRef, ...]

    def __str__(self) -> str:
        return f"{self.refs[0]} and {len(self.refs) - 1:,} more" if len(self.refs) > 1 else str(self.refs[0])

    @property
    def name(self) -> PurePosixPath:  # noqa: D102  # the base class describes it
        return self.refs[0].name

    def fingerprint(self) -> str:  # noqa: D102
        return " ".join(ref.fingerprint() for ref in self.refs)

    def draw(self, height: int, width: int) -> NDArray[np.uint8]:  # noqa: D102
        return np.where(self.number(height, width) > 0, np.uint8(255), np.uint8(0))

    def number(self, height: int, width: int) -> NDArray[np.int32]:
        """Return the number of the file, from 1, that each pixel (height, width) is foreground in; 0 for none.

        Raises:
            UserError: If a file can't be read, or has another size.
        """
        merged = np.zeros((height, width), np.int32)
        for number, ref in enumerate(self.refs, 1):
            values = read_image(ref)
            if values.shape[:2] != merged.shape:
                problem = f"is {values.shape[0]}x{values.shape[1]}, its image {height}x{width}"
                raise UserError(str(ref), problem, "export the mask again at the image's size")
            least = 128 if is_jpeg(ref) else 1  # JPEG scatters small values around an outline
            merged[(values.reshape(height, width, -1) >= least).any(2)] = number
        return merged


@dataclass(frozen=True)
class LabelMask(DrawnMask):
    """The masks of several labels of one image, which may overlap, as one mask of bits.

    Attributes:
        masks: The mask of each label.
        names: The name of each label.
    """

    masks: tuple[FileRef | DrawnMask, ...]
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.masks[0]} and those of {', '.join(self.names[1:])}"

    @property
    def name(self) -> PurePosixPath:  # noqa: D102
        return self.masks[0].name

    def fingerprint(self) -> str:  # noqa: D102
        return "|".join(mask.fingerprint() for mask in self.masks)

    def draw(self, height: int, width: int) -> NDArray[np.uint8]:
        """Return the sum of 2^k over the labels k of each pixel, where everything but 0 is of a label.

        Training reads each mask by its encoding instead, see `unetkit.data.masks.read_mask`.

        Raises:
            UserError: If a mask can't be read, or is of another size.
        """
        bits = np.zeros((height, width), np.uint8)
        for label, mask in enumerate(self.masks):
            merged = MergedMask((mask,)) if isinstance(mask, FileRef) else mask
            bits |= np.uint8(1 << label) * (merged.draw(height, width) > 0)
        return bits


@dataclass(frozen=True)
class Outline:
    """An object of an annotation file.

    Attributes:
        value: Its class index, or `VOID`.
        rings: Polygons (x1, y1, x2, y2, ...) that it consists of; the upper left corner of the image is (0, 0).
        runs: COCO's run lengths of its pixels, instead of polygons.
    """

    value: int
    rings: tuple[tuple[float, ...], ...] = ()
    runs: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class OutlinedMask(DrawnMask):
    """Class indices, `VOID` where void, drawn from outlines: later ones cover earlier ones.

    Attributes:
        ref: The annotation file.
        image: The name of the image, which a file of many images calls it by.
        outlines: The objects.
        class_names: The names of all classes of the data set, the background first.
        size: (H, W) of the image as the annotation file states it; None if it doesn't.
        are_shares: Whether coordinates are shares of the image's width and height, instead of pixels.
    """

    ref: FileRef
    image: str
    outlines: tuple[Outline, ...]
    class_names: tuple[str, ...]
    size: tuple[int, int] | None = None
    are_shares: bool = False

    def __str__(self) -> str:
        return f"{self.ref} ({self.image})"

    @property
    def name(self) -> PurePosixPath:  # noqa: D102
        return self.ref.name

    def fingerprint(self) -> str:  # noqa: D102
        content = repr((self.outlines, self.size, len(self.class_names), self.are_shares)).encode()
        return f"{self}|{blake2b(content, digest_size=16).hexdigest()}"

    def draw(self, height: int, width: int) -> NDArray[np.uint8]:  # noqa: D102
        if self.size not in (None, (height, width)):
            stated = "x".join(map(str, self.size or ()))
            problem = f"states that the image is {stated}, but it is {height}x{width}"
            raise UserError(str(self), problem, "use the images that were annotated, in their own size")
        mask = np.zeros((height, width), np.uint8)
        scale = np.array([width, height]) if self.are_shares else np.ones(2)
        for outline in self.outlines:
            if outline.runs is not None:
                mask[_decode_runs(outline.runs, height, width, str(self))] = outline.value
            for ring in outline.rings:
                _fill(mask, np.reshape(ring, (-1, 2)) * scale, outline.value)
        return mask


def _fill(mask: NDArray[np.uint8], corners: NDArray[np.float64], value: int) -> None:
    """Set the pixels whose middle lies in a polygon with these corners (N, 2), as x and y.

    OpenCV also fills every pixel that the outline touches, so the polygon is drawn on a finer grid and sampled.
    """
    limits = np.array(mask.shape[::-1])
    left, top = np.floor(corners.min(0)).clip(0, limits).astype(int)
    right, bottom = np.ceil(corners.max(0)).clip(0, limits).astype(int)
    if right <= left or bottom <= top:
        return
    area = (right - left) * (bottom - top)
    fine = next((factor for factor in FINER if area * factor**2 <= MOST_PIXELS), 2)
    canvas = np.zeros(((bottom - top) * fine, (right - left) * fine), np.uint8)
    points = ((corners - [left, top]) * fine - 0.5) * 2**SHIFT  # OpenCV counts from the middle of the first pixel
    cv2.fillPoly(canvas, [np.round(points).astype(np.int32)], 1, shift=SHIFT)
    mask[top:bottom, left:right][canvas[fine // 2 :: fine, fine // 2 :: fine] > 0] = value


def _decode_runs(runs: Mapping[str, Any], height: int, width: int, name: str) -> NDArray[np.bool_]:
    """Return the pixels (height, width) of COCO's run lengths, which go down the columns and begin with background.

    Raises:
        UserError: If they don't fit the size, or are compressed and pycocotools is not installed.
    """
    counts, size = runs.get("counts"), runs.get("size")
    if list(size or ()) != [height, width]:
        raise UserError(name, f"holds run lengths for an image of {size}, not {[height, width]}", "correct it")
    if isinstance(counts, str | bytes):
        try:
            from pycocotools import mask as coco
        except ImportError as error:
            raise UserError(name, "holds compressed run lengths", "pip install 'unetkit[coco]' to read them") from error
        return np.asarray(coco.decode({"size": size, "counts": counts}), bool)
    values = np.repeat(np.arange(len(counts or ())) % 2, np.asarray(counts or (), np.int64))
    if values.size != height * width:
        raise UserError(name, f"holds run lengths of {values.size} pixels, not {height * width}", "correct it")
    return np.asarray(values.reshape(width, height).T, bool)
