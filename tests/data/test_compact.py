"""Long lists in little memory hold exactly what they were made of."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from unetkit.data.compact import Pairs, Repeated, Texts
from unetkit.data.drawn import MergedMask, Outline, OutlinedMask
from unetkit.data.files import FileRef
from unetkit.data.pair import Pair
from unetkit.data.volumes import VolumeRef

MANY = 5_000


def pairs_of_files(count: int) -> list[Pair]:
    images, masks = Path("data/set of tiles/images"), Path("data/set of tiles/masks")
    names = [f"tile_{i:07}" for i in range(count)]
    return [Pair(name, FileRef(images / f"{name}.png"), FileRef(masks / f"{name}.png")) for name in names]


def pairs_of_every_kind() -> list[Pair]:
    image = FileRef(Path("images/a.png"))
    rings = OutlinedMask(FileRef(Path("notes.json")), "a.png", (Outline(1, runs={"counts": [3]}),), ("no", "yes"))
    return [
        Pair("plain", image, FileRef(Path("masks/a.png")), None, "train"),
        Pair("without folder", FileRef("a.png"), FileRef("b.png"), None, "val"),
        Pair("root", FileRef("/a.png"), FileRef("./b.png")),
        Pair("zip", FileRef(Path("x.zip"), "images/a.png"), FileRef(Path("x.zip"), "a.png"), None, "test"),
        Pair("pages/0003", FileRef(Path("stack.tif"), None, 3), FileRef(Path("x.zip"), "s/stack.tif", 3)),
        Pair("code only", image, None, "1 3 10 2"),
        Pair("empty code", image, FileRef(Path("masks/a.png")), ""),
        Pair("objects", image, MergedMask((FileRef("1.png"), FileRef("2.png")))),
        Pair("outlines", image, rings),
        Pair("volume", VolumeRef("a.nii", None, None, (), (), (1.0, 1.0, 2.0)), VolumeRef("b.nii", None, None, (), ())),
        Pair("series", FileRef("a/1.dcm", slices=(FileRef("a/2.dcm"),)), FileRef("a.nii")),
        Pair("channels", FileRef("a_0000.png", channels=(FileRef("a_0001.png"),)), FileRef("a.png")),
        Pair("Größe 大", FileRef(Path("Größe/大.png")), FileRef(Path("m/大.png"))),
        Pair("no utf-8", FileRef(os.fsdecode(b"images/\xff.png")), FileRef(os.fsdecode(b"masks/\xff.png"))),
    ]


def test_pairs_of_every_kind_come_back_as_they_were_in_each_way_of_reading() -> None:
    pairs = pairs_of_every_kind()
    compact = Pairs(pairs)
    assert list(compact) == pairs
    assert [compact[i] for i in range(len(compact))] == pairs
    assert compact[-1] == pairs[-1]
    assert compact[2:7:2] == pairs[2:7:2]
    assert list(compact.ids) == [pair.id for pair in pairs]
    assert list(pickle.loads(pickle.dumps(compact))) == pairs  # our own bytes
    assert type(compact[9].image) is VolumeRef
    for outside in (len(pairs), -len(pairs) - 1):
        with pytest.raises(IndexError):
            compact[outside]


@pytest.mark.parametrize("values", [[], [None] * 3, [(1, 2), (3,), (1, 2)], list(range(300))])
def test_values_and_texts_come_back(values: list[object]) -> None:
    assert list(Repeated.of(values)) == values
    assert [Repeated.of(values)[i] for i in range(len(values))] == values
    texts = [str(value) for value in values]
    assert list(Texts(texts)) == texts


def test_a_pair_of_files_takes_less_than_100_bytes() -> None:
    assert len(pickle.dumps(Pairs(pairs_of_files(MANY)))) < 100 * MANY


def test_few_kinds_take_a_byte_each() -> None:
    assert Repeated.of([(64, 64, 1)] * MANY).places.nbytes == MANY
    assert np.array_equal(Repeated.of("abab").places, [0, 1, 0, 1])
