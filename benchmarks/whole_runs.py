"""Questions `epoch`, `quality` and `startup`: measurements of whole processes."""

import csv
import itertools
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import lightning as L
import numpy as np
import torch
from tqdm import tqdm

from benchmarks.answers import Answer, Row
from benchmarks.composing import ROOT
from benchmarks.measuring import paired, statistics_of
from unetkit.data import folder_pairs, tgs_salt_pairs
from unetkit.data.decode import read_image
from unetkit.data.synthetic import write as write_synthetic
from unetkit.errors import UserError

RECREATION_SCORE = 0.549  # Kaggle's score of U_net_recreation's small network on whole images of 101x101


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


def epoch(
    rounds: int,
    device: torch.device,
    data: Path | None,
    images: int,
    epochs: int,
    batch: int,
    ours: list[str],
    milesial: Path | None,
) -> Answer:
    """Measure epochs of train.py and of milesial's train.py, each in a process, on the same PNG files.

    Raises:
        UserError: If there are fewer than two epochs, or a process fails.
    """
    if epochs < 2:
        raise UserError(f"--epochs {epochs}", "must be at least 2, since the first is not measured")
    seconds: dict[str, list[float]] = {}
    waits: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        files = write_pairs(Path(folder) / "data", data, images)
        loops: dict[str, Callable[[Path], list[float]]] = {
            f"unetkit {' '.join(ours)}, batch {batch}": partial(our_loop, files, epochs, batch, device, ours, waits)
        }
        if milesial is not None:
            theirs = partial(their_loop, milesial, files, epochs)
            loops["milesial, batch 1 (its default)"] = partial(theirs, [])
            loops[f"milesial --amp, batch {batch}"] = partial(theirs, ["--amp", "--batch-size", str(batch)])
        for number in range(rounds):
            for place, (name, loop) in enumerate(tqdm(loops.items(), f"round {number + 1}", unit="run", leave=False)):
                work = Path(folder) / f"{place}-{number}"
                work.mkdir()
                seconds[name] = seconds.get(name, []) + loop(work)
    rows = [
        {"loop": name, "images": images, **statistics_of(values, next(iter(seconds.values())), images)}
        for name, values in seconds.items()
    ]
    sentences = [] if milesial else ["left out: milesial's loop; give --milesial DIR, a clone of milesial/Pytorch-UNet"]
    if waits:
        sentences.append(f"unetkit's network waits for data in {statistics.median(waits):.1%} of the time")
    return rows, sentences


def write_pairs(root: Path, data: Path | None, count: int) -> Path:
    """Write the first pairs of a data set as PNG files: RGB `images/`, and `masks/` of 0 and 255.

    Raises:
        UserError: If the data set has fewer pairs, or masks that are not files.
    """
    source = write_synthetic(root / "synthetic", count=count, size=101, seed=0) if data is None else data
    is_tgs = (source / "train.csv").exists() or (source / "train.zip").exists()
    pairs = (tgs_salt_pairs if is_tgs else folder_pairs)(source)[:count]
    if len(pairs) < count:
        raise UserError(f"--images {count}", f"is more than the {len(pairs)} of {source}", "give fewer")
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    for number, pair in enumerate(pairs):
        if pair.mask is None:
            problem = "has its mask as run lengths, but milesial's train.py reads files"
            raise UserError(str(pair.image), problem, "unpack masks/")
        image = read_image(pair.image)
        image = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
        cv2.imwrite(str(root / "images" / f"{number:05}.png"), image)
        cv2.imwrite(str(root / "masks" / f"{number:05}.png"), (read_image(pair.mask) > 0).astype(np.uint8) * 255)
    return root


def our_loop(
    files: Path, epochs: int, batch: int, device: torch.device, ours: list[str], waits: list[float], work: Path
) -> list[float]:
    """Return the seconds of the epochs of train.py without the first; appends the share of waiting to `waits`."""
    options = ["data=folder", f"data.root={files}", f"data.cache_dir={work / 'cache'}", "data.val_fraction=0.1"]
    options += [f"data.batch_size={batch}", "trainer.precision=16", f"trainer.max_epochs={epochs}"]
    times, run_dir = run_train(work, [*options, f"trainer.accelerator={accelerator(device)}", *ours])
    wait = json.loads((run_dir / "summary.json").read_text(encoding="utf-8")).get("data_wait")
    waits += [] if wait is None else [wait]
    return [end - start for start, end in itertools.pairwise(times[1:])]


