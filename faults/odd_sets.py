"""Data sets of six pairs in which something is odd, and what must come of training on each."""

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from faults.odd_bytes import ODD_BYTES, Array, OddBytes, encoded

SIDE = 16  # of the images, in pixels
ODD = "p3"  # name of the pair that is odd


@dataclass(frozen=True)
class OddSet:
    """A data set in which something is odd.

    Attributes:
        kind: What kind of thing is odd: files, names, layouts, tables, values, sizes, keys.
        name: What is odd.
        must: What training must do: `refuse`, `accept` or `either`.
        build: Writes it to a folder, and returns what is typed besides `data=folder data.root=FOLDER`.
        named: What a line of error may name.
    """

    kind: str
    name: str
    must: str
    build: Callable[[Path], list[str]]
    named: tuple[str, ...]


def image(number: int, height: int = SIDE, width: int = SIDE) -> Array:
    """Return a grey image (H, W) uint8."""
    return np.random.default_rng(number).integers(0, 256, (height, width)).astype(np.uint8)


def mask(number: int, height: int = SIDE, width: int = SIDE) -> Array:
    """Return a mask (H, W) uint8 of 0 and 255, with a rectangle in it."""
    values = np.zeros((height, width), np.uint8)
    values[height // 4 : height // 2 + 1 + number % 4, width // 4 : width // 2 + 1] = 255
    return values


def write_pairs(root: Path, count: int = 6, suffix: str = ".png") -> None:
    """Write good pairs `p0`, `p1`, ... to `images/` and `masks/`."""
    for folder, make in (("images", image), ("masks", mask)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (root / folder / f"p{number}{suffix}").write_bytes(encoded(make(number), suffix))


def replaced(folder: str, name: str, write: Callable[[Path], object]) -> Callable[[Path], list[str]]:
    """Return a builder of good pairs, of which one image or mask is written otherwise."""

    def build(root: Path) -> list[str]:
        write_pairs(root)
        (root / folder / f"{ODD}.png").unlink()
        write(root / folder / name)
        return []

    return build


def odd_contents() -> Iterator[OddSet]:
    """Yield sets in which the bytes of an image, or of a mask, are odd."""
    for odd in ODD_BYTES:
        for folder, make, must in (("images", image, odd.as_image), ("masks", mask, odd.as_mask)):
            build = replaced(folder, ODD + odd.suffix, partial(write_odd, odd, make(3)))
            yield OddSet("files", f"{folder}: {odd.name}", must, build, (f"{folder}/{ODD}",))


def write_odd(odd: OddBytes, good: Array, file: Path) -> None:
    """Write the odd content that is made of a good image."""
    file.write_bytes(odd.make(good))


def no_file(file: Path) -> None:
    """Leave the file out."""


def sparse(file: Path) -> None:
    """Write a file of 12 GiB that takes no room."""
    with file.open("wb") as stream:
        stream.truncate(12 * 2**30)


def bound(file: Path) -> None:
    """Make a socket."""
    with socket.socket(socket.AF_UNIX) as server:
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            server.bind(f"/proc/self/fd/{folder}/{file.name}")  # a path of a socket has 107 characters at most
        finally:
            os.close(folder)


def linked_copy(file: Path) -> None:
    """Make a link to the good file."""
    target = file.with_name(f"target{file.suffix}.bak")
    target.write_bytes(encoded((image if file.parent.name == "images" else mask)(3)))
    file.symlink_to(target)


def linked_folder(file: Path) -> None:
    """Make a link to an empty folder."""
    (file.parents[1] / "empty").mkdir()
    file.symlink_to(file.parents[1] / "empty")


SPECIAL: dict[str, tuple[str, Callable[[Path], object]]] = {
    "missing": ("refuse", no_file),
    "pipe": ("refuse", os.mkfifo),
    "socket": ("refuse", bound),
    "folder": ("refuse", Path.mkdir),
    "link to nothing": ("refuse", lambda file: file.symlink_to("nowhere.png")),
    "link to itself": ("refuse", lambda file: file.symlink_to(file.name)),
    "link to /dev/zero": ("refuse", lambda file: file.symlink_to("/dev/zero")),
    "link to /dev/null": ("refuse", lambda file: file.symlink_to("/dev/null")),
    "link to a folder": ("refuse", linked_folder),
    "file of 12 GiB": ("refuse", sparse),
    "link to a good file": ("accept", linked_copy),
}


def special_files() -> Iterator[OddSet]:
    """Yield sets in which an image, or a mask, is no ordinary file."""
    for name, (must, write) in SPECIAL.items():
        for folder in ("images", "masks"):
            build = replaced(folder, f"{ODD}.png", write)
            yield OddSet("files", f"{folder}: {name}", must, build, (ODD,))
