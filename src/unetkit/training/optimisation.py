"""Optimiser and learning-rate schedule of a run."""

import inspect
import math
from collections.abc import Callable
from typing import Any, TypedDict

import lightning as L
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
