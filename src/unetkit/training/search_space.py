"""What a search varies: keys of a training and their intervals and choices, in Hydra's syntax of overrides."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from unetkit.errors import UserError

if TYPE_CHECKING:
    import optuna

DIGITS = 4  # significant digits of a value from an interval
EXAMPLE = "as in 'optimizer.lr=tag(log,interval(1e-4,1e-2))' loss=dice_bce,lovasz"


def parsed(typed: Sequence[str]) -> list[Override]:
    """Return what Hydra reads in overrides.

    Raises:
        UserError: If it can't read one.
    """
    parser = OverridesParser.create()
    found = []
    for text in typed:
        try:
            found.append(parser.parse_override(text))
        except HydraException as error:
            raise UserError(text, "can't be read", f"write KEY=VALUE, KEY=A,B or an interval, {EXAMPLE}") from error
    return found


def read_space(name: str, file: Mapping[str, object], typed: Sequence[str]) -> tuple[dict[str, Override], list[str]]:
    """Divide what a search was given into what is varied and what is the same in all trials.

    Args:
        name: Name of the file of `conf/sweep`.
        file: Its content: keys, with intervals or choices as text.
        typed: Overrides; those of a key that is in the file replace it.

    Returns:
        The keys that are varied, and the overrides that all trials have.

    Raises:
        UserError: If nothing is varied, or something can't be read.
    """
    if wrong := [key for key, value in file.items() if isinstance(value, Mapping)]:
        problem = f"is no space of a search: {wrong[0]} holds keys of its own"
        raise UserError(f"sweep={name}", problem, "a file for W&B is used as `wandb sweep FILE`")
    given = parsed(typed)
    keys = {override.get_key_element().lstrip("+") for override in given}
    given += parsed([f"{key}={value}" for key, value in file.items() if key.lstrip("+") not in keys])
    varied = {override.get_key_element(): override for override in given if override.is_sweep_override()}
    if not varied:
        raise UserError("unetkit tune", "needs something to vary", f"type sweep=basic, or keys, {EXAMPLE}")
    return varied, [override.input_line or "" for override in given if not override.is_sweep_override()]


def suggest(trial: "optuna.Trial", space: Mapping[str, Override]) -> list[str]:
    """Return the overrides of a trial: a value for each key that is varied."""
    return [f"{key}={_suggested(trial, key, override)}" for key, override in space.items()]


def _suggested(trial: "optuna.Trial", key: str, override: Override) -> str:
    sweep = override.value()
    if isinstance(sweep, IntervalSweep):
        low, high, is_log = sweep.start, sweep.end, "log" in sweep.tags
        if low is None or high is None or not low < high or (is_log and low <= 0):
            problem = "is no interval from less to more" + (", above 0 for a logarithm" if is_log else "")
            raise UserError(str(override.input_line), problem)
        if isinstance(low, int) and isinstance(high, int):  # int(interval(1,8))
            return str(trial.suggest_int(key, low, high, log=is_log))
        return f"{trial.suggest_float(key, low, high, log=is_log):.{DIGITS}g}"
    is_whole = isinstance(sweep, RangeSweep) and all(isinstance(x, int) for x in (sweep.start, sweep.stop, sweep.step))
    values = [*override.sweep_string_iterator()]
    if is_whole and len(values) > 1:
        first, second, *_ = map(int, values)
        return str(trial.suggest_int(key, first, int(values[-1]), step=second - first))
    return str(trial.suggest_categorical(key, values))
