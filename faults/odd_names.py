"""Data sets whose files have odd names, and ones whose images have odd sizes."""

import os
import unicodedata
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from faults.odd_bytes import encoded, npy
from faults.odd_sets import ODD, OddSet, image, mask, write_pairs

NAMES = {
    "spaces": " a  b ",
    "equals sign": "a=b",
    "brackets": "a[1](2){3}",
    "stars and question marks": "a*b?",
    "dollar and braces": "${oc.env:HOME}",
    "percent signs": "%s%d%(name)s",
    "quotes": 'it\'s "a"',
    "backslash": "a\\b",
    "comma and semicolon": "a,b;c",
    "line break": "a\nb",
    "tab and bell": "a\t\x07b",
    "escape codes of a terminal": "\x1b[31mred\x1b[0m",
    "leading dash": "-rf",
    "leading dot": ".hidden",
    "dots": "a.b.c",
    "tilde": "~root",
    "hash": "#1",
    "ampersand and angle brackets": "<b>&amp;",
    "emoji": "🧂🛢",
    "Japanese": "塩の断面",
    "right to left": "\u202eabc",
    "250 characters": "a" * 246,
    "formula of a spreadsheet": "=1+1",
    "null of a database": "NULL",
    "name of a device of Windows": "CON",
    "number": "007",
    "only the suffix differs in case": "x",
}


def named(name: str, root: Path, other: str | None = None, suffix: str = ".png") -> list[str]:
    """Write good pairs, of which one has that name; its mask may have another one."""
    write_pairs(root)
    for folder, new in (("images", name), ("masks", other or name)):
        (root / folder / f"{ODD}.png").rename(root / folder / (new + suffix))
    return []


def not_utf8(root: Path) -> list[str]:
    """Write good pairs, of which one has a name in Latin-1."""
    return named(os.fsdecode("Bohrung_süd".encode("latin-1")), root)


def twice(root: Path) -> list[str]:
    """Write good pairs, of which one image has two files."""
    write_pairs(root)
    (root / "images" / f"{ODD}.jpg").write_bytes(encoded(image(3), ".jpg"))
    return []


def differing_only_in_case(root: Path) -> list[str]:
    """Write good pairs, and one whose name differs only in case."""
    write_pairs(root)
    for folder in ("images", "masks"):
        (root / folder / "P3.png").write_bytes((root / folder / "p3.png").read_bytes())
    return []


def odd_names() -> Iterator[OddSet]:
    """Yield sets in which the name of a pair is odd."""
    for about, name in NAMES.items():
        suffix = ".PNG" if "suffix" in about else ".png"
        yield OddSet("names", about, "accept", partial(named, name, suffix=suffix), (name,))
    yield OddSet("names", "Latin-1", "either", not_utf8, ("Bohrung",))
    composed, decomposed = (unicodedata.normalize(form, "süd") for form in ("NFC", "NFD"))
    yield OddSet("names", "accents in two forms", "accept", lambda root: named(composed, root, decomposed), ("s",))
    yield OddSet("names", "an image twice", "refuse", twice, (ODD,))
    yield OddSet("names", "two that differ only in case", "accept", differing_only_in_case, ("3",))
    yield OddSet("names", "the mask has another name", "refuse", partial(named, "a", other="b"), ("a.png", "b.png"))


def sized(image_shape: tuple[int, ...], mask_shape: tuple[int, ...], root: Path) -> list[str]:
    """Write good pairs, of which one has other sizes."""
    write_pairs(root)
    chance = np.random.default_rng(0)
    for folder, shape, largest in (("images", image_shape, 256), ("masks", mask_shape, 2)):
        (root / folder / f"{ODD}.png").unlink()
        values = chance.integers(0, largest, shape).astype(np.uint8)
        file = root / folder / f"{ODD}.png"
        if min(shape) > 0 and len(shape) == 2:
            file.write_bytes(encoded(values))
        else:
            file.with_suffix(".npy").write_bytes(npy(values))
    return []


def long_and_tall(root: Path) -> list[str]:
    """Write good pairs, one wide strip and one tall strip, each of 20,000 x 3 pixels."""
    write_pairs(root)
    for number, shape in ((2, (3, 20_000)), (3, (20_000, 3))):
        for folder, make in (("images", image), ("masks", mask)):
            (root / folder / f"p{number}.png").write_bytes(encoded(make(number, *shape)))
    return []


def growing(root: Path) -> list[str]:
    """Write pairs of six sizes."""
    write_pairs(root)
    for number in range(6):
        for folder, make in (("images", image), ("masks", mask)):
            side = 16 + 13 * number
            (root / folder / f"p{number}.png").write_bytes(encoded(make(number, side, 2 * side)))
    return []


SIZES: dict[str, tuple[str, Callable[[Path], list[str]]]] = {
    "mask smaller than its image": ("refuse", partial(sized, (16, 16), (15, 16))),
    "mask turned": ("refuse", partial(sized, (16, 24), (24, 16))),
    "1 x 1 pixel": ("accept", partial(sized, (1, 1), (1, 1))),
    "1 x 16 pixels": ("accept", partial(sized, (1, 16), (1, 16))),
    "17 x 31 pixels": ("accept", partial(sized, (17, 31), (17, 31))),
    "no rows": ("refuse", partial(sized, (0, 16), (0, 16))),
    "3 channels among grey ones": ("either", partial(sized, (16, 16, 3), (16, 16))),
    "5 channels among grey ones": ("refuse", partial(sized, (16, 16, 5), (16, 16))),
    "no channels": ("refuse", partial(sized, (16, 16, 0), (16, 16))),
    "a wide and a tall strip of 20,000 x 3": ("either", long_and_tall),
    "six sizes": ("accept", growing),
}


def odd_sizes() -> Iterator[OddSet]:
    """Yield sets in which the size of an image is odd."""
    for name, (must, build) in SIZES.items():
        yield OddSet("sizes", name, must, build, (ODD, "p2", "data.", "crop_size"))
