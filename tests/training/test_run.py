"""Whole runs: what they leave behind, and that they are repeatable."""

import json
from pathlib import Path

import cv2
import pytest
import torch
from training_runs import config, rows, run, weights

from unetkit.training.build import build_trainer, prepare_data
from unetkit.training.callbacks import EMA
from unetkit.training.run_stats import RunStats


def test_a_run_writes_summary_metrics_pictures_checkpoints_and_split(tmp_path: Path, cache: Path) -> None:
    summary = run(tmp_path, cache)
    written = json.loads((tmp_path / "summary.json").read_text())
    assert written == summary
    scores = {"val/loss", "val/iou", "val/iou_per_image", "val/dice", "val/kaggle", "val/predicted_share"}
    assert written["images_per_second"] > 0
    facts = {"parameters", "images_per_second", "peak_memory_mib", "seconds", "seed", "versions", "git_commit"}
    assert scores | facts <= written.keys()
    assert (written["data"]["train"], written["data"]["val"]) == (19, 5)
    assert {row["epoch"] for row in rows(tmp_path) if row["val/iou"]} == {"0", "1"}
    for name in ("training_pairs.png", "predictions.png", "learning_curves.png"):
        picture = cv2.imread(str(tmp_path / "pictures" / name))
        assert picture is not None
        assert picture.std() > 20
    assert (tmp_path / "config.yaml").exists()
    assert len((tmp_path / "split.csv").read_text().splitlines()) == 25
    assert Path(written["best"]["checkpoint"]).exists()
    assert Path(written["last_checkpoint"]).exists()


@pytest.mark.slow
def test_a_network_learns_one_batch_by_heart(tmp_path: Path, cache: Path) -> None:
    summary = run(
        tmp_path, cache, "augment=none", "data.count=12", "trainer.overfit_batches=1", "trainer.max_epochs=150",
        "model.channels=[8,16,16]", "optimizer.lr=0.02", "trainer.check_val_every_n_epoch=150",
    )  # fmt: skip
    assert summary["train/loss_epoch"] < 0.1


def test_one_batch_of_pairs_cached_on_the_device_trains(tmp_path: Path, cache: Path) -> None:
    summary = run(
        tmp_path, cache, "augment=none", "data.count=12", "data.cache_on_device=true", "trainer.overfit_batches=1",
        "trainer.max_epochs=1",
    )  # fmt: skip
    assert summary["train/loss_epoch"] > 0


def test_keys_that_an_experiment_sets_of_a_callback_do_not_add_the_callback(tmp_path: Path, cache: Path) -> None:
    recipe = ["experiment=tgs_quick", "data=synthetic", "data.split=fraction"]
    for name, extra in (("with", []), ("without", ["callbacks=none"])):
        cfg = config(tmp_path / name, cache, *recipe, *extra)
        trainer = build_trainer(cfg, tmp_path / name, RunStats())
        averages = [callback for callback in trainer.callbacks if isinstance(callback, EMA)]  # type: ignore[attr-defined]
        assert len(averages) == (name == "with")
        assert cfg.callbacks.ema.decay == 0.98  # is set in both


def test_two_runs_of_a_seed_have_equal_weights(tmp_path: Path, cache: Path) -> None:
    for name in ("a", "b"):
        run(tmp_path / name, cache, "trainer.max_epochs=1", "model.dropout=0.3")
    a, b = (weights(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("a", "b"))
    for key, value in a.items():
        assert torch.equal(value, b[key]), key


def test_pairs_cached_on_the_device_train_the_same_network(tmp_path: Path, cache: Path) -> None:
    for name, is_cached in (("loaded", "false"), ("cached", "true")):
        options = ["augment=strong_device", f"data.cache_on_device={is_cached}"]
        options += ["data.count=27", "trainer.max_epochs=1"]  # so that the last batch is short
        summary = run(tmp_path / name, cache, *options)
        assert 0 <= summary["data_wait"] < 1
    one, other = (weights(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("loaded", "cached"))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert rows(tmp_path / "loaded")[-1]["val/iou"] == rows(tmp_path / "cached")[-1]["val/iou"]


@pytest.mark.parametrize(("threshold", "said"), [("0.9999999", "predicted empty"), ("0.0", "predicted full")])
def test_masks_that_are_all_empty_or_all_full_are_warned_of(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture, threshold: str, said: str
) -> None:
    run(tmp_path, cache, "trainer.max_epochs=1", f"threshold={threshold}")
    assert said in caplog.text


def test_a_checkpoint_callback_of_the_user_is_used_too(tmp_path: Path, cache: Path) -> None:
    every = "{_target_: lightning.pytorch.callbacks.ModelCheckpoint, filename: 'own-{epoch}', every_n_epochs: 2}"
    summary = run(tmp_path, cache, f"+callbacks.every={every}")
    assert summary["last_checkpoint"] == str(tmp_path / "checkpoints" / "last.ckpt")
    assert sorted(file.name for file in tmp_path.rglob("own-*.ckpt")) == ["own-epoch=1.ckpt"]


def test_a_run_that_stops_within_an_epoch_is_scored(tmp_path: Path, cache: Path) -> None:
    summary = run(tmp_path, cache, "trainer.max_steps=2")
    assert 0 <= summary["val/iou"] <= 1
    assert Path(summary["last_checkpoint"]).exists()


@pytest.mark.slow
def test_the_scores_are_those_of_the_last_epoch(tmp_path: Path, cache: Path) -> None:
    every, second, never = (
        run(tmp_path / str(n), cache, "trainer.max_epochs=3", f"trainer.check_val_every_n_epoch={n}") for n in (1, 2, 9)
    )
    assert second["val/loss"] == never["val/loss"] == every["val/loss"]
    scored = [row for row in rows(tmp_path / "2") if row["val/loss"]]
    assert [float(row["epoch"]) for row in scored] == [1, 2]
    assert float(scored[0]["val/loss"]) != pytest.approx(every["val/loss"])


@pytest.mark.parametrize("option", ["trainer.fast_dev_run=true", "trainer.max_epochs=0"])
def test_a_run_that_logs_nothing_has_a_summary(tmp_path: Path, cache: Path, option: str) -> None:
    assert 0 <= run(tmp_path, cache, option)["val/iou"] <= 1
    assert (tmp_path / "summary.json").exists()


def test_the_seed_of_a_run_changes_the_order_of_images_but_not_a_split_of_its_own_seed(
    tmp_path: Path, cache: Path
) -> None:
    splits, orders = [], []
    for seed in (47, 48):
        data = prepare_data(config(tmp_path, cache, f"seed={seed}", "data.seed=47", "augment=none"))
        splits.append(data.split.sides)
        orders.append([int(index) for batch in data.train_dataloader() for index in batch["index"]])
    assert splits[0] == splits[1]
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]
