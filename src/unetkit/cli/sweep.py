"""Sweeps (`-m`): go on with an interrupted one, keep a failed job from ending the others, and show all runs at the end.

Hydra's launchers run the jobs, perhaps in other processes, so that what became of a job is read from its directory.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from unetkit.cli.start import start
from unetkit.cli.stopped_sweep import (
    OTHER_PROCESSES,
    STOPS,
    end_with_sweep,
    how_to_go_on,
    launcher_of,
    leave_jobs_to_stop,
)
from unetkit.errors import UserError
from unetkit.paths import command_line, path_of, quoted_for_hydra, short_path, write_json
from unetkit.run_files import OUTCOME, OVERRIDES, read_yaml
from unetkit.training.run_kind import is_in_sweep
from unetkit.training.run_names import typed_for
from unetkit.training.several_processes import processes_of_one_job

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOCK = ".sweep.lock"
DEFAULT = "runs/*/*-sweep*"  # sweeps whose directory nobody named

started: list[tuple[Path, FileLock]] = []  # the directory of the sweep of this process, and the lock on it
mistakes: list[Exception] = []  # of the jobs that ran in this process


class SweepDirectory(Callback):
    """Settle the directory of a sweep before its first job, as part of `hydra.callbacks`."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Take the directory that was named, or that of the same sweep if it was interrupted, or else a new one."""
        earlier = interrupted_sweep(config)
        folder = Path(config.hydra.sweep.dir) if earlier is None else earlier[0]
        try:
            taken = earlier or (folder, locked(folder))
        except Timeout:  # no UserError: Hydra turns the errors of callbacks into warnings
            sys.exit(f"error: {folder} is being written by another sweep; wait, or give another hydra.sweep.dir")
        try:
            check_grid(folder, list(config.hydra.overrides.task))
        except UserError as error:
            taken[1].release()
            sys.exit(f"error: {error}")
        started.append(taken)
        if launcher_of(config.hydra) in OTHER_PROCESSES:
            leave_jobs_to_stop(folder)
        if earlier is not None:
            again = "give another hydra.sweep.dir to start anew"
            print(f"goes on with the sweep in {folder}, which was interrupted; {again}", file=sys.stderr)
        with read_write(config.hydra), open_dict(config.hydra):  # other processes compose the jobs from this list
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted_for_hydra(str(folder))}")
            config.hydra.sweep.dir = str(folder)


def interrupted_sweep(config: DictConfig) -> tuple[Path, FileLock] | None:
    """Return the last sweep of the same command that has runs to do, with the lock on it; None if a place was named."""
    named: Any = OmegaConf.to_container(config.hydra.sweep, resolve=False)
    if not str(named["dir"]).startswith("${new_folder:"):
        return None
    typed = list(config.hydra.overrides.task)
    for file in sorted(Path().glob(f"{DEFAULT}/multirun.yaml"), reverse=True):
        try:
            if typed_for(file) == typed:
                return None if is_done(file.parent) else (file.parent, locked(file.parent))
        except (UserError, Timeout):  # damaged, or going on
            continue
    return None


def check_grid(folder: Path, typed: Sequence[str]) -> None:
    """Check that each run in the directory of a sweep is the one that its number stands for now.

    Hydra would write what was typed now into the directory of the other run. A run that has neither a checkpoint nor a
    result is no obstacle.

    Raises:
        UserError: If one is not, or its record can't be read.
    """
    overrides = OverridesParser.create().parse_overrides(list(typed))
    swept = {override.get_key_element() for override in overrides if override.is_sweep_override()}
    if not all(override.is_discrete_sweep() for override in overrides if override.is_sweep_override()):
        return  # another sweeper's
    (jobs,) = BasicSweeper.split_arguments(overrides, None)
    for number, job in enumerate(jobs):
        for run in folder.glob(f"{number}-*"):
            if (run / OVERRIDES).exists() and ((run / "summary.json").exists() or any(run.rglob("last.ckpt"))):
                was, now = (" ".join(sorted(of(swept, texts))) for texts in (read_yaml(run / OVERRIDES), job))
                if was != now:
                    problem = f"holds the run with {was or 'other keys'}, which would now be {now}"
                    fix = "keep the order, with new values at the end, or give another hydra.sweep.dir"
                    raise UserError(short_path(run), problem, fix)


