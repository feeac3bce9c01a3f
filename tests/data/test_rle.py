"""Kaggle's run-length code: down the columns, counted from 1."""

import numpy as np
import pytest

from unetkit.data.rle import decode_rle, encode_rle
from unetkit.errors import UserError

CASES = {
    "empty": ("", [[0, 0, 0], [0, 0, 0]]),
    "first pixel": ("1 1", [[1, 0, 0], [0, 0, 0]]),
    "second is below the first": ("2 1", [[0, 0, 0], [1, 0, 0]]),
    "third is right of the first": ("3 1", [[0, 1, 0], [0, 0, 0]]),
    "a run goes on in the next column": ("2 3", [[0, 1, 0], [1, 1, 0]]),
    "last pixel": ("6 1", [[0, 0, 0], [0, 0, 1]]),
    "two runs": ("1 1 5 2", [[1, 0, 1], [0, 0, 1]]),
    "full": ("1 6", [[1, 1, 1], [1, 1, 1]]),
}


@pytest.mark.parametrize(("text", "mask"), CASES.values(), ids=CASES)
def test_hand_cases(text: str, mask: list[list[int]]) -> None:
    assert encode_rle(np.array(mask)) == text
    decoded = decode_rle(text, 2, 3)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, mask)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (13, 8), (101, 101)])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_decoding_reverses_encoding(shape: tuple[int, int], share: float) -> None:
    mask = np.random.default_rng(0).random(shape) < share
    np.testing.assert_array_equal(decode_rle(encode_rle(mask), *shape), mask)


def test_every_value_but_zero_is_foreground() -> None:
    assert encode_rle(np.array([[0, 65535], [255, 1]])) == "2 3"


@pytest.mark.parametrize("text", ["1", "1 2 3", "a b", "1 -2", "-1 2", "1.0 2", "² 1", "1,2"])
def test_malformed_codes_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=f"{text!r} is not pairs of positive integers"):
        decode_rle(text, 2, 3)


@pytest.mark.parametrize("text", ["0 1", "0 6", "1 0"])
def test_starts_and_lengths_count_from_one(text: str) -> None:
    with pytest.raises(UserError, match=f"{text}; starts and lengths count from 1"):
        decode_rle(text, 2, 3)


@pytest.mark.parametrize("text", ["7 1", "1 7", "6 2", "1 1 5 99"])
def test_runs_outside_the_image_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="outside a 2x3 image"):
        decode_rle(text, 2, 3)


@pytest.mark.parametrize("text", ["1 3 2 1", "3 2 1 3", "2 2 2 2"])
def test_runs_that_overlap_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"has a run \d \d that overlaps another"):
        decode_rle(text, 2, 3)
