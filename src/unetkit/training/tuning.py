"""Search for the best settings with Optuna: each trial is a run directory, and the study resumes from its directory."""

import json
import logging
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import lightning as L
from filelock import FileLock, Timeout
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, ListConfig

from unetkit.errors import UserError, writable
from unetkit.evaluation.primary import lower_is_better
from unetkit.paths import write_json
from unetkit.run_files import OUTCOME, OVERRIDES
from unetkit.training.api import compose_training, override
from unetkit.training.records import keep_overrides, monitored_score
from unetkit.training.run import train
from unetkit.training.run_kind import SEARCH
from unetkit.training.run_names import label
from unetkit.training.run_state import AUTO
from unetkit.training.search_space import suggest

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)

STORAGE = "study.log"  # Optuna's journal, in the study's directory
SEED = 47  # of the sampler; that of the training is a key of the training
TYPED = "typed"  # attribute of the study: the overrides that all trials have


class PrunedError(Exception):
    """Ends a training whose score is worse than that of other trials at the same validation."""


class Prune(L.Callback):
    """Report the monitored score to Optuna after each validation, and end the trial if Optuna says so."""

    def __init__(self, trial: "optuna.Trial", monitor: str) -> None:
        self.trial = trial
        self.monitor = monitor

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Report."""
        score = trainer.callback_metrics.get(self.monitor)
        if score is None or trainer.sanity_checking or trainer.state.fn != "fit":
            return
        interval = int(trainer.val_check_batch or 1)  # in batches
        place = trainer.fit_loop.epoch_loop.batch_idx // interval  # among the validations of the epoch
        in_epoch = max(int(trainer.num_training_batches) // interval, 1)
        self.trial.report(score.item(), trainer.current_epoch * in_epoch + place)
        if self.trial.should_prune():
            raise PrunedError(f"after epoch {trainer.current_epoch}, with {self.monitor} {score.item():.4f}")


@dataclass(frozen=True)
class Search:
    """A search in a directory, which several processes may share.

    Attributes:
        folder: The study's directory; trial N is the run directory `trial-N` in it.
        space: What is varied.
        fixed: The overrides that all trials have.
        study: Optuna's study.
    """

    folder: Path
    space: Mapping[str, Override]
    fixed: Sequence[str]
    study: "optuna.Study"

    @contextmanager
    def next_trial(self, trials: int) -> Iterator["optuna.Trial | None"]:
        """Give a trial that no other process works on: one that was interrupted, or else a new one.

        Args:
            trials: How many trials the study is to have; None is given when it has begun them all.
        """
        import optuna

        with FileLock(self.folder / ".ask.lock"):
            known = self.study.get_trials(deepcopy=False)
            running = [trial for trial in known if trial.state == optuna.trial.TrialState.RUNNING]
            begun = [trial for trial in known if trial.state != optuna.trial.TrialState.WAITING]
            free = ((trial, lock) for trial in running if (lock := self._lock(trial.number)) is not None)
            found, lock = next(free, (None, None))
            if found is not None:
                trial = optuna.trial.Trial(self.study, found._trial_id)
                log.info("trial %d was interrupted and goes on", trial.number)
            elif len(begun) < trials:
                # As many draws of chance as trials, so that processes side by side do not draw the same values.
                self.study.sampler = optuna.samplers.TPESampler(seed=SEED + len(known), constant_liar=True)
                trial = self.study.ask()
                lock = self._lock(trial.number)
            else:
                trial = None
        try:
            yield trial
        finally:
            if lock is not None:
                lock.release()

    def run_dir(self, number: int) -> Path:
        """Return the run directory of a trial."""
        return self.folder / f"trial-{number}"

    def _lock(self, number: int) -> FileLock | None:
        """Return the lock of a trial, held by this process; None if another one holds it."""
        self.run_dir(number).mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.run_dir(number) / ".trial.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        return lock


def open_search(folder: Path, space: Mapping[str, Override], fixed: Sequence[str], searchpath: Sequence[str]) -> Search:
    """Begin a search in a directory, or go on with the one that is there.

    Args:
        folder: The study's directory.
        space: What is varied.
        fixed: The overrides that all trials have.
        searchpath: Folders with more configuration files.

    Raises:
        UserError: If Optuna is missing, the directory can't be written, or its record is damaged or of another search.
    """
    optuna = _optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    fixed = [*fixed, *([override("hydra.searchpath", list(searchpath))] if searchpath else [])]
    cfg = compose_training(fixed)
    check_one_device(cfg)
    direction = "minimize" if lower_is_better(str(cfg.monitor)) else "maximize"
    with writable("study", folder):
        folder.mkdir(parents=True, exist_ok=True)
    with writable("study", folder), FileLock(folder / ".ask.lock"):
        study = _study(optuna, folder, direction)
        ours = {"fixed": sorted(fixed), "space": {key: str(text.input_line) for key, text in space.items()}}
        theirs = study.user_attrs.get(TYPED, ours)
        if theirs != ours:
            raise UserError(f"study={folder}", f"holds another search, of {json.dumps(theirs)}", "give another study=")
        study.set_user_attr(TYPED, ours)
    return Search(folder, space, fixed, study)


def _study(optuna: Any, folder: Path, direction: str) -> Any:
    """Return the study in a directory, or begin one there."""
    try:
        backend = optuna.storages.journal.JournalFileBackend(str(folder / STORAGE))
        return optuna.create_study(
            storage=optuna.storages.JournalStorage(backend),
            study_name="unetkit",
            direction=direction,
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(),
        )
    except (ValueError, KeyError, TypeError) as error:
        fix = "remove the line that is cut short, or give another study="
        raise UserError(str(folder / STORAGE), f"is damaged ({error})", fix) from error


def check_one_device(cfg: DictConfig) -> None:
    """Check that each trial trains in one process, since the processes of a trial would search each for itself.

    Raises:
        UserError: If it does not.
    """
    devices = cfg.trainer.devices
    count = len(devices) if isinstance(devices, ListConfig) else int(devices) if str(devices).isdigit() else 1
    if count > 1 or str(cfg.trainer.strategy) not in ("auto", "single_device"):
        problem = "is not possible in a search, whose trials train on one device each"
        fix = "leave it out; type the same command several times, each with another trainer.devices=[N], to use more"
        raise UserError(f"trainer.strategy={cfg.trainer.strategy} trainer.devices={devices}", problem, fix)


def search(search: Search, trials: int, ends_at: float | None) -> None:
    """Run trials until the study has as many as it is to have, or the time is over.

    Args:
        search: The search.
        trials: How many trials the study is to have.
        ends_at: No trial begins after this time, in seconds of `time.monotonic`; None for no limit.
    """
    while ends_at is None or time.monotonic() < ends_at:
        with search.next_trial(trials) as trial:
            if trial is None:
                return
            _run_trial(search, trial)


def best_overrides(search: Search) -> list[str]:
    """Return the overrides of the best trial; none if no trial has a score."""
    import optuna

    done = search.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    return [*search.fixed, *search.study.best_trial.user_attrs[TYPED]] if done else []


def importances(search: Search) -> dict[str, float]:
    """Return the share of each varied key in the differences of the score; empty if there are too few trials."""
    import optuna

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # where scores are equal
            return dict(optuna.importance.get_param_importances(search.study))
    except (ValueError, RuntimeError):  # fewer than two trials, or equal scores
        return {}


def _run_trial(search: Search, trial: "optuna.Trial") -> None:
    """Train one trial, and tell Optuna its score, or that it was pruned or failed."""
    import optuna

    states = optuna.trial.TrialState
    run_dir = search.run_dir(trial.number)
    (run_dir / OUTCOME).unlink(missing_ok=True)
    chosen = suggest(trial, search.space)
    trial.set_user_attr(TYPED, chosen)
    log.info("trial %d: %s", trial.number, " ".join(chosen))
    try:
        typed = [*search.fixed, *chosen, override("run_dir", run_dir.resolve())]
        cfg = compose_training(typed)
        cfg.checkpoint, cfg.task_name = AUTO, SEARCH
        if cfg.trainer.devices == "auto":
            cfg.trainer.devices = 1
        label(cfg, f"{run_dir.name}: {' '.join(chosen)}", str(Path(*search.folder.absolute().parts[-2:])))
        score = monitored_score(train(cfg, typed, callbacks=[Prune(trial, str(cfg.monitor))]))
    except PrunedError as end:
        _end(search, trial, states.PRUNED, str(end))
    except Exception as error:  # of whatever: other trials go on
        _end(search, trial, states.FAIL, str(error) if isinstance(error, UserError) else repr(error))
    else:
        if score is None:
            _end(search, trial, states.FAIL, "the run was not scored")
        else:
            search.study.tell(trial, score)
            log.info("trial %d: %s %.4f", trial.number, cfg.monitor, score)


def _end(search: Search, trial: "optuna.Trial", state: Any, reason: str) -> None:
    """Record that a trial has no result."""
    search.study.tell(trial, state=state)
    if not (search.run_dir(trial.number) / OVERRIDES).exists():  # it failed before anything was written
        keep_overrides(search.run_dir(trial.number), [*search.fixed, *trial.user_attrs[TYPED]])
    status = "pruned" if state.name == "PRUNED" else "failed"
    reason = " ".join(reason.split())
    write_json(search.run_dir(trial.number) / OUTCOME, {"status": status, "reason": reason})
    log.info("trial %d %s: %s", trial.number, status, reason)


def _optuna() -> ModuleType:
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise UserError(
            "unetkit tune", "needs Optuna, which is not installed", 'pip install "unetkit[tune]"'
        ) from error
    return optuna
