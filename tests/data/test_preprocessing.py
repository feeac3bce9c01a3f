"""Images of any kind become uint8 of so many channels, then mean 0 and deviation 1."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Array

from unetkit.data.preprocessing import (
    Preprocessing,
    drop_equal_channels,
    find_value_range,
    mean_and_std,
    value_quantiles,
)
from unetkit.errors import UserError

RNG = np.random.default_rng(0)


def test_8_bit_values_stay() -> None:
    image = RNG.integers(0, 256, (4, 5), np.uint8)
    np.testing.assert_array_equal(Preprocessing(1).to_uint8(image), image[..., None])


@pytest.mark.parametrize("scale", [1e-300, 1e-15, 1.0, 1e200])
def test_any_scale_of_values_becomes_0_to_255(scale: float) -> None:
    image = np.linspace(-1, 1, 256).reshape(16, 16) * scale
    pixels = Preprocessing(1, (-scale, scale)).to_uint8(image)
    np.testing.assert_array_equal(pixels.ravel(), np.arange(256))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("stored", [1, 3])
def test_grey_images_are_the_same_however_stored(channels: int, stored: int) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    image = Preprocessing(channels).to_uint8(np.repeat(grey, stored, 2))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.repeat(grey, channels, 2))


def test_colours_become_grey_by_their_luma() -> None:
    primaries = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    grey = Preprocessing(1).to_uint8(primaries)  # ITU-R BT.601: 0.299, 0.587, 0.114
    np.testing.assert_array_equal(grey[..., 0], [[76, 150, 29, 255]])


@pytest.mark.parametrize(("stored", "channels"), [(2, 1), (3, 4), (4, 3), (5, 1)])
def test_other_channels_are_refused(stored: int, channels: int) -> None:
    with pytest.raises(UserError, match=rf"x\.png has {stored} channels, but the network takes {channels}"):
        Preprocessing(channels).to_uint8(np.zeros((2, 2, stored), np.uint8), "x.png")


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32, np.float64])
def test_the_value_range_becomes_0_to_255(dtype: type) -> None:
    image: Array = np.array([[0, 1000, 1100, 1500, 2000, 3000]], dtype)
    result = Preprocessing(1, (1000.0, 2000.0)).to_uint8(image)
    np.testing.assert_array_equal(result[..., 0], [[0, 0, 26, 128, 255, 255]])


@pytest.mark.parametrize(
    ("value_range", "dtype", "message"),
    [
        (None, np.uint16, r"x\.png is uint16, but the training images are 8-bit; use one kind"),
        (None, np.float32, r"x\.png is float32, but the training images are 8-bit"),
        ((0.0, 9.0), np.uint8, r"x\.png is uint8, but the training images are 16-bit or float, \(0\.0, 9\.0\)"),
    ],
)
def test_another_kind_than_in_training_is_refused(
    value_range: tuple[float, float] | None, dtype: type, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        Preprocessing(1, value_range).to_uint8(np.zeros((2, 2), dtype), "x.png")


def test_mean_and_deviation_by_hand() -> None:
    images = [np.array([[[0, 255]]], np.uint8), np.array([[[255, 255], [51, 255], [102, 255]]], np.uint8)]
    mean, std = mean_and_std(images)  # first channel: 0, 1, 0.2, 0.4; its variance: (1 + 0.04 + 0.16) / 4 - 0.16 = 0.14
    assert mean == pytest.approx((0.4, 1.0))
    assert std == pytest.approx((0.14**0.5, 1e-3))  # a constant channel must not divide by 0


def test_normalised_training_images_have_mean_0_and_deviation_1() -> None:
    images = RNG.integers(20, 200, (6, 8, 9, 3), np.uint8)
    mean, std = mean_and_std(images)
    x = Preprocessing(3, None, mean, std).normalise(torch.from_numpy(images).permute(0, 3, 1, 2))
    assert x.dtype == torch.float32
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3), correction=0), torch.ones(3))


def test_equal_channels_become_one() -> None:
    grey, colour = RNG.integers(0, 256, (5, 6), np.uint8), RNG.integers(0, 256, (5, 6, 3), np.uint8)
    np.testing.assert_array_equal(drop_equal_channels(grey), grey[..., None])
    np.testing.assert_array_equal(drop_equal_channels(np.stack([grey] * 3, -1)), grey[..., None])
    np.testing.assert_array_equal(drop_equal_channels(colour), colour)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_rare_values_are_outside_the_quantiles(dtype: type) -> None:
    image: Array = np.arange(1001 * 3).reshape(1001, 3).clip(0, 100).astype(dtype)
    assert value_quantiles(image) == pytest.approx((3.0, 100.0), abs=0.01)
    assert value_quantiles(image.astype(np.uint8)) is None


def test_the_value_range_leaves_out_rare_pixels_and_rare_images() -> None:
    image: Array = np.linspace(0, 1000, 10_000).reshape(100, 100)
    image[0, 0], image[0, 1] = -1e9, 1e9
    outlying = [image - 1e6, image + 1e6]
    images = [image] * 400 + outlying
    low, high = find_value_range([value_quantiles(one) for one in images], [""] * len(images)) or (0, 0)
    assert low == pytest.approx(1, abs=1)
    assert high == pytest.approx(999, abs=1)


def test_8_bit_images_keep_their_values() -> None:
    assert find_value_range([None], ["a.png"]) is None


def test_mixed_or_constant_images_are_refused() -> None:
    wide, narrow = (0.0, 8.0), None
    with pytest.raises(UserError, match=r"16-bit or float ones; b\.png is of the 1 that are 8-bit; convert all"):
        find_value_range([wide, narrow, wide], ["a.png", "b.png", "c.png"])
    with pytest.raises(UserError, match=r"16-bit or float ones; b\.png is of the 1 that are not 8-bit; convert all"):
        find_value_range([narrow, wide, narrow], ["a.png", "b.png", "c.png"])
    with pytest.raises(UserError, match=r"single value 7\.0; are these the right files"):
        find_value_range([(7.0, 7.0)], ["a.png"])


@pytest.mark.parametrize(
    "preprocessing", [Preprocessing(1), Preprocessing(3, (0.5, 900.0), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))]
)
def test_it_survives_a_checkpoint(preprocessing: Preprocessing) -> None:
    values: dict[str, Any] = preprocessing.to_dict()
    assert Preprocessing.from_dict(values) == preprocessing
    assert Preprocessing.from_dict(json.loads(json.dumps(values))) == preprocessing
    assert {type(v) for v in values.values()} <= {int, tuple, type(None)}
