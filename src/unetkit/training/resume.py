"""Resume a run from a checkpoint: read it, and check that it is of the same network, recipe and data."""

import copy
import csv
import inspect
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig
from torch import nn

from unetkit.checkpoints.checkpoint import Checkpoint
from unetkit.checkpoints.metadata import Metadata
from unetkit.errors import UserError
from unetkit.run_files import kept_metrics
from unetkit.training.recipes import adopt_found, differences
from unetkit.training.renamed import with_new_targets
from unetkit.training.requeue import restart_sign
from unetkit.training.run_state import AUTO, is_finished, is_interrupted, last_checkpoint, run_of
from unetkit.training.within_epoch import KEY

log = logging.getLogger(__name__)

TRAINING_LOSS = "train/loss_epoch"
SAME_WEIGHTS = "gradient_checkpointing"  # an argument of networks that changes no weight


@dataclass(frozen=True)
class Resume:
    """What is known of the run that is resumed.

    Attributes:
        checkpoint: Its checkpoint.
        next_epoch: The epoch to go on with, from 0.
        next_batch: The batch of that epoch to go on with, from 0.
        is_in_place: Whether its own run directory is written to.
        lacks_only_records: Whether it was interrupted after its last epoch and before `summary.json` was written.
    """

    checkpoint: Checkpoint
    next_epoch: int
    next_batch: int
    is_in_place: bool
    lacks_only_records: bool


def find_resume(cfg: DictConfig, run_dir: Path) -> Resume | None:
    """Read the checkpoint that `checkpoint=` names; None if it names none.

    Raises:
        UserError: If it can't be read, can't be resumed, or has done as many epochs as are asked for; or if a new run
            would replace one that was interrupted.
    """
    if cfg.checkpoint is None:
        # When other processes look, the first one has begun to replace a run that was done.
        if is_interrupted(run_dir) and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
            fix = f"resume it with checkpoint={run_dir}, or give another place with hydra.run.dir="
            raise UserError(str(run_dir), "holds a run that was interrupted", fix)
        return None
    checkpoint = Checkpoint.read(cfg.checkpoint)
    is_in_place = checkpoint.path.parent.parent.resolve() == run_dir.resolve()
    if cfg.weights is not None and not is_in_place:  # in place, weights= is how the run began
        problem = "resumes a run, and weights= starts a new one"
        raise UserError(checkpoint.subject, problem, "give one of them")
    if not checkpoint.is_resumable:
        problem = "holds weights, but no run that can be resumed"
        raise UserError(checkpoint.subject, problem, f"start with weights={cfg.checkpoint}")
    (epoch, batch), epochs = next_position(checkpoint), cfg.trainer.max_epochs
    lacks_only_records = is_in_place and epochs == epoch and not is_finished(run_dir)
    if epochs is not None and 0 <= epochs <= epoch and not lacks_only_records:
        problem = f"has done {epoch} epochs already"
        raise UserError(checkpoint.subject, problem, "ask for more with trainer.max_epochs")
    return Resume(checkpoint, epoch, batch, is_in_place, lacks_only_records)


def resolve_auto(cfg: DictConfig, run_dir: Path) -> bool:
    """Replace `checkpoint=auto` by the checkpoint of this very run, or by null if there is none yet.

    `auto` is the default in a job that a scheduler has started again.

    Returns:
        Whether it was `auto`, and such a checkpoint was found.

    Raises:
        UserError: If the run directory holds a run of another recipe.
    """
    sign = restart_sign()
    if cfg.checkpoint is None and sign is not None:
        log.info("%s, so this job was started again: checkpoint=auto", sign)
        cfg.checkpoint = AUTO
    if cfg.checkpoint != AUTO:
        return False
    cfg.checkpoint = _find_own(cfg, run_dir)
    return cfg.checkpoint is not None


def _find_own(cfg: DictConfig, run_dir: Path) -> str | None:
    last = last_checkpoint(run_dir)
    if not last.exists():
        log.info("checkpoint=auto: %s has no checkpoint yet, so the run starts", run_dir)
        return None
    if (file := run_dir / "config.yaml").exists():
        own = copy.deepcopy(cfg)
        adopt_found(own, file)
        if different := differences(own, file):
            fix = f"type the same, resume it as it is with checkpoint={run_dir}, or give another hydra.run.dir"
            raise UserError(str(run_dir), f"holds another run, with {different}", fix)
    return str(last)


def next_position(checkpoint: Checkpoint) -> tuple[int, int]:
    """Return the epoch and its batch, both from 0, that a run goes on with.

    Earlier versions ended the epoch in which `max_steps` or `max_time` stopped a run; such a run goes on with the next.
    """
    epoch, batches = int(checkpoint.content["epoch"]), checkpoint.metadata.batches_of_epoch
    is_ended = checkpoint.content["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"] > epoch
    return (epoch + 1, 0) if batches is None or is_ended else (epoch, batches)


