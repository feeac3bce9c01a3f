"""A fourth band goes the whole way: found, augmented, trained on, drawn, predicted, scored, exported."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import Unetkit
from tiff_files import write_tiff
from training_runs import QUIET, composed

from unetkit.data.decode import read_image
from unetkit.data.files import FileRef
from unetkit.errors import UserError
from unetkit.training.build import prepare_data
from unetkit.training.run import train

NETWORK = ["model=plain_small", "model.channels=[8,16]", "optimizer.lr=0.01", "trainer.max_epochs=10"]


def write_bands(root: Path, extra: int) -> Path:
    """Write noise and masks of discs, which only the fourth band shows."""
    rng = np.random.default_rng(0)
    (root / "masks").mkdir(parents=True)
    y, x = np.mgrid[:36, :36]
    for i in range(12):
        mask = (y - rng.integers(10, 26)) ** 2 + (x - rng.integers(10, 26)) ** 2 < 64
        image = rng.integers(0, 256, (36, 36, 4), np.uint8)
        image[..., 3] = np.where(mask, 220, 40)
        write_tiff(root / "images" / f"p{i:02}.tif", image, extra=(extra,))
        assert cv2.imwrite(str(root / "masks" / f"p{i:02}.png"), mask.astype(np.uint8) * 255)
    return root


def typed(root: Path, *more: str) -> list[str]:
    """What is typed to train on it."""
    fixed = [f"data.cache_dir={root}/cache", f"run_dir={root}/run", "data.batch_size=4"]
    return ["data=folder", f"data.root={root}", *NETWORK, *QUIET, *fixed, *more]


@pytest.mark.parametrize(
    ("extra", "more"), [(0, []), pytest.param(2, ["data.channels=4"], marks=pytest.mark.slow, id="alpha")]
)
def test_a_fourth_band_is_learned_from_scored_and_exported(
    extra: int, more: list[str], unetkit: Unetkit, tmp_path: Path
) -> None:
    root = write_bands(tmp_path, extra)
    summary = train(composed(*typed(root, *more, "augment=flip")))
    assert summary["val/iou"] > 0.7
    assert (root / "run" / "pictures" / "predictions.png").stat().st_size > 0
    checkpoint = f"checkpoint={root}/run"
    assert unetkit("predict", checkpoint, f"input={root}", f"output={root}/out", "device=cpu").status == 0
    overlap = union = 0
    for file in (root / "masks").iterdir():
        predicted, mask = (read_image(FileRef(path)) > 0 for path in (root / "out" / "masks" / file.name, file))
        overlap, union = overlap + (predicted & mask).sum(), union + (predicted | mask).sum()
    assert overlap / union > 0.7
    if more:  # an alpha channel, as which the band is marked, is the harder case
        scored = unetkit(
            "evaluate", checkpoint, f"input={root}", f"output={root}/scores", "device=cpu", "bootstrap=100"
        )
        assert scored.status == 0, scored.stderr
        exported = unetkit("export", checkpoint, f"output={root}/weights.onnx")
        assert exported.status == 0, exported.stderr


def test_each_augmentation_takes_four_bands(tmp_path: Path) -> None:
    root = write_bands(tmp_path, 0)
    for choice in ("elastic", "strong", "strong_device"):
        data = prepare_data(composed(*typed(root, f"augment={choice}")))
        images = next(iter(data.train_dataloader()))["image"]
        assert images.shape[1] == data.channels == 4


def test_an_alpha_channel_that_is_left_out_is_told_and_the_advice_reads_it(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    root = write_bands(tmp_path, 2)
    caplog.set_level(logging.INFO)
    train(composed(*typed(root, "trainer.max_epochs=0")))
    assert "12 images have an alpha channel that is not the same everywhere, such as p00: it is not read" in caplog.text
    advice = caplog.text.partition("if it holds data, set ")[2].split()[0]
    caplog.clear()
    assert prepare_data(composed(*typed(root, advice))).channels == 4
    assert "an alpha channel" not in caplog.text


@pytest.mark.parametrize("value", [0, 255])
def test_masks_that_are_all_empty_or_all_full_stop_the_training(value: int, tmp_path: Path) -> None:
    root = write_bands(tmp_path, 0)
    for file in (root / "masks").iterdir():
        assert cv2.imwrite(str(file), np.full((36, 36), value, np.uint8))
    with pytest.raises(UserError, match=r"no foreground pixel in any|foreground in every pixel of every"):
        train(composed(*typed(root)))
