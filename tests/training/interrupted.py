"""Runs that are broken off, and how their state is compared with that of a run without an interruption."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from training_runs import config

from unetkit.training.build import build_module, build_trainer, prepare_data
from unetkit.training.monitor import set_modes
from unetkit.training.run_stats import RunStats

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


def kill(folder: Path, cache: Path, after: int, *options: str) -> Path:
    """Train in `folder` until it is killed; give the checkpoint."""
    set_modes(cfg := config(folder, cache, *options))
    data = prepare_data(cfg)
    L.seed_everything(cfg.seed, verbose=False)
    module = build_module(cfg, data)
    trainer = build_trainer(cfg, folder, RunStats())
    trainer.callbacks.insert(0, Kill(after))  # type: ignore[attr-defined]
    with pytest.raises(KilledError):
        trainer.fit(module, datamodule=data)
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
