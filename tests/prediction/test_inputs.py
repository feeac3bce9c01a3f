"""A predictor takes a path, an array, a tensor or an image of Pillow, and gives the same mask for all of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import WriteImage
from PIL import Image

from unetkit.data import Preprocessing
from unetkit.errors import UserError
from unetkit.models import UNet
from unetkit.prediction.ensemble import Ensemble
from unetkit.prediction.predictor import Predictor

RNG = np.random.default_rng(0)


def predictor(channels: int, value_range: tuple[float, float] | None = None) -> Predictor:
    torch.manual_seed(0)
    return Predictor(UNet(channels, 1, [2, 4]), Preprocessing(channels, value_range, (0.5,), (0.3,)))


@pytest.mark.parametrize("channels", [1, 3])
def test_any_form_of_an_image_gives_the_same(channels: int, tmp_path: Path, write_image: WriteImage) -> None:
    pixels = RNG.integers(0, 256, (20, 30) if channels == 1 else (20, 30, 3), np.uint8)
    path = write_image(tmp_path / "a.png", pixels)
    first = torch.from_numpy(pixels if channels == 1 else pixels.transpose(2, 0, 1).copy())
    net = predictor(channels)
    expected = net(pixels).probability
    forms: list[Any] = [path, str(path), Image.open(path), Image.fromarray(pixels), first, first / 255]
    forms += [first[None, None] if channels == 1 else first[None]]
    for form in forms:
        np.testing.assert_array_equal(net(form).probability, expected)
        np.testing.assert_array_equal(Ensemble([net])(form).probability, expected)


def test_modes_of_pillow_and_wide_values(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (20, 30, 3), np.uint8)
    rgb = Image.fromarray(pixels)
    net = predictor(3)
    rgba = rgb.copy()
    rgba.putalpha(7)
    np.testing.assert_array_equal(net(rgba).probability, net(pixels).probability)
    palette = rgb.quantize(16)
    np.testing.assert_array_equal(net(palette).probability, net(np.asarray(palette.convert("RGB"))).probability)
    turned = rgb.copy()
    turned.getexif()[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=turned.getexif())
    assert net(Image.open(tmp_path / "turned.jpg")).mask.shape == net(tmp_path / "turned.jpg").mask.shape == (30, 20)
    wide = RNG.integers(0, 4096, (20, 30), np.uint16)
    deep = predictor(1, (0.0, 4095.0))
    expected = deep(wide).probability
    for form in (Image.fromarray(wide), torch.from_numpy(wide.astype(np.float32))):
        np.testing.assert_allclose(deep(form).probability, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (torch.zeros(2, 1, 8, 8), "is no image; give"),
        (torch.full((8, 8), 7.0), "is not from 0 to 1, but the training images are 8-bit; give uint8"),
        ([[1, 2]], "a list is no image; give a path, an array"),
        (np.zeros((0, 8), np.uint8), r"an image of shape \(0, 8\) has no pixel"),
        (torch.zeros(3, 0, 8), "has no pixel"),
        ("nowhere.png", "nowhere.png does not exist; give the path of an image"),
    ],
)
def test_what_is_no_image_is_named(form: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        predictor(1)(form)
