"""The output files of one image, each filled from top to bottom while the image is predicted."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unetkit.data.files import FileRef
from unetkit.data.georeference import TYPES, read_georeference
from unetkit.data.types import VOID, of_label
from unetkit.errors import UserError
from unetkit.models import classify
from unetkit.plots.images import CLASS_COLOURS, overlay, write_png
from unetkit.prediction.objects import split_objects
from unetkit.prediction.options import MASK_FORMATS, OutputOptions
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


def open_writers(
    options: OutputOptions,
    files: ExitStack,
    name: str,
    image: Raster,
    to_uint8: Callable[[Any], Mask],
    classes: int,
    has_background: bool = True,
    ref: FileRef | None = None,
    labels: Sequence[str] = (),
) -> list[Writer]:
    """Return the writers of an image's masks, probabilities and overlays, as the options ask for.

    Args:
        options: Kinds of output, and their folder.
        files: Closes the files.
        name: The image's name, without suffix.
        image: The image, (H, W) or (H, W, C).
        to_uint8: See `OverlayPng`.
        classes: Number of classes, background included.
        has_background: Whether class 0 is background.
        ref: The file of the image, whose georeference a TIFF gets.
        labels: Names of the labels of a multi-label network, each of which gets a folder of masks.
    """
    height, width = image.shape[:2]
    writers: list[Writer] = []
    if "masks" in options.write:
        file_name = f"{name}{MASK_FORMATS[options.mask_format]}"
        for place in [f"{folder_of(label)}/{file_name}" for label in labels] or [file_name]:
            path = options.create_file(files, "masks", place)
            writer = _mask_writer(options.mask_format, files, path, ref, (height, width))
            writers.append(OneLabel(len(writers), writer) if labels else writer)
    if options.instances:
        path = options.create_file(files, "instances", f"{name}.png")
        writers.append(InstancesPng(path, height, width))
    if "probabilities" in options.write:
        file = files.enter_context(options.create_file(files, "probabilities", f"{name}.npy").open("wb"))
        writers.append(ProbabilityNpy(file, (height, width, *([classes] if classes > 2 or labels else []))))
    if "overlays" in options.write:
        path = options.create_file(files, "overlays", f"{name}.png")
        writers.append(OverlayPng(path, image, to_uint8, has_background, is_multilabel=bool(labels)))
    return writers


def _mask_writer(kind: str, files: ExitStack, path: Path, ref: FileRef | None, size: tuple[int, int]) -> Writer:
    if kind == "npy":
        return MaskNpy(files.enter_context(path.open("wb")), *size)
    if kind == "tif":
        return MaskTif(path, *size, read_georeference(ref) if ref else {})
    return (MaskPalette if kind == "palette" else MaskPng)(path, *size)


def write_rows(
    writers: Sequence[Writer],
    rows: Iterable[Tensor],
    threshold: float,
    min_area: int,
    *,
    is_multilabel: bool = False,
    void: NDArray[np.bool_] | None = None,
) -> None:
    """Hand the probabilities of an image, and the mask that they give, to its writers.

    Args:
        writers: The outputs of the image.
        rows: Probabilities (1 or C, h, W), from top to bottom.
        threshold: Probability above which a pixel is foreground.
        min_area: A mask with fewer pixels than this is made empty.
        is_multilabel: Whether the probabilities are of labels.
        void: Pixels (H, W) without data, which are `VOID` in a mask of class indices, and 0 in a binary one; None if
            all have data.
    """
    area = top = 0
    for probability in rows:
        mask = classify(probability[None], threshold, is_multilabel=is_multilabel)[0].numpy()
        if void is not None:
            part = void[top : top + len(mask)]
            mask[part] = VOID if len(probability) > 1 and not is_multilabel else 0
        top += len(mask)
        area += int(np.count_nonzero((mask > 0) & (mask != VOID)))
        for writer in writers:
            writer.append(probability, mask)
    for writer in writers:
        if area < min_area:
            writer.clear_mask()
        writer.finish()


def folder_of(label: str) -> str:
    """Return the name of a label's folder: the label, with marks that could lead to another folder replaced."""
    return re.sub(r'[/\\:*?"<>|\x00-\x1f]', "_", label).strip(". ") or "label"


def mask_scale(probability: Tensor) -> int:
    """Return the factor of class indices in pictures: 255 for a single foreground, 1 for more classes."""
    return 255 if len(probability) == 1 else 1


def write_npy_header(file: IO[bytes], shape: tuple[int, ...], dtype: type) -> None:
    """Write what stands before the values of a .npy."""
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
