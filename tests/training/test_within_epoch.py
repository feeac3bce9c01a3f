"""A run that is interrupted within an epoch goes on exactly from there."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
from interrupted import KillInValidation, fit_with, kill, same_state
from training_runs import config, content_of, rows, run

# Two epochs of eight batches, whose dropout, augmentation and order of images are random.
OPTIONS = ["model.dropout=0.3", "data.count=40", "data.batch_size=4", "trainer.log_every_n_steps=1"]
OPTIONS += ["trainer.max_epochs=2", "checkpoint_every=1"]
EARLY = ["callbacks=early_stopping", "callbacks.early_stopping.patience=2"]
PLATEAU = ["scheduler=plateau", "scheduler.scheduler.patience=0"]


def slow(*values: object, id: str) -> object:
    return pytest.param(*values, id=id, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("extra", "kills"),
    [
        pytest.param(["trainer.val_check_interval=3", *PLATEAU], [3], id="validation within epochs"),
        pytest.param(
            ["data.count=8", "data.size=60", "data.crop_size=30", "augment=strong_device", "data.split=fraction"],
            [4],
            id="several crops of an image",
        ),
        slow([], [1, 7, 9], id="plain"),
        slow([*PLATEAU, "trainer.max_epochs=3", "optimizer.lr=0.3"], [3, 11], id="plateau of epochs"),
        slow(["trainer.accumulate_grad_batches=3", "data.batch_size=3"], [4, 7, 15], id="accumulated gradients"),
        slow(["trainer.val_check_interval=2", *PLATEAU, *EARLY, "trainer.max_epochs=4"], [3, 4], id="early stopping"),
        slow(["trainer.val_check_interval=1"], [3], id="validation after each batch"),
        slow(["trainer.val_check_interval=0.5", "callbacks=ema", "scheduler=onecycle"], [3, 4, 12], id="EMA"),
        slow(["data.num_workers=2", "augment=strong", "checkpoint_every=3"], [5, 13], id="workers"),
        slow(
            ["trainer.check_val_every_n_epoch=null", "trainer.val_check_interval=5"], [5, 6], id="validation by steps"
        ),
        slow(["trainer.precision=bf16-mixed", "deep_supervision=0.4", "model.channels=[4,6,8]"], [3], id="side heads"),
        slow(
            [*PLATEAU, "scheduler.monitor=train/loss", "scheduler.interval=step", "trainer.val_check_interval=2"],
            [3, 4],
            id="plateau of the loss",
        ),
        slow(["trainer.limit_train_batches=5"], [3, 7], id="a part of the images"),
    ],
)
def test_a_run_that_is_killed_within_an_epoch_goes_on_exactly(
    tmp_path: Path, cache: Path, extra: list[str], kills: list[int]
) -> None:
    options = [*OPTIONS, *extra]
    run(tmp_path / "whole", cache, *options)
    expected = content_of(tmp_path / "whole")
    logged = rows(tmp_path / "whole")
    for after in kills:
        last = kill(folder := tmp_path / str(after), cache, after, *options)
        before = filled(rows(folder))
        run(folder, cache, *options, f"checkpoint={last}")
        same_state(expected, content_of(folder))
        again = rows(folder)
        assert logged[-len(again) :] == again  # with the mean of train/loss over the epoch
        assert all(row in before or row in filled(again) for row in filled(logged))


@pytest.mark.parametrize(
    ("extra", "kills"),
    [
        pytest.param([*PLATEAU, "optimizer.lr=0.3", "checkpoint_every=null"], [7], id="plateau"),
        slow(["callbacks=ema", "scheduler=onecycle", "data.num_workers=2", "augment=strong"], [7], id="EMA, workers"),
        slow(["trainer.val_check_interval=3", *PLATEAU], [2, 5], id="validation within epochs"),
        slow(["trainer.val_check_interval=3", "trainer.accumulate_grad_batches=2", *EARLY], [5], id="accumulation"),
        slow([*PLATEAU, "scheduler.monitor=train/loss_epoch"], [7], id="plateau of the mean loss"),
        slow(["trainer.max_steps=16", "deep_supervision=0.4", "model.channels=[4,6,8]"], [15], id="the last step"),
        slow(["trainer.check_val_every_n_epoch=null", "trainer.val_check_interval=8"], [15], id="validation by steps"),
    ],
)
def test_a_validation_that_is_killed_costs_no_training(
    tmp_path: Path, cache: Path, extra: list[str], kills: list[int]
) -> None:
    options = [*OPTIONS, *extra]
    run(tmp_path / "whole", cache, *options)
    expected = content_of(tmp_path / "whole")
    for after in kills:
        last = kill(folder := tmp_path / str(after), cache, after, *options, at=KillInValidation)
        batches = content_of(folder)["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]
        assert batches["processed"] == after + 1
        before = filled(rows(folder))
        run(folder, cache, *options, f"checkpoint={last}")
        same_state(expected, content_of(folder))
        again = filled(rows(folder))
        assert all(row in before or row in again for row in filled(rows(tmp_path / "whole")))
        assert not [row for row in before if row in again]


def filled(logged: list[dict[str, str]]) -> list[dict[str, str]]:
    """Rows without the columns that are empty."""
    return [{key: value for key, value in row.items() if value} for row in logged]


def test_ends_of_epochs_are_saved_at_most_every_so_many_seconds_and_the_last_one_always(
    tmp_path: Path, cache: Path
) -> None:
    class Saved(L.Callback):
        def __init__(self) -> None:
            self.epochs: list[int] = []

        def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: Any) -> None:
            self.epochs.append(trainer.current_epoch)

    options = ["trainer.max_epochs=4", "~callbacks.best", "trainer.limit_val_batches=0"]
    for seconds, expected in (("600", [0, 3]), ("auto", [0, 1, 2, 3])):
        cfg = config(tmp_path / seconds, cache, f"callbacks.last.seconds={seconds}", *options)
        fit_with(saved := Saved(), cfg)
        assert saved.epochs == expected
