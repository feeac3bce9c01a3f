"""Runs that are broken off or stopped, and how their state is compared with that of a run without an interruption."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from omegaconf import DictConfig
from training_runs import config

from unetkit.training.build import build_module, build_trainer, prepare_data
from unetkit.training.run_stats import RunStats
from unetkit.training.step_choice import choose_step

# In the state of callbacks: times, places, and a score that is only shown.
NOT_COMPARED = {"RunFigures", "current_score", "dirpath", "best_k_models"}
NOT_COMPARED |= {f"{which}_model_path" for which in ("best", "last", "kth_best")}


class KilledError(Exception):
    """Stands for a SIGKILL."""


class Kill(L.Callback):
    """Break off a run when the batch `after` is done, counted from the start of the run."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.fit_loop.epoch_loop.total_batch_idx == self.after:
            raise KilledError


class KillInValidation(Kill):
    """Break off a run in the validation that comes when the batch `after` is done."""

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Let it train."""

    def on_validation_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.fit_loop.epoch_loop.total_batch_idx >= self.after:
            raise KilledError


class StopAfter(L.Callback):
    """Ask a run to stop at the end of an epoch, whose number counts from 0."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.should_stop = trainer.current_epoch == self.epoch


def fit_with(callback: L.Callback, cfg: DictConfig) -> L.LightningModule:
    """Train with one more callback, before the others, and without what follows a training; return what is trained."""
    data = prepare_data(cfg)
    L.seed_everything(cfg.seed, verbose=False)
    module = build_module(cfg, data)
    trainer = build_trainer(cfg, Path(cfg.run_dir), RunStats())
    trainer.callbacks.insert(0, callback)  # type: ignore[attr-defined]
    choose_step(cfg, trainer, module, data)
    trainer.fit(module, datamodule=data)
    return module


def stop(cfg: DictConfig, epoch: int) -> Path:
    """Train until the end of an epoch, whose number counts from 0; return the checkpoint."""
    module = fit_with(StopAfter(epoch), cfg)
    assert module.trainer.current_epoch == epoch + 1
    return Path(cfg.run_dir) / "checkpoints" / "last.ckpt"


def kill(folder: Path, cache: Path, after: int, *options: str, at: type[Kill] = Kill) -> Path:
    """Train in `folder` until it is killed; give the checkpoint."""
    with pytest.raises(KilledError):
        fit_with(at(after), config(folder, cache, *options))
    return folder / "checkpoints" / "last.ckpt"


def same_state(one: Any, other: Any, where: str = "") -> None:
    """Compare what two checkpoints hold, but for paths and times."""
    if isinstance(one, torch.Tensor):
        assert isinstance(other, torch.Tensor), where
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            if key not in NOT_COMPARED:
                same_state(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for number, pair in enumerate(zip(one, other, strict=True)):
            same_state(*pair, f"{where}.{number}")
    else:
        assert one == other, where
