"""Augmentation of whole batches: the same law as that of single pairs, the same draws wherever the batch lies."""

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from unetkit.data.augment import GridElastic
from unetkit.data.counter_random import normal, random_bits
from unetkit.data.device_augment import DeviceAugmentation
from unetkit.data.types import VOID, Batch
from unetkit.errors import UserError

STILL: dict[str, Any] = {"flip": 0.0, "elastic_p": 0.0}
STRONG: dict[str, Any] = {
    "zoom": (0.8, 1.25),
    "shift": 0.1,
    "rotate": 10.0,
    "affine_p": 0.7,
    "brightness": 0.2,
    "intensity_p": 0.5,
}


def batch_of(count: int, height: int = 37, width: int = 53, channels: int = 1) -> Batch:
    images = torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8)
    return {"image": images, "mask": (images[:, 0] > 127).to(torch.uint8), "index": torch.arange(count) * 7}


def changed(augmentation: DeviceAugmentation, batch: Batch, epoch: int = 0) -> Batch:
    height, width = batch["mask"].shape[1:]
    return augmentation.apply(batch, augmentation.sample_params(epoch, batch["index"], height, width))


def centres(masks: Tensor) -> Tensor:
    """Mean row and column (B, 2) of the foreground of masks (B, H, W)."""
    return torch.stack([mask.nonzero().float().mean(0) for mask in masks])


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_nothing_drawn_changes_nothing(interpolation: str) -> None:
    batch = batch_of(4, channels=3)
    still = changed(DeviceAugmentation(0, **STILL, interpolation=interpolation), batch)
    assert torch.equal(still["image"], batch["image"])
    assert torch.equal(still["mask"], batch["mask"])


def test_a_pair_is_changed_alike_alone_and_in_any_batch() -> None:
    augmentation, batch = DeviceAugmentation(3, **STRONG), batch_of(6)
    whole = changed(augmentation, batch, epoch=2)
    for i in (5, 0):
        image, mask = augmentation(batch["image"][i].movedim(0, -1).numpy(), batch["mask"][i].numpy(), 2, 7 * i)
        np.testing.assert_array_equal(image, whole["image"][i].movedim(0, -1).numpy())
        np.testing.assert_array_equal(mask, whole["mask"][i].numpy())


def test_the_deformation_is_that_of_grid_elastic() -> None:
    """From the same vectors: the same places, to a thousandth of a pixel, and nearly the same pixels."""
    height, width, displacement = 61, 47, 2.5
    augmentation = DeviceAugmentation(5, flip=0, displacement_px=displacement, grid=3, elastic_p=1)
    vectors = normal(random_bits(5, 0, torch.tensor([0]), 2 * 3 * 3)).view(2, 3, 3)

    class SameVectors:
        def standard_normal(self, shape: tuple[int, ...], dtype: type) -> NDArray[np.float32]:
            return vectors.numpy()[::-1]

    single = GridElastic(displacement, 3)
    single.random_generator = SameVectors()
    maps = single.get_params_dependent_on_data({"shape": (height, width)}, {})
    coefficients, _ = augmentation.sample_params(0, torch.tensor([0]), height, width)
    places = augmentation._places(torch.zeros(1, 1, height, width), coefficients)[0]
    np.testing.assert_allclose((places[..., 0] + 1) * (width - 1) / 2, maps["map_x"], atol=1e-3)
    np.testing.assert_allclose((places[..., 1] + 1) * (height - 1) / 2, maps["map_y"], atol=1e-3)
    smooth: Any = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (height, width), np.uint8), (0, 0), 3)
    moved, _ = augmentation(smooth[..., None], smooth, 0, 0)
    np.testing.assert_allclose(moved[..., 0].astype(int), single.apply(smooth, **maps).astype(int), atol=2)


