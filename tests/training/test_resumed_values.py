"""Values that are typed on resuming are obeyed or refused, never ignored."""

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import open_dict
from training_runs import config, content_of, run

from unetkit.errors import UserError
from unetkit.training.run import train

PLATEAU = ["scheduler=plateau", "scheduler.scheduler.patience=3"]
STOPPING = ["callbacks=[ema,early_stopping]", "callbacks.early_stopping.patience=9"]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A run with a plateau schedule, early stopping and an average of the weights."""
    run(folder := tmp_path_factory.mktemp("started"), cache, *PLATEAU, *STOPPING)
    return folder


def resumed(started: Path, folder: Path, cache: Path, *options: str) -> dict[str, Any]:
    """The last checkpoint after one more epoch."""
    run(folder, cache, f"checkpoint={started}", "trainer.max_epochs=3", *options)
    return content_of(folder)


def test_values_of_a_plateau_schedule_and_of_early_stopping_are_obeyed(
    started: Path, tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    schedule = ["patience=7", "factor=0.3", "min_lr=1e-6", "threshold=0.01", "+cooldown=1"]
    typed = [f"{'+' * key.startswith('+')}scheduler.scheduler.{key.lstrip('+')}" for key in schedule]
    stopping = "callbacks.early_stopping.patience=4"
    content = resumed(started, tmp_path, cache, *PLATEAU, *typed, *STOPPING, stopping)
    state = content["lr_schedulers"][0]
    assert (state["patience"], state["factor"], state["cooldown"], state["threshold"]) == (7, 0.3, 1, 0.01)
    assert state["min_lrs"] == [1e-6, 1e-6]
    (stopped,) = (value for key, value in content["callbacks"].items() if key.startswith("EarlyStopping"))
    assert stopped["patience"] == 4
    assert "scheduler.scheduler.patience=7 from here on; before, it was 3" in caplog.text
    assert "EarlyStopping has patience=4 from here on; before, it was 9" in caplog.text


def test_the_decay_of_the_average_is_obeyed(started: Path, tmp_path: Path, cache: Path) -> None:
    content = resumed(started, tmp_path, cache, *PLATEAU, *STOPPING, "callbacks.ema.decay=0.0")
    average, current = content["state_dict"], content["current_model_state"]  # without memory, both are the same
    for key in (key for key in average if key.startswith("network") and key.endswith("weight")):
        torch.testing.assert_close(average[key], current[key])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("scheduler.scheduler.mode=min", "scheduler.scheduler.mode"),
        ("monitor=val/dice", "scheduler.monitor"),
        ("optimizer.weight_decay=0.5", "optimizer.weight_decay"),
    ],
)
def test_values_that_would_make_the_stored_state_wrong_are_refused(
    started: Path, tmp_path: Path, cache: Path, change: str, named: str
) -> None:
    with pytest.raises(UserError, match=rf"{named}.*resume with the same"):
        resumed(started, tmp_path, cache, *PLATEAU, *STOPPING, change)


EVERY = (
    "{_target_: lightning.pytorch.callbacks.ModelCheckpoint, monitor: val/loss, save_top_k: -1, filename: '{epoch}'}"
)


@pytest.fixture(scope="module")
def one_cycle(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A checkpoint of the first epoch of a run with a one-cycle schedule."""
    folder = tmp_path_factory.mktemp("one_cycle")
    run(folder, cache, "scheduler=onecycle", f"+callbacks.every={EVERY}", "trainer.max_epochs=3")
    return (folder / "checkpoints" / "epoch=0.ckpt").rename(folder / "checkpoints" / "first.ckpt")


@pytest.mark.parametrize("change", ["pct_start=0.4", "div_factor=5", "final_div_factor=5", "anneal_strategy=linear"])
def test_values_of_a_one_cycle_schedule_are_refused(one_cycle: Path, tmp_path: Path, cache: Path, change: str) -> None:
    typed = ["scheduler=onecycle", f"scheduler.scheduler.{change}"]
    with pytest.raises(UserError, match=r"^scheduler\.scheduler\.\w+ .*; resume with the same scheduler") as error:
        resumed(one_cycle, tmp_path, cache, *typed)
    assert error.value.subject in (f"scheduler.scheduler.{change.split('=')[0]}", "scheduler.scheduler.div_factor")


@pytest.mark.parametrize(("name", "argument"), [("StepLR", "step_size"), ("CosineAnnealingLR", "T_max")])
def test_values_of_other_schedules_whose_state_has_them_are_refused(
    tmp_path: Path, cache: Path, name: str, argument: str
) -> None:
    def trained(value: int, folder: str, *options: str) -> None:
        cfg = config(tmp_path / folder, cache, "scheduler=none", *options)
        with open_dict(cfg):
            target = f"torch.optim.lr_scheduler.{name}"
            cfg.scheduler.scheduler = {"_target_": target, "_partial_": True, argument: value}
        train(cfg)

    trained(7, "a", "trainer.max_epochs=1")
    with pytest.raises(UserError, match=rf"scheduler\.scheduler\.{argument} is another .*; resume with the same"):
        trained(8, "b", f"checkpoint={tmp_path / 'a'}")
    trained(7, "b", f"checkpoint={tmp_path / 'a'}")


def test_the_shape_of_a_schedule_that_is_computed_from_its_arguments_is_obeyed(tmp_path: Path, cache: Path) -> None:
    options = ["scheduler=poly", "optimizer.lr=0.001"]
    run(tmp_path / "a", cache, *options, "trainer.max_epochs=1")
    content = resumed(
        tmp_path / "a", tmp_path / "b", cache, *options, "scheduler.scheduler.power=3", "trainer.max_steps=8"
    )
    at_six_of_eight = 0.001 * (1 - 6 / 8) ** 3  # at the end of the last whole epoch
    assert content["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(at_six_of_eight)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["trainer.val_check_interval=0.34"], 6),  # of three batches, after each
        (["trainer.val_check_interval=2"], 2),
        (["trainer.val_check_interval=4", "trainer.check_val_every_n_epoch=null"], 1),
        (["scheduler.interval=step"], 2),
        ([], 1),  # the second is told after the checkpoint is saved
    ],
)
def test_a_plateau_steps_at_validations(tmp_path: Path, cache: Path, options: list[str], told: int) -> None:
    run(tmp_path, cache, "scheduler=plateau", *options)
    content = content_of(tmp_path)
    assert content["lr_schedulers"][0]["last_epoch"] == told
    assert (content["unetkit"].get("monitored") is not None) == (not options)
