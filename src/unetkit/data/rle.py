"""Kaggle's run-length code of masks: pairs (start, length) down the columns, counted from 1."""

import numpy as np
from numpy.typing import NDArray

from unetkit.errors import UserError


def encode_rle(mask: NDArray[np.generic]) -> str:
    """Encode a mask (H, W), foreground where non-zero, e.g. `"1 3 10 5"`; an empty mask is `""`."""
    pixels = np.concatenate([[False], mask.T.ravel() != 0, [False]])
    edges = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    edges[1::2] -= edges[::2]
    return " ".join(map(str, edges))


def decode_rle(text: str, height: int, width: int) -> NDArray[np.uint8]:
    """Decode to a mask (height, width) of 0 and 1.

    Raises:
        UserError: If the text is not pairs of positive integers that fit the image, or runs overlap.
    """
    words = text.split()
    if len(words) % 2 or not all(word.isdecimal() for word in words):
        raise UserError(f"the run-length code {text[:40]!r}", "is not pairs of positive integers")
    pixels = np.zeros(height * width, np.uint8)
    for start, length in zip(map(int, words[::2]), map(int, words[1::2]), strict=True):
        if min(start, length) < 1:
            raise UserError("the run-length code", f"has the run {start} {length}", "starts and lengths count from 1")
        if start - 1 + length > pixels.size:
            raise UserError("the run-length code", f"has a run {start} {length} outside a {height}x{width} image")
        run = pixels[start - 1 : start - 1 + length]
        if run.any():
            raise UserError("the run-length code", f"has a run {start} {length} that overlaps another")
        run[:] = 1
    return pixels.reshape(width, height).T.copy()
