"""Predict files: small images in batches, large ones in tiles, seismic files section by section."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from torch import Tensor
from tqdm import tqdm

from unetkit.data.decode import NpyImage, open_image
from unetkit.data.files import FileRef, result_names
from unetkit.data.layers import Layers
from unetkit.data.nodata import nodata_values, void_pixels
from unetkit.data.pages import pages_of
from unetkit.data.windows import TiffImage
from unetkit.errors import UserError, is_out_of_memory
from unetkit.paths import printable
from unetkit.prediction.ensemble import Ensemble
from unetkit.prediction.options import OutputOptions, is_segy
from unetkit.prediction.outputs import VoidRows, open_writers, write_rows
from unetkit.prediction.seismic import predict_segy
from unetkit.prediction.slices import SlicedMask, find_series, mask_of_file
from unetkit.prediction.submission import RunLengths, write_submission
from unetkit.prediction.tiling import Array, Raster
from unetkit.prediction.value_range import scale_to
from unetkit.prediction.volumes import predict_volume
from unetkit.prediction.writers import Mask

MANY_TILES = 100  # above which an image takes so long that its size is told


@dataclass(frozen=True)
class PreparedImage:
    """A small image that waits for others of its size.

    Attributes:
        ref: The file.
        name: Name of its outputs, without suffix.
        pixels: What `Ensemble.prepare` gives.
        void: See `write_rows`.
    """

    ref: FileRef
    name: PurePosixPath
    pixels: list[Array]
    void: VoidRows | None

    @property
    def size(self) -> tuple[int, ...]:
        """Height and width."""
        return self.pixels[0].shape[:2]


@dataclass
class FilePredictor:
    """Predicts files, and notes which could not be predicted.

    Attributes:
        ensemble: The networks.
        options: Kinds of output, and their folder.
        failed: One line for each file that could not be predicted.
        done: Number of images, volumes and SEG-Y files that were predicted; slices are images.
        masks: Number of masks that were written, where all slices of a volume have one.
        codes: Run-length codes by name, for the submission.
        sliced: By the slice, the masks of volumes that are predicted slice by slice.
    """

    ensemble: Ensemble
    options: OutputOptions
    failed: list[str] = field(default_factory=list)
    done: int = 0
    masks: int = 0
    codes: dict[str, str] = field(default_factory=dict)
    sliced: dict[FileRef, SlicedMask] = field(default_factory=dict)

    def run(self, refs: list[FileRef]) -> None:
        """Predict files; those that can't be predicted are named in `failed`.

        Raises:
            UserError: If what is asked for is impossible for such files or such a network.
        """
        ensemble = self.ensemble
        self.options.check(refs, ensemble.classes, ensemble.labels, has_volumes=ensemble.has_volumes)
        names = result_names(refs)
        if not ensemble.has_volumes:
            self._find_series(refs, names)
        waiting: list[PreparedImage] = []
        for ref, name in zip(tqdm(refs, unit="file", disable=len(refs) < 2), names, strict=True):
            with self._noted([ref]):
                if ensemble.has_volumes or is_segy(ref):
                    (predict_volume if ensemble.has_volumes else predict_segy)(ref, name, ensemble, self.options)
                    self.done += 1
                    self.masks += 1
                else:
                    for page, place in self._images_of(ref, name):
                        waiting = self._predict_image(page, place, waiting)
        self._predict_batch(waiting)
        self._note_parts()
        if self.options.submission is not None:
            write_submission(self.options.submission, self.codes)

    def _find_series(self, refs: Sequence[FileRef], names: Sequence[PurePosixPath]) -> None:
        """Find which files are the slices of one volume.

        Raises:
            UserError: If masks would get the same name, or one file can't hold them.
        """
        slices = [(ref, name) for ref, name in zip(refs, names, strict=True) if self.options.gives_nifti(ref)]
        if len(slices) > 1:
            self.sliced = find_series(slices, self.options)
        wholes = {whole.name: whole.slices[0] for whole in self.sliced.values()}
        for ref, name in slices:
            if ref not in self.sliced and wholes.setdefault(name, ref) != ref:
                raise UserError(f"{ref} and {wholes[name]}", "would give masks of the same name", "rename one")
        if self.options.is_file and len(wholes) > 1:
            problem = f"is one file, but the input is {len(wholes)} volumes or images"
            raise UserError(f"output={self.options.output}", problem, "give a folder")

    def _images_of(self, ref: FileRef, name: PurePosixPath) -> Iterable[tuple[FileRef, PurePosixPath]]:
        """Return the images of a file, with the names of their outputs.

        Raises:
            UserError: If it can't be read, or holds several, which one file can't hold.
        """
        if ref in self.sliced:
            return [(ref, name)]
        pages = pages_of(ref, stacks=self.options.stacks)
        if self.options.gives_nifti(ref):
            self.sliced |= dict.fromkeys(pages, mask_of_file(ref, name, pages, self.options))
        elif self.options.is_file and len(pages) > 1:
            problem = f"holds {len(pages)} images, but output={self.options.output} is one file"
            raise UserError(str(ref), problem, "give a folder")
        places = [name if page.page is None else name / f"{page.page:04}" for page in pages]
        bar = tqdm(pages, unit="image", desc=printable(str(name)), leave=False, disable=len(pages) < 2)
        return zip(bar, places, strict=True)

    def _note_parts(self) -> None:
        """Note the volumes of which only some slices could be predicted, so that they have no mask."""
        for whole in {id(whole): whole for whole in self.sliced.values()}.values():
            there = max(map(len, whole.masks.values()), default=0)
            if there:
                problem = f"has no mask, as {len(whole.slices) - there} of its {len(whole.slices)} slices have none"
                self.failed.append(f"{whole.name} {problem}")

    def _predict_image(self, ref: FileRef, name: PurePosixPath, waiting: list[PreparedImage]) -> list[PreparedImage]:
        """Predict a large image at once, or a batch of small ones when it is full; return the images still waiting."""
        opened = open_image(ref, self.ensemble.channels)
        if not isinstance(opened, TiffImage):
            return self._predict_opened(ref, name, opened, waiting)
        with closing(opened):
            return self._predict_opened(ref, name, opened, waiting)

    def _predict_opened(
        self, ref: FileRef, name: PurePosixPath, opened: TiffImage | NpyImage | Layers, waiting: list[PreparedImage]
    ) -> list[PreparedImage]:
        image: Raster = opened.image(self.ensemble.channels) if isinstance(opened, Layers) else opened
        ensemble = scale_to(ref, image, self.options.value_range, self.ensemble)
        void = void_of(opened, image, ensemble.members[0].preprocessing.value_range)
        if max(image.shape[:2]) > ensemble.tile or ensemble.resizes or isinstance(opened, TiffImage):
            height, width = image.shape[:2]
            tiles = ensemble.tiles(height, width)
            if tiles > MANY_TILES:
                tqdm.write(f"{ref}: {width:,} x {height:,} pixels, {tiles:,} tiles")
            with tqdm(total=tiles, unit="tile", desc=printable(str(name)), leave=False, disable=tiles < 2) as bar:
                self._write(ref, name, image, ensemble.to_pixels, ensemble.rows(image, bar.update), void)
            return waiting
        prepared = PreparedImage(ref, name, ensemble.prepare(image[slice(None), slice(None)]), void)
        if waiting and (prepared.size != waiting[0].size or len(waiting) == self._batch_size(prepared)):
            self._predict_batch(waiting)
            waiting = []
        return [*waiting, prepared]

    def _batch_size(self, image: PreparedImage) -> int:
        """Return how many images of this size go into a batch: at most as many pixels as a tile has."""
        return min(self.options.batch_size, max(self.ensemble.tile**2 // int(np.prod(image.size)), 1))

    def _predict_batch(self, images: list[PreparedImage]) -> None:
        if not images:
            return
        with self._noted([image.ref for image in images]):
            probabilities = self.ensemble.probabilities([image.pixels for image in images])
            for image, probability in zip(images, probabilities, strict=True):
                self._write(image.ref, image.name, image.pixels[0], lambda pixels: pixels, [probability], image.void)

    @contextmanager
    def _noted(self, refs: Sequence[FileRef]) -> Iterator[None]:
        """Note an error about some files in `failed`, so that the others are predicted."""
        try:
            yield
        except Exception as error:
            if is_out_of_memory(error):
                fix = f"give a smaller tile= than {self.ensemble.tile} or batch_size= than {self.options.batch_size}"
                error = UserError("the prediction", "needs more memory than is free", fix)
            if not isinstance(error, UserError):
                raise
            for ref in refs:
                is_named = error.subject == str(ref)  # else it is about a part, such as its zip or its pixels
                self.failed.append(str(error if is_named else error.about(f"{ref}: {error.subject}")))

    def _write(
        self,
        ref: FileRef,
        name: PurePosixPath,
        image: Raster,
        to_uint8: Callable[[Any], Mask],
        rows: Iterable[Tensor],
        void: VoidRows | None,
    ) -> None:
        """Write all outputs of an image from its probabilities (1 or C, h, W), which come from top to bottom."""
        with ExitStack() as files:
            whole = self.sliced.get(ref)
            writers = open_writers(self.options, files, str(name), image, to_uint8, self.ensemble, ref, whole)
            if self.options.submission is not None:
                writers.append(RunLengths(self.codes, printable(str(name)), *image.shape[:2]))
            write_rows(writers, rows, self.ensemble, void)
        self.done += 1
        self.masks += whole is None or whole.is_written


def void_of(
    opened: TiffImage | NpyImage | Layers, image: Raster, value_range: tuple[float, float] | None
) -> VoidRows | None:
    """Return what gives the pixels of some rows that have no data, as training leaves them out; None if all have data.

    Args:
        opened: What the file holds; of a .npy that is read by windows, values are not looked at.
        image: Its image.
        value_range: Lowest and highest value of data; a number between them is data. None for 8-bit images, where only
            what the file notes stands for missing data.
    """
    low, high = value_range or (math.inf, -math.inf)
    if isinstance(opened, TiffImage):
        return partial(opened.void_rows, data_from=low, data_to=high)
    if isinstance(opened, NpyImage):
        return None
    pixels = np.asarray(image)
    values = [value for value in nodata_values(pixels, opened.nodata) if not low <= value <= high]
    void = np.zeros(pixels.shape[:2], np.bool_) if opened.valid is None else ~opened.valid
    if values:
        void |= void_pixels(pixels.reshape(*void.shape, -1), values)
    return (lambda top, bottom: void[top:bottom]) if void.any() else None
