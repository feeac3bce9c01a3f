"""Going on from a checkpoint: reading it, and checking that it is of the same network, recipe and data."""

import inspect
import logging
import os
import re
from pathlib import Path

from omegaconf import DictConfig

from unetkit.checkpoints.checkpoint import Checkpoint
from unetkit.checkpoints.files import checkpoint_file
from unetkit.data import SegmentationDataModule
from unetkit.errors import UserError
from unetkit.paths import path_of
from unetkit.training.module import SegmentationModule

log = logging.getLogger(__name__)

KEPT = re.compile(r"metrics\.(\d+)\.csv")  # what `keep_old_metrics` sets aside


def read_resumed(cfg: DictConfig) -> Checkpoint | None:
    """The checkpoint to go on from, if one is given.

    Raises:
        UserError: If it can't be read, or has as many epochs as are asked for.
    """
    if cfg.checkpoint is None:
        return None
    if cfg.weights is not None and not is_in_its_own_directory(cfg):  # there, they are what the run began with
        raise UserError("checkpoint= goes on with a run, weights= starts a new one; give one of them")
    resumed = Checkpoint.read(cfg.checkpoint)
    if not resumed.is_resumable:  # imported, or stripped
        raise UserError(f"checkpoint={cfg.checkpoint} holds weights and no run to go on with; start with weights=")
    epochs = next_epoch(resumed)
    is_over = cfg.trainer.max_epochs is not None and 0 <= cfg.trainer.max_epochs <= epochs
    if is_over and not lacks_records_only(cfg, resumed):
        raise UserError(
            f"checkpoint={cfg.checkpoint} has done {epochs} epochs already; ask for more with trainer.max_epochs"
        )
    log.info("going on with epoch %d, from %s", epochs, cfg.checkpoint)
    if resumed.metadata.batches_of_epoch is not None:
        log.warning(
            "%s was saved within epoch %d, after %d of its batches: it goes on, but the images that the rest of that "
            "epoch would have shown are not all seen",
            cfg.checkpoint,
            resumed.epoch,
            resumed.metadata.batches_of_epoch,
        )
    tell_best_so_far(cfg, resumed)
    return resumed


def check_nothing_is_lost(cfg: DictConfig, run_dir: Path) -> None:
    """Check that a new run doesn't take the place of one that was interrupted.

    Raises:
        UserError: If it would.
    """
    left = run_dir / "checkpoints" / "last.ckpt"
    if cfg.checkpoint is None and left.exists() and not (run_dir / "summary.json").exists():
        raise UserError(
            f"{run_dir} holds a run that was interrupted; go on with it by checkpoint={run_dir}, or give another place "
            "with hydra.run.dir="
        )


def next_epoch(resumed: Checkpoint) -> int:
    """The epoch, from 0, that a run goes on with: the one that a checkpoint was saved within, or the next.

    Lightning ends the epoch in which `max_steps` or `max_time` stop a run, and goes on with the next.
    """
    epoch = int(resumed.content["epoch"])
    is_ended = resumed.content["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"] > epoch
    return epoch if resumed.metadata.batches_of_epoch is not None and not is_ended else epoch + 1


def tell_best_so_far(cfg: DictConfig, resumed: Checkpoint) -> None:
    """Say where the best epoch so far stays: in another folder than its own, Lightning begins anew to look for one."""
    folder = os.path.realpath(path_of("run_dir", cfg.run_dir) / "checkpoints")  # as Lightning notes it
    for state in resumed.content["callbacks"].values():
        if state.get("monitor") == cfg.monitor and state["best_model_path"] and state["dirpath"] != folder:
            log.info(
                "best.ckpt will be the best of the epochs from here on; until here it is %s, with %s %.4f",
                state["best_model_path"],
                cfg.monitor,
                state["best_model_score"],
            )


def lacks_records_only(cfg: DictConfig, resumed: Checkpoint) -> bool:
    """Whether a run that goes on in its own directory was interrupted after its last epoch, before `summary.json`."""
    has_all_epochs = bool(cfg.trainer.max_epochs == next_epoch(resumed))
    return is_in_its_own_directory(cfg) and has_all_epochs and not (Path(cfg.run_dir) / "summary.json").exists()


def is_in_its_own_directory(cfg: DictConfig) -> bool:
    """Whether a run goes on where its checkpoint lies."""
    return checkpoint_file(cfg.checkpoint).parent.parent.resolve() == Path(cfg.run_dir).resolve()


def check_resumable(cfg: DictConfig, resumed: Checkpoint | None, module: SegmentationModule) -> None:
    """Check that a checkpoint to go on from is of this network, recipe and split.

    Raises:
        UserError: If something differs.
    """
    if resumed is None or module.metadata is None:
        return
    metadata, ours = resumed.metadata, module.metadata
    ignored = "gradient_checkpointing"  # changes no weight
    # An option that is younger than the checkpoint had its default then.
    defaults = {name: p.default for name, p in inspect.signature(type(module.network)).parameters.items()}
    for stored, given, prefix in ((metadata.model, ours.model, "model."), (metadata.recipe, ours.recipe, "")):
        for key in sorted(stored.keys() | given.keys()):
            then, now = stored.get(key, defaults.get(key)), given.get(key)
            if then != now and key == "data.split":
                raise UserError(
                    f"checkpoint={cfg.checkpoint} was trained on other images, or on another split of them; resume "
                    "with the same data and seed, or start anew with weights="
                )
            is_younger = not prefix and "." in key and key not in stored  # than the checkpoint
            if then != now and key != ignored and not is_younger:
                raise UserError(
                    f"checkpoint={cfg.checkpoint} was trained with {prefix}{key}: {then}, this run has {now}; "
                    "resume with the same model, optimizer, scheduler, callbacks, data and seed"
                )


def warn_of_known_images(weights: Checkpoint, name: str, data: SegmentationDataModule) -> None:
    """Warn if weights may have been trained on images that this run is scored on."""
    then = weights.metadata.recipe.get("data.split")
    if weights.metadata.data_name == name and then not in (None, data.split_digest):
        log.warning(
            "%s were trained on another part of data=%s: of images that they know, scores say little",
            weights.subject,
            name,
        )


def metrics_before(cfg: DictConfig, run_dir: Path) -> list[Path]:
    """What the run logged before it was interrupted, in order."""
    if cfg.checkpoint is None or not is_in_its_own_directory(cfg):
        return []
    numbers = {int(found[1]): file for file in run_dir.iterdir() if (found := KEPT.fullmatch(file.name))}
    return [numbers[number] for number in sorted(numbers)]
