"""Seismic sections in SEG-Y, a line or the inlines of a volume: read as images, written back in the file's geometry."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetkit.errors import UserError

Array = NDArray[Any]
FLOAT_FORMATS = (1, 5, 6)  # IBM, IEEE 4 and 8 bytes: the sample formats that hold fractions
# What segyio raises of a file that is no SEG-Y, is cut off, or has a format that it doesn't know.
UNREADABLE = (OSError, RuntimeError, ValueError, IndexError, KeyError)


class SegyFile:
    """An open SEG-Y file whose consecutive traces form sections.

    A section is a run of traces with one inline number; where each trace has another, with one crossline number; else
    the whole file is one line. So volumes of any outline need no regular grid, and nothing but samples is ever written.

    Args:
        path: The file.
        inline: First byte, from 1, of the inline number in a trace's header.
        crossline: The same of the crossline number.
        writable: Open it to overwrite traces.

    Raises:
        UserError: If it can't be read as SEG-Y, or segyio is not installed.
    """

    def __init__(self, path: Path, inline: int = 189, crossline: int = 193, *, writable: bool = False) -> None:
        self.path = path
        segyio = require_segyio()
        try:
            self._file = segyio.open(str(path), "r+" if writable else "r", ignore_geometry=True)
            numbers = [np.asarray(self._file.attributes(byte)[:]) for byte in (inline, crossline)]
        except UNREADABLE as error:
            raise UserError(str(path), f"can't be read as SEG-Y ({error})", "replace or remove it") from error
        self.sections = sections(*numbers)
        self.traces = len(numbers[0])
        self.samples = len(self._file.samples)
        self.holds_fractions = int(self._file.format) in FLOAT_FORMATS

    def read(self, section: slice) -> Array:
        """The amplitudes (samples, traces) of a section, or of every so manyth trace, in the file's own dtype.

        Raises:
            UserError: If they can't be read, or are no numbers.
        """
        try:
            image = np.asarray(self._file.trace.raw[section]).T
        except UNREADABLE as error:
            raise UserError(str(self.path), f"can't be read as SEG-Y ({error})", "replace or remove it") from error
        if not np.isfinite(image).all():
            raise UserError(str(self.path), "holds NaN or infinite amplitudes", "replace them with numbers")
        return image

    def write(self, section: slice, image: Array) -> None:
        """Overwrite the samples of a section with (samples, traces)."""
        self._file.trace[section] = np.ascontiguousarray(image.T, self._file.dtype)

    def close(self) -> None:
        """Write what is not written yet."""
        self._file.close()


def sections(inlines: Array, crosslines: Array) -> list[slice]:
    """The runs of traces of one inline, else of one crossline, else all traces."""
    for numbers in (inlines, crosslines):
        bounds = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
        if 2 * (len(bounds) - 1) <= len(numbers):
            return [slice(a, b) for a, b in pairwise(bounds)]
    return [slice(0, len(inlines))]


@contextmanager
def segy_copy(source: Path, target: Path, header_bytes: tuple[int, int]) -> Iterator[SegyFile]:
    """A copy of a file, all headers included, whose samples are there to be overwritten."""
    shutil.copyfile(source, target)
    file = SegyFile(target, *header_bytes, writable=True)
    try:
        yield file
    finally:
        file.close()


def check_header_bytes(inline: int, crossline: int) -> None:
    """See that a number begins at these bytes, from 1, of a trace's header.

    Raises:
        UserError: If not, or if segyio is not installed.
    """
    known = {int(field) for field in require_segyio().TraceField.enums()}
    for name, byte in (("inline", inline), ("crossline", crossline)):
        if byte not in known:
            problem = "is not where a number begins in a trace's header"
            raise UserError(f"segy_bytes.{name}={byte}", problem, "give one where it does, such as 9, 21 or 189")


def require_segyio() -> Any:
    """The module segyio.

    Raises:
        UserError: If it is not installed.
    """
    try:
        import segyio
    except ImportError as error:
        raise UserError("SEG-Y", "needs segyio", 'pip install "unetkit[segy]"') from error
    return segyio
