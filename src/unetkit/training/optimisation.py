"""Optimiser and learning-rate schedule of a run."""

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypedDict

import lightning as L
import torch
from lightning.pytorch.utilities.types import LRSchedulerConfigType, OptimizerLRScheduler
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from unetkit.errors import UserError

NEVER = 2**62  # epochs or steps between two of Lightning's steps of a schedule
MakeOptimizer = Callable[..., Optimizer]


class Schedule(TypedDict):
    """A scheduler without its optimiser, and how Lightning steps it.

    Attributes:
        scheduler: Makes the scheduler of an optimiser, and of `total_steps` if it has such an argument.
        interval: `step` or `epoch`.
        monitor: The score that the scheduler is given, or None.
    """

    scheduler: Callable[..., LRScheduler]
    interval: str
    monitor: str | None


def clip_gradients(optimizer: Optimizer, value: float | None, algorithm: str | None) -> None:
    """Clip the gradients of an optimiser's parameters by `norm` or by `value`, without waiting for the device.

    Args:
        optimizer: The optimiser.
        value: Largest norm of all gradients together, or largest size of each number; None or 0 for no clipping.
        algorithm: `norm` or `value`; None for `norm`.
    """
    if not value:
        return
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    if algorithm == "value":
        torch.nn.utils.clip_grad_value_(parameters, value, foreach=True)
    else:
        torch.nn.utils.clip_grad_norm_(parameters, value, foreach=True)


SETTINGS = ("fused", "capturable", "foreach")  # how torch computes the step, which depends on the device


def for_capture(make_optimizer: MakeOptimizer) -> MakeOptimizer | None:
    """Return the maker of an optimiser whose step a CUDA graph can hold; None if torch has no such form of it."""
    function = getattr(make_optimizer, "func", make_optimizer)
    given = getattr(make_optimizer, "keywords", {})
    known = inspect.signature(function).parameters
    settings = {name: True for name in ("fused", "capturable") if name in known and name not in given}
    return partial(make_optimizer, **settings) if settings and not given.get("foreach") else None


def settings_of(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Return how torch computes the step of each group of parameters."""
    return [{name: group[name] for name in SETTINGS if name in group} for group in optimizer.param_groups]


def keep_settings(optimizer: Optimizer, settings: list[dict[str, Any]]) -> None:
    """Undo the settings that a checkpoint, perhaps of another device, has brought into an optimiser."""
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)
        is_on_device = bool(group.get("fused") or group.get("capturable"))
        for parameter in group["params"]:
            step = optimizer.state[parameter].get("step") if parameter in optimizer.state else None
            if isinstance(step, torch.Tensor):
                optimizer.state[parameter]["step"] = step.to(parameter.device if is_on_device else "cpu")


def build_optimisation(
    make_optimizer: MakeOptimizer,
    schedule: Schedule | None,
    groups: list[dict[str, Any]],
    trainer: L.Trainer,
) -> OptimizerLRScheduler:
    """Build the optimiser of parameter groups, and its scheduler, as `configure_optimizers` returns them.

    Raises:
        UserError: If torch refuses one of their values.
    """
    steps = trainer.estimated_stepping_batches
    try:
        optimizer = make_optimizer(groups)
        if schedule is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": _scheduler(optimizer, schedule, steps, trainer)}
    # torch's own checks of rates, momenta and the like
    except (TypeError, ValueError, ArithmeticError, LookupError) as error:
        makers = (make_optimizer, schedule and schedule["scheduler"])
        given = [f"{key}={value}" for maker in makers for key, value in getattr(maker, "keywords", {}).items()]
        problem = f"can't be built: {error}; they have {', '.join(given)}"
        raise UserError("optimizer or scheduler", problem) from error


def _scheduler(optimizer: Optimizer, schedule: Schedule, steps: float, trainer: L.Trainer) -> LRSchedulerConfigType:
    make_scheduler = schedule["scheduler"]
    wants_steps = inspect.signature(make_scheduler).parameters.get("total_steps")
    if wants_steps and schedule["interval"] != "step":
        raise ValueError(f"interval={schedule['interval']} must be step, as this schedule counts steps")
    if wants_steps and math.isinf(steps):
        raise ValueError("a schedule needs a number of steps; give trainer.max_epochs, or scheduler=none")
    known = {"total_steps": int(steps)} if wants_steps else {}
    config: LRSchedulerConfigType = {
        "scheduler": make_scheduler(optimizer, **known),
        "interval": schedule["interval"],
    }
    if schedule["monitor"] is not None:
        config["monitor"] = schedule["monitor"]
        config["frequency"] = trainer.check_val_every_n_epoch or 1  # there is no score in between
    if steps_at_validations(schedule, trainer) and isinstance(config["scheduler"], ReduceLROnPlateau):
        config["frequency"] = NEVER  # SegmentationModule.on_validation_epoch_end steps it
    return config


def steps_at_validations(schedule: Schedule | None, trainer: L.Trainer) -> bool:
    """Return whether a schedule that monitors a validation score is stepped at each validation, not after an epoch.

    So it is where validations don't come just at the end of epochs.
    """
    if schedule is None or not str(schedule["monitor"]).startswith("val/"):
        return False
    interval = trainer.val_check_interval
    by_epoch = trainer.check_val_every_n_epoch is not None and isinstance(interval, float) and interval == 1.0
    return schedule["interval"] == "step" or not by_epoch


def parameter_groups(*networks: nn.Module | None) -> list[dict[str, Any]]:
    """Return two groups: matrices and kernels; and biases and scales of norms, which have no weight decay."""
    parameters = [p for network in networks if network is not None for p in network.parameters()]
    decaying = [p for p in parameters if p.ndim > 1]
    vectors = [p for p in parameters if p.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": decaying}]
    if vectors:
        groups.append({"params": vectors, "weight_decay": 0.0})
    return groups