@pytest.mark.parametrize(("grid", "size"), [(4, (101, 101)), (3, (128, 128)), (4, (64, 192))])
def test_the_displacement_is_that_many_pixels(grid: int, size: tuple[int, int]) -> None:
    augmentation = DeviceAugmentation(0, flip=0, displacement_px=3, grid=grid, elastic_p=1)
    coefficients, _ = augmentation.sample_params(0, torch.arange(600), *size)
    places = augmentation._places(torch.zeros(1, 1, *size), coefficients)
    still = DeviceAugmentation(0, **STILL)
    rest = still._places(torch.zeros(1, 1, *size), still.sample_params(0, torch.arange(1), *size)[0])
    pixels = (places - rest) * (torch.tensor(size[::-1]) - 1) / 2
    torch.testing.assert_close(pixels.square().mean((0, 1, 2)).sqrt(), torch.tensor([3.0, 3.0]), rtol=0.06, atol=0)


def test_zoom_shift_and_rotation_move_what_they_say() -> None:
    mask = torch.zeros(1, 1, 80, 120, dtype=torch.uint8)
    mask[..., 30:50, 50:70] = 1
    index = torch.arange(1)

    def moved(**amounts: Any) -> tuple[Tensor, Tensor]:
        augmentation = DeviceAugmentation(11, **STILL, affine_p=1.0, **amounts)
        params = augmentation.sample_params(0, index, 80, 120)
        return augmentation.warp(mask, mask, params)[1][0], params.coefficients

    larger, _ = moved(zoom=(2.0, 2.0))
    assert larger.sum() == pytest.approx(4 * 400, rel=0.03)
    shifted, coefficients = moved(shift=0.1)
    by = coefficients[0, :, 4, 4] * (torch.tensor([120.0, 80.0]) - 1) / 2  # pixels, x then y
    assert by.abs().max() > 1
    torch.testing.assert_close(centres(shifted), centres(mask[0]) - by.flip(0), atol=0.6, rtol=0)
    mask[..., 30:50, 50:70] = 0
    mask[..., 38:42, 20:100] = 1  # a bar, which a rotation turns about the centre of the image without bending it
    turned, coefficients = moved(rotate=30.0)
    angle = torch.asin(coefficients[0, 1, 4, 5] * 79 / 119)
    ys, xs = (turned[0].nonzero().float() - torch.tensor([39.5, 59.5])).unbind(1)
    assert (xs * ys).sum() / xs.square().sum() == pytest.approx(-torch.tan(angle).item(), abs=0.02)


def test_brightness_and_contrast_leave_masks_alone() -> None:
    batch = batch_of(40)
    shone = changed(DeviceAugmentation(0, **STILL, brightness=0.2, contrast=0.3, intensity_p=0.5), batch)
    assert torch.equal(shone["mask"], batch["mask"])
    same = (shone["image"] == batch["image"]).flatten(1).all(1)
    assert 8 < same.sum() < 32


def test_weights_move_with_their_mask() -> None:
    batch = batch_of(5)
    batch["weight"] = batch["mask"].float() * 3 + 0.5
    moved = changed(DeviceAugmentation(0, **STRONG), batch)
    assert torch.equal(moved["weight"], moved["mask"].float() * 3 + 0.5)
    assert not torch.equal(moved["mask"], batch["mask"])


def test_void_stays_void() -> None:
    batch = batch_of(8)
    batch["mask"][:, :10] = VOID
    assert set(changed(DeviceAugmentation(0, **STRONG), batch)["mask"].flatten().tolist()) == {0, 1, VOID}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"flip": 1.5}, "augment.flip=1.5"),
        ({"displacement_px": -1.0}, "augment.displacement_px=-1.0"),
        ({"grid": 1}, "augment.grid=1"),
        ({"zoom": [1.2, 0.8]}, "augment.zoom"),
        ({"interpolation": "cubic"}, "augment.interpolation=cubic"),
    ],
)
def test_a_wrong_argument_is_named(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        DeviceAugmentation(0, **arguments)
