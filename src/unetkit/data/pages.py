"""Files that hold several images, as slices or pages where they are asked for, and images of several files."""

import io
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from unetkit.data.decode import check_layers, decode_layers, one_line, read_content
from unetkit.data.files import MEDICAL_SUFFIXES, FileRef
from unetkit.data.headers import TIFF
from unetkit.data.layers import Layers
from unetkit.data.medical import count_slices, decode_slices, is_medical
from unetkit.data.tiff import decode_tiff
from unetkit.data.tiff_tags import count_pages
from unetkit.data.zarrs import ZARR, read_zarr, zarr_shape
from unetkit.errors import UserError

STACKS = (".tif", ".tiff", ".npy", ZARR)


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
    counts = {_count(file) for file in ref.files}
    if len(counts) > 1:
        shown = " and ".join(map(str, sorted(counts)))
        raise UserError(str(ref), f"and its other channels have {shown} slices", "export all channels on one grid")
    count = counts.pop()
    return [ref] if count < 2 else [ref.at(page) for page in range(count)]


def _count(ref: FileRef) -> int:
    if ref.suffix == ZARR:
        with one_line(ref):
            shape = zarr_shape(ref.path)
        return shape[0] if len(shape) > 2 else 1
    content = read_content(ref)
    with one_line(ref):
        if is_medical(content):
            return count_slices(content, str(ref))
        if content.startswith(TIFF):
            return count_pages(content)
        array = np.lib.format.read_array(io.BytesIO(content))
        return len(array) if array.ndim > 2 else 1


def read_page(ref: FileRef) -> Layers:
    """Read and decode a file as `read_layers` does, or one of its images; where each channel has a file, all of them.

    Raises:
        UserError: If it can't be decoded, or a channel has another size than the first.
    """
    if ref.page is None:
        planes = [_whole(file) for file in ref.files]
    else:
        whole = replace(ref, page=None, channels=tuple(replace(file, page=None) for file in ref.channels))
        stacks = _stacks(whole, whole.fingerprint())
        planes = [_page(file, stack) for file, stack in zip(ref.files, stacks, strict=True)]
    return _joined(ref, planes) if ref.channels else planes[0]


def _whole(ref: FileRef) -> Layers:
    if ref.suffix != ZARR:
        return decode_layers(read_content(ref), ref)
    with one_line(ref):
        layers = Layers(read_zarr(ref.path).values)
    return check_layers(layers, ref)


def _page(ref: FileRef, stack: Any) -> Layers:
    assert ref.page is not None  # narrows the type for mypy
    with one_line(ref):
        layers = decode_tiff(stack, str(ref), ref.page) if isinstance(stack, bytes) else Layers(stack[ref.page])
    return check_layers(layers, ref)


def _joined(ref: FileRef, planes: Sequence[Layers]) -> Layers:
    """Join the channels of an image.

    Raises:
        UserError: If one is no grey image, or differs in size from the first.
    """
    size = planes[0].pixels.shape[:2]
    for file, layers in zip(ref.files, planes, strict=True):
        if layers.pixels.shape != size:
            shown = ["x".join(map(str, found)) for found in (layers.pixels.shape, size)]
            problem = f"is {shown[0]}, but one channel of an image of {shown[1]} is wanted"
            raise UserError(str(file), problem, "save each channel as a grey image of one size")
    noted = {layers.nodata for layers in planes}
    return Layers(np.stack([layers.pixels for layers in planes], -1), None, noted.pop() if len(noted) == 1 else None)


@lru_cache(maxsize=2)  # of an image and its mask
def _stacks(ref: FileRef, fingerprint: str) -> list[Any]:
    """Return what `_stack` gives for each file of an image.

    The fingerprint makes a file that has changed be read again.
    """
    return [_stack(file) for file in ref.files]


def _stack(ref: FileRef) -> Any:
    """Return all images (N, H, W) or (N, H, W, C) of a file, or the bytes of a TIFF, whose pages are decoded singly."""
    if ref.suffix == ZARR:
        with one_line(ref):
            return read_zarr(ref.path).values
    content = read_content(ref)
    with one_line(ref):
        if is_medical(content):
            return decode_slices(content, str(ref))
        return content if content.startswith(TIFF) else np.lib.format.read_array(io.BytesIO(content))
