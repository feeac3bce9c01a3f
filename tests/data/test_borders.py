"""The U-Net paper's weight map: its values, and that it stays with its mask from the cache to the batch."""

from pathlib import Path
from typing import Any

import albumentations as A
import numpy as np
import pytest
import torch
from conftest import Array, WritePairs
from numpy.typing import NDArray

from unetkit.data import VOID, Augmentation, GridElastic, SegmentationDataModule, folder_pairs
from unetkit.data.borders import BorderWeights, balancing_weights, border_map
from unetkit.data.crops import Crops
from unetkit.data.dataset import PairDataset, collate
from unetkit.data.store import ArrayStore, cached_arrays
from unetkit.data.types import SampleKey
from unetkit.errors import UserError

RNG = np.random.default_rng(0)
Image = NDArray[np.uint8]


def two_blobs(height: int = 40, width: int = 48) -> Image:
    """Two discs with one pixel of background between them."""
    y, x = np.mgrid[:height, :width]
    discs = [(y - height // 2) ** 2 + (x - width // 2 - side * 9) ** 2 < 8.6**2 for side in (-1, 1)]
    return np.asarray(discs[0] | discs[1], np.uint8)


def glow(*distances: float, sigma: float = 5.0) -> int:
    return round(255 * float(np.exp(-(sum(distances) ** 2) / (2 * sigma**2))))


def test_a_map_by_hand() -> None:
    """Between cells at columns 0 and 4 the two distances add up to 4; beyond, the nearer one counts too."""
    mask = np.array([[1, 0, 0, 0, 1, 1, 0, 0]], np.uint8)
    expected = [0, glow(1, 3), glow(2, 2), glow(3, 1), 0, 0, glow(1, 6), glow(2, 7)]
    assert border_map(mask, 5.0, VOID)[0].tolist() == expected
    assert border_map(mask, 2.0, VOID)[0].tolist() == [0, *[glow(4, sigma=2)] * 3, 0, 0, glow(7, sigma=2), 0]


def test_distances_are_euclidean_and_corners_separate() -> None:
    mask = np.array([[1, 0], [0, 1]], np.uint8)
    assert border_map(mask, 5.0, VOID).tolist() == [[0, glow(1, 1)], [glow(1, 1), 0]]
    mask = np.zeros((4, 5), np.uint8)
    mask[0, 0] = mask[3, 4] = 1
    assert border_map(mask, 5.0, VOID)[1, 1] == glow(2**0.5, 13**0.5)


@pytest.mark.parametrize("mask", [np.zeros((5, 6), np.uint8), np.ones((5, 6), np.uint8), np.eye(1, 6, 2, np.uint8)])
def test_without_two_cells_there_is_no_border(mask: Image) -> None:
    assert not border_map(mask.astype(np.uint8), 5.0, VOID).any()


def test_void_is_neither_cell_nor_border() -> None:
    mask = np.array([[1, 0, VOID, 0, 1]], np.uint8)
    assert border_map(mask, 5.0, VOID)[0].tolist() == [0, glow(1, 3), 0, glow(3, 1), 0]


def test_the_border_between_touching_cells_weighs_most() -> None:
    mask = two_blobs()
    weights = border_map(mask, 5.0, VOID)
    row, column = np.unravel_index(weights.argmax(), mask.shape)
    assert abs(row - 20) <= 4
    assert column == 24
    assert weights.max() == glow(1, 1)
    assert not weights[mask > 0].any()
    assert not weights[:, 0].any()


def test_classes_are_balanced() -> None:
    masks = [np.array([[0, 0, 0, 1, VOID]], np.uint8), np.array([[0, 0, 0, 2]], np.uint8)]
    weights = balancing_weights(masks, VOID)
    assert weights[:3].tolist() == pytest.approx([8 / (3 * 6), 8 / 3, 8 / 3])
    assert (weights[3], weights[VOID]) == (1, 0)
    flat = np.concatenate([mask.ravel() for mask in masks])
    assert weights[flat].sum() == pytest.approx((flat != VOID).sum())


def stored(folder: Path, arrays: list[Image], what: str) -> ArrayStore:
    return cached_arrays(folder, [what], lambda: arrays, len(arrays), what)


def dataset(folder: Path, masks: list[Image], crop: int | None = None, **transforms: Any) -> PairDataset:
    """Pairs whose images are their masks."""
    images = [np.repeat(mask[..., None], 3, 2) for mask in masks]
    maps = [border_map(mask, 5.0, VOID) for mask in masks]
    borders = BorderWeights(stored(folder, maps, "maps"), balancing_weights(masks, VOID), w0=10.0)
    stores = stored(folder, images, "images"), stored(folder, masks, "masks")
    return PairDataset(
        *stores, range(len(masks)), Augmentation(transforms, 0), None if crop is None else Crops((crop, crop)), borders
    )


def test_the_weight_is_both_terms_and_nothing_where_void(tmp_path: Path) -> None:
    mask = np.array([[1, 0, 0, VOID, VOID, 0, 0, 1]], np.uint8)
    weight = dataset(tmp_path, [mask])[0]["weight"]
    w_background, w_cell = 6 / (2 * 4), 6 / (2 * 2)
    expected = [w_cell, w_background + 10 * glow(1, 6) / 255, w_background + 10 * glow(2, 5) / 255, 0]
    assert weight.dtype == np.float32
    assert weight[0].tolist() == pytest.approx([*expected, *reversed(expected)], rel=1e-5)
    padding = dataset(tmp_path, [mask])[SampleKey(0, 0, is_padding=True)]
    assert not padding["weight"].any()


def test_a_mirrored_mask_has_the_mirrored_map(tmp_path: Path) -> None:
    mask = two_blobs()
    mask[:10, :9] = 1
    plain, mirrored = dataset(tmp_path, [mask])[0], dataset(tmp_path, [mask], flip=A.HorizontalFlip(p=1.0))[0]
    np.testing.assert_array_equal(mirrored["mask"], mask[:, ::-1])
    np.testing.assert_array_equal(mirrored["weight"], plain["weight"][:, ::-1])
    made_of_mirrored = dataset(tmp_path / "again", [np.ascontiguousarray(mask[:, ::-1])])[0]
    np.testing.assert_array_equal(mirrored["weight"], made_of_mirrored["weight"])


def test_the_map_moves_with_its_mask(tmp_path: Path) -> None:
    """Cropped, turned, bent and brightened: wherever a pixel of the mask goes, its weight goes."""
    turned = A.Affine(rotate=(-20, 20), border_mode=4, p=1.0)
    brighter = A.RandomBrightnessContrast(p=1.0)
    pairs = dataset(tmp_path, [two_blobs()], 36, turned=turned, bent=GridElastic(2.0), brighter=brighter)
    assert pairs.borders is not None
    for epoch in range(5):
        item = pairs[SampleKey(epoch, 0)]
        assert item["mask"].shape == item["weight"].shape == (36, 36)
        between = item["weight"] > 5
        assert between.any()
        assert not item["mask"][between].any()
        assert (item["weight"][item["mask"] == 1] == pairs.borders.class_weights[1]).all()


def test_batches_are_filled_up_with_nothing(tmp_path: Path) -> None:
    pairs = dataset(tmp_path, [two_blobs(), two_blobs(44, 40)])
    batch = collate([pairs[0], pairs[1]])
    assert batch["weight"].shape == batch["mask"].shape == (2, 44, 48)
    assert ((batch["weight"] == 0) == (batch["mask"] == VOID)).all()
    assert batch["weight"].dtype == torch.float32


@pytest.fixture
def data(tmp_path: Path, write_pairs: WritePairs) -> SegmentationDataModule:
    masks: dict[str, Array] = {f"{i}": np.roll(two_blobs(), i, 1) for i in range(5)}
    root = write_pairs(tmp_path / "data", {n: RNG.integers(0, 256, (40, 48), np.uint8) for n in masks}, masks)
    module = SegmentationDataModule(
        name="own",
        pairs=lambda: folder_pairs(root),
        augmentation=Augmentation({}, 0),
        cache_dir=tmp_path / "cache",
        border_weight={"w0": 10.0, "sigma": 5.0},
        num_workers=0,
    )
    module.prepare(1)
    return module


def test_maps_are_made_once_and_only_when_wanted(data: SegmentationDataModule) -> None:
    assert "weight" not in next(iter(data.train_dataloader()))
    data.prepare(1, with_border_weights=True)
    files = {path: path.stat().st_mtime_ns for path in data.cache_dir.glob("borders-*")}
    assert len(files) == 2
    for loader in (data.train_dataloader(), data.val_dataloader()):
        assert next(iter(loader))["weight"].amax() == pytest.approx(10 * glow(1, 1) / 255, abs=1)
    data.prepare(1, with_border_weights=True)
    assert {path: path.stat().st_mtime_ns for path in data.cache_dir.glob("borders-*")} == files
    data.border_weight = {"w0": 10.0, "sigma": 3.0}
    data.prepare(1, with_border_weights=True)
    assert len(list(data.cache_dir.glob("borders-*"))) == 4


@pytest.mark.parametrize("wrong", [None, {"w0": 10.0}, {"w0": -1.0, "sigma": 5.0}, {"w0": 1.0, "sigma": 0.0}])
def test_a_missing_description_is_said(data: SegmentationDataModule, wrong: dict[str, float] | None) -> None:
    data.border_weight = wrong
    with pytest.raises(UserError, match=r"data\.border_weight=.*which the weight map of the loss needs"):
        data.prepare(1, with_border_weights=True)