def of(keys: Container[str], overrides: Iterable[str]) -> list[str]:
    """Return the overrides of some keys."""
    return [text for text in overrides if text.partition("=")[0] in keys]


def is_done(folder: Path) -> bool:
    """Return whether a sweep came to its end, and all of its runs ended well."""
    from unetkit.report.sweep import TABLE, read_sweep  # imported here: torch takes seconds

    return (folder / TABLE).exists() and read_sweep(folder).is_done


def locked(folder: Path) -> FileLock:
    """Return the lock of a sweep's directory, held by this process until it ends.

    Raises:
        Timeout: If another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    lock.acquire(timeout=0)
    return lock


def do_job(cfg: DictConfig, work: Callable[[DictConfig], float | None]) -> float | None:
    """Do the work of a single command, or of one job of a sweep, and return its score.

    A mistake is one line, and the score is None. In a sweep any other error ends only its job; what it was is kept in
    the run directory.
    """
    is_sweep = is_in_sweep()
    record = path_of("run_dir", cfg.run_dir) / OUTCOME if is_sweep else None
    launcher = launcher_of(HydraConfig.get()) if is_sweep else ""
    is_child = launcher in OTHER_PROCESSES
    if record is not None:
        record.unlink(missing_ok=True)
    if is_child:
        end_with_sweep(launcher)
    try:
        with processes_of_one_job(record.parent) if record is not None else nullcontext():
            return work(cfg)
    except Exception as error:
        is_mistake = isinstance(error, UserError)
        if record is None and not is_mistake:
            raise
        line = str(error) if is_mistake else in_one_line(error)
        mistakes.append(error)
        print(f"error: {line}" if is_mistake else traceback.format_exc(), file=sys.stderr)
        if record is not None:
            write_json(record, {"status": "failed", "reason": line})
        return None
    except KeyboardInterrupt:
        sys.exit("stopped")
    except SystemExit as end:
        if is_child:  # joblib would begin its next job, although this one was told to stop
            os._exit(end.code if isinstance(end.code, int) else 1)
        raise


def in_one_line(error: BaseException) -> str:
    """Return the kind of an error and what it says, at most some 200 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def start_jobs(main: Callable[[], object]) -> int:
    """Start a single training or a sweep with Hydra; return the exit status, which is 1 if a job failed.

    Args:
        main: The function that `hydra.main` decorates.
    """
    started.clear()
    mistakes.clear()
    handlers = {number: signal.getsignal(number) for number in STOPS}
    try:
        start(main)
    except (Exception, SystemExit, KeyboardInterrupt) as end:
        if started and any(started[0][0].rglob(str(OVERRIDES))):  # else no run has begun
            print(how_to_go_on(started[0][0]), file=sys.stderr)
        if not started or not isinstance(end, Exception):
            raise
        # As where the system has killed a worker: the launcher gives up.
        print(f"error: hydra/launcher failed ({in_one_line(end)})", file=sys.stderr)
        return 0 if show(started[0][0]) else 1
    finally:
        for _, lock in started:
            lock.release()
        for number, handler in handlers.items() if started else ():
            signal.signal(number, handler)
    if not started:
        return 1 if mistakes else 0
    return 0 if show(started[0][0]) else 1


def show(folder: Path, more: Mapping[str, "Figure"] | None = None) -> bool:
    """Print the table of a sweep, and write `sweep.csv` and `sweep.html`; return whether all runs ended well.

    Args:
        folder: The sweep's directory.
        more: More figures for the page, by title.

    Raises:
        UserError: If the folder holds no runs.
    """
    from unetkit.report.sweep import described, read_sweep, write_table
    from unetkit.report.sweep_page import write_page

    sweep = read_sweep(folder)
    best = sweep.best
    command = ""
    if best is not None and best.checkpoint.exists():
        command = command_line("predict", f"checkpoint={short_path(best.checkpoint)}", "input=FILE_OR_FOLDER")
    table, page = write_table(sweep), write_page(sweep, command, more)
    print("\n".join(["", *described(sweep), *sweep.caveats]))
    print(f"{sweep.counted()}; wrote {short_path(table)} and {short_path(page)}")
    if command:
        print(f"next, with the best run: {command}")
    return sweep.is_done
