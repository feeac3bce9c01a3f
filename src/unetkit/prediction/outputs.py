"""The files that a prediction becomes: each is written as it comes, and gets its name only when it is whole."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unetkit.data.rle import encode_rle
from unetkit.data.segy import SegyFile
from unetkit.paths import whole_file
from unetkit.plots.images import overlay, write_png
from unetkit.prediction.tiling import Raster

Mask = NDArray[np.uint8]
LARGEST_OVERLAY = 4096  # pixels a side; pictures of larger images show every second, third, ... pixel


class Result:
    """One of the things that an image's prediction becomes, filled from top to bottom."""

    def append(self, probability: Tensor, mask: Mask) -> None:
        """Take the next rows: probabilities (1 or C, h, W), class indices (h, W)."""
        raise NotImplementedError

    def clear_mask(self) -> None:
        """Make the mask that was taken an empty one."""

    def finish(self) -> None:
        """Do what needs all rows."""


class MaskCanvas(Result):
    """The whole mask in memory, one byte for each pixel."""

    def __init__(self, height: int, width: int) -> None:
        self.mask = np.zeros((height, width), np.uint8)
        self.top = 0

    def append(self, probability: Tensor, mask: Mask) -> None:
        """Take the next rows."""
        self.mask[self.top : self.top + len(mask)] = mask
        self.top += len(mask)

    def clear_mask(self) -> None:
        """Make the mask that was taken an empty one."""
        self.mask[:] = 0


class MaskPicture(MaskCanvas):
    """A PNG of 0 and 255, or of the indices of more classes."""

    def __init__(self, path: Path, height: int, width: int) -> None:
        super().__init__(height, width)
        self.path = path

    def append(self, probability: Tensor, mask: Mask) -> None:
        """Take the next rows."""
        super().append(probability, mask * mask_scale(probability))

    def finish(self) -> None:
        """Write the picture."""
        write_png(self.path, self.mask)


class RunLengths(MaskCanvas):
    """The code of an image in Kaggle's submission, put into a table when finished."""

    def __init__(self, table: dict[str, str], name: str, height: int, width: int) -> None:
        super().__init__(height, width)
        self.table, self.name = table, name

    def finish(self) -> None:
        """Enter the code."""
        self.table[self.name] = encode_rle(self.mask)


class MaskArray(Result):
    """As `MaskPicture`, but a .npy that goes to disk row by row."""

    def __init__(self, file: IO[bytes], height: int, width: int) -> None:
        self.file = file
        write_npy_header(file, (height, width), np.uint8)
        self.start = file.tell()

    def append(self, probability: Tensor, mask: Mask) -> None:
        """Take the next rows."""
        self.file.write((mask * mask_scale(probability)).data)

    def clear_mask(self) -> None:
        """Make the mask that was taken an empty one."""
        size = self.file.tell()
        self.file.truncate(self.start)
        self.file.truncate(size)  # a file is made longer with zeros


class ProbabilityArray(Result):
    """A .npy (H, W), or (H, W, C) of more classes, of float16 in [0, 1], that goes to disk row by row."""

    def __init__(self, file: IO[bytes], height: int, width: int, classes: int) -> None:
        self.file = file
        write_npy_header(file, (height, width) if classes == 2 else (height, width, classes), np.float16)

    def append(self, probability: Tensor, mask: Mask) -> None:
        """Take the next rows."""
        self.file.write(probability.permute(1, 2, 0).numpy().astype(np.float16, order="C").data)


class OverlayPicture(Result):
    """A PNG of the image with its mask tinted and outlined, reduced if it is very large.

    Args:
        path: Of the PNG.
        image: That was predicted.
        to_uint8: What makes its pixels visible: (h, w[, C]) of its dtype to (h, w, channels) uint8.
    """

    def __init__(self, path: Path, image: Raster, to_uint8: Callable[[Any], Mask]) -> None:
        self.path, self.image, self.to_uint8 = path, image, to_uint8
        self.step = -(-max(image.shape[:2]) // LARGEST_OVERLAY)
        self.masks: list[Mask] = []
        self.pixels: list[Mask] = []
        self.top = 0

    def append(self, probability: Tensor, mask: Mask) -> None:
        """Take the next rows."""
        first = -self.top % self.step
        rows = slice(self.top + first, self.top + len(mask), self.step)
        self.top += len(mask)
        if first < len(mask):
            self.masks.append(mask[first :: self.step, :: self.step].copy())
            self.pixels.append(self.to_uint8(self.image[rows, slice(None, None, self.step)]))

    def clear_mask(self) -> None:
        """Make the mask that was taken an empty one."""
        self.masks = [np.zeros_like(mask) for mask in self.masks]

    def finish(self) -> None:
        """Draw and write the picture."""
        write_png(self.path, overlay(np.concatenate(self.pixels), np.concatenate(self.masks)))


class SegyMask(Result):
    """Class indices in place of a section's amplitudes."""

    def __init__(self, file: SegyFile, section: slice) -> None:
        self.file, self.section = file, section
        self.rows: list[NDArray[Any]] = []

    def append(self, probability: Tensor, mask: Mask) -> None:
        """Take the next rows."""
        self.rows.append(mask)

    def clear_mask(self) -> None:
        """Make the mask that was taken an empty one."""
        self.rows = [np.zeros_like(mask) for mask in self.rows]

    def finish(self) -> None:
        """Write the section."""
        self.file.write(self.section, np.concatenate(self.rows))


class SegyProbability(SegyMask):
    """Probabilities of the foreground in place of a section's amplitudes."""

    def append(self, probability: Tensor, mask: Mask) -> None:
        """Take the next rows."""
        self.rows.append(probability[0].numpy())

    def clear_mask(self) -> None:
        """A mask that is too small leaves the probabilities as they are."""


SEGY_RESULTS = {"masks": SegyMask, "probabilities": SegyProbability}


def write_submission(path: Path, table: dict[str, str]) -> None:
    """Write Kaggle's `id,rle_mask`, sorted by id."""
    with whole_file(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["id", "rle_mask"])
        rows.writerows(sorted(table.items()))


def mask_scale(probability: Tensor) -> int:
    """What class indices are multiplied by in pictures: 255 of a single foreground, 1 of more classes."""
    return 255 if len(probability) == 1 else 1


def write_npy_header(file: IO[bytes], shape: tuple[int, ...], dtype: type) -> None:
    """Write what stands before the values of a .npy."""
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
