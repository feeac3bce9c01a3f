"""Check values of the configuration that nothing else checks before they are used."""

import math
import re
from collections.abc import Callable
from inspect import signature
from typing import Any

import torch
from omegaconf import DictConfig, ListConfig, OmegaConf

from unetkit.data import SegmentationDataModule
from unetkit.errors import UserError, check, is_whole
from unetkit.evaluation.primary import read_extra, read_primary
from unetkit.models import check_threshold
from unetkit.training.explain import choices_with
from unetkit.training.monitor import check_monitor
from unetkit.training.save_within_epoch import is_interval

COMPILE = (False, True, "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
CUDA_GRAPHS = ("reduce-overhead", "max-autotune")


def is_switch(value: object) -> bool:
    """Return whether a value is true or false."""
    return isinstance(value, bool)


def is_count(least: int, *others: object) -> Callable[[object], bool]:
    """Return a test whether a value is a whole number of at least `least`, or one of `others`."""
    return lambda value: value in others or is_whole(value, least)


def is_number(value: object) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, int | float) and not is_switch(value) and math.isfinite(value)


SWITCH = "true or false"

# Key, test, and what is wanted: only values that Lightning accepts silently, or that fail after training has begun.
RULES: list[tuple[str, Callable[[Any], bool], str]] = [
    ("seed", lambda value: is_count(0)(value) and value < 2**32, "a whole number from 0 to 2**32 - 1"),
    ("tags", lambda value: isinstance(value, ListConfig), "a list, as in tags=[baseline,small]"),
    ("deep_supervision", lambda value: is_number(value) and value >= 0, "a weight of at least 0; 0 is off"),
    ("channels_last", is_switch, SWITCH),
    ("mirror_border", is_switch, SWITCH),
    ("stop_on_nan", is_switch, SWITCH),
    ("checkpoint_every", is_interval, "minutes, as 30min, a number of steps, as 500, or null"),
    ("data.channels", is_count(1, "auto"), "auto, or a whole number of at least 1"),
    ("model.in_channels", is_count(1, "auto"), "a whole number of at least 1"),
    ("callbacks.early_stopping.patience", is_count(0, None), "a whole number of validations"),
    ("trainer.max_epochs", is_count(-1, None), "a whole number; -1 is without end"),
    ("trainer.accumulate_grad_batches", is_count(1), "at least 1, a whole number"),
    ("trainer.gradient_clip_val", lambda value: value is None or (is_number(value) and value >= 0), "at least 0"),
    ("trainer.check_val_every_n_epoch", is_count(1, None), "a whole number of at least 1"),
    ("trainer.val_check_interval", lambda value: value != 0, "above 0"),
    ("trainer.num_sanity_val_steps", is_count(-1), "a whole number of batches; -1 is all"),
    ("trainer.log_every_n_steps", is_count(0), "a whole number of steps"),
    ("trainer.detect_anomaly", is_switch, SWITCH),
    ("trainer.sync_batchnorm", is_switch, SWITCH),
    ("trainer.enable_progress_bar", is_switch, SWITCH),
    ("trainer.step", lambda value: value in ("auto", "graph", "eager"), "auto, graph or eager"),
    ("trainer.compile", lambda value: value in COMPILE, f"one of {', '.join(map(str, COMPILE)).lower()}"),
]


def check_values(cfg: DictConfig) -> None:
    """Check the values that nothing else checks before they are used.

    Raises:
        UserError: If a value is out of its range.
    """
    for key, is_right, wanted in RULES:
        if (value := OmegaConf.select(cfg, key, default=...)) is not ...:
            check(key, value, is_right(value), wanted)
    check_data_keys(cfg)
    check_threshold(cfg.threshold)
    read_primary(cfg.metrics.primary)
    read_extra(cfg.metrics.get("extra"))
    check_monitor(cfg.monitor)
    if cfg.trainer.compile in CUDA_GRAPHS and cfg.trainer.accumulate_grad_batches > 1:
        raise UserError(
            f"trainer.compile={cfg.trainer.compile}",
            "makes CUDA graphs, which lose gradients with "
            f"trainer.accumulate_grad_batches={cfg.trainer.accumulate_grad_batches}",
            "use max-autotune-no-cudagraphs",
        )


def check_data_keys(cfg: DictConfig) -> None:
    """Check that each key of `data` is read: by the data module, or through a reference such as `${data.root}`.

    Raises:
        UserError: If one is not, as `+data.root=DIR` with `data=synthetic`, which would train on other images.
    """
    used = str(OmegaConf.to_container(cfg, resolve=False))
    known = {*signature(SegmentationDataModule).parameters, "primary_metric", "extra_metrics"}  # for train.yaml
    if cfg.data._target_ != "unetkit.data.SegmentationDataModule" or "${" not in str(cfg.data._get_node("pairs")):
        return  # data of the user's own, or a configuration whose references are resolved already
    for key in cfg.data:
        if key != "_target_" and key not in known and not re.search(rf"[{{.]{re.escape(str(key))}}}", used):
            problem = f"is not used by data={cfg.data.name}"
            choices = choices_with(f"data.{key}")
            fix = f"choose data={choices[0]}, whose key it is" if choices else "leave it out"
            raise UserError(f"data.{key}={cfg.data[key]}", problem, fix)


def choose_precision(precision: int | str, accelerator: str) -> str:
    """Return Lightning's name of a precision; 16 is 16-mixed on a GPU, bf16-mixed on a CPU (float16 is slow there).

    Raises:
        UserError: If it is not 32, 16 or bf16-mixed.
    """
    wanted = {"32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}.get(str(precision), str(precision))
    is_known = wanted in ("32-true", "16-mixed", "bf16-mixed")
    check("trainer.precision", precision, is_known, "32, 16 (mixed with 32) or bf16-mixed")
    return "bf16-mixed" if wanted == "16-mixed" and is_on_cpu(accelerator) else wanted


def is_on_cpu(accelerator: str) -> bool:
    """Return whether a run with this `trainer.accelerator` trains on the CPU."""
    has_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    return accelerator == "cpu" or (accelerator == "auto" and not has_gpu)
