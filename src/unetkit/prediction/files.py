"""From files to files: small images in batches, large ones in tiles, seismic volumes section by section."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from torch import Tensor
from tqdm import tqdm

from unetkit.data.files import SEGY_SUFFIXES, FileRef, open_image, result_names
from unetkit.data.segy import SegyFile, check_header_bytes, segy_copy
from unetkit.errors import UserError
from unetkit.models import classify
from unetkit.paths import whole_file
from unetkit.prediction.outputs import (
    SEGY_RESULTS,
    MaskArray,
    MaskPicture,
    OverlayPicture,
    ProbabilityArray,
    Result,
    RunLengths,
    write_submission,
)
from unetkit.prediction.predictor import Ensemble
from unetkit.prediction.tiling import Array, Raster

ToPixels = Callable[[Array], Array]
KINDS = ("masks", "probabilities", "overlays")
MASK_FORMATS = ("png", "npy")
SAMPLED = 2_000_000  # values that tell the amplitudes of a file well enough


@dataclass(frozen=True)
class OutputOptions:
    """What to make of images.

    Attributes:
        output: The folder that gets a folder for each of `write`.
        write: Some of `masks`, `probabilities`, `overlays`.
        mask_format: `png`, or `npy` that is written row by row.
        submission: Kaggle's CSV of all masks.
        batch_size: Most small images of one size that are predicted at once.
        value_range: Of 16-bit and float images, the values that become 0 and 255; `auto` finds them for each file
            (`amplitude_range`); None leaves them as in training.
        segy_bytes: Where the headers of SEG-Y traces have inline and crossline numbers, from 1.
    """

    output: Path
    write: Sequence[str] = ("masks", "overlays")
    mask_format: str = "png"
    submission: Path | None = None
    batch_size: int = 32
    value_range: tuple[float, float] | str | None = None
    segy_bytes: tuple[int, int] = (189, 193)


@dataclass(frozen=True)
class Small:
    """An image that waits for others of its size; `prepared` is what `Ensemble.prepare` gives."""

    name: PurePosixPath
    prepared: list[Array]

    @property
    def size(self) -> tuple[int, ...]:
        """Height and width."""
        return self.prepared[0].shape[:2]


@dataclass
class FilePredictor:
    """Predicts files and keeps account.

    Attributes:
        ensemble: That predicts.
        wanted: What to make of it.
        failed: A line for each file that could not be predicted.
        done: Images and SEG-Y files that were.
        codes: Run-length codes by name, for the submission.
    """

    ensemble: Ensemble
    wanted: OutputOptions
    failed: list[str] = field(default_factory=list)
    done: int = 0
    codes: dict[str, str] = field(default_factory=dict)

    def run(self, refs: list[FileRef]) -> None:
        """Predict files; those that can't be are named in `failed`.

        Raises:
            UserError: If what is wanted can't be had of such files or such a network.
        """
        self._check(refs)
        waiting: list[Small] = []
        for ref, name in zip(tqdm(refs, unit="file", disable=len(refs) < 2), result_names(refs), strict=True):
            with self._naming(ref):
                if is_segy(ref):
                    self._segy(ref, name)
                    continue
                small = self._image(ref, name)
                if small is None:
                    continue
                if waiting and (small.size != waiting[0].size or len(waiting) == self._most(small)):
                    self._batch(waiting)
                    waiting = []
                waiting.append(small)
        self._batch(waiting)
        if self.wanted.submission is not None:
            write_submission(self.wanted.submission, self.codes)

    def _check(self, refs: list[FileRef]) -> None:
        output = self.wanted.output.resolve()
        if any(ref.path.resolve().is_relative_to(output) for ref in refs):
            for kind in self.wanted.write:
                if (output / kind).exists():  # the true masks perhaps, or the images themselves
                    raise UserError(
                        f"output={self.wanted.output} holds the images and a folder {kind}, whose files would be "
                        "replaced; give another output"
                    )
        volumes = any(is_segy(ref) for ref in refs)
        if volumes:
            check_header_bytes(*self.wanted.segy_bytes)
        if self.wanted.submission is not None and volumes:
            raise UserError(f"submission={self.wanted.submission} is made of images, but there are SEG-Y files")
        if self.wanted.submission is not None and self.ensemble.classes > 2:
            raise UserError(f"submission= knows one kind of foreground, the network {self.ensemble.classes - 1}")
        if volumes and self.ensemble.classes > 2 and "probabilities" in self.wanted.write:
            raise UserError("write=probabilities: SEG-Y holds one value a sample; leave it out for more classes")

    @contextmanager
    def _naming(self, ref: FileRef) -> Iterator[None]:
        """Note a file whose own fault it is, and go on."""
        try:
            yield
        except UserError as error:
            self.failed.append(str(error) if str(ref) in str(error) else f"{ref}: {error}")

    def _image(self, ref: FileRef, name: PurePosixPath) -> Small | None:
        """Predict a large image; prepare a small one."""
        image = open_image(ref)
        ensemble = self._scaled(ref, image)
        if max(image.shape[:2]) <= ensemble.tile:
            return Small(name, ensemble.prepare(image[slice(None), slice(None)]))
        with self._results(name, image, ensemble.to_pixels) as results:
            self._fill(results, with_progress(ensemble.rows(image), str(name), image.shape[0]))
        self.done += 1
        return None

    def _most(self, small: Small) -> int:
        """How many go into a batch: never more pixels than a tile has."""
        return min(self.wanted.batch_size, max(self.ensemble.tile**2 // int(np.prod(small.size)), 1))

    def _batch(self, images: list[Small]) -> None:
        if not images:
            return
        for image, probability in zip(images, self.ensemble.probabilities([i.prepared for i in images]), strict=True):
            with self._results(image.name, image.prepared[0], lambda pixels: pixels) as results:
                self._fill(results, [probability])
            self.done += 1

    def _segy(self, ref: FileRef, name: PurePosixPath) -> None:
        """Predict a line or volume; its masks and probabilities are copies of it with other samples."""
        if ref.member:
            raise UserError(f"{ref} is in a zip, but SEG-Y is read from disk; unpack it")
        wanted = self.wanted
        with closing(SegyFile(ref.path, *wanted.segy_bytes)) as file, ExitStack() as files:
            if "probabilities" in wanted.write and not file.holds_fractions:
                raise UserError(f"{ref} stores whole numbers and can't hold probabilities; leave them out of write=")
            ensemble = self._scaled(ref, file.read(slice(None, None, -(-file.traces * file.samples // SAMPLED))))
            copies = {}
            for kind in set(wanted.write) - {"overlays"}:
                path = self._place(files, kind, f"{name}{ref.path.suffix}")
                copies[kind] = files.enter_context(segy_copy(ref.path, path, wanted.segy_bytes))
            for number, section in enumerate(tqdm(file.sections, unit="section", desc=str(name), leave=False), 1):
                image = file.read(section)
                results: list[Result] = [SEGY_RESULTS[kind](copy, section) for kind, copy in copies.items()]
                if "overlays" in wanted.write:
                    picture = name / f"{number:04}" if len(file.sections) > 1 else name
                    path = self._place(files, "overlays", f"{picture}.png")
                    results.append(OverlayPicture(path, image, ensemble.to_pixels))
                self._fill(results, ensemble.rows(image))
            tqdm.write(f"{ref}: {file.traces} traces of {file.samples} samples, sections: {len(file.sections)}")
        self.done += 1

    def _scaled(self, ref: FileRef, image: Raster) -> Ensemble:
        """The ensemble for an image of this dtype.

        Raises:
            UserError: If nobody said which of its values become 0 and 255.
        """
        value_range = self.wanted.value_range
        if image.dtype == np.uint8:
            return self.ensemble
        if value_range is None and any(m.preprocessing.value_range is None for m in self.ensemble.members):
            raise UserError(
                f"{ref} is {image.dtype}, but the training images are 8-bit; say which values become 0 and 255 with "
                "value_range=[LOW,HIGH], or value_range=auto for amplitudes about zero"
            )
        if value_range == "auto" and image.dtype.kind == "u":
            raise UserError(f"{ref} is {image.dtype}; value_range=auto is for amplitudes about zero, give [LOW,HIGH]")
        if value_range == "auto":
            value_range = amplitude_range(image)
            low, high = value_range
            tqdm.write(f"{ref}: {low:.6g} to {high:.6g} become 0 to 255 (99th percentile of the absolute values)")
        assert not isinstance(value_range, str)  # the door knows no other word
        return self.ensemble.with_value_range(value_range)

    def _fill(self, results: list[Result], rows: Iterable[Tensor]) -> None:
        area = 0
        for probability in rows:
            mask = classify(probability[None], self.ensemble.threshold)[0].numpy()
            area += int(np.count_nonzero(mask))
            for result in results:
                result.append(probability, mask)
        for result in results:
            if area < self.ensemble.min_area:
                result.clear_mask()
            result.finish()

    @contextmanager
    def _results(self, name: PurePosixPath, image: Raster, to_uint8: ToPixels) -> Iterator[list[Result]]:
        """What an image becomes, to be filled."""
        height, width = image.shape[:2]
        with ExitStack() as files:
            results: list[Result] = []
            if "masks" in self.wanted.write and self.wanted.mask_format == "png":
                results.append(MaskPicture(self._place(files, "masks", f"{name}.png"), height, width))
            elif "masks" in self.wanted.write:
                file = files.enter_context(self._place(files, "masks", f"{name}.npy").open("wb"))
                results.append(MaskArray(file, height, width))
            if "probabilities" in self.wanted.write:
                file = files.enter_context(self._place(files, "probabilities", f"{name}.npy").open("wb"))
                results.append(ProbabilityArray(file, height, width, self.ensemble.classes))
            if "overlays" in self.wanted.write:
                results.append(OverlayPicture(self._place(files, "overlays", f"{name}.png"), image, to_uint8))
            if self.wanted.submission is not None:
                results.append(RunLengths(self.codes, str(name), height, width))
            yield results

    def _place(self, files: ExitStack, kind: str, name: str) -> Path:
        return files.enter_context(whole_file(self.wanted.output / kind / name))


def is_segy(ref: FileRef) -> bool:
    """Whether a file's name says that it is SEG-Y."""
    return ref.name.suffix.lower() in SEGY_SUFFIXES


def amplitude_range(image: Raster) -> tuple[float, float]:
    """Minus and plus the 99th percentile of the absolute values, so that zero lies in the middle."""
    step = math.ceil(math.sqrt(math.prod(image.shape[:2]) / SAMPLED))
    sample = image[slice(None, None, step), slice(None, None, step)]
    limit = float(np.quantile(np.abs(sample.astype(np.float64)), 0.99)) or 1.0
    return -limit, limit


def with_progress(rows: Iterable[Tensor], name: str, height: int) -> Iterator[Tensor]:
    """The same rows, with a bar that counts them."""
    with tqdm(total=height, unit="row", desc=name, leave=False) as bar:
        for part in rows:
            yield part
            bar.update(part.shape[1])
