"""Run train.py and other programs as processes."""

import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import lightning as L
import numpy as np
import torch

from benchmarks.composing import ROOT
from unetkit.data import VOID, SegmentationDataModule
from unetkit.errors import UserError
from unetkit.metrics import KaggleScore
from unetkit.models import classify
from unetkit.training.module import SegmentationModule


class Clock(L.Callback):
    """A callback for train.py that writes the times when each epoch begins and the last one ends, as a JSON list.

    Args:
        file: Output path.
    """

    def __init__(self, file: str) -> None:
        self.file = Path(file)
        self.times: list[float] = []

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the time: the epoch before has ended, with its validation and checkpoints."""
        self.times.append(time.time())

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the time, and write all."""
        self.times.append(time.time())
        self.file.write_text(json.dumps(self.times), encoding="utf-8")


class ScoreCurve(L.Callback):
    """A callback for train.py that writes the time and Kaggle's score of each validation, as a JSON list.

    Args:
        file: Output path.
        tta: Views whose predictions are averaged: `none` or `flip`.
    """

    def __init__(self, file: str, tta: str = "none") -> None:
        self.file = Path(file)
        self.tta = tta
        self.curve: list[dict[str, float]] = []

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Score the network, which is the average of the weights where callbacks=ema keeps one."""
        assert isinstance(pl_module, SegmentationModule)  # narrows the type for mypy
        data = trainer.datamodule  # type: ignore[attr-defined]  # set by fit
        score = kaggle_score(pl_module, data, self.tta)
        self.curve.append({"epoch": trainer.current_epoch + 1, "time": time.time(), "kaggle": score})
        self.file.write_text(json.dumps(self.curve), encoding="utf-8")


def kaggle_score(module: SegmentationModule, data: SegmentationDataModule, tta: str, batch: int = 128) -> float:
    """Compute Kaggle's score on the validation images, which have one size."""
    predictor, pairs = replace(module.predictor(), tta=tta), data.dataset("val")
    items = [pairs[i] for i in range(len(pairs))]
    score = KaggleScore()
    for first in range(0, len(items), batch):
        part = items[first : first + batch]
        probability = predictor.probabilities(np.stack([item["image"] for item in part]))
        target = torch.from_numpy(np.stack([item["mask"] for item in part]))
        score.update(classify(probability, module.threshold, is_multilabel=False), target, target != VOID)
    return float(score.compute())


def run_train(work: Path, options: list[str]) -> tuple[list[float], Path]:
    """Run train.py.

    Returns:
        The times when each epoch began and the last one ended, and the run directory.
    """
    clock, run_dir = work / "clock.json", work / "run"
    added = ["+callbacks.clock._target_=benchmarks.processes.Clock", f"+callbacks.clock.file={clock}"]
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    run_process(
        [sys.executable, str(ROOT / "train.py"), *options, f"hydra.run.dir={run_dir}", *added],
        cwd=work,
        PYTHONPATH=os.pathsep.join(filter(None, paths)),
    )
    return json.loads(clock.read_text(encoding="utf-8")), run_dir


def run_process(command: list[str], cwd: Path, **environment: str) -> None:
    """Run a process until it ends, with as many threads as this one, and with W&B offline.

    Raises:
        UserError: If it fails.
    """
    threads = str(torch.get_num_threads())
    settings = {"OMP_NUM_THREADS": threads, "WANDB_MODE": "offline", "WANDB_SILENT": "true", **environment}
    done = subprocess.run(command, cwd=cwd, env=os.environ | settings, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UserError(shlex.join(command), f"failed:\n{done.stderr[-2000:]}")


def accelerator(device: torch.device) -> str:
    """Return Lightning's name of a device."""
    return "gpu" if device.type == "cuda" else device.type
