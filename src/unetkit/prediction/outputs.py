"""The outputs of one image: the files that are asked for, and the rows that they are given while it is predicted."""

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unetkit.data.files import FileRef
from unetkit.data.georeference import read_georeference
from unetkit.data.types import VOID
from unetkit.data.windows import TiffImage
from unetkit.models import classify
from unetkit.prediction.ensemble import Ensemble
from unetkit.prediction.geotiff import MaskGeoTiff
from unetkit.prediction.options import MASK_FORMATS, OutputOptions
from unetkit.prediction.slices import SlicedMask, SliceMask
from unetkit.prediction.tiling import Raster
from unetkit.prediction.writers import (
    InstancesPng,
    Mask,
    MaskNpy,
    MaskPalette,
    MaskPng,
    MaskTif,
    OneLabel,
    OverlayPng,
    ProbabilityNpy,
    Writer,
)

VoidRows = Callable[[int, int], NDArray[np.bool_] | None]  # (first row, row after the last) -> pixels without data


def open_writers(
    options: OutputOptions,
    files: ExitStack,
    name: str,
    image: Raster,
    to_uint8: Callable[[Any], Mask],
    ensemble: Ensemble,
    ref: FileRef,
    whole: SlicedMask | None = None,
) -> list[Writer]:
    """Return the writers of an image's masks, probabilities and overlays, as the options ask for.

    Args:
        options: Kinds of output, and their folder.
        files: Closes the files.
        name: The image's name, without suffix.
        image: The image, (H, W) or (H, W, C).
        to_uint8: See `OverlayPng`.
        ensemble: The networks; each label of multi-label ones gets a folder of masks.
        ref: The file of the image, whose georeference a TIFF gets.
        whole: The mask of the volume that the image is a slice of, which gets its mask; None to write it as a file.
    """
    height, width = image.shape[:2]
    classes, labels = ensemble.classes, ensemble.labels
    writers: list[Writer] = []
    if "masks" in options.write:
        file_name = f"{name}{MASK_FORMATS.get(options.mask_format, '.png')}"
        for folder in [folder_of(label) for label in labels] or [""]:
            writer: Writer
            if whole is not None:
                writer = SliceMask(whole, folder, ref, height, width)
            else:
                path = options.create_file(files, "masks", str(PurePosixPath(folder) / file_name))
                by_windows = options.mask_format == "tif" and isinstance(image, TiffImage)
                kind = "windows" if by_windows else options.mask_format
                writer = _mask_writer(kind, files, path, ref, (height, width))
            writers.append(OneLabel(len(writers), writer) if labels else writer)
    if options.instances:
        path = options.create_file(files, "instances", f"{name}.png")
        writers.append(InstancesPng(path, height, width))
    if "probabilities" in options.write:
        file = files.enter_context(options.create_file(files, "probabilities", f"{name}.npy").open("wb"))
        writers.append(ProbabilityNpy(file, (height, width, *([classes] if classes > 2 or labels else []))))
    if "overlays" in options.write:
        path = options.create_file(files, "overlays", f"{name}.png")
        writers.append(OverlayPng(path, image, to_uint8, ensemble.has_background, is_multilabel=ensemble.is_multilabel))
    return writers


def _mask_writer(kind: str, files: ExitStack, path: Path, ref: FileRef, size: tuple[int, int]) -> Writer:
    if kind == "npy":
        return MaskNpy(files.enter_context(path.open("wb")), *size)
    if kind in ("cog", "windows"):
        return MaskGeoTiff(path, *size, files, ref, is_cog=kind == "cog")
    if kind == "tif":
        return MaskTif(path, *size, read_georeference(ref))
    return (MaskPalette if kind == "palette" else MaskPng)(path, *size)


def write_rows(
    writers: Sequence[Writer], rows: Iterable[Tensor], ensemble: Ensemble, void: VoidRows | None = None
) -> None:
    """Hand the probabilities of an image, and the mask that they give, to its writers.

    Args:
        writers: The outputs of the image.
        rows: Probabilities (1 or C, h, W), from top to bottom.
        ensemble: The networks that gave them, with the threshold and the smallest area of a mask.
        void: Gives the pixels (h, W) without data of the rows from one up to another, which are `VOID` in a mask of
            class indices, and 0 in a binary one; None if all have data.
    """
    area = top = 0
    for probability in rows:
        mask = classify(probability[None], ensemble.threshold, is_multilabel=ensemble.is_multilabel)[0].numpy()
        part = None if void is None else void(top, top + len(mask))
        if part is not None:
            mask[part] = VOID if len(probability) > 1 and not ensemble.is_multilabel else 0
        top += len(mask)
        area += int(np.count_nonzero((mask > 0) & (mask != VOID)))
        for writer in writers:
            writer.append(probability, mask)
    for writer in writers:
        if area < ensemble.min_area:
            writer.clear_mask()
        writer.finish()


def folder_of(label: str) -> str:
    """Return the name of a label's folder: the label, with marks that could lead to another folder replaced."""
    return re.sub(r'[/\\:*?"<>|\x00-\x1f]', "_", label).strip(". ") or "label"