def log_changes(cfg: DictConfig, resume: Resume) -> None:
    """Log which settings are others than those that the resumed run had so far, if its directory still says them."""
    file = run_of(resume.checkpoint.path) / "config.yaml"
    if file.exists():
        own = copy.deepcopy(cfg)
        adopt_found(own, file)
        if different := differences(own, file):
            log.info("other than before: %s", different)


def log_resume(resume: Resume, monitor: str, run_dir: Path) -> None:
    """Log where the run goes on, what it can't reproduce exactly, and where its best epoch so far is kept."""
    checkpoint = resume.checkpoint
    within = f", after {resume.next_batch} of its batches" if resume.next_batch else ""
    if checkpoint.content.get(KEY, {}).get("is_validation_next"):
        within += " and before the validation"
    log.info("resuming with epoch %d%s, from %s", resume.next_epoch, within, checkpoint.path)
    if checkpoint.metadata.batches_of_epoch is not None and KEY not in checkpoint.content:
        log.warning(
            "%s was saved within epoch %d by an earlier version: dropout and the mean of that epoch's train/loss will "
            "not be those of a run without an interruption%s",
            checkpoint.path,
            checkpoint.epoch,
            "" if resume.next_batch else ", and some images of that epoch will not be seen in it",
        )
    folder = os.path.realpath(run_dir / "checkpoints")  # as Lightning stores it
    for state in checkpoint.content["callbacks"].values():  # Lightning forgets the best epoch in another folder
        if state.get("monitor") == monitor and state["best_model_path"] and state["dirpath"] != folder:
            log.info(
                "best.ckpt will be the best of the epochs from here on; until here it is %s, with %s %.4f",
                state["best_model_path"],
                monitor,
                state["best_model_score"],
            )


def check_same_training(resume: Resume, ours: Metadata, network: nn.Module) -> None:
    """Check that the resumed checkpoint is of this network, recipe and split.

    Raises:
        UserError: If something differs.
    """
    subject, theirs = resume.checkpoint.subject, resume.checkpoint.metadata
    recipe: dict[str, Any] = with_new_targets(theirs.recipe)
    # Options that are newer than the checkpoint: a network's had their defaults, an optimiser's are not compared.
    defaults = {name: p.default for name, p in inspect.signature(type(network)).parameters.items()}
    now = {f"model.{key}": value for key, value in ours.model.items() if key != SAME_WEIGHTS}
    then = {key: theirs.model.get(key.removeprefix("model."), defaults.get(key.removeprefix("model."))) for key in now}
    then |= {f"model.{key}": value for key, value in theirs.model.items() if key != SAME_WEIGHTS}
    now |= {key: value for key, value in ours.recipe.items() if "." not in key or key in {*recipe, "data.split"}}
    then |= recipe
    for key in sorted(now.keys() | then.keys()):
        if now.get(key) == then.get(key):
            continue
        if key == "data.split":
            fix = "resume with the same data and seed, or start a new run with weights="
            raise UserError(subject, "was trained on other images, or on another split of them", fix)
        problem = f"was trained with {key}: {then.get(key)}, and this run has {now.get(key)}"
        fix = "resume with the same model, optimizer, scheduler, callbacks, data and seed"
        raise UserError(subject, problem, fix)


def check_same_batches(resume: Resume, batch_size: int, processes: int, epoch: str) -> None:
    """Check that a run that was saved within an epoch divides the images of that epoch in the same way.

    Raises:
        UserError: If it does not.
    """
    if KEY not in resume.checkpoint.content:
        return
    state = resume.checkpoint.content[KEY]
    then = {"data.batch_size": state["batch_size"], "trainer.devices": len(state["processes"])}
    for (key, value), now in zip(then.items(), (batch_size, processes), strict=True):
        if value != now:
            problem = f"was saved within an epoch with {key}={value}, and this run has {now}"
            raise UserError(resume.checkpoint.subject, problem, f"resume with {key}={value}")
    if state.get("epoch", epoch) != epoch:  # earlier versions did not store it
        problem = f"was saved within an epoch of {state['epoch']}, and this run has one of {epoch}"
        raise UserError(resume.checkpoint.subject, problem, "resume with the same keys of data")


def kept_training_loss(run_dir: Path, epoch: int) -> dict[str, float]:
    """Return the mean loss of an epoch of the earlier runs in this directory, by its name; {} if it is not logged."""
    for file in reversed(kept_metrics(run_dir)):
        with file.open(encoding="utf-8", newline="") as stream:
            rows = [row for row in csv.DictReader(stream) if row.get("epoch") == str(epoch)]
            losses = [loss for row in rows if (loss := row.get(TRAINING_LOSS))]
        if losses:
            return {TRAINING_LOSS: round(float(losses[-1]), 6)}
    return {}
