"""Arrays and plain data kept on disk under a name that changes with all that they depend on."""

import hashlib
import json
import math
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from unetkit.data.compact import Repeated
from unetkit.errors import UserError, writable
from unetkit.paths import whole_file

FORMAT = 5  # raise it when what is stored changes, so that no older file is misread
ALIGNMENT = 16  # bytes; each array starts at a multiple, as the largest dtypes want
LARGE = 2**20  # bytes of arrays from which they are memory-mapped
MANY = 500  # arrays from which making them shows a progress bar

T = TypeVar("T")


class ArrayStore:
    """Read-only arrays of any shapes and dtypes in one memory-mapped file.

    A pickled store holds only the path, so workers share the pages instead of copying them.

    Attributes:
        path: The file; `.json` beside it holds number, shape and dtype of arrays that are alike and follow each other.
        shapes: The shape of each array.
        dtypes: The dtype of each array.
        nbytes: The size of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        runs = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        kinds = Repeated.of((tuple(shape), np.dtype(dtype)) for _, shape, dtype in runs)
        counts = np.array([count for count, _, _ in runs], np.int64)
        sizes = np.array([_padded(_size(shape, dtype)) for shape, dtype in kinds.distinct], np.int64)
        self._sizes = sizes[kinds.places]  # of an array of each run, as are the next two
        self._until = np.cumsum(counts)  # not the start of each array, which would take eight bytes for each
        self._ends = np.cumsum(counts * self._sizes)
        self._data = np.memmap(path, np.uint8, "r")
        self.nbytes = int(self._data.size)
        if self.nbytes != self._ends[-1]:
            raise ValueError(f"{path} is cut short")
        places = np.repeat(kinds.places, counts)
        self.shapes: Sequence[tuple[int, ...]] = Repeated([shape for shape, _ in kinds.distinct], places)
        self.dtypes: Sequence[np.dtype[Any]] = Repeated([dtype for _, dtype in kinds.distinct], places)

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, index: int) -> NDArray[Any]:
        shape, dtype = self.shapes[index], self.dtypes[index]
        index = range(len(self))[index]
        run = np.searchsorted(self._until, index, side="right")
        start = self._ends[run] - (self._until[run] - index) * self._sizes[run]
        flat = np.asarray(self._data[start : start + _size(shape, dtype)])
        return np.asarray(flat.view(dtype).reshape(shape))

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[i] for i in range(len(self)))

    def __reduce__(self) -> tuple[type["ArrayStore"], tuple[Path]]:
        return ArrayStore, (self.path,)


def cached_arrays(
    cache_dir: Path,
    key: Sequence[object],
    arrays: Callable[[], Iterable[NDArray[Any]]],
    total: int,
    what: str,
) -> ArrayStore:
    """Return the arrays of `key`, which are made and written only if the cache does not hold them.

    Args:
        cache_dir: The folder of the cache.
        key: Plain containers of all values that determine the content.
        arrays: Makes the arrays in order.
        total: The number of arrays.
        what: Kind of arrays, for the file's name and the progress bar.

    Raises:
        UserError: If the folder can't be written.
    """
    path = _cache_path(cache_dir, key, what, ".bin")
    with suppress(OSError, ValueError, TypeError, LookupError):  # not there, or damaged
        store = ArrayStore(path)
        if len(store) == total:
            return store
    from tqdm import tqdm  # here, because predicting needs no progress bar

    runs: list[list[Any]] = []
    with _written(path) as part, part.open("wb") as file:
        for array in tqdm(arrays(), f"decoding {what}", total, unit="", leave=False, disable=total < MANY):
            file.write(np.ascontiguousarray(array).data)
            file.write(bytes(_padded(array.nbytes) - array.nbytes))
            if not runs or runs[-1][1:] != [array.shape, array.dtype.str]:
                runs.append([0, array.shape, array.dtype.str])
            runs[-1][0] += 1
    with _written(path.with_suffix(".json")) as part:
        part.write_text(json.dumps(runs), encoding="utf-8")
    return ArrayStore(path)


def cached_json(cache_dir: Path, key: Sequence[object], make: Callable[[], Any], what: str) -> Any:
    """Return the plain data of `key`, which is made and written only if the cache does not hold it.

    Raises:
        UserError: If the folder can't be written.
    """
    path = _cache_path(cache_dir, key, what, ".json")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = json.dumps(make())
    with _written(path) as part:
        part.write_text(content, encoding="utf-8")
    return json.loads(content)


def memory_mapped(value: T, cache_dir: Path, what: str) -> T:
    """Return an equal value whose arrays lie in a file of the cache, so that all processes share their memory.

    The file is named after its content. A value stays as it is if it is small, or if the file can't be written or is
    damaged.

    Args:
        value: A value of arrays, or of objects that hold arrays; those that are returned can't be changed.
        cache_dir: The folder of the cache.
        what: Kind of value, for the file's name.
    """
    buffers: list[pickle.PickleBuffer] = []
    rest = pickle.dumps(value, 5, buffer_callback=buffers.append)
    arrays = [np.frombuffer(buffer.raw(), np.uint8) for buffer in buffers]
    if sum(array.nbytes for array in arrays) < LARGE:
        return value
    key = [hashlib.sha256(array.data).hexdigest() for array in arrays]
    with suppress(UserError):
        mapped = cached_arrays(cache_dir, key, lambda: arrays, len(arrays), what)
        if all(np.array_equal(*both) for both in zip(arrays, mapped, strict=True)):
            value = pickle.loads(rest, buffers=mapped)  # our own bytes, as the file holds arrays only
    return value


def digest(values: Iterable[object]) -> str:
    """Return a checksum of plain values, to stand for many of them in a key."""
    found = hashlib.sha256()
    for value in values:
        found.update(json.dumps(value).encode())
    return found.hexdigest()


def _size(shape: Sequence[int], dtype: np.dtype[Any]) -> int:
    return math.prod(shape) * dtype.itemsize


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _cache_path(cache_dir: Path, key: Sequence[object], what: str, suffix: str) -> Path:
    digest = hashlib.sha256(json.dumps([FORMAT, what, *key]).encode()).hexdigest()[:24]
    return cache_dir / f"{what}-{digest}{suffix}"


@contextmanager
def _written(path: Path) -> Iterator[Path]:
    """Give a path to write to, which becomes `path` once all is written."""
    with writable("data.cache_dir", path.parent):
        try:
            with whole_file(path) as part:
                yield part
        except PermissionError:
            if not path.exists():  # else Windows refuses, as a quicker run has written the same and maps it
                raise
