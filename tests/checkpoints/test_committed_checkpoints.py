"""The checkpoints that come with the project predict, and so does one of a run before packages were rearranged."""

from pathlib import Path

import numpy as np
import pytest

import unetkit

FOLDER = Path(__file__).parents[2] / "checkpoints"
FILES = sorted(FOLDER.glob("*.ckpt"))
OLD_RUN = Path(__file__).parents[1] / "training" / "old_run"


def test_there_are_committed_checkpoints() -> None:
    assert FILES


def test_an_older_run_predicts() -> None:
    channels = unetkit.load(OLD_RUN).preprocessing.channels
    assert unetkit.load(OLD_RUN)(np.zeros((33, 50, channels), np.uint8)).mask.shape == (33, 50)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_committed_checkpoint_is_small_has_a_card_and_predicts(file: Path) -> None:
    assert file.stat().st_size < 2_000_000
    assert file.name in file.with_suffix(".md").read_text()
    image = np.random.default_rng(0).integers(0, 256, (101, 101), np.uint8)
    prediction = unetkit.load(file, tta="flip")(image)
    assert prediction.mask.shape == prediction.probability.shape == (101, 101)
    assert 0 <= prediction.probability.min() <= prediction.probability.max() <= 1
