"""Decoded images on disk: one flat uint8 file that all workers map, so that each image is decoded once."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from unetkit.errors import writable

FORMAT = 2  # change it when what is stored changes
T = TypeVar("T")

MANY = 500  # images from which decoding shows a progress bar


class ArrayStore:
    """Read-only uint8 arrays of any shapes, in one memory-mapped file.

    Pickling carries only the path, so workers share the pages instead of copying them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shapes: list[tuple[int, ...]] = [
            tuple(s) for s in json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        ]
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        self._ends = np.cumsum(sizes)
        self._starts = self._ends - sizes
        self._data = np.memmap(path, np.uint8, "r")
        if self._data.size != self._ends[-1]:
            raise ValueError(f"{path} is cut short")

    def __len__(self) -> int:
        return len(self.shapes)

    @property
    def nbytes(self) -> int:
        """Of all arrays."""
        return int(self._data.size)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        flat = self._data[self._starts[index] : self._ends[index]]
        return np.asarray(flat).reshape(self.shapes[index])

    def __reduce__(self) -> tuple[type["ArrayStore"], tuple[Path]]:
        return ArrayStore, (self.path,)


def cached_arrays(
    cache_dir: Path,
    key: Sequence[object],
    arrays: Callable[[], Iterable[NDArray[np.uint8]]],
    total: int,
    what: str,
) -> ArrayStore:
    """The arrays from the cache if `key` is known there, else made, written and read back.

    Args:
        cache_dir: Where the files lie; made if need be.
        key: All that the content depends on.
        arrays: Makes the arrays, in order.
        total: How many.
        what: Their name, for the progress bar.

    Raises:
        UserError: If the folder can't be written.
    """
    path = cache_path(cache_dir, key, what, ".bin")
    try:
        return ArrayStore(path)
    except (OSError, ValueError):
        pass  # not there, or broken by a crash: made anew

    from tqdm import tqdm  # here, because predicting needs no progress bar

    def write(file: BinaryIO) -> list[tuple[int, ...]]:
        shapes = []
        for array in tqdm(arrays(), f"decoding {what}", total, unit="", leave=False, disable=total < MANY):
            file.write(np.ascontiguousarray(array).tobytes())
            shapes.append(array.shape)
        return shapes

    shapes = write_whole(path, write)
    write_whole(path.with_suffix(".json"), lambda file: file.write(json.dumps(shapes).encode()))
    return ArrayStore(path)


def cached_json(cache_dir: Path, key: Sequence[object], make: Callable[[], Any], what: str) -> Any:
    """Plain data from the cache if `key` is known there, else made and written."""
    path = cache_path(cache_dir, key, what, ".json")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = json.dumps(make())
    write_whole(path, lambda file: file.write(content.encode()))
    return json.loads(content)


def cache_path(cache_dir: Path, key: Sequence[object], what: str, suffix: str) -> Path:
    """A file name that changes with the key."""
    digest = hashlib.sha256(json.dumps([FORMAT, what, *key]).encode()).hexdigest()[:24]
    return cache_dir / f"{what}-{digest}{suffix}"


def write_whole(path: Path, write: Callable[[BinaryIO], T]) -> T:
    """Write a file that is either whole or not there, also when two runs write it at once."""
    with writable("data.cache_dir", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        try:
            with os.fdopen(handle, "wb") as file:
                result = write(file)
            put_in_place(Path(temporary), path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    return result


def put_in_place(new: Path, path: Path) -> None:
    """Rename `new` to `path`, or remove it where Windows refuses, as a run that was quicker maps the same content."""
    try:
        new.replace(path)
    except PermissionError:
        if not path.exists():
            raise
        new.unlink()
