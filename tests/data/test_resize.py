"""Images and masks at the size that a network works at."""

import numpy as np
import pytest

from unetkit.data import VOID, Preprocessing
from unetkit.data.resize import read_resize, resize_image, resize_mask, working_size
from unetkit.errors import UserError


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
def test_an_image_shrinks_to_the_means_of_areas(channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (12, 20, channels), np.uint8)
    means = image.reshape(6, 2, 10, 2, channels).mean((1, 3))
    resized = resize_image(image, (6, 10))
    assert resized.shape == (6, 10, channels)
    assert np.abs(resized - means).max() <= 1


def test_a_mask_takes_the_class_of_the_nearest_pixel_and_invents_none() -> None:
    mask = np.array([[0, 3], [VOID, 1]], np.uint8)
    np.testing.assert_array_equal(resize_mask(mask, (6, 6)), mask.repeat(3, 0).repeat(3, 1))
    np.testing.assert_array_equal(resize_mask(mask.repeat(3, 0).repeat(3, 1), (2, 2)), mask)


@pytest.mark.parametrize(
    ("given", "size"), [(None, (100, 61)), (0.5, (50, 30)), (2.0, (200, 122)), (104, (104, 104)), ([64, 96], (64, 96))]
)
def test_a_scale_and_pixels_are_told_apart(given: object, size: tuple[int, int]) -> None:
    assert working_size(read_resize(given), 100, 61) == size


@pytest.mark.parametrize("given", [0, 2, -0.5, 0.0, 100.0, True, "half", [64], [64, 0.5], [64, 96, 3], 10**9])
def test_other_values_are_refused_with_the_key(given: object) -> None:
    with pytest.raises(UserError, match=r"^data\.resize=.* must be null, a scale above 0"):
        read_resize(given)


def test_a_checkpoint_keeps_the_size_and_older_versions_read_one_without() -> None:
    resizing = Preprocessing(1, resize=(64, 96))
    assert Preprocessing.from_dict({**resizing.to_dict(), "resize": [64, 96]}) == resizing
    assert "resize" not in Preprocessing(1).to_dict()
    assert not Preprocessing(1, resize=(10**6, 10**6)).is_sound
