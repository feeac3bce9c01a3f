"""Folds that are trained at once end in the same bits as folds that are trained one after the other.

On a CPU each step of `trainer.step=graph` runs as it is; test_gpu.py captures the steps of two folds in one graph.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig
from training_runs import QUIET, composed, content_of
from training_runs import config as run_config

from unetkit.errors import UserError
from unetkit.training.build import build_module, prepare_data
from unetkit.training.cross_validation import cross_validate
from unetkit.training.run import train
from unetkit.training.side_by_side import Member, SideBySide
from unetkit.training.step_choice import draws_random_numbers

CPU = torch.device("cpu")


def config(folder: Path, *overrides: str) -> DictConfig:
    tiny = ["model=plain_small", "model.channels=[4,8]", "data.folds=3", "data.count=26", "data.size=36", *QUIET]
    steps = ["trainer.step=graph", "trainer.max_epochs=2", "data.batch_size=3", "cross_validation.bootstrap=100"]
    return composed(
        *tiny, *steps, f"run_dir={folder}", f"data.cache_dir={folder.parent}", *overrides, name="cross_validate"
    )


def assert_same_folds(one: Path, other: Path, folds: tuple[int, ...]) -> None:
    for fold in folds:
        ours, theirs = (content_of(base / f"fold-{fold}") for base in (one, other))
        assert ours["global_step"] == theirs["global_step"] > 0
        for name, value in ours["state_dict"].items():
            assert torch.equal(value, theirs["state_dict"][name]), name


def test_folds_at_once_end_as_one_after_the_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With sizes of batches that differ between the folds, and random numbers of the network and the loader."""
    options = ["model.dropout=0.4", "augment=flip"]
    with caplog.at_level(logging.INFO):
        summaries = [
            cross_validate(config(tmp_path / str(count), f"cross_validation.at_once={count}", *options))
            for count in (1, 3)
        ]
    assert summaries[0]["models"] == summaries[1]["models"]
    assert_same_folds(tmp_path / "1", tmp_path / "3", (0, 1, 2))
    assert any(record.getMessage().startswith("fold-2: fold 2 of 3") for record in caplog.records)


def test_a_run_that_diverges_leaves_the_others_as_they_would_be_alone(tmp_path: Path) -> None:
    def job(member: Member | None, name: str, options: Sequence[str] = ()) -> None:
        train(run_config(tmp_path / name, tmp_path / "cache", "trainer.step=graph", *options), member=member)

    diverges = ["optimizer=sgd", "optimizer.lr=1e30", "trainer.gradient_clip_val=null"]
    jobs = {"first": (), "second": diverges, "third": ()}
    errors = SideBySide({name: partial(job, name=name, options=options) for name, options in jobs.items()}, CPU).run()
    assert list(errors) == ["second"]
    assert isinstance(errors["second"], UserError)
    assert "is not a finite number" in str(errors["second"])
    job(None, "alone")
    for name in ("first", "third"):
        assert (tmp_path / name / "summary.json").exists()
        assert (tmp_path / name / "metrics.csv").read_text() == (tmp_path / "alone" / "metrics.csv").read_text()


def test_runs_in_lightnings_way_are_trained_one_after_the_other(tmp_path: Path) -> None:
    order: list[str] = []

    def job(member: Member, name: str) -> None:
        order.append(f"{name} begins")
        train(run_config(tmp_path / name, tmp_path / "cache", "trainer.max_epochs=1"), member=member)
        order.append(f"{name} ends")

    assert not SideBySide({name: partial(job, name=name) for name in "ab"}, CPU).run()
    assert order == ["a begins", "a ends", "b begins", "b ends"]


@pytest.mark.parametrize("wanted", [0, "all", 1.5, True])
def test_a_wrong_number_of_folds_at_once(tmp_path: Path, wanted: object) -> None:
    with pytest.raises(UserError, match=r"cross_validation.at_once=.* must be auto, or a whole number of at least 1"):
        cross_validate(config(tmp_path, f"cross_validation.at_once={wanted}"))


@pytest.mark.parametrize("dropout", [0.3, 0])
def test_whether_a_network_draws_random_numbers(tmp_path: Path, dropout: float) -> None:
    cfg = run_config(tmp_path, tmp_path, f"model.dropout={dropout}")
    data = prepare_data(cfg)
    module = build_module(cfg, data)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    assert draws_random_numbers(module, data) is (dropout > 0)
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_folds_that_are_stopped_go_on_by_the_same_command(tmp_path: Path) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    typed = ["model=plain_small", "model.channels=[4,8]", "data.folds=2", "data.count=60", "data.size=36", *QUIET]
    typed += ["trainer.step=graph", "trainer.max_epochs=12", "data.batch_size=3", "cross_validation.at_once=2"]
    typed += ["cross_validation.bootstrap=100", f"data.cache_dir={tmp_path}", "checkpoint_every=4"]
    command = [sys.executable, "-m", "unetkit", "cross-validate", *typed]
    subprocess.run([*command, f"hydra.run.dir={whole}"], check=True, capture_output=True)
    process = subprocess.Popen([*command, f"hydra.run.dir={part}"], stderr=subprocess.PIPE, text=True)
    while not (part / "fold-1" / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert "Traceback" not in said
    assert not (part / "fold-0" / "summary.json").exists()
    subprocess.run([*command, f"hydra.run.dir={part}"], check=True, capture_output=True)
    assert_same_folds(whole, part, (0, 1))
