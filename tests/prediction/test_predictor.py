"""A predictor gives a mask for images of any size, whole or in tiles, alone or averaged."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unetkit.data import Preprocessing
from unetkit.errors import UserError
from unetkit.models import UNet, classify, probabilities
from unetkit.prediction.ensemble import Ensemble
from unetkit.prediction.predictor import Predictor, rotated

RNG = np.random.default_rng(0)
PLAIN = Preprocessing(1, None, (0.5,), (0.25,))


class Shift(nn.Module):
    """Returns as logits the pixel to the left of each, which tells left from right."""

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
    averaged = Predictor(Shift(), PLAIN, tta="flip")(image).probability
    np.testing.assert_allclose(averaged, (plain(image).probability + flipped) / 2, rtol=1e-6)


def test_eight_views_make_a_prediction_turn_with_its_image() -> None:
    image = RNG.integers(0, 255, (12, 20)).astype(np.uint8)
    predictor = Predictor(Shift(), PLAIN, tta="d4")
    upright = predictor(image).probability
    for turns, mirrored in ((1, False), (2, True), (3, True)):
        turned = np.rot90(image, turns)[:, :: -1 if mirrored else 1].copy()
        expected = np.rot90(upright, turns)[:, :: -1 if mirrored else 1]
        np.testing.assert_allclose(predictor(turned).probability, expected, atol=1e-6)
    assert np.abs(Predictor(Shift(), PLAIN)(image).probability - upright).max() > 0.1


def test_seven_rotations_are_turned_back_onto_the_image() -> None:
    rows, columns = np.mgrid[:48, :70] / 10  # smooth, so that interpolation changes little
    image = (128 + 100 * np.sin(rows) * np.cos(columns)).astype(np.uint8)
    network = nn.Conv2d(1, 1, 1)  # sees single pixels
    nn.init.ones_(network.weight)
    plain, averaged = (Predictor(network, PLAIN, tta=tta)(image).probability for tta in ("none", "rotations"))
    np.testing.assert_allclose(averaged, plain, atol=0.02)
    assert np.ptp(plain) > 0.1


def test_rotated_turns_like_quarter_turns_and_mirrors_beyond_the_border() -> None:
    image = torch.rand(1, 2, 9, 9)
    almost = rotated(image, 90 + 1e-3, 9, 9)
    torch.testing.assert_close(almost, rotated(image, 90, 9, 9), atol=1e-2, rtol=0)
    torch.testing.assert_close(rotated(torch.ones(1, 1, 4, 7), 30, 20, 21), torch.ones(1, 1, 20, 21))


@pytest.mark.parametrize("padding", ["zeros", "valid"])
def test_seven_rotations_of_tiles_fit_together(padding: str) -> None:
    network = UNet(1, 1, [4, 8, 8], padding=padding)  # type: ignore[arg-type]
    image = RNG.integers(0, 255, (75, 131)).astype(np.uint8)
    prediction = Predictor(network, PLAIN, tta="rotations", tile=48, overlap=16)(image)
    assert prediction.probability.shape == image.shape


@pytest.mark.parametrize("shape", [(96, 96), (70, 131), (101, 40)])
@pytest.mark.parametrize("network", [UNet(1, 1, [4, 8]), UNet(1, 3, [4, 8], norm="none", upsampling="bilinear")])
def test_tiles_equal_the_whole_for_a_network_that_sees_little(network: UNet, shape: tuple[int, int]) -> None:
    image = RNG.integers(0, 255, shape).astype(np.uint8)
    whole = Predictor(network, PLAIN)(image)
    tiled = Predictor(network, PLAIN, tile=64, overlap=44)(image)  # it sees 10 pixels around, 11 are not used
    np.testing.assert_allclose(tiled.probability, whole.probability, atol=1e-5)


@pytest.mark.parametrize("shape", [(90, 90), (75, 131)])
def test_tiles_of_an_unpadded_network_take_their_margin_from_the_image(shape: tuple[int, int]) -> None:
    network = UNet(1, 1, [4, 8, 8], padding="valid")
    image = RNG.integers(0, 255, shape).astype(np.uint8)
    whole = Predictor(network, PLAIN)(image)
    tiled = Predictor(network, PLAIN, tile=36, overlap=16)(image)  # 4 unused: the network's own padding
    np.testing.assert_allclose(tiled.probability, whole.probability, atol=1e-5)


def test_an_ensemble_averages_probabilities_each_with_its_own_preprocessing() -> None:
    image = RNG.integers(0, 255, (70, 90, 3)).astype(np.uint8)
    members = [
        Predictor(UNet(1, 1, [4, 8, 8], padding="valid"), PLAIN),
        Predictor(UNet(3, 1, [4, 8]), Preprocessing(3, None, (0.4,) * 3, (0.2,) * 3)),
    ]
    ensemble = Ensemble(members, threshold=0.4)
    mean = (members[0](image).probability + members[1](image).probability) / 2
    prediction = ensemble(image)
    np.testing.assert_allclose(prediction.probability, mean, atol=1e-5)
    np.testing.assert_array_equal(prediction.mask, prediction.probability > 0.4)
    tiled = Ensemble([replace(member, tile=64, overlap=44) for member in members])(image)
    np.testing.assert_allclose(tiled.probability, mean, atol=1e-5)


def test_small_masks_are_made_empty_by_one_network_and_by_several() -> None:
    image = np.full((16, 16), 200, np.uint8)  # brighter than the mean: above probability 0.5
    predictor = Predictor(Shift(), PLAIN, 0.5)
    assert predictor(image).mask.all()
    for emptied in (replace(predictor, min_area=257), Ensemble([predictor], min_area=257)):
        prediction = emptied(image)
        assert not prediction.mask.any()
        assert (prediction.probability > 0.5).all()
    assert replace(predictor, min_area=256)(image).mask.all()


def test_floats_can_be_scaled_for_a_network_of_8_bit_images() -> None:
    amplitudes = np.array([[-2000.0, -1000.0, 0.0, 1000.0]], np.float32)
    ensemble = Ensemble([Predictor(Shift(), PLAIN)]).with_value_range((-1000, 1000))
    assert ensemble.prepare(amplitudes)[0].ravel().tolist() == [0, 0, 128, 255]


def test_images_of_another_dtype_or_channels_are_refused() -> None:
    with pytest.raises(UserError, match="is float32, but the training images are 8-bit"):
        Predictor(Shift(), PLAIN)(np.zeros((4, 4), np.float32))
    with pytest.raises(UserError, match="has 2 channels"):
        Predictor(Shift(), PLAIN)(np.zeros((4, 4, 2), np.uint8))


def test_probabilities_and_classes_of_one_two_and_many_logits() -> None:
    two = torch.randn(1, 2, 3, 3)
    of_classes = partial(probabilities, is_multilabel=False)
    torch.testing.assert_close(of_classes(two)[:, 0], two.softmax(1)[:, 1])
    torch.testing.assert_close(of_classes(two), of_classes(two[:, 1:] - two[:, :1]))
    many = torch.randn(1, 4, 3, 3)
    assert torch.equal(classify(of_classes(many), 0.5, is_multilabel=False).long(), many.argmax(1))
    assert classify(torch.tensor([[[[0.5, 0.51]]]]), 0.5, is_multilabel=False).tolist() == [[[0, 1]]]
