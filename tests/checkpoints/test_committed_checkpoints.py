"""The networks that come with the project work for somebody who has trained nothing."""

from pathlib import Path

import numpy as np
import pytest

import unetkit

FOLDER = Path(__file__).parents[2] / "checkpoints"
FILES = sorted(FOLDER.glob("*.ckpt"))


def test_there_is_one() -> None:
    assert FILES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_is_small_has_a_card_and_predicts(file: Path) -> None:
    assert file.stat().st_size < 2_000_000
    assert file.name in file.with_suffix(".md").read_text()
    image = np.random.default_rng(0).integers(0, 256, (101, 101), np.uint8)
    prediction = unetkit.load(file, tta="flip")(image)
    assert prediction.mask.shape == prediction.probability.shape == (101, 101)
    assert 0 <= prediction.probability.min() <= prediction.probability.max() <= 1
