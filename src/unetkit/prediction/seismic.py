"""Predict a seismic line or volume in SEG-Y, section by section; masks and probabilities become copies of the file."""

from contextlib import ExitStack, closing
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from unetkit.data.files import FileRef
from unetkit.data.segy import SegyFile, segy_copy
from unetkit.errors import UserError
from unetkit.prediction.ensemble import Ensemble
from unetkit.prediction.options import OutputOptions
from unetkit.prediction.outputs import write_rows
from unetkit.prediction.value_range import SAMPLED, scale_to
from unetkit.prediction.writers import Mask, OverlayPng, Writer


class SegyMask(Writer):
    """Writes class indices in place of a section's amplitudes."""

    def __init__(self, file: SegyFile, section: slice) -> None:
        self.file, self.section = file, section
        self.rows: list[NDArray[Any]] = []

    def append(self, probability: Tensor, mask: Mask) -> None:
        """Take the next rows."""
        self.rows.append(mask)

    def clear_mask(self) -> None:
        """Make the mask empty."""
        self.rows = [np.zeros_like(mask) for mask in self.rows]

    def finish(self) -> None:
        """Write the section."""
        self.file.write(self.section, np.concatenate(self.rows))


class SegyProbability(SegyMask):
    """Writes probabilities of the foreground in place of a section's amplitudes."""

    def append(self, probability: Tensor, mask: Mask) -> None:
        """Take the next rows."""
        self.rows.append(probability[0].numpy())

    def clear_mask(self) -> None:
        """Leave the probabilities as they are."""


SEGY_WRITERS = {"masks": SegyMask, "probabilities": SegyProbability}


def predict_segy(ref: FileRef, name: PurePosixPath, ensemble: Ensemble, options: OutputOptions) -> None:
    """Predict all sections of a file.

    Args:
        ref: The file, on disk.
        name: Name of the outputs, without suffix.
        ensemble: The networks.
        options: Kinds of output, and their folder.

    Raises:
        UserError: If the file can't be read, or can't hold what is asked for.
    """
    if ref.member:
        raise UserError(str(ref), "is in a zip, but SEG-Y is read from disk", "unpack it")
    with closing(SegyFile(ref.path, *options.segy_bytes)) as file, ExitStack() as files:
        if "probabilities" in options.write and not file.holds_fractions:
            problem = "stores whole numbers and can't hold probabilities"
            raise UserError(str(ref), problem, "leave probabilities out of write=")
        some_traces = file.read(slice(None, None, -(-file.traces * file.samples // SAMPLED)))
        ensemble = scale_to(ref, some_traces, options.value_range, ensemble)
        copies = open_copies(ref, name, options, files)
        for number, section in enumerate(tqdm(file.sections, unit="section", desc=str(name), leave=False), 1):
            image = file.read(section)
            writers: list[Writer] = [SEGY_WRITERS[kind](copy, section) for kind, copy in copies.items()]
            if "overlays" in options.write:
                picture = name / f"{number:04}" if len(file.sections) > 1 else name
                path = options.create_file(files, "overlays", f"{picture}.png")
                writers.append(OverlayPng(path, image, ensemble.to_pixels))
            write_rows(writers, ensemble.rows(image), ensemble)
        tqdm.write(f"{ref}: {file.traces} traces of {file.samples} samples, sections: {len(file.sections)}")


def open_copies(ref: FileRef, name: PurePosixPath, options: OutputOptions, files: ExitStack) -> dict[str, SegyFile]:
    """Return, for masks and probabilities if asked for, a copy of a file whose samples are to be overwritten."""
    copies = {}
    for kind in set(options.write) - {"overlays"}:
        path = options.create_file(files, kind, f"{name}{ref.path.suffix}")
        copies[kind] = files.enter_context(segy_copy(ref.path, path, options.segy_bytes))
    return copies
