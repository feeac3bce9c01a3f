"""Large images are validated and drawn in tiles, as they are predicted, and take little memory."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from conftest import WritePairs
from training_runs import QUIET, ROOT, config

from unetkit.metrics import confusion, confusion_matrix
from unetkit.metrics import counts as counting
from unetkit.run_files import read_json
from unetkit.training.build import build_module, build_trainer, prepare_data
from unetkit.training.image_logger import draw_best_median_worst, predict_shown
from unetkit.training.run_stats import RunStats

# One level, whose pixels see two pixels around them, so that tiles change nothing.
NEAR = ["model.channels=[4]", "model.norm=none", "data.size=90"]


def validated(tmp_path: Path, cache: Path, tile: int | None, *options: str) -> tuple[dict[str, float], Any]:
    """The scores of a fresh network, with the images whole or in tiles; and its ranking of the images."""
    cfg = config(tmp_path, cache, *NEAR, *options)
    L.seed_everything(0, verbose=False)
    data = prepare_data(cfg)
    module = build_module(cfg, data)
    if tile is not None:
        module.tile = tile
    trainer = build_trainer(cfg, tmp_path, RunStats())
    (scores,) = trainer.validate(module, datamodule=data, verbose=False)
    return dict(scores), module.ranking()


@pytest.mark.parametrize(
    "options",
    [[], ["data=synthetic_multiclass"], ["data.crop_size=40", "data.batch_size=3"], ["data.resize=0.9"]],
    ids=["binary", "classes", "crops", "resized"],
)
def test_validation_in_tiles_gives_the_scores_of_whole_images(options: list[str], tmp_path: Path, cache: Path) -> None:
    chosen = [*options, "model.num_classes=4"] if "data=synthetic_multiclass" in options else options
    whole, ranking = validated(tmp_path, cache, None, *chosen)
    tiled, in_tiles = validated(tmp_path, cache, 66, *chosen)
    for name in whole.keys() - {"val/loss"}:  # that of an image is the mean of its strips
        assert tiled[name] == pytest.approx(whole[name], abs=1e-4), name
    assert tiled["val/loss"] == pytest.approx(whole["val/loss"], rel=0.2)
    assert [index for _, index in in_tiles] == [index for _, index in ranking]


def test_pixels_are_counted_alike_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    mask, truth = (torch.randint(0, 3, (2, 50, 40), dtype=torch.uint8) for _ in range(2))
    valid = torch.rand(2, 50, 40) > 0.2
    whole = confusion(mask, truth, valid, 3), confusion_matrix(mask, truth, valid, 3)
    monkeypatch.setattr(counting, "AT_ONCE", 99)
    for one, other in zip(whole[0], confusion(mask, truth, valid, 3), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(whole[1], confusion_matrix(mask, truth, valid, 3))


def test_end_pictures_predict_only_the_images_that_they_show(tmp_path: Path, cache: Path) -> None:
    cfg = config(tmp_path, cache, "data.count=100")
    data = prepare_data(cfg)
    module = build_module(cfg, data)
    build_trainer(cfg, tmp_path, RunStats()).validate(module, datamodule=data, verbose=False)
    assert len(module.ranking()) > 9
    calls = []
    module.network.register_forward_hook(lambda *_: calls.append(1))
    draw_best_median_worst(module.predictor(), data, module.ranking(), each=2)
    assert len(calls) == 6
    calls.clear()
    draw_best_median_worst(module.predictor(), data, [], each=2)  # without a validation
    assert len(calls) <= 12


def test_pictures_of_a_large_image_show_some_of_its_pixels(
    write_pairs: WritePairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unetkit.training import image_logger

    cfg = config(tmp_path, tmp_path / "cache", "data.size=70", "data.count=6")
    data = prepare_data(cfg)
    predictor = build_module(cfg, data).predictor()
    pair = data.dataset("val")[0]
    whole = predictor.predict_prepared(pair["image"])
    monkeypatch.setattr(image_logger, "SHOWN", 20)
    shown = predict_shown(predictor, pair, data)
    np.testing.assert_array_equal(shown.mask, whole.mask[::3, ::3])
    np.testing.assert_array_equal(shown.probability, whole.probability[::3, ::3])


@pytest.mark.slow
def test_memory_of_a_run_hardly_grows_with_the_size_of_its_images(write_pairs: WritePairs, tmp_path: Path) -> None:
    peaks = []
    for side in (1100, 4000):
        images = {f"{i}": np.full((side, side), 90 * i, np.uint8) for i in range(3)}
        masks = {name: (np.arange(side * side).reshape(side, side) % 7 < 3).astype(np.uint8) for name in images}
        folder = write_pairs(tmp_path / str(side), images, masks)
        typed = ["data=folder", f"data.root={folder}", f"data.cache_dir={tmp_path}/cache", "data.crop_size=64"]
        typed += ["model=plain_small", "model.channels=[8,16]", "data.crops_per_image=2", "data.batch_size=4", *QUIET]
        typed += ["trainer.max_epochs=1", f"hydra.run.dir={tmp_path}/run{side}"]
        subprocess.run([sys.executable, "train.py", *typed], cwd=ROOT, check=True, capture_output=True)
        summary = read_json(tmp_path / f"run{side}" / "summary.json")
        peaks.append(summary["peak_memory_mib"])
    assert peaks[1] - peaks[0] < 450  # a whole image takes 1,000 for the eight features of the first level alone
