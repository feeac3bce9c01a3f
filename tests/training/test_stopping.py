"""A run that is stopped, by a signal or after its time, is saved within its epoch and goes on exactly from there."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from interrupted import same_state
from training_runs import content_of, run

from unetkit.errors import UserError
from unetkit.training.build import build_trainer
from unetkit.training.run_state import is_finished

OPTIONS = ["model.dropout=0.3", "trainer.max_epochs=2"]  # two epochs of three batches


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> dict[str, Any]:
    """The last checkpoint of a run without an interruption."""
    run(folder := tmp_path_factory.mktemp("whole"), cache, *OPTIONS)
    return content_of(folder)


class Signal(L.Callback):
    """Send this process a signal while a batch is trained."""

    def __init__(self, number: signal.Signals, batch: int) -> None:
        self.number, self.batch = number, batch

    def on_before_backward(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == self.batch:
            os.kill(os.getpid(), self.number)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), pytest.param("SIGUSR1", 138, marks=pytest.mark.slow)])
def test_a_signal_saves_within_the_epoch_and_the_same_command_goes_on(
    name: str, status: int, tmp_path: Path, cache: Path, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def build_and_add(*arguments: Any) -> L.Trainer:
        trainer = build_trainer(*arguments)
        trainer.callbacks.insert(0, Signal(signal.Signals[name], batch=3))  # type: ignore[attr-defined]
        return trainer

    last = tmp_path / "checkpoints" / "last.ckpt"
    with monkeypatch.context() as patch:
        patch.setattr("unetkit.training.run.build_trainer", build_and_add)
        with pytest.raises(SystemExit) as end:
            run(tmp_path, cache, *OPTIONS)
    assert end.value.code == status
    assert capsys.readouterr().err.splitlines()[-1] == f"stopped; resume with checkpoint={last}"
    assert torch.load(last, weights_only=True)["global_step"] == 4
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert run(tmp_path, cache, *OPTIONS, "checkpoint=auto")["steps"] == 6
    same_state(whole, torch.load(last, weights_only=True))


def test_a_run_without_time_makes_one_step_and_is_saved(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert run(tmp_path, cache, *OPTIONS, "trainer.max_time='00:00:00:00'", "checkpoint=auto")["steps"] == 1
    assert "trainer.max_time is over, before the run is at its end: go on with" in caplog.text
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["stopped_by"] == "trainer.max_time"
    assert Path(summary["last_checkpoint"]).exists()
    assert not is_finished(tmp_path)


@pytest.mark.slow
def test_a_run_whose_time_is_over_goes_on_exactly(tmp_path: Path, cache: Path, whole: dict[str, Any]) -> None:
    for _ in range(2):
        assert run(tmp_path, cache, *OPTIONS, "trainer.max_time='00:00:00:00'", "checkpoint=auto")["steps"] < 3
    with pytest.raises(UserError, match="holds a run that was interrupted"):
        run(tmp_path, cache, *OPTIONS)
    assert run(tmp_path, cache, *OPTIONS, "checkpoint=auto")["steps"] == 6
    assert is_finished(tmp_path)
    same_state(whole, content_of(tmp_path))


def test_a_restarted_job_starts_without_a_checkpoint_of_lightning_and_is_done_once_and_refuses_another_recipe(
    tmp_path: Path,
    cache: Path,
    whole: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}
    job |= {"SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NODELIST": "here", "SLURM_RESTART_COUNT": "1"}
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "checkpoints").mkdir()
    for folder in (tmp_path, tmp_path / "checkpoints"):
        torch.save(whole, folder / "hpc_ckpt_1.ckpt")
    first = run(tmp_path, cache, *OPTIONS)
    assert "SLURM_RESTART_COUNT=1, so this job was started again: checkpoint=auto" in caplog.text
    assert "has no checkpoint yet, so the run starts" in caplog.text
    same_state(whole, content_of(tmp_path))
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert run(tmp_path, cache, *OPTIONS, "data.num_workers=1")["val/iou"] == first["val/iou"]
    assert "is finished, so nothing is done" in caplog.text
    for change in ("optimizer.lr=0.1", "seed=3", "trainer.max_epochs=3"):
        with pytest.raises(UserError, match=r"holds another run, with .*\(now .*; type the same, resume it"):
            run(tmp_path, cache, *OPTIONS, change)
    assert before == {file: file.read_bytes() for file in before}


@pytest.mark.parametrize("every", ["0", "soon", "0min", "true"])
def test_an_interval_that_is_none_is_named(every: str, tmp_path: Path, cache: Path) -> None:
    with pytest.raises(UserError, match=rf"checkpoint_every={every}".replace("true", "True")):
        run(tmp_path, cache, f"checkpoint_every={every}")
