"""Several processes train as one would, started by Lightning, `torchrun` or a cluster, and share one run directory."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch.distributed
from conftest import free_port
from training_runs import QUIET, TINY, config, run, weights

from unetkit.cli.completed import completed
from unetkit.errors import UserError
from unetkit.run_files import read_json
from unetkit.training.build import build_trainer
from unetkit.training.run_stats import RunStats

# 17 images train in global batches of 8, 8 and 1, and 4 or 5 validate: in the last batch a process has padding only.
OPTIONS = ["data.count=21", "model.norm=group", "scheduler=none", "optimizer.lr=0.01", "data.num_workers=0"]
OPTIONS += ["metrics.extra=[boundary_iou,v_rand]"]
TWO = ["trainer=ddp_cpu", "data.batch_size=4"]


@pytest.mark.slow
def test_two_processes_train_as_one_and_checkpoints_move_between_them(tmp_path: Path, cache: Path) -> None:
    typed = [*TINY, *QUIET, *OPTIONS, *TWO, f"data.cache_dir={cache}"]
    whole = run(tmp_path / "whole", cache, *OPTIONS)
    first = start_tasks_apart(tmp_path, *typed, "trainer.max_epochs=1")
    half = run(tmp_path / "half", cache, *OPTIONS, "trainer.max_epochs=1")
    same_training(half, tmp_path / "half", first)
    last = start_torchrun(tmp_path, *typed, "trainer.max_epochs=2", f"checkpoint={tmp_path / 'half'}")
    same_training(whole, tmp_path / "whole", last)
    run(tmp_path / "on", cache, *OPTIONS, f"checkpoint={first}")
    same_training(whole, tmp_path / "whole", tmp_path / "on")


def same_training(summary: dict[str, object], alone: Path, together: Path) -> None:
    """Compare the weights and all scores of two runs."""
    ours, theirs = (weights(run_dir / "checkpoints" / "last.ckpt") for run_dir in (alone, together))
    assert ours.keys() == theirs.keys()
    assert max((ours[key] - theirs[key]).abs().max().item() for key in ours) < 1e-5
    scores = {key: value for key, value in summary.items() if key.startswith(("val/", "train/loss_epoch"))}
    assert len(scores) > 8
    other = read_json(together / "summary.json")
    assert {key: other[key] for key in scores} == pytest.approx(scores, abs=2e-6)


def start_tasks_apart(folder: Path, *typed: str) -> Path:
    """Train in two tasks of a SLURM job, the second of which starts before the first; return their directory."""
    job = {"SLURM_JOB_ID": "71", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2"}
    job |= {"SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1", "SLURM_NODEID": "0", "SLURM_NODELIST": "localhost"}
    job |= {"MASTER_PORT": str(free_port())}
    command = [sys.executable, "-m", "unetkit", "train", *typed]
    tasks = []
    for rank in ("1", "0"):
        environment = {**os.environ, **job, "SLURM_PROCID": rank, "SLURM_LOCALID": rank, "OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        tasks.append(subprocess.Popen(command, cwd=folder, env=environment, stderr=pipe, stdout=pipe, text=True))
        time.sleep(3)
    said = [task.communicate(timeout=200) for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], said
    (run_dir,) = folder.glob("runs/*/*")
    return run_dir


def start_torchrun(folder: Path, *typed: str) -> Path:
    """Train in two processes of `torchrun`; return their directory."""
    before = {*folder.glob("runs/*/*")}
    program = ["torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}", "-m", "unetkit", "train"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *program, *typed]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    (run_dir,) = {*folder.glob("runs/*/*")} - before
    return run_dir


def torchrun(monkeypatch: pytest.MonkeyPatch, rank: int, port: int) -> None:
    """Set the variables that `torchrun` sets in one of two processes."""
    variables = {"TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "localhost", "MASTER_PORT": port, "WORLD_SIZE": 2}
    for name, value in (variables | {"RANK": rank, "LOCAL_RANK": rank}).items():
        monkeypatch.setenv(name, str(value))


def test_processes_of_torchrun_agree_on_a_new_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = torch.distributed.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    where = []
    for rank in (0, 1, 0):  # the last one as where torchrun has started the run again
        torchrun(monkeypatch, rank, store.port)
        where.append(completed(["unetkit", "seed=1"])[1])
    assert len({*where}) == 1
    assert where[0].startswith("hydra.run.dir=runs/")
    assert completed(["unetkit", "seed=2"])[1] not in where
    assert completed(["unetkit", "seed=2", "hydra.run.dir=mine"])[1:] == ["seed=2", "hydra.run.dir=mine"]


def test_as_many_processes_as_the_trainer_takes_are_started(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = config(tmp_path, cache, "trainer.devices=1")
    torchrun(monkeypatch, 0, 1)
    with pytest.raises(UserError, match=r"trainer.devices=1 does not fit the 2 processes that torchrun has started"):
        build_trainer(cfg, tmp_path, RunStats())
