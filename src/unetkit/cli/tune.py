"""Search for the best settings of a training: `unetkit tune sweep=basic n_trials=30`, and what is typed for train."""

import hashlib
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from unetkit.cli.memory import keep_freed_memory
from unetkit.cli.quoting import quoted_paths
from unetkit.cli.start import start
from unetkit.cli.sweep import show
from unetkit.errors import UserError, check, is_whole, mistakes_in_one_line
from unetkit.paths import command_line, config_dir, path_of

OWN = ("sweep", "study", "n_trials", "timeout")  # keys of conf/tune.yaml; all others are of the training
given: list[str] = []  # overrides of the training


@hydra.main(config_path=str(config_dir()), config_name="tune", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Run trials, print the table of all and the command of the best, and write `sweep.csv` and `sweep.html`."""
    keep_freed_memory()
    with mistakes_in_one_line():
        tune(cfg, given)


def tune(cfg: DictConfig, typed: Sequence[str]) -> None:
    """Search, and show what was found.

    Args:
        cfg: The keys of `conf/tune.yaml`.
        typed: Overrides of the training; ranges and lists of values are varied.

    Raises:
        UserError: If something is wrong with them, or no trial has a score.
    """
    from unetkit.training.search_space import read_space
    from unetkit.training.stopping import seconds_of

    check("n_trials", cfg.n_trials, is_whole(cfg.n_trials, 1), "a whole number above 0")
    ends_at = None if cfg.timeout is None else time.monotonic() + seconds_of(cfg.timeout, "timeout")
    name = str(HydraConfig.get().runtime.choices["sweep"])
    file: Any = OmegaConf.to_container(cfg.sweep, resolve=False)
    space, fixed = read_space(name, {str(key): value for key, value in file.items()}, typed)
    folder = default_folder([name, *typed]) if cfg.study is None else path_of("study", cfg.study)

    from unetkit.training.tuning import best_overrides, open_search, search

    found = open_search(folder, space, fixed, own_folders())
    _show_log_lines()
    search(found, cfg.n_trials, ends_at)
    show_search(found, folder)
    best = best_overrides(found)
    if not best:
        raise UserError(f"study={folder}", "has no trial with a score", "the lines above say why")
    print(f"the best trial once more: {command_line('train', *best)}")


def show_search(found: Any, folder: Path) -> None:
    """Print and write the table of all trials, with figures of the search."""
    import matplotlib as mpl

    from unetkit.evaluation.primary import lower_is_better
    from unetkit.report.figures import STYLE
    from unetkit.report.search_figures import history, importance
    from unetkit.report.sweep import read_sweep
    from unetkit.training.tuning import importances

    sweep = read_sweep(folder)
    with mpl.rc_context(STYLE):
        drawn = {
            "Score of each trial": history(sweep, is_lower_better=lower_is_better(sweep.monitor)),
            "How much each setting matters": importance(importances(found)),
        }
    show(folder, {title: figure for title, figure in drawn.items() if figure is not None})


def default_folder(typed: Sequence[str]) -> Path:
    """Return the directory of the study of a command, the same one each time that it is typed."""
    return Path("runs") / f"tune-{hashlib.sha256(chr(0).join(sorted(typed)).encode()).hexdigest()[:8]}"


def own_folders() -> list[str]:
    """Return the folders that were given as `--config-dir`."""
    sources = HydraConfig.get().runtime.config_sources
    return [f"file://{source.path}" for source in sources if source.provider == "command-line"]


def _show_log_lines() -> None:
    """Print what trials log, which commands other than `train` hide."""
    logger = logging.getLogger("unetkit")
    logger.disabled = False
    logger.setLevel(logging.INFO)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.propagate = False


def is_own(text: str) -> bool:
    """Return whether an argument is of the search itself, and not of its trainings."""
    return text.partition("=")[0] in OWN or "=" not in text or text.startswith("-")


def run() -> None:
    """Run the command on what was typed."""
    program, *typed = sys.argv
    given[:] = quoted_paths([text for text in typed if not is_own(text)])
    sys.argv = [program, *(text for text in typed if is_own(text))]
    start(main, __doc__, "tune")
