"""The parts of large images: how many, where, and that a share of them shows foreground."""

from pathlib import Path

import numpy as np
import pytest
from conftest import Array

from unetkit.data.crops import CELLS, Crops, crops_of_sizes, find_foreground
from unetkit.data.dataset import PairDataset
from unetkit.data.store import ArrayStore, cached_arrays
from unetkit.data.types import SampleKey, derived_seed

CELL = CELLS[2]
RNG = np.random.default_rng(0)


def store(folder: Path, arrays: list[Array], what: str) -> ArrayStore:
    return cached_arrays(folder, [what, len(arrays)], lambda: arrays, len(arrays), what)


def parts(image: Array, crops: Crops, epoch: int, index: int = 0, number: int = 0) -> tuple[Array, Array]:
    """The same part of an image and of its first channel."""
    corner = crops.corner((image.shape[0], image.shape[1]), epoch, index, number)
    return crops.cut(image, corner), crops.cut(image[..., 0], corner)


@pytest.mark.parametrize("size", [1, 8, 12, 20, 99])
def test_image_and_mask_are_cut_alike(size: int) -> None:
    image = RNG.integers(0, 200, (20, 12, 3), np.uint8)
    for epoch in range(10):
        cut, mask = parts(image, Crops((size, size)), epoch)
        assert cut.shape == (min(size, 20), min(size, 12), 3)
        np.testing.assert_array_equal(cut[..., 0], mask)


@pytest.mark.parametrize(("size", "surroundings"), [(4, 3), (8, 30), (99, 2)])
def test_surroundings_are_those_of_the_image_and_its_mirror_image(size: int, surroundings: int) -> None:
    image = RNG.integers(0, 200, (20, 12, 1), np.uint8)
    whole = np.pad(image[..., 0], surroundings, "reflect")
    for epoch in range(10):
        inner, _ = parts(image, Crops((size, size)), epoch)
        cut, mask = parts(image, Crops((size, size), surroundings=surroundings), epoch)
        np.testing.assert_array_equal(cut[..., 0], mask)
        np.testing.assert_array_equal(cut[surroundings:-surroundings, surroundings:-surroundings], inner)
        windows = np.lib.stride_tricks.sliding_window_view(whole, mask.shape)
        assert (windows == mask).all((2, 3)).any()


def test_every_place_is_drawn_equally_often() -> None:
    corners = [Crops((2, 2)).corner((4, 4), epoch, 0, number) for epoch in range(300) for number in range(3)]
    counts = np.zeros((4, 4), int)
    np.add.at(counts, tuple(np.transpose(corners)), 1)
    assert counts[:3, :3].min() > 60
    assert counts[3].sum() == counts[:, 3].sum() == 0


def test_the_first_part_of_an_image_lies_where_earlier_versions_cut_it() -> None:
    def before(*numbers: int) -> tuple[int, ...]:
        rng = np.random.default_rng(derived_seed(*numbers))
        return int(rng.integers(48 - 16 + 1)), int(rng.integers(60 - numbers[-1] + 1))

    assert Crops((16, 16), seed=3).corner((48, 60), 2, 5) == before(3, 2, 5, 16)
    assert Crops((16, 24), seed=3).corner((48, 60), 2, 5) == before(3, 2, 5, 16, 24)


@pytest.mark.parametrize(
    ("per_image", "counts"), [("auto", [976, 1, 1, 4, 1]), (3, [3, 3, 3, 3, 3])], ids=["by area", "a number"]
)
def test_an_image_has_as_many_parts_as_fill_its_area(per_image: int | str, counts: list[int]) -> None:
    sizes = [(8000, 8000), (256, 256), (100, 300), (50, 1100), (300, 400)]
    assert crops_of_sizes(sizes, (256, 256), per_image).tolist() == counts


def test_all_parts_of_an_epoch_differ_and_are_the_same_again(tmp_path: Path) -> None:
    images = [RNG.integers(0, 256, (40, 50, 1), np.uint8), RNG.integers(0, 256, (8, 9, 1), np.uint8)]
    stores = store(tmp_path, images, "images"), store(tmp_path, [image[..., 0] for image in images], "masks")
    pairs = PairDataset(*stores, [1, 0], crops=Crops((8, 8)), counts=np.array([1, 31]))
    assert len(pairs) == 32
    items = [pairs[SampleKey(4, item)] for item in range(32)]
    assert [item["index"] for item in items] == [1] + [0] * 31
    assert len({item["draw"] for item in items}) == 32  # so that each part is augmented in its own way
    assert len({item["image"].tobytes() for item in items}) > 28
    for item, again in zip(items, (pairs[SampleKey(4, item)] for item in range(32)), strict=True):
        np.testing.assert_array_equal(item["image"], again["image"])
        np.testing.assert_array_equal(item["image"][..., 0], item["mask"])


def masks_with_rare_classes() -> list[Array]:
    """A mask with a few pixels of two classes in a large background, and an empty one."""
    rare = np.zeros((3 * CELL + 7, 5 * CELL - 3), np.uint8)
    rare[10, 10:20] = 1
    rare[-1, -1] = 2
    rare[:5] = 255  # void
    return [rare, np.zeros((90, 90), np.uint8)]


def test_foreground_is_drawn_by_class_and_then_by_pixel(tmp_path: Path) -> None:
    masks = masks_with_rare_classes()
    foreground = find_foreground(store(tmp_path, masks, "masks"), 3, 1, tmp_path)
    pixels = [foreground.pixel(0, np.random.default_rng(seed)) for seed in range(400)]
    assert {pixel and masks[0][pixel] for pixel in pixels} == {1, 2}
    assert {pixel for pixel in pixels if pixel and pixel[0] == 10} == {(10, column) for column in range(10, 20)}
    assert 150 < sum(pixel == (3 * CELL + 6, 5 * CELL - 4) for pixel in pixels) < 250
    assert foreground.pixel(1, np.random.default_rng(0)) is None


def test_the_stated_share_of_parts_shows_the_rare_foreground(tmp_path: Path) -> None:
    masks = masks_with_rare_classes()
    foreground = find_foreground(store(tmp_path, masks, "masks"), 3, 1, tmp_path)
    crops = Crops((16, 16), share=0.33, foreground=foreground)
    for index, share in ((0, 0.33), (1, 0.0)):
        corners = [crops.corner(masks[index].shape, 0, index, number) for number in range(600)]
        cut = [crops.cut(masks[index], corner) for corner in corners]
        assert {part.shape for part in cut} == {(16, 16)}
        shown = np.mean([((part > 0) & (part < 255)).any() for part in cut])
        assert share - 0.05 <= shown <= share + 0.07
    anywhere = [Crops((16, 16)).corner(masks[0].shape, 0, 0, number) for number in range(600)]
    same = [crops.corner(masks[0].shape, 0, 0, n) == place for n, place in enumerate(anywhere)]
    assert 0.6 < np.mean(same) < 0.75  # the others lie where they would without a share


def test_parts_of_volumes_show_foreground_too(tmp_path: Path) -> None:
    volume = np.zeros((40, 70, 50), np.uint8)
    volume[33:35, 60, 41] = 1
    crops = Crops(
        (8, 16, 16), share=1.0, foreground=find_foreground(store(tmp_path, [volume], "masks"), 2, 1, tmp_path)
    )
    cut = [crops.cut(volume, crops.corner(volume.shape, 0, 0, number)) for number in range(20)]
    assert {part.shape for part in cut} == {(8, 16, 16)}
    assert all(part.any() for part in cut)
    assert crops_of_sizes([volume.shape], (8, 16, 16), "auto").tolist() == [68]
