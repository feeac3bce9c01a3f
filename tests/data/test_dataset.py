"""Items are cropped and put together without losing or inventing a pixel that counts; every rank sees its share."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Array

from unetkit.data.crops import Crops
from unetkit.data.dataset import EpochSampler, PairDataset, collate
from unetkit.data.store import ArrayStore, cached_arrays
from unetkit.data.types import VOID, Item, SampleKey

RNG = np.random.default_rng(0)
SIZES = [(20, 24), (12, 30), (8, 8), (1, 5)]


def store(folder: Path, arrays: list[Array], what: str) -> ArrayStore:
    return cached_arrays(folder, [what], lambda: arrays, len(arrays), what)


@pytest.fixture
def stores(tmp_path: Path) -> tuple[ArrayStore, ArrayStore]:
    """Images whose first channel is their mask."""
    images: list[Array] = [RNG.integers(0, 200, (*size, 3), np.uint8) for size in SIZES]
    return store(tmp_path, images, "images"), store(tmp_path, [image[..., 0] for image in images], "masks")


def item(height: int, width: int, channels: int = 1, index: int = 0) -> Item:
    image = RNG.integers(0, 256, (height, width, channels), np.uint8)
    return {"image": image, "mask": RNG.integers(0, 2, (height, width), np.uint8), "index": index}


class TestCollate:
    @pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
    def test_items_of_one_size_are_stacked(self, channels: int) -> None:
        items = [item(5, 7, channels, index) for index in (4, 2)]
        batch = collate(items)
        assert batch["image"].shape == (2, channels, 5, 7)
        assert batch["image"].dtype == batch["mask"].dtype == torch.uint8
        assert batch["index"].tolist() == [4, 2]
        for i, one in enumerate(items):
            np.testing.assert_array_equal(batch["image"][i].permute(1, 2, 0), one["image"])
            np.testing.assert_array_equal(batch["mask"][i], one["mask"])

    def test_smaller_items_are_mirrored_and_void_beyond(self) -> None:
        image = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)[..., None]
        small: Item = {"image": image, "mask": np.ones((2, 3), np.uint8), "index": 0}
        batch = collate([small, item(3, 5)])
        assert batch["image"][0, 0].tolist() == [[1, 2, 3, 2, 1], [4, 5, 6, 5, 4], [1, 2, 3, 2, 1]]
        v = VOID
        assert batch["mask"][0].tolist() == [[1, 1, 1, v, v], [1, 1, 1, v, v], [v, v, v, v, v]]
        assert (batch["mask"][1] != VOID).all()

    def test_height_and_width_may_come_from_different_items(self) -> None:
        items = [item(4, 9), item(8, 2), item(1, 3), item(1, 1)]
        batch = collate(items)
        assert batch["image"].shape == (4, 1, 8, 9)
        for i, one in enumerate(items):
            height, width = one["mask"].shape
            np.testing.assert_array_equal(batch["image"][i, 0, :height, :width], one["image"][..., 0])
            np.testing.assert_array_equal(batch["mask"][i, :height, :width], one["mask"])
            assert (batch["mask"][i] != VOID).sum() == height * width


class TestPairs:
    def test_items_are_those_at_the_indices(self, stores: tuple[ArrayStore, ArrayStore]) -> None:
        dataset = PairDataset(*stores, [2, 0])
        assert len(dataset) == 2
        for i, index in enumerate([2, 0]):
            found = dataset[SampleKey(0, i)]
            assert found["index"] == index
            np.testing.assert_array_equal(found["image"], stores[0][index])
            np.testing.assert_array_equal(found["mask"], stores[1][index])

    def test_training_crops_differ_by_epoch_and_fit_their_mask(self, stores: tuple[ArrayStore, ArrayStore]) -> None:
        dataset = PairDataset(*stores, [0], crops=Crops((10, 10)))
        crops = [dataset[SampleKey(epoch, 0)] for epoch in range(10)]
        assert {crop["image"].shape for crop in crops} == {(10, 10, 3)}
        assert len({crop["image"].tobytes() for crop in crops}) > 5
        for crop in crops:
            np.testing.assert_array_equal(crop["image"][..., 0], crop["mask"])
        np.testing.assert_array_equal(dataset[SampleKey(3, 0)]["image"], crops[3]["image"])

    def test_the_mask_of_padding_is_void(self, stores: tuple[ArrayStore, ArrayStore]) -> None:
        found = PairDataset(*stores, [0])[SampleKey(0, 0, is_padding=True)]
        assert (found["mask"] == VOID).all()
        assert found["mask"].shape == SIZES[0]
        assert (stores[1][0] != VOID).all()


class TestOrder:
    def order(self, epoch: int = 0, **options: Any) -> list[SampleKey]:
        sampler = EpochSampler(**({"size": 50, "shuffle": True, "seed": 0} | options))
        sampler.set_epoch(epoch)
        draws = list(sampler)
        assert len(draws) == len(sampler)
        return draws

    def test_it_depends_on_seed_and_epoch_alone(self) -> None:
        items = [draw.item for draw in self.order()]
        assert sorted(items) == list(range(50))
        assert self.order() == self.order()
        for other in (self.order(epoch=1), self.order(seed=1)):
            assert [draw.item for draw in other] != items
            assert sorted(draw.item for draw in other) == list(range(50))

    def test_a_sampler_that_skips_to_an_epoch_goes_on_alike(self) -> None:
        sampler = EpochSampler(50, shuffle=True, seed=0)
        for epoch in range(4):
            sampler.set_epoch(epoch)
            draws = list(sampler)
        assert draws == self.order(epoch=3)
        assert {draw.epoch for draw in draws} == {3}

    def test_without_shuffling_it_is_that_of_the_names(self) -> None:
        assert [draw.item for draw in self.order(epoch=7, shuffle=False)] == list(range(50))

    @pytest.mark.parametrize("shuffle", [True, False])
    @pytest.mark.parametrize("world_size", [1, 2, 3, 4])
    @pytest.mark.parametrize("size", [1, 2, 6, 7, 50])
    def test_ranks_share_the_items_and_fill_up_with_padding(self, size: int, world_size: int, shuffle: bool) -> None:
        shards = [
            self.order(epoch=2, size=size, shuffle=shuffle, rank=rank, world_size=world_size)
            for rank in range(world_size)
        ]
        assert len({len(shard) for shard in shards}) == 1
        draws = [draw for shard in shards for draw in shard]
        assert sorted(draw.item for draw in draws if not draw.is_padding) == list(range(size))
        assert len(draws) - size < world_size
        assert all(0 <= draw.item < size for draw in draws)
