"""Data sets with odd tables: Kaggle's `train.csv` of run lengths, and a `split.csv`."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from faults.odd_sets import OddSet, write_pairs

GOOD = {f"p{number}": f"{20 + number} 5 60 3" for number in range(6)}


def codes(**changed: str | None) -> bytes:
    """Return a train.csv with other codes; None leaves a line out."""
    rows = {**GOOD, **changed}
    return "".join(["id,rle_mask\n", *(f"{id},{code}\n" for id, code in rows.items() if code is not None)]).encode()


def with_table(content: bytes | None, mask_files: bool = False) -> Callable[[Path], list[str]]:
    """Return a builder of Kaggle's layout with this train.csv; None makes a folder of it."""

    def build(root: Path) -> list[str]:
        write_pairs(root)
        if not mask_files:
            for file in (root / "masks").iterdir():
                file.unlink()
            (root / "masks").rmdir()
        if content is None:
            (root / "train.csv").mkdir()
        else:
            (root / "train.csv").write_bytes(content)
        return ["data=tgs_salt", f"data.root={root}"]

    return build


TABLES: dict[str, tuple[str, bytes | None]] = {
    "good": ("accept", codes()),
    "good, with the mark of Excel": ("accept", b"\xef\xbb\xbf" + codes()),
    "good, with the lines of Windows": ("accept", codes().replace(b"\n", b"\r\n")),
    "good, with more columns": ("accept", codes().replace(b"\n", b",x\n")),
    "good, with an id that has no image": ("accept", codes(p9="1 1")),
    "empty mask": ("accept", codes(p3="")),
    "empty file": ("refuse", b""),
    "only the names of columns": ("refuse", b"id,rle_mask\n"),
    "no names of columns": ("refuse", codes().partition(b"\n")[2]),
    "other names of columns": ("refuse", codes().replace(b"rle_mask", b"mask")),
    "semicolons": ("refuse", codes().replace(b",", b";")),
    "an id missing": ("refuse", codes(p3=None)),
    "cut after an id": ("refuse", codes(p5=None) + b"p5"),
    "cut within a number": ("either", codes()[:-2]),
    "cut after a start": ("refuse", codes(p5="20 5 60")),
    "an id twice, equal": ("either", codes() + b"p3,23 5 60 3\n"),
    "an id twice, with other codes": ("refuse", codes() + b"p3,1 1\n"),
    "runs that overlap": ("refuse", codes(p3="20 5 22 5")),
    "runs in another order": ("either", codes(p3="60 3 20 5")),
    "start at 0": ("refuse", codes(p3="0 5")),
    "start beyond the image": ("refuse", codes(p3="257 1")),
    "run beyond the image": ("refuse", codes(p3="250 20")),
    "negative length": ("refuse", codes(p3="20 -5")),
    "length of 0": ("either", codes(p3="20 0")),
    "length of 10^30": ("refuse", codes(p3=f"20 {10**30}")),
    "decimal numbers": ("refuse", codes(p3="20.5 3")),
    "words": ("refuse", codes(p3="salt here")),
    "digits of another script": ("either", codes(p3="\u0662\u0660 \u0665")),
    "UTF-16": ("refuse", codes().decode().encode("utf-16")),
    "Latin-1": ("refuse", codes() + "süd,1 1\n".encode("latin-1")),
    "null bytes": ("refuse", codes().replace(b"p3,2", b"p3,\0")),
    "a field of 200,000 characters": ("refuse", codes(p3="1 1 " * 50_000)),
    "a quote that is not closed": ("refuse", codes(p3='"20 5')),
    "a folder": ("refuse", None),
    "a PNG": ("refuse", b"\x89PNG\r\n\x1a\n" + bytes(range(256))),
}
FEW = "id,split\n"
WORDS = ["train", "train", "train", "train", "val", "val"]


def split_of(words: list[str]) -> bytes:
    """Return a split.csv that gives the pairs these parts."""
    return "".join([FEW, *(f"p{number},{word}\n" for number, word in enumerate(words))]).encode()


SPLITS: dict[str, tuple[str, bytes | None]] = {
    "good": ("accept", split_of(WORDS)),
    "good, with pairs that are unused": ("accept", split_of(["train", "train", "val", "unused", "unused", "test"])),
    "good, with the mark of Excel": ("accept", b"\xef\xbb\xbf" + split_of(WORDS)),
    "all train": ("refuse", split_of(["train"] * 6)),
    "all val": ("refuse", split_of(["val"] * 6)),
    "another word": ("refuse", split_of(["train", "train", "train", "dev", "val", "val"])),
    "an empty word": ("refuse", split_of(["train", "train", "train", "", "val", "val"])),
    "an id missing": ("accept", split_of(WORDS[:5])),  # such a pair is unused
    "an id that has no image": ("refuse", split_of([*WORDS, "val"])),
    "an id twice": ("refuse", split_of(WORDS) + b"p3,val\n"),
    "cut after an id": ("refuse", split_of(WORDS[:5]) + b"p5"),
    "other names of columns": ("refuse", split_of(WORDS).replace(b"id,split", b"name,part")),
    "empty file": ("refuse", b""),
    "UTF-16": ("refuse", split_of(WORDS).decode().encode("utf-16")),
    "Latin-1": ("refuse", split_of(WORDS) + "süd,val\n".encode("latin-1")),
    "null bytes": ("refuse", split_of(WORDS) + b"\0,val\n"),
    "a field of 200,000 characters": ("refuse", split_of(WORDS) + b"p" * 200_000 + b",val\n"),
    "a folder": ("refuse", None),
}


def with_split(content: bytes | None) -> Callable[[Path], list[str]]:
    """Return a builder of good pairs with this split.csv; None makes a folder of it."""

    def build(root: Path) -> list[str]:
        write_pairs(root)
        if content is None:
            (root / "split.csv").mkdir()
        else:
            (root / "split.csv").write_bytes(content)
        return [f"data.split={root / 'split.csv'}"]

    return build


def pipe_as_split(root: Path) -> list[str]:
    """Write good pairs, and make a pipe of split.csv."""
    write_pairs(root)
    os.mkfifo(root / "split.csv")
    return [f"data.split={root / 'split.csv'}"]


def pipe_as_table(root: Path) -> list[str]:
    """Write images, and make a pipe of train.csv."""
    typed = with_table(b"")(root)
    (root / "train.csv").unlink()
    os.mkfifo(root / "train.csv")
    return typed


def odd_tables() -> Iterator[OddSet]:
    """Yield sets whose tables are odd."""
    for name, (must, content) in TABLES.items():
        yield OddSet("tables", f"train.csv: {name}", must, with_table(content), ("train.csv", "p3", "p5", "images"))
    yield OddSet("tables", "train.csv: a pipe", "refuse", pipe_as_table, ("train.csv",))
    yield OddSet("tables", "train.csv and other masks", "refuse", with_table(codes(), mask_files=True), ("p0",))
    for name, (must, content) in SPLITS.items():
        yield OddSet("tables", f"split.csv: {name}", must, with_split(content), ("data.split", "split.csv"))
    yield OddSet("tables", "split.csv: a pipe", "refuse", pipe_as_split, ("data.split", "split.csv"))