def run_train(work: Path, options: list[str]) -> tuple[list[float], Path]:
    """Run train.py.

    Returns:
        The times when each epoch began and the last one ended, and the run directory.
    """
    clock, run_dir = work / "clock.json", work / "run"
    added = ["+callbacks.clock._target_=benchmarks.whole_runs.Clock", f"+callbacks.clock.file={clock}"]
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    run_process(
        [sys.executable, str(ROOT / "train.py"), *options, f"hydra.run.dir={run_dir}", *added],
        cwd=work,
        PYTHONPATH=os.pathsep.join(filter(None, paths)),
    )
    return json.loads(clock.read_text(encoding="utf-8")), run_dir


def accelerator(device: torch.device) -> str:
    """Return Lightning's name of a device."""
    return "gpu" if device.type == "cuda" else device.type


def their_loop(clone: Path, files: Path, epochs: int, options: list[str], work: Path) -> list[float]:
    """Return the seconds of the epochs of milesial's train.py without the first, by the times of its checkpoints."""
    (work / "data").mkdir()
    (work / "data" / "imgs").symlink_to(files / "images")
    (work / "data" / "masks").symlink_to(files / "masks")
    command = [sys.executable, str((clone / "train.py").absolute()), "--scale", "1", "--epochs", str(epochs), *options]
    run_process(command, cwd=work)
    ends = [(work / "checkpoints" / f"checkpoint_epoch{n + 1}.pth").stat().st_mtime for n in range(epochs)]
    return [end - start for start, end in itertools.pairwise(ends)]


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


def quality(rounds: int, device: torch.device, data: Path, ours: list[str]) -> Answer:
    """Measure Kaggle's score on the validation fold after each epoch, and when it exceeds U_net_recreation's."""
    rows: list[Row] = []
    sentences = []
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            started = time.time()
            options = [*ours, f"data.root={data.absolute()}", f"data.cache_dir={folder}/cache"]
            options += [f"trainer.accelerator={accelerator(device)}"]
            times, run_dir = run_train(Path(folder), [*options, f"seed={47 + number}"])
            summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
            with (run_dir / "metrics.csv").open(encoding="utf-8", newline="") as file:
                scores = [float(row["val/kaggle"]) for row in csv.DictReader(file) if row.get("val/kaggle")]
        curve = [
            {"seed": 47 + number, "images": summary["data"]["train"] * n, "seconds": end - started, "kaggle": score}
            for n, (end, score) in enumerate(zip(times[1:], scores, strict=True), start=1)
        ]
        rows += curve
        first = next((row for row in curve if row["kaggle"] > RECREATION_SCORE), None)
        sentences.append(
            f"seed {47 + number}: "
            + (
                f"{RECREATION_SCORE} is exceeded after {first['images']:,} images and {first['seconds']:.0f} s, "
                f"1/{960_000 / first['images']:.0f} of U_net_recreation's images"
                if first
                else f"{RECREATION_SCORE} is not exceeded"
            )
        )
    return rows, sentences


def startup(rounds: int, device: torch.device, ours: list[str]) -> Answer:
    """Measure the seconds of commands, relative to `import torch`."""
    python, script = sys.executable, str(ROOT / "train.py")
    with tempfile.TemporaryDirectory() as folder:
        one_step = ["trainer.max_steps=1", "trainer.limit_val_batches=1", f"trainer.accelerator={accelerator(device)}"]
        commands = {
            "python train.py --help": [python, script, "--help"],
            "python train.py --cfg job": [python, script, "--cfg", "job", *ours],
            "import torch": [python, "-c", "import torch"],
            "python train.py trainer.max_steps=1": [python, script, *one_step, f"hydra.run.dir={folder}/run", *ours],
        }
        runs = {name: partial(run_process, command, Path(folder)) for name, command in commands.items()}
        measured = paired(runs, rounds, device, warm_up=False)
    torchs = measured["import torch"]["rounds"]
    rows = []
    for name, row in measured.items():
        ratio = statistics.median(a / b for a, b in zip(row["rounds"], torchs, strict=True))
        chosen = {key: row[key] for key in ("seconds", "IQR")}
        rows.append({"command": name, **chosen, "time / import torch": ratio, "rounds": row["rounds"]})
    return rows, []
