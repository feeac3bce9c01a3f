"""The synthetic data set: deterministic, in TGS's layout, written once."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from unetkit.data.rle import encode_rle
from unetkit.data.synthetic import is_empty, section, write
from unetkit.errors import UserError

COUNT, SIZE = 12, 64


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data") / "deep" / "synthetic", count=COUNT, size=SIZE)


def read(path: Path) -> dict[str, str]:
    with path.open(newline="") as file:
        return {row[0]: row[1] for row in list(csv.reader(file))[1:]}


def test_a_section_depends_on_seed_and_index_only() -> None:
    first, again = section(3, 7, salt=True), section(3, 7, salt=True)
    np.testing.assert_array_equal(first, again)
    for other in (section(3, 8, salt=True), section(4, 7, salt=True)):
        assert (first[0] != other[0]).any()


def test_images_are_grey_and_masks_binary() -> None:
    image, mask = section(0, 0, salt=True)
    assert image.shape == mask.shape == (101, 101)
    assert image.dtype == mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 1}
    assert image.std() > 3


@pytest.mark.parametrize("size", [32, 64, 101])
def test_salt_covers_at_least_one_percent_and_only_where_asked(size: int) -> None:
    for index in range(40):
        assert section(0, index, size=size, salt=True)[1].mean() >= 0.01
    assert not section(0, 0, size=size, salt=False)[1].any()


@pytest.mark.parametrize("count", [1, 2, 13, 100, 600])
def test_the_share_of_empty_sections_is_that_of_tgs(count: int) -> None:
    assert sum(is_empty(index) for index in range(count)) == round(0.39 * count)


def test_files_are_laid_out_as_those_of_tgs(root: Path) -> None:
    runs, depths = read(root / "train.csv"), read(root / "depths.csv")
    assert sorted(p.name for p in root.iterdir()) == ["depths.csv", "images", "masks", "train.csv"]
    assert len(runs) == COUNT
    assert runs.keys() == depths.keys()
    for part in ("images", "masks"):
        assert {p.stem for p in (root / part).iterdir()} == runs.keys()
    assert sum(not code for code in runs.values()) == round(0.39 * COUNT)
    for name, code in runs.items():
        image = cv2.imread(str(root / "images" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        mask = cv2.imread(str(root / "masks" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        assert image is not None
        assert mask is not None
        assert image.shape == (SIZE, SIZE, 3)
        assert image.dtype == np.uint8
        assert (image == image[..., :1]).all()
        assert mask.shape == (SIZE, SIZE)
        assert mask.dtype == np.uint16
        assert set(np.unique(mask)) <= {0, 65535}
        assert encode_rle(mask) == code
        assert 50 <= int(depths[name]) <= 950


def test_a_larger_set_starts_with_the_same_files(root: Path, tmp_path: Path) -> None:
    larger = write(tmp_path / "larger", count=COUNT + 3, size=SIZE)
    for path in root.glob("*/*.png"):
        assert path.read_bytes() == (larger / path.relative_to(root)).read_bytes()


def test_a_second_write_does_nothing(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert write(root, count=COUNT, size=SIZE) == root
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    assert list(root.parent.iterdir()) == [root]


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"train\.csv"):
        write(tmp_path, count=1)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
