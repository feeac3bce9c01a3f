"""Seismic sections in SEG-Y, a line or the inlines of a volume: read as images, and written back in place."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetkit.data.limits import check_kind, check_size
from unetkit.errors import UserError, readable

Array = NDArray[Any]
FLOAT_FORMATS = (1, 5, 6)  # sample formats that hold fractions: IBM, IEEE with 4 and 8 bytes
# What segyio raises for a file that is no SEG-Y, is cut off, or has a format that it doesn't know.
UNREADABLE = (OSError, RuntimeError, ValueError, IndexError, KeyError)


class SegyFile:
    """An open SEG-Y file whose consecutive traces form sections.

    A section is a run of traces with the same inline number; if each trace has a different one, with the same crossline
    number; else the whole file. So a volume of any outline needs no regular grid. Only samples are ever written.

    Args:
        path: The file.
        inline: First byte, from 1, of the inline number in a trace's header.
        crossline: First byte, from 1, of the crossline number.
        writable: Whether traces can be overwritten.

    Attributes:
        sections: The traces of each section.
        traces: The number of traces.
        samples: The number of samples of a trace.
        holds_fractions: Whether samples are floating-point numbers.

    Raises:
        UserError: If the file can't be read as SEG-Y, or segyio is not installed.
    """

    def __init__(self, path: Path, inline: int = 189, crossline: int = 193, *, writable: bool = False) -> None:
        self.path = path
        with readable(path):
            check_kind(path)
        segyio = require_segyio()
        try:
            self._file = segyio.open(str(path), "r+" if writable else "r", ignore_geometry=True)
            numbers = [np.asarray(self._file.attributes(byte)[:]) for byte in (inline, crossline)]
        except UNREADABLE as error:
            raise _unreadable(path, error) from error
        self.sections = sections(*numbers)
        self.traces = len(numbers[0])
        self.samples = len(self._file.samples)
        self.holds_fractions = int(self._file.format) in FLOAT_FORMATS

    def read(self, section: slice) -> Array:
        """Read the amplitudes (samples, traces) of a section, in the file's dtype; a slice with a step skips traces.

        Raises:
            UserError: If they can't be read, are too many, or are not finite.
        """
        traces = len(range(*section.indices(self.traces)))
        check_size(traces, self.samples, self._file.dtype.itemsize, str(self.path))
        try:
            image = np.asarray(self._file.trace.raw[section]).T
        except UNREADABLE as error:
            raise _unreadable(self.path, error) from error
        if not np.isfinite(image).all():
            raise UserError(str(self.path), "holds NaN or infinite amplitudes", "replace them with numbers")
        return image

    def write(self, section: slice, image: Array) -> None:
        """Overwrite the samples of a section with (samples, traces)."""
        self._file.trace[section] = np.ascontiguousarray(image.T, self._file.dtype)

    def close(self) -> None:
        """Close the file, which writes what is still in memory."""
        self._file.close()


def sections(inlines: Array, crosslines: Array) -> list[slice]:
    """Return the runs of traces of the same inline, else of the same crossline, else all traces."""
    for numbers in (inlines, crosslines):
        bounds = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
        if 2 * (len(bounds) - 1) <= len(numbers):
            return [slice(a, b) for a, b in pairwise(bounds)]
    return [slice(0, len(inlines))]


@contextmanager
def segy_copy(source: Path, target: Path, header_bytes: tuple[int, int]) -> Iterator[SegyFile]:
    """Copy a file with all headers, and open the copy so that its samples can be overwritten."""
    shutil.copyfile(source, target)
    file = SegyFile(target, *header_bytes, writable=True)
    try:
        yield file
    finally:
        file.close()


def check_header_bytes(inline: int, crossline: int) -> None:
    """Check that a number begins at these bytes, from 1, of a trace's header.

    Raises:
        UserError: If none does, or if segyio is not installed.
    """
    known = {int(field) for field in require_segyio().TraceField.enums()}
    for name, byte in (("inline", inline), ("crossline", crossline)):
        if byte not in known:
            problem = "is not where a number begins in a trace's header"
            raise UserError(f"segy_bytes.{name}={byte}", problem, "give one where it does, such as 9, 21 or 189")


def require_segyio() -> Any:
    """Import segyio.

    Raises:
        UserError: If it is not installed.
    """
    try:
        import segyio
    except ImportError as error:
        raise UserError("SEG-Y", "needs segyio", 'pip install "unetkit[segy]"') from error
    return segyio


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(str(path), f"can't be read as SEG-Y ({error})", "replace or remove it")
