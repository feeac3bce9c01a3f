"""What decides which epoch is the best one: a validation score, or the loss, and whether more of it is better."""

from collections.abc import Collection, Iterator
from typing import Any

from omegaconf import DictConfig

from unetkit.errors import UserError
from unetkit.evaluation.primary import KEYS, lower_is_better


def set_modes(cfg: DictConfig) -> None:
    """Replace `mode: auto` of callbacks and of the schedule, in place, by what is right for the value they monitor."""
    for monitor, node in _monitors(cfg):
        if node.get("mode") == "auto":
            node["mode"] = "min" if lower_is_better(str(monitor)) else "max"


def _monitors(cfg: DictConfig) -> Iterator[tuple[Any, DictConfig]]:
    """Yield what is monitored, and the node that holds the mode."""
    for member in (cfg.get("callbacks") or {}).values():
        if isinstance(member, DictConfig):
            yield member.get("monitor"), member
    schedule = cfg.get("scheduler")
    if isinstance(schedule, DictConfig) and isinstance(schedule.get("scheduler"), DictConfig):
        yield schedule.get("monitor"), schedule["scheduler"]


def check_monitor(monitor: object) -> None:
    """Check, before the data are read, that there may be such a value.

    Raises:
        UserError: If there can't be.
    """
    phase, _, name = str(monitor).partition("/")
    if phase != "val" or name.partition("/")[0] not in {*KEYS, "loss"}:
        problem = f"must be one of {', '.join(f'val/{key}' for key in ('loss', *KEYS))}, or val/iou/NAME of a class"
        raise UserError(f"monitor={monitor}", problem)


def check_logged(monitor: str, logged: Collection[str]) -> None:
    """Check that a validation of this run logs what is monitored.

    Raises:
        UserError: If it does not, as with a score that is computed only where it leads.
    """
    if monitor not in logged:
        name = monitor.removeprefix("val/")
        problem = f"is not logged in this run, which has {', '.join(logged)}"
        raise UserError(f"monitor={monitor}", problem, f"use metrics.primary={name}, which monitors it as well")
