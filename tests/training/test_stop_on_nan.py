"""A loss that is not a number stops the run, and the checkpoints before it stay."""

import json
import re
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
import torch
from training_runs import ROOT, TINY, config, run

import unetkit
from unetkit.errors import UserError
from unetkit.training.build import build_module, build_trainer, prepare_data
from unetkit.training.run import fit
from unetkit.training.run_stats import RunStats


class Break(L.Callback):
    """Makes a weight infinite before a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: object, n: int) -> None:
        if trainer.global_step == self.step:
            next(pl_module.parameters()).data.fill_(torch.inf)


def broken(run_dir: Path, cache: Path, step: int, *overrides: str) -> UserError:
    """Train with `Break`, and return the error that ends it."""
    cfg = config(run_dir, cache, "trainer.max_epochs=3", *overrides)
    data = prepare_data(cfg)
    module = build_module(cfg, data)
    trainer = build_trainer(cfg, run_dir, RunStats())
    trainer.callbacks.insert(0, Break(step))  # type: ignore[attr-defined]
    with pytest.raises(UserError) as error:
        fit(cfg, trainer, module, data)
    return error.value


def test_the_first_bad_batch_is_named_and_the_checkpoints_before_are_kept(tmp_path: Path, cache: Path) -> None:
    error = broken(tmp_path / "run", cache, 4)  # of three steps an epoch
    assert error.subject == "train/loss=nan"
    assert "batch 1 of epoch 1 (" in error.problem
    data = prepare_data(config(tmp_path / "other", cache))
    names = re.search(r"\((.*)\): likely the learning rate", error.problem)[1].split(", ")  # type: ignore[index]
    assert len(names) == 8
    assert {*names} <= {str(pair.image) for pair in data.found.pairs}
    for name in ("best", "last"):
        assert unetkit.load(tmp_path / "run" / "checkpoints" / f"{name}.ckpt").threshold == 0.5
    (typed,) = re.findall(r"weights=\S+ckpt", error.fix)
    run(tmp_path / "again", cache, typed, "optimizer.lr=1e-4", "trainer.max_epochs=1")


def test_weights_that_the_last_step_of_an_epoch_breaks_are_not_saved(tmp_path: Path, cache: Path) -> None:
    error = broken(tmp_path, cache, 2, "optimizer=sgd", "trainer.limit_val_batches=0", "trainer.gradient_clip_val=null")
    assert "epoch 0" in error.problem
    assert not list((tmp_path / "checkpoints").glob("*.ckpt"))


def test_a_rate_that_is_far_too_high_stops_the_run_in_its_first_epoch(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(UserError, match="train/loss=nan is not a finite number, in batch 1 of epoch 0") as error:
        run(tmp_path, cache, "optimizer.lr=inf")
    assert "the learning rate, inf then, is too high" in error.value.problem
    assert error.value.fix == "start again with a lower optimizer.lr; stop_on_nan=false goes on"
    run(tmp_path, cache, "trainer.max_epochs=1")  # nothing was saved that a new run would replace


def test_a_run_that_is_told_to_goes_on(tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    summary = run(tmp_path, cache, "trainer.max_epochs=1", "optimizer.lr=inf", "stop_on_nan=false")
    assert "val/loss is nan: the training has diverged" in caplog.text
    assert "predicted empty" not in caplog.text
    with pytest.raises(UserError, match=r"checkpoint=.* holds weights that are not finite \(NaN\)"):
        unetkit.load(summary["last_checkpoint"])
    assert json.loads((tmp_path / "summary.json").read_text())["epochs"] == 1


def test_losses_are_looked_at_together_on_other_devices(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unetkit.training.stop_on_nan._is_alone_on_cpu", lambda trainer: False)
    for every in (2, 100):
        error = broken(tmp_path / str(every), cache, 1, f"trainer.log_every_n_steps={every}")
        assert error.subject == "train/loss=nan"
        assert "batch 1 of epoch 0 (" in error.problem


@pytest.mark.slow
def test_all_processes_of_a_run_stop_with_one_error(tmp_path: Path, cache: Path) -> None:
    command = [sys.executable, "train.py", *TINY, "trainer=ddp_cpu", "trainer.enable_progress_bar=false"]
    keys = ["optimizer.lr=inf", f"data.cache_dir={cache}", f"hydra.run.dir={tmp_path / 'run'}"]
    done = subprocess.run([*command, *keys], cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode != 0
    errors = {line for line in done.stderr.splitlines() if line.startswith("error: ")}
    assert len(errors) == 1
    assert "error: train/loss=nan is not a finite number, in batch 1 of epoch 0" in errors.pop()
