"""Tiles of one mosaic are found by their edges, and stay on one side of a split."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import WritePairs
from hydra import compose, initialize_config_dir
from numpy.typing import NDArray

from unetkit.data import SegmentationDataModule
from unetkit.data.folds import grouped_folds
from unetkit.data.mosaic import find_mosaics
from unetkit.data.splits import SplitOptions, assign_sides
from unetkit.errors import UserError
from unetkit.training.build import prepare_data

ROOT = Path(__file__).parents[2]
SIDE = 48
Tile = NDArray[Any]


def texture(height: int, width: int, seed: int) -> Tile:
    """Smooth noise with the levels of an 8-bit image."""
    noise = np.random.default_rng(seed).standard_normal((height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return np.asarray(np.clip(128 + 40 * smooth / smooth.std(), 0, 255), np.uint8)


def cut(mosaic: Tile) -> list[Tile]:
    """Row by row, each tile with a brightness and a contrast of its own, as in TGS Salt."""
    height, width = mosaic.shape[0] // SIDE, mosaic.shape[1] // SIDE
    tiles = mosaic.reshape(height, SIDE, width, SIDE).transpose(0, 2, 1, 3).reshape(-1, SIDE, SIDE)
    return [(tile * (0.6 + 0.1 * (i % 4)) + 10 * (i % 3)).astype(np.uint8) for i, tile in enumerate(tiles)]


def mosaics(tiles: Sequence[Tile]) -> set[tuple[int, ...]]:
    """Groups of more than one, by position."""
    groups = find_mosaics((str(i), tile) for i, tile in enumerate(tiles))
    members = [tuple(np.flatnonzero(groups == group).tolist()) for group in np.unique(groups)]
    return {group for group in members if len(group) > 1}


def test_neighbours_are_found_and_strangers_are_not() -> None:
    strangers = [texture(SIDE, SIDE, seed) for seed in range(100, 140)]
    tiles = [*cut(texture(3 * SIDE, 2 * SIDE, 0)), *strangers, *cut(texture(SIDE, 4 * SIDE, 1))]
    assert mosaics(tiles) == {(0, 1, 2, 3, 4, 5), (46, 47, 48, 49)}
    assert mosaics(strangers) == set()


def test_a_tile_that_is_missing_parts_its_mosaic() -> None:
    row = cut(texture(SIDE, 5 * SIDE, 2))
    assert mosaics([*row[:2], *row[3:]]) == {(0, 1), (2, 3)}


def test_the_order_does_not_matter() -> None:
    tiles = cut(texture(2 * SIDE, 3 * SIDE, 3)) + [texture(SIDE, SIDE, seed) for seed in range(6)]
    order = np.random.default_rng(0).permutation(len(tiles))
    (found,) = mosaics([tiles[i] for i in order])
    assert {int(order[i]) for i in found} == set(range(6))


@pytest.mark.parametrize("kind", ["uint16", "float", "rgb"])
def test_other_kinds_of_pixels(kind: str) -> None:
    grey = [*cut(texture(SIDE, 3 * SIDE, 4)), *(texture(SIDE, SIDE, seed) for seed in range(9))]
    as_kind: dict[str, Callable[[Tile], Tile]] = {
        "uint16": lambda tile: tile.astype(np.uint16) * 200,
        "float": lambda tile: tile * 1e-4 - 3,
        "rgb": lambda tile: np.dstack([tile, tile // 2, 255 - tile // 3]),
    }
    assert mosaics([as_kind[kind](tile) for tile in grey]) == {(0, 1, 2)}


def test_tiles_and_edges_without_contrast_match_nothing() -> None:
    flat = [np.full((SIDE, SIDE), level, np.uint8) for level in (0, 0, 0, 128, 128, 255)]
    framed = [np.pad(texture(SIDE - 8, SIDE - 8, seed), 4) for seed in range(6)]
    assert mosaics(flat + framed) == set()
    assert mosaics(flat) == set()


def test_equal_tiles_belong_together_and_to_the_mosaic_of_one() -> None:
    row, alone = cut(texture(SIDE, 3 * SIDE, 5)), texture(SIDE, SIDE, 6)
    slightly = np.clip(row[1].astype(int) + np.random.default_rng(0).integers(-1, 2, row[1].shape), 0, 255)
    tiles = [*row, alone, row[1], slightly.astype(np.uint8), alone, texture(SIDE, SIDE, 7)]
    assert mosaics(tiles) == {(0, 1, 2, 4, 5), (3, 6)}


def test_a_single_tile_is_alone() -> None:
    assert find_mosaics([("a", texture(SIDE, SIDE, 0))]).tolist() == [0]


def test_tiles_of_other_sizes_are_named() -> None:
    tiles = [("a", texture(48, 48, 0)), ("b", texture(48, 40, 0))]
    said = "data.split=mosaic needs tiles of one size.* a is 48x48 and b is 48x40; use data.split=kfold"
    with pytest.raises(UserError, match=said):
        find_mosaics(tiles)


def test_tiles_that_are_too_small_are_named() -> None:
    with pytest.raises(UserError, match="at least 16 pixels a side, but a is 8x20; use"):
        find_mosaics([("a", np.zeros((8, 20), np.uint8))])


def test_groups_stay_together_and_folds_are_alike() -> None:
    rng = np.random.default_rng(0)
    coverage = np.where(rng.random(600) < 0.4, 0.0, rng.random(600) ** 2)
    groups = np.sort(rng.integers(0, 300, 600)) * 7
    folds = grouped_folds(coverage, groups, 5, seed=3)
    assert all(len(set(folds[groups == group])) == 1 for group in groups)
    sizes = np.bincount(folds, minlength=5)
    assert sizes.max() - sizes.min() <= 4
    for fold in range(5):
        assert abs(coverage[folds == fold].mean() - coverage.mean()) < 0.01
        assert abs((coverage[folds == fold] == 0).mean() - (coverage == 0).mean()) < 0.02
    np.testing.assert_array_equal(folds, grouped_folds(coverage, groups, 5, seed=3))
    assert (folds != grouped_folds(coverage, groups, 5, seed=4)).any()


def test_groups_of_one_are_folds_of_equal_size() -> None:
    folds = grouped_folds(np.linspace(0, 1, 53), np.arange(53), 5, seed=0)
    assert sorted(np.bincount(folds)) == [10, 10, 11, 11, 11]


def test_fewer_mosaics_than_folds() -> None:
    with pytest.raises(UserError, match=r"data\.folds=3 is more than the 2 groups of pairs"):
        assign_sides(SplitOptions("mosaic", folds=3), list("abcd"), np.zeros(4), np.array([0, 0, 1, 1]))


def prepared(root: Path, *overrides: str) -> SegmentationDataModule:
    options = ["data=folder", f"data.root={root}", f"data.cache_dir={root / 'cache'}", "data.split=mosaic", *overrides]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return prepare_data(compose("train", [*options, "run_dir=unused"]))


def test_a_folder_is_split_by_mosaics(write_pairs: WritePairs, tmp_path: Path) -> None:
    tiles = [tile for seed in range(6) for tile in cut(texture(2 * SIDE, 2 * SIDE, seed))]
    images = {f"{i:02d}": tile for i, tile in enumerate(tiles)}
    write_pairs(tmp_path, images, {name: (tile > 128).astype(np.uint8) for name, tile in images.items()})
    validated = []
    for fold in range(3):
        data = prepared(tmp_path, "data.folds=3", f"data.fold={fold}")
        sides = np.reshape(data.split.sides, (6, 4))
        assert (sides == sides[:, :1]).all()
        validated.append(sides[:, 0] == "val")
        assert (data.describe()["split"], data.describe()["mosaics"]) == ("mosaic", 6)
    assert np.sum(validated, 0).tolist() == [1] * 6
    assert np.sum(validated, 1).tolist() == [2] * 3
