"""Real programs that are killed, stopped and started again end as a run without an interruption, to the last bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from interrupted import same_state
from test_loggers import read_records
from training_runs import QUIET, TINY, content_of

from faults.program import Program, Running

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")]

# Six epochs of sixteen batches, whose dropout, augmentation and order of images are random.
OPTIONS = [*TINY, *QUIET, "model.dropout=0.3", "data.count=80", "data.batch_size=4", "trainer.max_epochs=6"]


PROGRAM = Program(is_fresh=False)


def start(folder: Path, *typed: str, **environment: str) -> Running:
    """Start a training in a process group of its own; `folder` gets a file of what it says."""
    return PROGRAM.start("train", *typed, cwd=folder, environment=environment)


def wait_for_checkpoint(last: Path, is_alive: Callable[[], object], since: float = 0.0) -> None:
    """Wait until a checkpoint is written."""
    while not (last.exists() and last.stat().st_mtime > since):
        assert is_alive(), "it has ended before"
        time.sleep(0.01)


def train_to_the_end(folder: Path, *typed: str, **environment: str) -> str:
    """Train; give what was said."""
    done = start(folder, *typed, **environment).end()
    assert done.status == 0, done.said
    return done.said


@pytest.fixture(scope="module")
def options(cache: Path) -> list[str]:
    """What is typed."""
    return [*OPTIONS, f"data.cache_dir={cache}"]


@pytest.fixture(scope="module")
def whole(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The last checkpoint of a run without an interruption."""
    folder = tmp_path_factory.mktemp("whole")
    train_to_the_end(folder, *options, "hydra.run.dir=run")
    return content_of(folder / "run")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_is_killed_again_and_again(
    workers: int, tmp_path: Path, options: list[str], whole: dict[str, Any]
) -> None:
    typed = [*options, "hydra.run.dir=run", f"data.num_workers={workers}", "checkpoint_every=3", "checkpoint=auto"]
    last, rng = tmp_path / "run" / "checkpoints" / "last.ckpt", random.Random(workers)
    at = []
    for _ in range(2 if workers else 4):  # processes that load take long to start
        running = start(tmp_path, *typed)
        wait_for_checkpoint(last, running.process.is_alive, since=time.time())
        time.sleep(rng.uniform(0, 0.2))
        running.send(signal.SIGKILL)
        assert running.end().status == -signal.SIGKILL
        at.append(content_of(tmp_path / "run")["global_step"])
    assert at == sorted(set(at))
    assert any(step % 16 for step in at)  # within an epoch
    train_to_the_end(tmp_path, *typed)
    same_state(whole, content_of(tmp_path / "run"))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_validation_that_is_killed_again_and_again(workers: int, tmp_path: Path, options: list[str]) -> None:
    # Validation takes much longer than training, so that kills come within it.
    large = ["data.size=96", "data.val_fraction=0.9", "trainer.max_epochs=2", "checkpoint_every=2"]
    typed = [*options, *large, f"data.num_workers={workers}", "data.cache_on_device=false", "augment=strong"]
    typed += ["metrics.primary=boundary_iou", "scheduler=plateau", "scheduler.scheduler.patience=0"]
    train_to_the_end(tmp_path, *typed, "hydra.run.dir=whole")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    typed += ["hydra.run.dir=run", "checkpoint=auto"]
    for epoch in range(1 if workers else 2):  # processes that load take long to start
        running = start(tmp_path, *typed)
        while not (last.exists() and is_before_validation_of(last, epoch)):
            assert running.process.is_alive(), "it has ended before"
            time.sleep(0.01)
        running.send(signal.SIGKILL)
        assert running.end().status == -signal.SIGKILL
        assert content_of(tmp_path / "run")["global_step"] == 2 * (epoch + 1)
    assert "before the validation" in train_to_the_end(tmp_path, *typed)
    same_state(content_of(tmp_path / "whole"), content_of(tmp_path / "run"))


def is_before_validation_of(checkpoint: Path, epoch: int) -> bool:
    read = torch.load(checkpoint, weights_only=True)
    return bool(read["epoch"] == epoch and read.get("within_epoch", {}).get("is_validation_next"))


