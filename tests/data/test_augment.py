"""Augmentation draws from (seed, epoch, index) alone, keeps masks to their classes, and moves both alike."""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig

from unetkit.data.augment import Augmentation, GridElastic
from unetkit.data.device_augment import DeviceAugmentation

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted(path.stem for path in (CONF / "augment").glob("*.yaml"))
RNG = np.random.default_rng(0)
Image = NDArray[np.uint8]


@cache
def composed(name: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", [f"augment={name}", "run_dir=unused", *overrides]).augment  # type: ignore[no-any-return]


def configured(name: str, *overrides: str) -> Augmentation | DeviceAugmentation:
    augmentation = instantiate(composed(name, *overrides), _convert_="all")
    assert isinstance(augmentation, Augmentation | DeviceAugmentation)
    return augmentation


def geometric(name: str) -> Augmentation | DeviceAugmentation:
    if name.endswith("_device"):
        return configured(name, "augment.intensity_p=0")
    return configured(name, *(["~augment.transforms.brightness"] if name == "strong" else []))


def noise(*shape: int) -> Image:
    return RNG.integers(0, 256, shape, np.uint8)


def blobs(height: int, width: int, classes: int = 2) -> Image:
    """A mask of large smooth regions."""
    coarse = cv2.resize(RNG.random((4, 4)), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.digitize(coarse, np.linspace(0, 1, classes + 1)[1:-1]).astype(np.uint8)


def elastic(displacement_px: float, grid: int = 4) -> Augmentation:
    return Augmentation({"elastic": GridElastic(displacement_px, grid)}, seed=0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("channels", "size", "classes"), [(1, (37, 53), 2), (3, (64, 64), 4)])
def test_sizes_kinds_and_classes_stay(name: str, channels: int, size: tuple[int, int], classes: int) -> None:
    augmentation = configured(name)
    image, mask = noise(*size, channels), blobs(*size, classes)
    for index in range(10):
        new_image, new_mask = augmentation(image, mask, 0, index)
        assert new_image.shape == image.shape
        assert new_mask.shape == mask.shape
        assert new_image.dtype == new_mask.dtype == np.uint8
        assert set(np.unique(new_mask)) <= set(range(classes))


@pytest.mark.parametrize("name", NAMES)
def test_draws_depend_on_seed_epoch_and_index_alone(name: str) -> None:
    image, mask = noise(32, 32, 1), blobs(32, 32)
    first, second = configured(name), configured(name)
    draws = [(epoch, index) for epoch in range(3) for index in range(8)]
    ahead = {draw: first(image, mask, *draw) for draw in draws}
    for draw in reversed(draws):
        for a, b in zip(ahead[draw], second(image, mask, *draw), strict=True):
            np.testing.assert_array_equal(a, b)
    if name != "none":
        other_seed = configured(name, "seed=2")
        epochs = [np.stack([ahead[epoch, index][0] for index in range(8)]) for epoch in range(3)]
        epochs.append(np.stack([other_seed(image, mask, 0, index)[0] for index in range(8)]))
        assert all((a != b).any() for i, a in enumerate(epochs) for b in epochs[:i])
        assert len({ahead[0, index][0].tobytes() for index in range(8)}) > 1


@pytest.mark.parametrize("name", NAMES)
def test_void_stays_void_and_none_is_made(name: str) -> None:
    """Between class 1 and void (255) an interpolation would invent classes; a border would invent void."""
    augmentation = configured(name)
    void = np.where(blobs(48, 48) == 1, 255, 1).astype(np.uint8)
    for index in range(20):
        assert set(np.unique(augmentation(noise(48, 48, 1), void, 0, index)[1])) <= {1, 255}
        assert (augmentation(noise(48, 48, 1), np.ones_like(void), 0, index)[1] == 1).all()


def test_none_changes_nothing() -> None:
    image, mask = noise(32, 32, 3), blobs(32, 32)
    new_image, new_mask = configured("none")(image, mask, 0, 0)
    np.testing.assert_array_equal(new_image, image)
    np.testing.assert_array_equal(new_mask, mask)


def test_flip_mirrors_about_half_of_the_pairs_left_to_right() -> None:
    augmentation = configured("flip")
    image, mask = noise(8, 9, 1), blobs(8, 9)
    flipped = 0
    for index in range(200):
        new_image, new_mask = augmentation(image, mask, 0, index)
        step = -1 if (new_image != image).any() else 1
        np.testing.assert_array_equal(new_image, image[:, ::step])
        np.testing.assert_array_equal(new_mask, mask[:, ::step])
        flipped += step == -1
    assert 70 < flipped < 130


@pytest.mark.parametrize("name", NAMES)
def test_image_and_mask_move_together(name: str) -> None:
    augmentation = geometric(name)
    mask = blobs(101, 101)
    for index in range(20):
        new_image, new_mask = augmentation(mask[..., None] * np.uint8(255), mask, 0, index)
        disagreeing = (new_image[..., 0] > 127) != (new_mask > 0)
        assert disagreeing.mean() < 0.02  # along the edges, where the image is interpolated
        edges = cv2.dilate(new_mask, np.ones((5, 5), np.uint8)) != cv2.erode(new_mask, np.ones((5, 5), np.uint8))
        assert not disagreeing[~edges].any()


@pytest.mark.parametrize("name", NAMES)
def test_borders_are_mirrored_not_black(name: str) -> None:
    augmentation = geometric(name)
    image, mask = np.full((48, 48, 3), 200, np.uint8), np.ones((48, 48), np.uint8)
    for index in range(20):
        new_image, new_mask = augmentation(image, mask, 0, index)
        assert (new_image == 200).all()
        assert (new_mask == 1).all()


def test_the_elastic_config_moves_most_pairs() -> None:
    augmentation = configured("elastic", "~augment.transforms.flip")
    image, mask = noise(101, 101, 1), blobs(101, 101)
    moved = [(augmentation(image, mask, 0, i)[0] != image).mean() for i in range(100)]
    assert 65 < sum(share > 0.9 for share in moved) < 95  # p = 0.8
    assert sum(share == 0 for share in moved) == 100 - sum(share > 0.9 for share in moved)


@pytest.mark.parametrize(
    ("displacement_px", "grid", "size"),
    [(3.0, 4, (101, 101)), (3.0, 4, (256, 256)), (3.0, 4, (64, 192)), (10.0, 3, (128, 128)), (1.5, 8, (101, 101))],
)
def test_the_displacement_is_that_many_pixels_at_any_size(
    displacement_px: float, grid: int, size: tuple[int, int]
) -> None:
    transform = GridElastic(displacement_px, grid)
    transform.set_random_seed(0)
    rows, columns = np.mgrid[: size[0], : size[1]]
    squares = {"map_y": 0.0, "map_x": 0.0}
    for _ in range(300):
        maps = transform.get_params_dependent_on_data({"shape": (*size, 1)}, {})
        squares["map_y"] += np.square(maps["map_y"] - rows).mean() / 300
        squares["map_x"] += np.square(maps["map_x"] - columns).mean() / 300
    assert np.sqrt(list(squares.values())) == pytest.approx(displacement_px, rel=0.06)


def test_pixels_arrive_displaced_by_that_much() -> None:
    columns = np.broadcast_to(np.arange(200, dtype=np.uint8), (200, 200))
    ramps, mask = np.stack([columns.T, columns], -1), np.zeros((200, 200), np.uint8)
    inner = slice(30, -30)  # where the mirrored border does not reach
    moves = [
        elastic(4.0)(np.dstack([ramps, ramps[..., :1]]), mask, 0, i)[0][inner, inner, :2].astype(float)
        - ramps[inner, inner]
        for i in range(100)
    ]
    y, x = np.sqrt(np.mean(np.square(moves), (0, 1, 2)))
    assert 3 < y < 5  # the inner part moves a little more or less than the whole
    assert 3 < x < 5


def test_no_displacement_is_the_identity() -> None:
    image, mask = noise(41, 53, 3), blobs(41, 53)
    new_image, new_mask = elastic(0.0)(image, mask, 3, 4)
    np.testing.assert_array_equal(new_image, image)
    np.testing.assert_array_equal(new_mask, mask)
