"""Decode with OpenCV, whose libraries go on after damage and only write a line to standard error, without a name."""

import os
import re
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

import cv2
import numpy as np

from unetkit.data.layers import Array

# What libjpeg, libpng and libtiff write about damage. Some cameras write a few bytes more before the end of a JPEG.
DAMAGE = re.compile(
    r"Corrupt JPEG data: (?!\d{1,2} extraneous bytes before marker 0xd9).*|Premature end of JPEG.*"
    r"|(?<=libpng error: ).*|(?<=TIFF_Error ).*"
)
_one_at_a_time = threading.Lock()
if hasattr(os, "register_at_fork"):  # not on Windows; a thread that holds the lock is not there in the new process
    os.register_at_fork(after_in_child=_one_at_a_time._at_fork_reinit)  # type: ignore[attr-defined]


def decode_pages(content: bytes, most: int) -> Sequence[Array]:
    """Decode up to `most` images of a file, in OpenCV's order of channels; none if OpenCV can't read it.

    Raises:
        ValueError: If the file is damaged, although a part of it could be decoded.
        cv2.error: If OpenCV refuses it.
    """
    with _standard_error() as written:
        _, pages = cv2.imdecodemulti(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED, range=(0, most))
        written.seek(0)
        text = written.read()
    if found := DAMAGE.search(text.decode(errors="replace")):
        raise ValueError(f"it is damaged: {found[0].strip()}")
    if text and pages:  # of another thread, or a warning; who called says that nothing could be decoded
        os.write(2, text)
    return pages


@contextmanager
def _standard_error() -> Iterator[IO[bytes]]:
    """Give a file that gets what this process writes to standard error meanwhile."""
    with _one_at_a_time, tempfile.TemporaryFile() as file:
        try:
            kept = os.dup(2)
        except OSError:  # there is none, as under pythonw
            yield file
            return
        try:
            os.dup2(file.fileno(), 2)
            yield file
        finally:
            os.dup2(kept, 2)
            os.close(kept)
