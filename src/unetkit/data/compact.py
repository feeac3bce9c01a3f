"""Long lists in a few blocks of memory, instead of an object for each value.

A million pairs of image and mask take over a gigabyte as objects. Every process that loads would then copy them bit by
bit, as Python writes a count of references into each object that it looks at. Blocks can also be memory-mapped, see
`memory_mapped` in `store.py`.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise, starmap
from typing import TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike

from unetkit.data.drawn import DrawnMask
from unetkit.data.files import FileRef
from unetkit.data.pair import Pair

T = TypeVar("T")


class CompactList(Sequence[T]):
    """A list that makes a value when it is asked for."""

    def value(self, index: int) -> T:
        """Return a value by its index, from 0."""
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        chosen = range(len(self))[index]
        return self.value(chosen) if isinstance(chosen, int) else [self.value(i) for i in chosen]


class Repeated(CompactList[T]):
    """Values of which few differ.

    Args:
        distinct: The different values.
        places: Index (N,) of each value among them.
    """

    def __init__(self, distinct: Sequence[T], places: ArrayLike) -> None:
        self.distinct = list(distinct)
        self.places = np.asarray(places, np.min_scalar_type(max(len(self.distinct) - 1, 0)))

    @classmethod
    def of(cls, values: Iterable[T]) -> "Repeated[T]":
        """Return the same values, which can be keys of a dictionary."""
        known: dict[T, int] = {}
        places = np.fromiter((known.setdefault(value, len(known)) for value in values), np.int64)
        return cls(list(known), places)

    def __len__(self) -> int:
        return len(self.places)

    def value(self, index: int) -> T:  # noqa: D102  # the base class describes it
        return self.distinct[int(self.places[index])]

    def __iter__(self) -> Iterator[T]:
        return map(self.distinct.__getitem__, self.places.tolist())


class Texts(CompactList[str]):
    """Texts, one after the other in one block."""

    def __init__(self, texts: Iterable[str]) -> None:
        parts = [text.encode("utf-8", "surrogatepass") for text in texts]  # names of files may be no UTF-8
        self._content = np.frombuffer(b"".join(parts), np.uint8)  # an array, which can be memory-mapped
        starts = np.cumsum([0, *map(len, parts)])
        self._starts = starts.astype(np.min_scalar_type(len(self._content)))

    def __len__(self) -> int:
        return len(self._starts) - 1

    def value(self, index: int) -> str:  # noqa: D102
        part = self._content[self._starts[index] : self._starts[index + 1]]
        return str(part.data, "utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        content = self._content.data
        parts = starmap(slice, pairwise(self._starts.tolist()))
        return (str(content[part], "utf-8", "surrogatepass") for part in parts)


class Files(CompactList[FileRef | DrawnMask | None]):
    """Files, many of which lie in one folder or zip; drawn masks, volumes, images of several files, None are kept."""

    def __init__(self, files: Iterable[FileRef | DrawnMask | None]) -> None:
        self._others: dict[int, FileRef | DrawnMask | None] = {}
        names, folders = [], []
        for index, file in enumerate(files):
            folder, name = FileRef(""), ""
            if type(file) is FileRef and not (file.channels or file.slices):
                folder, name = _split(file)
            else:
                self._others[index] = file
            folders.append(folder)
            names.append(name)
        self._folders = Repeated.of(folders)
        self._names = Texts(names)

    def __len__(self) -> int:
        return len(self._names)

    def value(self, index: int) -> FileRef | DrawnMask | None:  # noqa: D102
        if index in self._others:
            return self._others[index]
        return _joined(self._folders.value(index), self._names.value(index))

    def __iter__(self) -> Iterator[FileRef | DrawnMask | None]:
        for index, (folder, name) in enumerate(zip(self._folders, self._names, strict=True)):
            yield self._others[index] if index in self._others else _joined(folder, name)


def _split(file: FileRef) -> tuple[FileRef, str]:
    """Return a file without the last part of its name, and that part."""
    text, separator = (file.location, os.sep) if file.member is None else (file.member, "/")
    start = text.rfind(separator) + 1
    if file.member is None:
        return FileRef(text[:start], None, file.page), text[start:]
    return FileRef(file.location, text[:start], file.page), text[start:]


def _joined(folder: FileRef, name: str) -> FileRef:
    """Return the file that `_split` split."""
    if folder.member is None:
        return FileRef(folder.location + name, None, folder.page)
    return FileRef(folder.location, folder.member + name, folder.page)


class Pairs(CompactList[Pair]):
    """Pairs of image and mask, in less than 100 bytes each where they are files of a few folders.

    Attributes:
        ids: The name of each pair.
        splits: The part that its folder says, see `Pair`.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.ids = Texts(pair.id for pair in pairs)
        self._images = Files(pair.image for pair in pairs)
        self._masks = Files(pair.mask for pair in pairs)
        self._codes = {index: pair.rle for index, pair in enumerate(pairs) if pair.rle is not None}
        self.splits = Repeated.of(pair.split for pair in pairs)

    def __len__(self) -> int:
        return len(self.ids)

    def value(self, index: int) -> Pair:  # noqa: D102
        image = self._images.value(index)
        assert isinstance(image, FileRef)  # narrows the type for mypy
        return Pair(
            self.ids.value(index),
            image,
            self._masks.value(index),
            self._codes.get(index),
            self.splits.value(index),
        )

    def __iter__(self) -> Iterator[Pair]:
        columns = zip(self.ids, self._images, self._masks, self.splits, strict=True)
        for index, (id, image, mask, split) in enumerate(columns):
            assert isinstance(image, FileRef)
            yield Pair(id, image, mask, self._codes.get(index), split)
