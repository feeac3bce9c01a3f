from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unetkit.data import Preprocessing
from unetkit.errors import UserError
from unetkit.inference import Predictor, blending_weight, tile_corners
from unetkit.models import UNet, classify, probabilities

PLAIN = Preprocessing(1, None, (0.5,), (0.25,))


class Shift(nn.Module):
    """Logits that tell left from right: the pixel to the left of each."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x.roll(1, dims=-1)


@pytest.mark.parametrize("shape", [(101, 101), (97, 131), (1, 1), (33, 64, 1), (33, 64, 3)])
@pytest.mark.parametrize("padding", ["zeros", "valid"])
def test_any_size_gives_a_mask_of_that_size(shape: tuple[int, ...], padding: str) -> None:
    network = UNet(1, 1, [4, 8], padding=padding)  # type: ignore[arg-type]
    prediction = Predictor(network, PLAIN)(np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8))
    assert prediction.mask.shape == prediction.probability.shape == shape[:2]
    assert ((prediction.probability >= 0) & (prediction.probability <= 1)).all()


def test_images_are_normalised_as_in_training() -> None:
    image = np.array([[0, 255]], np.uint8)
    probability = Predictor(Shift(), PLAIN)(image).probability
    logits = (np.array([[1.0, 0.0]]) - 0.5) / 0.25
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(-logits)), rtol=1e-6)


def test_flip_averages_both_views() -> None:
    image = np.array([[0, 100, 200, 255]], np.uint8)
    plain = Predictor(Shift(), PLAIN)
    flipped = plain(image[:, ::-1].copy()).probability[:, ::-1]
    averaged = Predictor(Shift(), PLAIN, flip=True)(image).probability
    np.testing.assert_allclose(averaged, (plain(image).probability + flipped) / 2, rtol=1e-6)


def test_tiles_agree_with_the_whole_where_nothing_is_seen_across() -> None:
    network = nn.Conv2d(1, 1, 1)
    image = np.random.default_rng(1).integers(0, 255, (70, 131)).astype(np.uint8)
    whole = Predictor(network, PLAIN)(image)
    tiled = Predictor(network, PLAIN, tile=32, overlap=8)(image)
    np.testing.assert_allclose(tiled.probability, whole.probability, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 100), (20, 65)])
def test_tiles_cover_every_pixel_and_overlap(height: int, width: int) -> None:
    covered = np.zeros((height, width), int)
    for top, left in tile_corners(height, width, 32, 8):
        assert 0 <= top <= max(height - 32, 0)
        covered[top : top + 32, left : left + 32] += 1
    assert covered.min() >= 1
    columns = sorted({left for _, left in tile_corners(height, width, 32, 8)})
    assert all(b - a <= 24 for a, b in pairwise(columns))


def test_blending_never_gives_a_pixel_up() -> None:
    weight = blending_weight(9, 12, 3)
    assert weight.min() > 0
    assert weight[4, 6] == 1


def test_other_kinds_of_images_are_refused() -> None:
    with pytest.raises(UserError, match="is float32, but the training images are 8-bit"):
        Predictor(Shift(), PLAIN)(np.zeros((4, 4), np.float32))
    with pytest.raises(UserError, match="has 2 channels"):
        Predictor(Shift(), PLAIN)(np.zeros((4, 4, 2), np.uint8))


def test_one_two_and_many_logits() -> None:
    two = torch.randn(1, 2, 3, 3)
    torch.testing.assert_close(probabilities(two)[:, 0], two.softmax(1)[:, 1])
    torch.testing.assert_close(probabilities(two), probabilities(two[:, 1:] - two[:, :1]))
    many = torch.randn(1, 4, 3, 3)
    assert torch.equal(classify(probabilities(many), 0.5).long(), many.argmax(1))
    assert classify(torch.tensor([[[[0.5, 0.51]]]]), 0.5).tolist() == [[[0, 1]]]
