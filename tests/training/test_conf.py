"""The files of `conf/`: trainer, callbacks and debug as Hydra's users expect, and defaults that agree with Python."""

import inspect
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.utils import get_object
from training_runs import composed, rows, run

from unetkit.paths import config_dir
from unetkit.training.records import monitored_score

FILES = sorted(config_dir().glob("*/*.yaml"))
# Defaults of the configuration that differ from Python's, on purpose.
DIFFERENT = {
    ("data/base", "channels"),  # the data sets of base are grey; your own are read for it
    ("data/base", "num_classes"),  # likewise
    ("data/base", "crops_per_image"),  # runs of earlier versions, which don't have it, have one crop of each image
    ("data/base", "foreground_crops"),  # likewise
    ("data/base", "max_pixels"),  # from Python, the limit that holds already
    ("callbacks/early_stopping", "mode"),  # the class has Lightning's defaults, as it takes the place of Lightning's
    ("callbacks/early_stopping", "patience"),  # likewise
    ("augment/elastic", "p"),  # a transform of its own is always applied, in an augmentation most often
}

OF_OURS = ("compile", "step")  # keys of trainer that Lightning has not


def targets(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield {key: value for key, value in node.items() if key != "defaults"}
        for value in node.values():
            yield from targets(value)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_each_key_is_an_argument_and_each_default_of_ours_is_that_of_python(file: Path) -> None:
    name = f"{file.parent.name}/{file.stem}"
    for node in targets(yaml.safe_load(file.read_text(encoding="utf-8"))):
        arguments = inspect.signature(get_object(node["_target_"])).parameters
        takes_any = any(argument.kind == argument.VAR_KEYWORD for argument in arguments.values())
        for key, value in node.items():
            if key.startswith("_") or (name, key) in DIFFERENT or (name == "trainer/default" and key in OF_OURS):
                continue
            assert takes_any or key in arguments, f"{node['_target_']} has no argument {key}"
            default = arguments[key].default if key in arguments else inspect.Parameter.empty
            is_stated_twice = default is not inspect.Parameter.empty and not isinstance(value, dict)
            if node["_target_"].startswith("unetkit.") and is_stated_twice and "${" not in str(value):
                assert same(value, default), f"{key} in {name}"


def same(value: Any, default: Any) -> bool:
    if isinstance(default, list | tuple):
        return len(value) == len(default) and all(map(same, value, default))
    return value == default or (isinstance(default, float) and math.isclose(value, default, rel_tol=1e-4))


@pytest.mark.parametrize(
    ("typed", "added"),
    [
        ("callbacks=none", []),
        ("callbacks=default", []),
        ("callbacks=ema", ["ema"]),
        ("callbacks=[ema,early_stopping]", ["ema", "early_stopping"]),
        ("experiment=tgs_quick", ["ema"]),
    ],
)
def test_checkpoints_and_learning_rate_are_kept_whatever_callbacks_are_added(typed: str, added: list[str]) -> None:
    assert list(composed(typed).callbacks) == ["best", "last", "lr_monitor", *added]


def test_checkpoints_can_be_changed_without_a_plus(tmp_path: Path, cache: Path) -> None:
    changes = ["callbacks.best.save_top_k=2", "callbacks.best.filename='{epoch}'", "~callbacks.last"]
    summary = run(tmp_path, cache, *changes, "~callbacks.lr_monitor")
    assert sorted(file.name for file in tmp_path.rglob("*.ckpt")) == ["epoch=0.ckpt", "epoch=1.ckpt"]
    assert summary["last_checkpoint"] == ""
    assert Path(summary["best"]["checkpoint"]).exists()
    assert not [key for key in rows(tmp_path)[0] if key.startswith("lr-")]


@pytest.mark.parametrize(
    ("name", "accelerator", "devices", "strategy"),
    [
        ("default", "auto", "auto", "auto"),
        ("cpu", "cpu", 1, "auto"),
        ("gpu", "gpu", 1, "auto"),
        ("mps", "mps", 1, "auto"),
        ("ddp", "gpu", "auto", "ddp"),
        ("ddp_cpu", "cpu", 2, "ddp"),
        ("fsdp", "gpu", "auto", "fsdp"),
    ],
)
def test_each_trainer_names_its_device(name: str, accelerator: str, devices: int | str, strategy: str) -> None:
    trainer = composed(f"trainer={name}").trainer
    assert (trainer.accelerator, trainer.devices, trainer.strategy) == (accelerator, devices, strategy)
    assert trainer.keys() == composed().trainer.keys()


def test_trainer_cpu_trains_and_words_to_find_the_run_are_kept(tmp_path: Path, cache: Path) -> None:
    summary = run(tmp_path, cache, "trainer=cpu", "trainer.max_epochs=1", "tags=[small,fold0]", "task_name=trial")
    assert summary["device"].endswith("threads")
    assert (summary["tags"], summary["task_name"]) == (["small", "fold0"], "trial")
    assert json.loads((tmp_path / "summary.json").read_text())["tags"] == ["small", "fold0"]
    assert monitored_score(summary) == summary["best"]["score"] == summary["val/iou_per_image"]


def test_debug_default_runs_one_batch_and_writes_no_checkpoint(tmp_path: Path, cache: Path) -> None:
    summary = run(tmp_path, cache, "debug=default")
    assert summary["steps"] == 1
    assert not list(tmp_path.rglob("*.ckpt"))
    assert monitored_score(summary) == summary["val/iou_per_image"]  # there is no best epoch


def test_debug_limit_trains_on_a_few_batches(tmp_path: Path, cache: Path) -> None:
    summary = run(tmp_path, cache, "debug=limit", "data.batch_size=1")
    assert (summary["epochs"], summary["steps"]) == (2, 20)  # of 19 pairs
    assert (tmp_path / "checkpoints" / "last.ckpt").exists()


def test_debug_overfit_sees_one_batch_again_and_again(tmp_path: Path, cache: Path) -> None:
    cfg = composed("debug=overfit")
    assert cfg.augment._target_ == "unetkit.data.Augmentation"  # augment=none
    assert cfg.scheduler.scheduler is None
    summary = run(tmp_path, cache, "debug=overfit", "trainer.max_epochs=3")
    assert summary["steps"] == 3


def test_debug_profiler_says_what_took_how_long(tmp_path: Path, cache: Path) -> None:
    run(tmp_path, cache, "debug=profiler", "trainer.max_epochs=1")
    assert "run_training_batch" in (tmp_path / "fit-profile.txt").read_text()
