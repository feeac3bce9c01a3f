"""The kinds of files that are written of one image, each filled from top to bottom while it is predicted."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unetkit.data.georeference import TYPES
from unetkit.data.types import of_label
from unetkit.errors import UserError
from unetkit.plots.images import CLASS_COLOURS, overlay, write_png
from unetkit.prediction.objects import split_objects
from unetkit.prediction.tiling import Raster

Mask = NDArray[np.uint8]
MOST_OBJECTS = 65535
LARGEST_OVERLAY = 4096  # pixels a side; overlays of larger images show every second, third, ... pixel


class Writer:
    """Writes one output of an image: `append` is called for its rows from top to bottom, then `finish`."""

    def append(self, probability: Tensor, mask: Mask) -> None:
        """Take the next rows: probabilities (1 or C, h, W), class indices (h, W)."""
        raise NotImplementedError

    def clear_mask(self) -> None:
        """Make the mask empty, once all rows are taken: it has too few pixels."""

    def finish(self) -> None:
        """Write what needs all rows."""


class WholeMask(Writer):
    """Keeps the whole mask in memory, one byte for each pixel."""

    def __init__(self, height: int, width: int) -> None:
        self.mask = np.zeros((height, width), np.uint8)
        self.top = 0

    def append(self, probability: Tensor, mask: Mask) -> None:
        """Take the next rows."""
        self.mask[self.top : self.top + len(mask)] = mask
        self.top += len(mask)

    def clear_mask(self) -> None:
        """Make the mask empty."""
        self.mask[:] = 0


class MaskPng(WholeMask):
    """Writes a PNG: 0 and 255 for a single foreground, else class indices."""

    def __init__(self, path: Path, height: int, width: int) -> None:
        super().__init__(height, width)
        self.path = path

    def append(self, probability: Tensor, mask: Mask) -> None:
        """Take the next rows."""
        super().append(probability, mask * mask_scale(probability))

    def finish(self) -> None:
        """Write the picture."""
        write_png(self.path, self.mask)


class MaskPalette(WholeMask):
    """Writes a PNG of class indices with a palette: viewers show colours, those of overlays."""

    def __init__(self, path: Path, height: int, width: int) -> None:
        super().__init__(height, width)
        self.path = path

    def finish(self) -> None:
        """Write the picture."""
        from PIL import Image  # here, because Pillow takes long to import

        picture = Image.fromarray(self.mask).convert("P")
        picture.putpalette([0, 0, 0, *CLASS_COLOURS.ravel().tolist()])
        picture.save(self.path, "PNG")


class MaskTif(MaskPng):
    """Writes the values of `MaskPng` to a TIFF, with the georeference of the image.

    Args:
        path: The TIFF.
        height: Its height.
        width: Its width.
        georeference: The tags of `read_georeference`.
    """

    def __init__(self, path: Path, height: int, width: int, georeference: Mapping[int, Any]) -> None:
        super().__init__(path, height, width)
        self.georeference = georeference

    def finish(self) -> None:
        """Write the file."""
        from PIL import Image, TiffImagePlugin

        tags = TiffImagePlugin.ImageFileDirectory_v2()
        for tag, value in self.georeference.items():
            tags.tagtype[tag] = TYPES[tag]
            tags[tag] = value
        Image.fromarray(self.mask).save(self.path, "TIFF", tiffinfo=tags, compression="tiff_adobe_deflate")


class MaskNpy(Writer):
    """Writes the values of `MaskPng` to a .npy, row by row."""

    def __init__(self, file: IO[bytes], height: int, width: int) -> None:
        self.file = file
        write_npy_header(file, (height, width), np.uint8)
        self.start = file.tell()

    def append(self, probability: Tensor, mask: Mask) -> None:
        """Write the next rows."""
        self.file.write((mask * mask_scale(probability)).data)

    def clear_mask(self) -> None:
        """Make the mask empty."""
        size = self.file.tell()
        self.file.truncate(self.start)
        self.file.truncate(size)  # fills with zeros


class ProbabilityNpy(Writer):
    """Writes probabilities (H, W), or (H, W, C) for more than two classes, as float16 to a .npy, row by row."""

    def __init__(self, file: IO[bytes], shape: tuple[int, ...]) -> None:
        self.file = file
        write_npy_header(file, shape, np.float16)

    def append(self, probability: Tensor, mask: Mask) -> None:
        """Write the next rows."""
        self.file.write(probability.permute(1, 2, 0).numpy().astype(np.float16, order="C").data)


class OverlayPng(Writer):
    """Writes a PNG of the image with its mask tinted and outlined.

    Of a very large image every second, third, ... pixel is shown: averaging would need more rows than are in memory.

    Args:
        path: The PNG.
        image: The image that is predicted.
        to_uint8: From its pixels (h, w[, C]) to those to show, (h, w, channels) uint8.
        has_background: Whether class 0 stays as it is.
        is_multilabel: Whether masks hold labels as bits.
    """

    def __init__(
        self,
        path: Path,
        image: Raster,
        to_uint8: Callable[[Any], Mask],
        has_background: bool = True,
        *,
        is_multilabel: bool = False,
    ) -> None:
        self.is_multilabel = is_multilabel
        self.path, self.image, self.to_uint8 = path, image, to_uint8
        self.has_background = has_background
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
        """Make the mask empty."""
        self.masks = [np.zeros_like(mask) for mask in self.masks]

    def finish(self) -> None:
        """Draw and write the picture."""
        pixels, mask = np.concatenate(self.pixels), np.concatenate(self.masks)
        write_png(self.path, overlay(pixels, mask, self.has_background, is_multilabel=self.is_multilabel))


class InstancesPng(WholeMask):
    """Writes a 16-bit PNG with the number of the object of each pixel, 0 for the background."""

    def __init__(self, path: Path, height: int, width: int) -> None:
        super().__init__(height, width)
        self.path = path

    def finish(self) -> None:
        """Split the mask and write the picture.

        Raises:
            UserError: If there are more objects than 16 bits can number.
        """
        numbers = split_objects(self.mask)
        if numbers.max(initial=0) > MOST_OBJECTS:
            problem = f"has {numbers.max():,} objects, more than 16 bits can number"
            raise UserError(self.path.stem, problem, "cut the image into parts")
        write_png(self.path, numbers.astype(np.uint16))


class OneLabel(Writer):
    """Writes the mask of one label of a multi-label network as a binary mask.

    Args:
        label: The label.
        writer: Writes the binary mask.
    """

    def __init__(self, label: int, writer: Writer) -> None:
        self.label, self.writer = label, writer

    def append(self, probability: Tensor, mask: Mask) -> None:
        """Take the next rows."""
        self.writer.append(probability[self.label : self.label + 1], of_label(mask, self.label))

    def clear_mask(self) -> None:
        """Make the mask empty."""
        self.writer.clear_mask()

    def finish(self) -> None:
        """Write what needs all rows."""
        self.writer.finish()


def mask_scale(probability: Tensor) -> int:
    """Return the factor of class indices in pictures: 255 for a single foreground, 1 for more classes."""
    return 255 if len(probability) == 1 else 1


def write_npy_header(file: IO[bytes], shape: tuple[int, ...], dtype: type) -> None:
    """Write what stands before the values of a .npy."""
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
