"""Whole steps end where Lightning's way ends: same weights, same rows, same checkpoints, at every step.

On a CPU `trainer.step=graph` runs the function that a GPU captures; test_gpu.py compares it with its capture.
"""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from interrupted import fit_with, stop
from training_runs import composed, config, content_of, rows, run

from unetkit.errors import UserError
from unetkit.training import step_loop
from unetkit.training.build import build_module, prepare_data
from unetkit.training.step_choice import obstacles_to_capture
from unetkit.training.step_loop import StepLoop

ODD = ["data.batch_size=5", "trainer.log_every_n_steps=3"]  # four batches an epoch, of which the last is smaller
ALL = [
    "model.channels=[4,6,8]",
    "callbacks=ema",
    "deep_supervision=0.4",
    "model.dropout=0.3",
    "scheduler=onecycle",
    *ODD,
]


def assert_equal(ours: Any, theirs: Any, place: str = "") -> None:
    """Compare plain containers and tensors; tensors within 1e-6."""
    assert type(ours) is type(theirs), place
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), place
        for key, value in ours.items():
            assert_equal(value, theirs[key], f"{place}.{key}")
    elif isinstance(ours, list | tuple):
        assert len(ours) == len(theirs), place
        for index, value in enumerate(ours):
            assert_equal(value, theirs[index], f"{place}.{index}")
    elif isinstance(ours, torch.Tensor):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6, msg=lambda text: f"{place}: {text}")
    elif isinstance(ours, float):
        assert ours == pytest.approx(theirs, abs=1e-6, nan_ok=True), place
    elif "dirpath" not in place and "_path" not in place and "best_k_models" not in place and "kth_" not in place:
        assert ours == theirs, place


def assert_same_training(one: Path, other: Path) -> None:
    ours, theirs = content_of(one), content_of(other)
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "loops", "global_step", "epoch"):
        assert_equal(ours[part], theirs[part], part)
    assert ours.keys() == theirs.keys()
    pairs = list(zip(rows(one), rows(other), strict=True))
    for row, counterpart in pairs:
        for name, value in row.items():
            assert (value == "") == (counterpart[name] == ""), name
            assert value == "" or float(value) == pytest.approx(float(counterpart[name]), abs=1e-6), (name, row)


def both(tmp_path: Path, cache: Path, *options: str) -> tuple[Path, Path]:
    """Train in Lightning's way and by whole steps."""
    for way in ("eager", "graph"):
        run(tmp_path / way, cache, f"trainer.step={way}", *options)
    return tmp_path / "eager", tmp_path / "graph"


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(ALL, id="all"),
        *(
            pytest.param([*ODD, *options], id=" ".join(options), marks=pytest.mark.slow)
            for options in (
                ["optimizer=sgd", "scheduler=poly"],
                ["optimizer=rmsprop", "scheduler=cosine"],
                ["optimizer=adamw", "scheduler=plateau", "trainer.check_val_every_n_epoch=2", "trainer.max_epochs=4"],
                ["trainer.gradient_clip_algorithm=value", "trainer.gradient_clip_val=0.01"],
                ["trainer.gradient_clip_val=null", "scheduler=none"],
                ["trainer.gradient_clip_val=0.1", "trainer.precision=bf16-mixed"],
                ["trainer.val_check_interval=0.5", "scheduler=plateau"],
                ["trainer.val_check_interval=3", "trainer.check_val_every_n_epoch=null"],
                ["augment=flip", "data.crop_size=24"],
                ["augment=strong_device", "data.crop_size=[24,20]"],
                ["loss=weighted_bce"],
                ["data.cache_on_device=true", "augment=strong_device"],
                ["trainer.limit_train_batches=3", "trainer.log_every_n_steps=1"],
                ["trainer.max_steps=6"],
                ["data.num_workers=1", "augment=none"],
            )
        ),
    ],
)
def test_whole_steps_train_as_lightning_does(tmp_path: Path, cache: Path, options: list[str]) -> None:
    assert_same_training(*both(tmp_path, cache, *options))


