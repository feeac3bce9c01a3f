"""Obey or refuse values of callbacks and schedules that are typed on resuming, where a restored state has others."""

import inspect
import logging
import math
from typing import Any

import lightning as L
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau

from unetkit.errors import UserError

log = logging.getLogger(__name__)

# Names in the state of torch's schedules that follow from an argument of another name: of the schedule, and of the
# optimiser's groups.
IN_STATE = {"min_lrs": "min_lr", "_schedule_phases": "pct_start", "max_lrs": "max_lr", "_milestones": "milestones"}
IN_STATE |= {"_anneal_func_type": "anneal_strategy", "total_size": "step_size_up", "step_ratio": "step_size_down"}
IN_GROUPS = {"initial_lr": "div_factor", "max_lr": "max_lr", "min_lr": "final_div_factor", "swa_lr": "swa_lr"}
IN_GROUPS |= {"max_momentum": "max_momentum", "base_momentum": "base_momentum"}
CHANGEABLE = ("factor", "patience", "cooldown", "threshold", "threshold_mode", "eps", "min_lrs")  # of a plateau


class GivenValues(L.Callback):
    """Let callbacks keep the arguments that they were given in this run, such as early stopping its patience."""

    def __init__(self) -> None:
        self.given: list[tuple[L.Callback, dict[str, Any]]] = []

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Remember the arguments; Lightning restores the callbacks' states after this hook of all callbacks."""
        callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        self.given = [(callback, _arguments(callback)) for callback in callbacks]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Set them again."""
        for callback, arguments in self.given:
            for name, value in arguments.items():
                if not same(restored := getattr(callback, name), value):
                    log.info(
                        "%s has %s=%s from here on; before, it was %s", type(callback).__name__, name, value, restored
                    )
                    setattr(callback, name, value)
        self.given = []


def arguments_in_state(scheduler: LRScheduler) -> dict[str, Any]:
    """Return what the state of a schedule and of its optimiser keeps of the schedule's arguments, by name."""
    state, groups = scheduler.state_dict(), scheduler.optimizer.param_groups
    names = ({*inspect.signature(type(scheduler)).parameters, *IN_STATE} & state.keys()) - {"last_epoch"}
    values = {name: state[name] for name in names}
    in_groups = [name for name in IN_GROUPS if all(name in group for group in groups)]
    return values | {f"groups.{name}": [group[name] for group in groups] for name in in_groups}


def check_steps(scheduler: LRScheduler, steps: float) -> None:
    """Check that a one-cycle schedule with its restored state is as long as this run, which has so many `steps`.

    Raises:
        UserError: If it is not.
    """
    if isinstance(scheduler, OneCycleLR) and scheduler.total_steps != steps:
        problem = f"of the checkpoint was planned for {scheduler.total_steps} steps, and this run has {steps}"
        fix = "resume with the same trainer.max_epochs and data.batch_size, or start a new run with weights="
        raise UserError("scheduler=onecycle", problem, fix)


def obey_arguments(scheduler: LRScheduler, given: dict[str, Any]) -> None:
    """Set the arguments that a plateau schedule was given in this run, where the restored ones differ.

    Args:
        scheduler: The schedule with its restored state.
        given: Its arguments before it was restored, see `arguments_in_state`.

    Raises:
        UserError: If one differs that can't be changed on the way.
    """
    for name, restored in arguments_in_state(scheduler).items():
        if name not in given or same(given[name], restored):
            continue
        place, _, in_groups = name.partition("groups.")
        argument = IN_GROUPS[in_groups] if in_groups else IN_STATE.get(place, place)
        key = f"scheduler.scheduler.{argument}"
        if not (isinstance(scheduler, ReduceLROnPlateau) and name in CHANGEABLE):
            fix = "resume with the same scheduler, or start a new run with weights="
            raise UserError(key, "is another than that of the checkpoint's schedule, which can't be changed", fix)
        log.info("%s=%s from here on; before, it was %s", key, given[name], restored)
        setattr(scheduler, name, given[name])


def same(one: Any, other: Any) -> bool:
    """Return whether two values, which may be nested, are equal but for rounding."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-12)
    return bool(one == other)


def _arguments(callback: L.Callback) -> dict[str, Any]:
    """Return the plain arguments of a callback that it keeps under their names."""
    kept = {name: getattr(callback, name, ...) for name in inspect.signature(type(callback)).parameters}
    return {name: value for name, value in kept.items() if isinstance(value, int | float | str | None)}
