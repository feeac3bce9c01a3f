"""Each image is scored by the network that has not seen it, and folds of different recipes are never mixed."""

import csv
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import cv2
import lightning as L
import numpy as np
import pytest
from conftest import WritePairs
from omegaconf import DictConfig, OmegaConf
from training_runs import QUIET, composed

from unetkit.checkpoints.files import find_checkpoints
from unetkit.checkpoints.loading import load, load_ensemble
from unetkit.errors import UserError
from unetkit.training.build import build_trainer
from unetkit.training.cross_validation import cross_validate


def config(folder: Path, *overrides: str, with_synthetic: bool = True) -> DictConfig:
    tiny = ["model=plain_small", "model.channels=[4,8]", "data.folds=2", "trainer.max_epochs=1", *QUIET]
    synthetic = ["data.count=24", "data.size=36"] if with_synthetic else []
    fixed = [f"run_dir={folder}", f"data.cache_dir={folder / 'cache'}"]
    return composed(*tiny, *synthetic, *fixed, *overrides, name="cross_validate")


def test_all_folds_from_training_to_an_ensemble(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = cross_validate(config(tmp_path))
    assert "image/s" not in capsys.readouterr().err  # as the configuration wants no progress bar
    assert summary.keys() >= {"folds", "models", "post_processing", "tta", "seed", "git_commit"}
    assert (summary["epochs"], summary["data"]["split"]) == (1, "kfold")
    rows = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert len({row["id"] for row in rows}) == len(rows) == 24
    for fold in (0, 1):
        run = tmp_path / f"fold-{fold}"
        kept = {row["id"] for row in csv.DictReader((run / "split.csv").open()) if row["split"] == "val"}
        assert kept <= {row["id"] for row in rows}
        logged = json.loads((run / "summary.json").read_text())
        assert logged["data"]["fold"] == fold
    ensemble = load_ensemble(sorted((tmp_path / "ensemble").glob("*.ckpt")))
    assert len(ensemble.members) == 2
    chosen = summary["post_processing"]
    assert (round(ensemble.threshold, 2), ensemble.min_area) == (chosen["threshold"], chosen["min_area"])
    before = (tmp_path / "fold-0" / "summary.json").stat().st_mtime_ns
    again = cross_validate(config(tmp_path, "trainer.enable_progress_bar=true"))
    assert "image/s" in capsys.readouterr().err
    assert (tmp_path / "fold-0" / "summary.json").stat().st_mtime_ns == before
    assert again["models"] == summary["models"]
    chosen = cross_validate(config(tmp_path, "metrics.primary=boundary_iou"))["post_processing"]
    assert (chosen["score"], len(chosen["others_choice"])) == ("boundary_iou", 2)
    assert round(load_ensemble(tmp_path).threshold, 2) == chosen["threshold"]
    with pytest.raises(UserError, match=r"is a cross-validation of 2 networks; give one, as .*fold-0\.ckpt, or all to"):
        load(tmp_path)


@pytest.mark.slow
def test_a_fold_interrupted_after_its_last_epoch_gets_its_records(tmp_path: Path) -> None:
    options = ("callbacks=ema", "loss=bce_lovasz")
    summary = cross_validate(config(tmp_path, *options))
    records = tmp_path / "fold-1" / "summary.json"
    before = json.loads(records.read_text())
    records.unlink()
    (tmp_path / "fold-1" / "pictures" / "predictions.png").unlink()
    assert cross_validate(config(tmp_path, *options))["models"] == summary["models"]
    after = json.loads(records.read_text())
    assert after["epochs"] == before["epochs"]
    for score in ("val/iou", "val/loss"):
        assert after[score] == pytest.approx(before[score], abs=1e-6)
    assert (tmp_path / "fold-1" / "pictures" / "predictions.png").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_stopped_fold_says_that_the_same_command_resumes_which_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def build_and_stop(*arguments: Any) -> L.Trainer:
        trainer = build_trainer(*arguments)
        stop = L.pytorch.callbacks.LambdaCallback(on_train_batch_start=lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        trainer.callbacks.insert(0, stop)  # type: ignore[attr-defined]
        return trainer

    with monkeypatch.context() as patch:
        patch.setattr("unetkit.training.run.build_trainer", build_and_stop)
        with pytest.raises(SystemExit):
            cross_validate(config(tmp_path, "cross_validation.folds=[0]"))
    assert capsys.readouterr().err.splitlines()[-1] == "stopped; the same command resumes"
    summary = cross_validate(config(tmp_path, "cross_validation.folds=[0]"))
    assert summary["epochs"] == 1
    with (tmp_path / "fold-0" / "config.yaml").open() as file:
        assert f"checkpoint: {tmp_path}/fold-0/checkpoints/last.ckpt" in file.read()


@pytest.mark.slow
def test_a_random_fraction_becomes_folds_but_a_chosen_way_to_divide_stays(tmp_path: Path) -> None:
    for override, said in (("data.split=fraction", "kfold"), ("data.split=contiguous", "contiguous")):
        folder = tmp_path / said
        cross_validate(config(folder, override, "cross_validation.folds=[0]"))
        assert json.loads((folder / "fold-0" / "summary.json").read_text())["data"]["split"] == said


@pytest.mark.slow
def test_folds_that_were_trained_apart_are_scored_together(tmp_path: Path) -> None:
    alone = cross_validate(config(tmp_path / "apart", "cross_validation.folds=[1]"))
    assert (alone["images"], list(alone["folds"])) == (12, ["fold-1"])
    apart = cross_validate(config(tmp_path / "apart", "cross_validation.folds=[0]"))
    together = cross_validate(config(tmp_path / "together"))
    assert apart["models"] == together["models"]
    assert [file.name for file in sorted((tmp_path / "apart" / "ensemble").iterdir())] == ["fold-0.ckpt", "fold-1.ckpt"]
    assert len(find_checkpoints(tmp_path / "apart")) == 2


def test_folds_of_two_recipes_are_never_mixed(tmp_path: Path) -> None:
    fold = "cross_validation.folds=[0]"
    cross_validate(config(tmp_path, fold))
    for override, said in (
        ("optimizer.lr=0.5", r"fold-0 was trained with optimizer.lr=0.003 \(now 0.5\); type the same, or give another"),
        ("callbacks=ema", r"callbacks.ema._target_=None \(now unetkit.training.callbacks.EMA\)"),
        ("seed=48", r"data.seed=47 \(now 48\), seed=47 \(now 48\)|augment.seed=47 \(now 48\)"),
    ):
        with pytest.raises(UserError, match=said):
            cross_validate(config(tmp_path, fold, override))
    places = ("data.num_workers=0", "trainer.log_every_n_steps=5", "logger=wandb", "data.cache_dir=/tmp")
    assert cross_validate(config(tmp_path, fold, *places))["images"] == 12
    record = tmp_path / "fold-0" / "config.yaml"  # as of an earlier version, which had fewer keys
    record.write_text(re.sub(r"(?m)^ *(background|label_smoothing|primary_metric|primary|extra): .*\n|^metrics:\n", "",
                             record.read_text()))  # fmt: skip
    assert cross_validate(config(tmp_path, fold))["images"] == 12
    with pytest.raises(UserError, match=r"data.background=0 \(now None\)"):
        cross_validate(config(tmp_path, fold, "data.background=null"))


def test_folds_of_one_s_own_images_go_on(tmp_path: Path, write_pairs: WritePairs) -> None:
    rng = np.random.default_rng(0)
    images = {f"{i}": rng.integers(0, 256, (36, 36)).astype(np.uint8) for i in range(12)}
    root = write_pairs(tmp_path / "data", images, {name: 255 * (image > 128) for name, image in images.items()})
    own = ("data=folder", f"data.root={root}")
    for folds, scored in (("[0]", 6), ("[0,1]", 12)):
        cfg = config(tmp_path / "run", *own, f"cross_validation.folds={folds}", with_synthetic=False)
        assert cross_validate(cfg)["images"] == scored
    with pytest.raises(UserError, match=r"data.channels=1 \(now 3\)"):
        cross_validate(config(tmp_path / "run", *own, "data.channels=3", with_synthetic=False))
    for folder in ("images", "masks"):
        (root / folder / "0.png").rename(root / folder / "12.png")
    with pytest.raises(UserError, match=r"fold-0 had other images than data=folder has now: 2 differ, as 0"):
        cross_validate(config(tmp_path / "run", *own, with_synthetic=False))


@pytest.mark.slow
def test_a_fold_goes_on_with_what_was_typed_for_the_first(tmp_path: Path, write_pairs: WritePairs) -> None:
    images = {f"{i}": np.full((36, 36, 3), (i, 100, 200), np.uint8) for i in range(12)}
    root = write_pairs(tmp_path / "data", images, {name: np.eye(36, dtype=np.uint8) * 255 for name in images})
    own = ("data=folder", f"data.root={root}")
    typed = ("data.num_classes=2", "model.in_channels=1", "cross_validation.folds=[0]")
    cross_validate(config(tmp_path / "run", *own, *typed, with_synthetic=False))
    with pytest.raises(UserError, match=r"model.in_channels=1 \(now 3\)"):
        cross_validate(config(tmp_path / "run", *own, with_synthetic=False))
    cross_validate(config(tmp_path / "run", *own, "model.in_channels=1", with_synthetic=False))
    for fold in (0, 1):
        assert OmegaConf.load(tmp_path / "run" / f"fold-{fold}" / "config.yaml").model.num_classes == 2


def test_images_that_are_divided_already_are_refused(tmp_path: Path) -> None:
    for folder in ("train/images", "train/masks", "val/images", "val/masks"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "data" / folder / "a.png"), np.zeros((32, 32), np.uint8))
    cfg = config(tmp_path / "run")
    cfg.data.pairs = {"_target_": "unetkit.data.folder_pairs", "_partial_": True, "root": str(tmp_path / "data")}
    with pytest.raises(UserError, match="has all pairs in train/, val/ or test/ already"):
        cross_validate(cfg)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("cross_validation.folds=[2]", r"cross_validation.folds=\[2\] must be a list of some of 0 to 1"),
        ("cross_validation.folds=[0,0]", r"cross_validation.folds=\[0, 0\] must be a list of some of 0 to 1"),
        ("cross_validation.folds=0", "cross_validation.folds=0 must be a list of some of 0 to 1"),
        ("trainer.devices=2", "trainer.devices=2 must be 1, or a list of one"),
        ("cross_validation.tta=flips", "cross_validation.tta=flips must be one of none, flip, d4, rotations"),
        ("cross_validation.bootstrap=many", "cross_validation.bootstrap=many must be a whole number of at least 100"),
        ("trainer.fast_dev_run=true", "trainer.fast_dev_run=True must be false: folds are scored by checkpoints"),
        ("trainer.max_epochs=0", "trainer.max_epochs=0 must be 1 or more"),
        ("data.folds=five", "data.folds=five must be a whole number of at least 2"),
        ("checkpoint=last.ckpt", "checkpoint=last.ckpt is for a single run"),
        ("data.split=recreation", "data.split=recreation has no folds; use kfold, contiguous or mosaic"),
    ],
)
def test_a_wrong_value_is_named(override: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        cross_validate(config(tmp_path, override))
