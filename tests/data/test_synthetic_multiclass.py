"""The synthetic data set of four classes: deterministic, complete in its classes, written once."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from omegaconf import OmegaConf

from unetkit.data.synthetic_multiclass import CLASSES, ROCK, SALT, SAND, WATER, section, write
from unetkit.errors import UserError

CONF = Path(__file__).parents[2] / "conf"
SECTIONS = [section(0, index, size=64) for index in range(60)]
MASKS = np.stack([mask for _, mask in SECTIONS])


def test_a_section_depends_on_seed_and_index_only() -> None:
    first, again = section(3, 7), section(3, 7)
    np.testing.assert_array_equal(first, again)
    for other in (section(3, 8), section(4, 7)):
        assert (first[0] != other[0]).any()


@pytest.mark.parametrize("size", [32, 101])
def test_images_are_grey_and_masks_hold_indices(size: int) -> None:
    for index in range(10):
        image, mask = section(1, index, size=size)
        assert image.shape == mask.shape == (size, size)
        assert image.dtype == mask.dtype == np.uint8
        assert mask.max() < len(CLASSES)


@pytest.mark.parametrize(
    ("label", "low", "high"), [(ROCK, 0.4, 0.7), (SALT, 0.1, 0.35), (WATER, 0.05, 0.2), (SAND, 0.05, 0.2)]
)
def test_each_class_is_common_and_all_but_rock_are_often_missing(label: int, low: float, high: float) -> None:
    assert low < np.equal(MASKS, label).mean() < high
    missing = 1 - np.equal(MASKS, label).any((1, 2)).mean()
    assert missing < 0.1 if label == ROCK else 0.2 < missing < 0.6


def test_water_lies_above_all_and_is_still() -> None:
    for image, mask in SECTIONS:
        water = mask == WATER
        assert (np.diff(water.astype(int), axis=0) <= 0).all()
        core = cv2.erode(water.astype(np.uint8), np.ones((9, 9))) > 0
        if core.any():
            assert image[core].std() < 0.5 * image[~water].std()


def test_sand_reflects_more_strongly_than_rock() -> None:
    contrasts = [
        image[mask == SAND].std() / image[mask == ROCK].std()
        for image, mask in SECTIONS
        if min((mask == SAND).sum(), (mask == ROCK).sum()) > 50
    ]
    assert np.median(contrasts) > 1.3


def test_files_hold_the_sections_and_are_written_once(tmp_path: Path) -> None:
    root = write(tmp_path / "set", count=3, size=40, seed=5)
    assert sorted(p.name for p in root.iterdir()) == ["classes.txt", "images", "masks"]
    assert (root / "classes.txt").read_text().split() == list(CLASSES)
    for index in range(3):
        stored = [
            cv2.imread(str(root / part / f"{index:05d}.png"), cv2.IMREAD_UNCHANGED) for part in ("images", "masks")
        ]
        np.testing.assert_array_equal(stored, section(5, index, size=40))
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert write(root, count=3, size=40, seed=5) == root
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"classes\.txt"):
        write(tmp_path, count=1)


def test_the_config_names_the_classes() -> None:
    config = OmegaConf.to_container(OmegaConf.load(CONF / "data" / "synthetic_multiclass.yaml"))
    assert isinstance(config, dict)
    assert tuple(config["class_names"]) == CLASSES
    assert config["num_classes"] == len(CLASSES)