def test_a_signal_to_all_processes_of_a_run(tmp_path: Path, options: list[str], whole: dict[str, Any]) -> None:
    run = tmp_path / "run"
    running = start(tmp_path, *options, f"hydra.run.dir={run}", "data.num_workers=2", "checkpoint_every=3")
    wait_for_checkpoint(run / "checkpoints" / "last.ckpt", running.process.is_alive)
    os.killpg(running.pid, signal.SIGTERM)
    done = running.end()
    assert done.status == 143
    assert "Traceback" not in done.said
    assert done.said.splitlines()[-1] == f"stopped; resume with checkpoint={run}/checkpoints/last.ckpt"
    assert content_of(run)["global_step"] % 16  # within an epoch
    train_to_the_end(tmp_path, f"checkpoint={run}", options[-1])
    same_state(whole, content_of(run))


def test_a_signal_to_one_of_two_processes_that_train(tmp_path: Path, options: list[str]) -> None:
    both = [*options, "trainer=ddp_cpu", "data.count=40", "data.batch_size=2", "trainer.max_epochs=3"]

    def start_both(*typed: str) -> "subprocess.Popen[str]":  # Lightning starts the second process from the program
        command = [sys.executable, "-m", "unetkit", "train", *typed]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    process = start_both(*both, f"hydra.run.dir={tmp_path / 'part'}", "checkpoint_every=2")
    wait_for_checkpoint(tmp_path / "part" / "checkpoints" / "last.ckpt", lambda: process.poll() is None)
    process.terminate()
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 143, said
    assert "within_epoch" in content_of(tmp_path / "part")
    for typed in ([f"checkpoint={tmp_path / 'part'}", options[-1]], [*both, f"hydra.run.dir={tmp_path / 'the whole'}"]):
        process = start_both(*typed)
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
    same_state(content_of(tmp_path / "the whole"), content_of(tmp_path / "part"))


def test_a_job_of_slurm_that_is_requeued(tmp_path: Path, options: list[str], whole: dict[str, Any]) -> None:
    job = {"SLURM_JOB_ID": "71", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}
    job |= {"SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NODELIST": "here"}
    running = start(tmp_path, *(typed := [*options, "checkpoint_every=3"]), **job)
    while not (found := list(tmp_path.glob("runs/slurm-71/*/checkpoints/last.ckpt"))):
        assert running.process.is_alive()
        time.sleep(0.01)
    running.send(signal.SIGUSR1)
    done = running.end()
    assert done.status == 138, done.said
    run = found[0].parents[1]
    assert "within_epoch" in content_of(run)
    again = train_to_the_end(tmp_path, *typed, **job, SLURM_RESTART_COUNT="1")
    assert "SLURM_RESTART_COUNT=1, so this job was started again: checkpoint=auto" in again
    same_state(whole, content_of(run))
    assert "is finished, so nothing is done" in train_to_the_end(tmp_path, *typed, **job, SLURM_RESTART_COUNT="2")
    assert [folder.name for folder in tmp_path.glob("runs/*")] == ["slurm-71"]
    assert not list(tmp_path.rglob("hpc_ckpt*"))


def test_the_wandb_run_of_an_interrupted_run_goes_on(tmp_path: Path, options: list[str]) -> None:
    run = tmp_path / "run"
    typed = [*options, f"hydra.run.dir={run}", "logger=wandb", "logger.wandb.mode=offline", "checkpoint=auto"]
    typed += ["trainer.log_every_n_steps=1", "checkpoint_every=3"]
    for number in (signal.SIGTERM, signal.SIGKILL):
        running = start(tmp_path, *typed)
        wait_for_checkpoint(run / "checkpoints" / "last.ckpt", running.process.is_alive, since=time.time())
        running.send(number)
        running.process.join()
        time.sleep(1)  # W&B's own process writes what it was given
        running.end()
    train_to_the_end(tmp_path, *typed)
    files = sorted((run / "wandb").glob("offline-run-*/*.wandb"))
    known = json.loads((run / "wandb.json").read_text())["id"]
    assert [file.stem for file in files] == 3 * [f"run-{known}"]
    parts = [[*history(file)] for file in files]
    rows = [row for part in parts for row in part]
    assert [row["_step"] for row in rows] == sorted({row["_step"] for row in rows})
    names = [(key, row) for row in rows for key in row if "/" in key and key != "trainer/global_step"]
    values = [(key, row["trainer/global_step"]) for key, row in names]
    assert len(values) == len(set(values))
    steps = [step for key, step in values if key == "train/loss_step"]
    assert steps == sorted(steps)
    stopped = [row["trainer/global_step"] for row in parts[0] if "train/loss_step" in row]
    assert stopped == [*range(len(stopped))]  # SIGTERM loses nothing
    assert steps[-1] == 6 * 16 - 1


def history(file: Path) -> Iterator[dict[str, Any]]:
    """Rows of the history of an offline W&B run."""
    for record in read_records(file):
        if record.history.item:
            yield {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
