"""Files that hold several images: slices of medical volumes, and stacks of pages where they are asked for."""

import io
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from unetkit.data.decode import check_layers, decode_layers, one_line, read_content
from unetkit.data.files import MEDICAL_SUFFIXES, FileRef
from unetkit.data.headers import TIFF
from unetkit.data.layers import Layers
from unetkit.data.medical import count_slices, decode_slices, is_medical
from unetkit.data.tiff import count_pages, decode_tiff

STACKS = (".tif", ".tiff", ".npy")


def pages_of(ref: FileRef, *, stacks: bool) -> list[FileRef]:
    """Return a reference to each image of a file: itself if it holds one.

    Args:
        ref: The file.
        stacks: Whether TIFF and .npy files are stacks; medical volumes always are.

    Raises:
        UserError: If the file can't be read.
    """
    if ref.suffix not in MEDICAL_SUFFIXES and not (stacks and ref.suffix in STACKS):
        return [ref]
    content = read_content(ref)
    with one_line(ref):
        if is_medical(content):
            count = count_slices(content, str(ref))
        elif content.startswith(TIFF):
            count = count_pages(content)
        else:
            array = np.lib.format.read_array(io.BytesIO(content))
            count = len(array) if array.ndim > 2 else 1
    return [ref] if count < 2 else [replace(ref, page=page) for page in range(count)]


def read_page(ref: FileRef) -> Layers:
    """Read and decode a file as `read_layers` does, or one of its images.

    Raises:
        UserError: If it can't be decoded.
    """
    if ref.page is None:
        return decode_layers(read_content(ref), ref)
    whole = replace(ref, page=None)
    with one_line(ref):
        stack = _stack(whole, whole.fingerprint())
        layers = decode_tiff(stack, str(ref), ref.page) if isinstance(stack, bytes) else Layers(stack[ref.page])
    return check_layers(layers, ref)


@lru_cache(maxsize=2)  # of an image and its mask
def _stack(ref: FileRef, fingerprint: str) -> Any:
    """Return all images (N, H, W) or (N, H, W, C) of a file, or the bytes of a TIFF, whose pages are decoded singly.

    The fingerprint makes a file that has changed be read again.
    """
    content = read_content(ref)
    if is_medical(content):
        return decode_slices(content, str(ref))
    return content if content.startswith(TIFF) else np.lib.format.read_array(io.BytesIO(content))
