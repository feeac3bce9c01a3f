"""Complete what was typed for a training: the run directory, and the settings of a run that is resumed."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from unetkit.cli.quoting import quoted
from unetkit.errors import UserError
from unetkit.paths import expanded, quoted_for_hydra
from unetkit.run_files import OVERRIDES, read_yaml
from unetkit.training.run_state import AUTO, is_interrupted, run_of
from unetkit.training.several_processes import shared_directory

OWN = ("checkpoint", "weights", "run_dir")  # what was typed for these is not typed again for a run that is resumed
# The directory of a run may be a stranger's: what it says can't name code, or a place to write to.
CODE = re.compile(r"_target_|_args_|_partial_|\$\{|^[+~]*hydra\b")
PLACE = re.compile(r"[+~]*([\w.]+\.)?(cache_dir|dirpath|save_dir|default_root_dir)=.*", re.DOTALL)
SWEEP = ("-m", "--multirun", "hydra.mode=MULTIRUN")


def completed(arguments: Sequence[str], *, resumes_itself: bool = False) -> list[str]:
    """Return the arguments of `unetkit train`, with those that need not be typed.

    `checkpoint=RUN` stands for all that was typed for this run; what is typed now overrules it. A run that was
    interrupted goes on in its own directory, and a job of a cluster finds its directory again. In a sweep, each run
    goes on where it was interrupted, and is left alone if it is done.

    Args:
        arguments: The program, and what was typed.
        resumes_itself: Whether the command needs no `checkpoint=auto` for that.
    """
    program, *typed = arguments
    checkpoint = _value_of("checkpoint", typed)
    run = None if checkpoint in (None, "null", AUTO) else run_of(checkpoint)
    stored = [] if run is None else trusted(missing(stored_overrides(run), typed), run)
    own = [f"checkpoint={AUTO}"] if checkpoint is None and not resumes_itself and is_sweep(typed) else []
    return [program, *_directory(typed, checkpoint), *own, *stored, *typed]


def is_sweep(typed: Sequence[str]) -> bool:
    """Return whether what was typed is to be done once for each of a grid."""
    return bool({*SWEEP} & {*typed})


def stored_overrides(run: Path) -> list[str]:
    """Return what was typed when a run was started.

    Raises:
        UserError: If that can't be read.
    """
    file = run / OVERRIDES
    stored = read_yaml(file) if file.exists() else []
    texts = [text for text in stored if isinstance(text, str)] if isinstance(stored, list) else []
    return [text for text in texts if _key_of(text) not in OWN]


def trusted(stored: Sequence[str], run: Path) -> list[str]:
    """Return the overrides of an earlier command that may be used without being typed.

    Raises:
        UserError: If one names code.
    """
    for text in stored:
        if CODE.search(text):
            raise UserError(f"checkpoint={run}", f"was started with {text}", "type that too, if you trust it")
    places = [text for text in stored if PLACE.fullmatch(text)]
    if places:
        sys.stderr.write(f"not taken over from {run}: {' '.join(places)}\n")
    return [text for text in stored if text not in places]


def missing(stored: Sequence[str], typed: Sequence[str]) -> list[str]:
    """Return the overrides of an earlier command that are not overruled by what is typed now.

    A key is overruled by the same key, and by another choice of the group that it belongs to.
    """
    now = {_key_of(text): text for text in typed if not text.startswith("--")}
    then = {_key_of(text): text for text in stored}
    changed = [key for key, text in now.items() if text != then.get(key)]
    return [
        text
        for text in stored
        if (key := _key_of(text)) not in now and not any(key.startswith(f"{group}.") for group in changed)
    ]


def _directory(typed: Sequence[str], checkpoint: str | None) -> list[str]:
    """Return the override of the run directory, if one follows from something else."""
    key = "hydra.sweep.dir" if is_sweep(typed) else "hydra.run.dir"
    if any(_key_of(text) == key for text in typed):
        return []
    if checkpoint is not None and not is_sweep(typed) and is_interrupted(expanded(checkpoint)):
        return [f"{key}={quoted_for_hydra(checkpoint)}"]
    folder = shared_directory(typed)
    return [] if folder is None else [f"{key}={folder}"]


def _value_of(key: str, typed: Sequence[str]) -> str | None:
    """Return the last value that was typed for a key, without quotes."""
    texts = [quoted(text) for text in typed if _key_of(text) == key]
    try:
        values = [override.value() for override in OverridesParser.create().parse_overrides(texts)]
    except HydraException:  # which will say so, when it reads the arguments
        return None
    return None if not values or values[-1] is None else str(values[-1])


def _key_of(text: str) -> str:
    return text.partition("=")[0].lstrip("+~")
