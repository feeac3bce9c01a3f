"""`loss.class_weights=auto` and `loss.pos_weight=auto` are computed from the training masks, and from these only."""

import logging
from pathlib import Path

import numpy as np
import pytest
from conftest import WritePairs
from omegaconf import OmegaConf
from training_runs import QUIET, composed

from unetkit.data.balancing import median_frequency_weights
from unetkit.errors import UserError
from unetkit.training.build import prepare_data


def test_median_frequency_by_hand() -> None:
    # Class 2 is in one image of 100 pixels, 10 of them; the others are in both: 0.5, 0.45 and 0.1.
    pixels = np.array([[50, 40, 10, 0], [50, 50, 0, 0]])
    assert median_frequency_weights(pixels) == [0.9, 1.0, 4.5, 1.0]


def config(root: Path, *typed: str) -> list[str]:
    tiny = ["model=plain_small", "model.channels=[4,8]", "data=folder", f"data.root={root}", *QUIET]
    return [*tiny, f"data.cache_dir={root.parent / 'cache'}", f"run_dir={root.parent / 'run'}", *typed]


@pytest.fixture
def root(tmp_path: Path, write_pairs: WritePairs) -> Path:
    """Training masks of a quarter foreground, and validation masks that are full of it."""
    image = {f"{i}": np.full((16, 16), 50 * i, np.uint8) for i in range(4)}
    mask = np.zeros((16, 16), np.uint8)
    mask[:4] = 255
    write_pairs(tmp_path / "data" / "train", image, dict.fromkeys(image, mask))
    write_pairs(tmp_path / "data" / "val", image, dict.fromkeys(image, np.full_like(mask, 255)))
    return tmp_path / "data"


def test_auto_becomes_numbers_that_the_run_keeps(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "unetkit")
    cfg = composed(*config(root, "loss.pos_weight=auto"))
    prepare_data(cfg)
    assert cfg.loss.pos_weight == 3.0
    assert "loss.pos_weight=auto: 3" in caplog.text
    cfg = composed(*config(root, "loss=bce_lovasz", "loss.terms.bce.class_weights=auto"))
    prepare_data(cfg)
    assert list(cfg.loss.terms.bce.class_weights) == [0.6667, 2.0]
    assert "loss.terms.bce.class_weights=auto: background 0.6667, foreground 2" in caplog.text
    assert OmegaConf.to_yaml(cfg)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["loss.class_weights=[1,2,3]"], r"loss.class_weights=\[1, 2, 3\] must be 2 weights, one each for background"),
        (["loss.pos_weight=2", "data.num_classes=3"], "is for binary masks, and these have 3 classes"),
    ],
)
def test_weights_that_do_not_fit_are_named(root: Path, typed: list[str], said: str, write_pairs: WritePairs) -> None:
    if "data.num_classes=3" in typed:
        image = {f"{i}": np.zeros((16, 16), np.uint8) for i in range(4)}
        write_pairs(root.parent / "three", image, {name: np.eye(16, dtype=np.uint8) * 2 for name in image})
        root = root.parent / "three"
    with pytest.raises(UserError, match=said):
        prepare_data(composed(*config(root, *typed)))
