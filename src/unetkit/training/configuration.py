"""What a composed configuration may hold, and mistakes in it told in one line."""

import logging
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

from unetkit.errors import UserError, check

log = logging.getLogger(__name__)

COMPILE = (False, True, "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
CUDA_GRAPHS = ("reduce-overhead", "max-autotune")


def is_switch(value: object) -> bool:
    """Whether it is true or false."""
    return isinstance(value, bool)


def is_count(least: int, *others: object) -> Callable[[object], bool]:
    """Whether a value is a whole number of at least `least`, or one of the others."""
    return lambda value: value in others or (isinstance(value, int) and not is_switch(value) and value >= least)


def is_number(value: object) -> bool:
    """Whether it is a finite number."""
    return isinstance(value, int | float) and not is_switch(value) and math.isfinite(value)


def is_part(value: object) -> bool:
    """Whether it is a number of batches or a share of them, as Lightning tells them apart: 1 is one, 1.0 is all."""
    return value is None or is_count(0)(value) or (isinstance(value, float) and 0 <= value <= 1)


PART = "a number of batches, or a share from 0.0 to 1.0"
SWITCH = "true or false"

# What nothing else checks before it is used: the key, whether a value of it is right, and what is wanted.
RULES: list[tuple[str, Callable[[Any], bool], str]] = [
    ("seed", lambda value: is_count(0)(value) and value < 2**32, "a whole number from 0 to 2**32 - 1"),
    ("threshold", lambda value: is_number(value) and 0 <= value < 1, "a probability, at least 0 and below 1"),
    ("deep_supervision", lambda value: is_number(value) and value >= 0, "a weight of at least 0; 0 is off"),
    ("channels_last", is_switch, SWITCH),
    ("mirror_border", is_switch, SWITCH),
    ("data.channels", is_count(1, "auto"), "auto, or a whole number of at least 1"),
    ("model.in_channels", is_count(1, "auto"), "a whole number of at least 1"),
    ("callbacks.early_stopping.patience", is_count(0, None), "a whole number of validations"),
    ("trainer.max_epochs", is_count(-1, None), "a whole number; -1 is without end"),
    ("trainer.max_steps", is_count(-1), "a whole number; -1 is without end"),
    ("trainer.max_time", lambda value: not is_number(value), "DAYS:HOURS:MINUTES:SECONDS, as 00:01:30:00"),
    ("trainer.accumulate_grad_batches", is_count(1), "at least 1, a whole number"),
    ("trainer.gradient_clip_val", lambda value: value is None or (is_number(value) and value >= 0), "at least 0"),
    ("trainer.check_val_every_n_epoch", is_count(1, None), "a whole number of at least 1"),
    ("trainer.val_check_interval", lambda value: is_part(value) and value != 0, f"{PART}, above 0"),
    ("trainer.limit_train_batches", is_part, PART),
    ("trainer.limit_val_batches", is_part, PART),
    ("trainer.limit_test_batches", is_part, PART),
    ("trainer.overfit_batches", is_part, PART),
    ("trainer.fast_dev_run", is_count(0, False, True), "true, false or a number of batches"),
    ("trainer.num_sanity_val_steps", is_count(-1), "a whole number of batches; -1 is all"),
    ("trainer.log_every_n_steps", is_count(0), "a whole number of steps"),
    ("trainer.detect_anomaly", is_switch, SWITCH),
    ("trainer.sync_batchnorm", is_switch, SWITCH),
    ("trainer.enable_progress_bar", is_switch, SWITCH),
    ("trainer.compile", lambda value: value in COMPILE, f"one of {', '.join(map(str, COMPILE)).lower()}"),
]


def check_values(cfg: DictConfig) -> None:
    """Check what nothing else does before it is used.

    Raises:
        UserError: If a value is outside its range.
    """
    for key, is_right, wanted in RULES:
        if (value := OmegaConf.select(cfg, key, default=...)) is not ...:
            check(key, value, is_right(value), wanted)
    if cfg.trainer.compile in CUDA_GRAPHS and cfg.trainer.accumulate_grad_batches > 1:
        raise UserError(
            f"trainer.compile={cfg.trainer.compile} makes CUDA graphs, which lose gradients with "
            f"trainer.accumulate_grad_batches={cfg.trainer.accumulate_grad_batches}; use max-autotune-no-cudagraphs"
        )
    if cfg.model.get("spatial_dims", 2) != 2:
        raise UserError(
            f"model.spatial_dims={cfg.model.spatial_dims} is for volumes, but train.py reads images; take "
            "model.spatial_dims=2, or train unetkit.models.UNet on volumes of your own as tests/test_unet_3d.py does"
        )


def choose_precision(precision: int | str, accelerator: str) -> str:
    """What `precision` means here: 16 is 16-mixed on a GPU, and bf16-mixed on a CPU, which has no fast float16.

    Raises:
        UserError: If it is not 32, 16 or bf16-mixed.
    """
    wanted = {"32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}.get(str(precision), str(precision))
    if wanted not in ("32-true", "16-mixed", "bf16-mixed"):
        raise UserError(f"trainer.precision={precision} must be 32, 16 (mixed with 32) or bf16-mixed")
    has_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    if wanted == "16-mixed" and (accelerator == "cpu" or (accelerator == "auto" and not has_gpu)):
        log.info("trainer.precision=%s on a CPU: bf16-mixed is used", precision)
        return "bf16-mixed"
    return wanted


@contextmanager
def library_mistakes() -> Iterator[None]:
    """Turn what libraries raise when a value of the configuration is wrong into a `UserError`."""
    try:
        yield
    except InstantiationException as error:
        if not isinstance(error.__cause__, ValueError | TypeError | ImportError | MisconfigurationException):
            raise
        reason = " ".join(str(error.__cause__).split())  # pydantic's take several lines
        unknown = re.match(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", reason)
        place = re.search(r"full_key: (\S+)", str(error))
        if unknown and place:
            key = f"{place[1]}.{unknown[2]}"
            reason = (
                f"{key} is set, by the experiment perhaps, but {unknown[1]} has no such option; type ~{key} as well"
            )
        elif not isinstance(error.__cause__, UserError):
            reason = typed(place[1] if place else "trainer") + reason  # which alone is not instantiated in its place
        raise UserError(reason) from error
    except MisconfigurationException as error:
        raise UserError(str(error)) from error


def typed(key: str) -> str:
    """What was typed for this key and those below it, to begin an error of a library with, which doesn't know them."""
    overrides = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    found = [override for override in overrides if re.match(rf"\+*{re.escape(key)}[.=]", override)]
    return f"{' '.join(found) or key}: "