class Spy(L.Callback):
    """Notes which steps Lightning sees."""

    def __init__(self) -> None:
        self.quiet: list[int] = []
        self.seen: list[int] = []

    def on_quiet_step(self, trainer: L.Trainer, loss: Any, batch: Any, batch_idx: int, waited: float) -> None:
        self.quiet.append(trainer.global_step)

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.seen.append(trainer.global_step)


def test_lightning_sees_the_first_the_logged_and_the_last_step_of_an_epoch(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_loop, "QUIET_SECONDS", 600.0)
    spy = Spy()
    options = ["data.batch_size=2", "trainer.step=graph", "trainer.log_every_n_steps=5", "trainer.max_epochs=2"]
    trainer = fit_with(spy, config(tmp_path, cache, *options)).trainer
    assert isinstance(trainer.fit_loop.epoch_loop, StepLoop)
    assert trainer.global_step == 20
    assert spy.seen == [1, 5, 10, 11, 15, 20]
    assert sorted([*spy.quiet, *spy.seen]) == list(range(1, 21))


@pytest.mark.parametrize(
    ("first", "second"), [("eager", "graph"), pytest.param("graph", "eager", marks=pytest.mark.slow)]
)
def test_a_checkpoint_of_one_way_is_resumed_in_the_other(tmp_path: Path, cache: Path, first: str, second: str) -> None:
    options = [*ALL, "trainer.max_epochs=3"]
    run(tmp_path / "whole", cache, *options, f"trainer.step={first}")
    interrupted = stop(config(tmp_path / "part", cache, *options, f"trainer.step={first}"), epoch=0)
    run(tmp_path / "resumed", cache, *options, f"trainer.step={second}", f"checkpoint={interrupted}")
    ours, theirs = content_of(tmp_path / "resumed"), content_of(tmp_path / "whole")
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "loops", "global_step", "epoch"):
        assert_equal(ours[part], theirs[part], part)


def test_settings_of_a_gpu_in_a_checkpoint_do_not_come_along(tmp_path: Path, cache: Path) -> None:
    run(tmp_path / "a", cache, "trainer.max_epochs=1")
    content = content_of(tmp_path / "a")
    for group in content["optimizer_states"][0]["param_groups"]:
        group |= {"fused": True, "capturable": True}
    torch.save(content, tmp_path / "of_gpu.ckpt")
    last = tmp_path / "a" / "checkpoints" / "last.ckpt"
    for name, path in (("b", last), ("c", tmp_path / "of_gpu.ckpt")):
        run(tmp_path / name, cache, f"checkpoint={path}")
    assert_equal(content_of(tmp_path / "c")["optimizer_states"], content_of(tmp_path / "b")["optimizer_states"])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["trainer.accumulate_grad_batches=2"], r"trainer\.accumulate_grad_batches=2"),
        (["loss=boundary"], "the loss BoundaryLoss, which reads values"),
        (["trainer.detect_anomaly=true"], r"trainer\.detect_anomaly=True"),
    ],
)
def test_what_stands_against_whole_steps_is_named(tmp_path: Path, cache: Path, options: list[str], named: str) -> None:
    with pytest.raises(UserError, match=rf"trainer\.step=graph is not possible with {named}.*; use trainer\.step=auto"):
        run(tmp_path, cache, "trainer.step=graph", *options)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["model=unet_small"], []),  # as in all recipes
        (["model=plain_small", "model.gradient_checkpointing=1"], ["model.gradient_checkpointing=1"]),
    ],
)
def test_only_gradient_checkpointing_stands_against_capturing_a_recipe(
    tmp_path: Path, cache: Path, options: list[str], named: list[str]
) -> None:
    cfg = composed("data.count=24", "data.size=36", *options, f"run_dir={tmp_path}", f"data.cache_dir={cache}")
    cfg.trainer.accelerator = "cpu"
    module = build_module(cfg, prepare_data(cfg))
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    assert list(obstacles_to_capture(cfg, trainer, module)) == named


def test_a_loss_that_is_not_a_number_is_named_with_its_own_batch(tmp_path: Path, cache: Path) -> None:
    messages = []
    for way in ("eager", "graph"):
        with pytest.raises(UserError) as error:
            run(tmp_path / way, cache, f"trainer.step={way}", "optimizer.lr=1e30", "data.batch_size=4")
        messages.append(str(error.value))
    assert messages[0] == messages[1]
