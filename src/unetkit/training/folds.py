"""Check, before the first fold is trained, what all folds of a cross-validation must have in common."""

import logging
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig

from unetkit.data.splits import FOLDS, read_split
from unetkit.errors import UserError, check, is_whole
from unetkit.evaluation import check_resampling
from unetkit.paths import short_path
from unetkit.prediction.predictor import TTA
from unetkit.training.recipes import adopt_found, differences

log = logging.getLogger(__name__)

OTHER_PLACE = "give another hydra.run.dir"


def check_keys(cfg: DictConfig) -> None:
    """Check the keys that are used after the last fold is trained, and those that have no use here.

    Raises:
        UserError: If a key is out of its range.
    """
    check_resampling(cfg.cross_validation.bootstrap, cfg.seed, "cross_validation.bootstrap")
    tta = cfg.cross_validation.tta
    check("cross_validation.tta", tta, tta in TTA, f"one of {', '.join(TTA)}")
    devices = cfg.trainer.devices
    is_one = devices in (1, "1") or (isinstance(devices, ListConfig) and len(devices) == 1)
    check("trainer.devices", devices, is_one, "1, or a list of one: folds can be trained side by side, each on its own")
    trial, epochs = cfg.trainer.fast_dev_run, cfg.trainer.max_epochs
    check("trainer.fast_dev_run", trial, not trial, "false: folds are scored by checkpoints, which it doesn't write")
    check("trainer.max_epochs", epochs, epochs != 0, "1 or more, so that each fold has a checkpoint to score")
    if cfg.checkpoint is not None:
        fix = "leave it out: each fold resumes from its own checkpoint in hydra.run.dir"
        raise UserError(f"checkpoint={cfg.checkpoint}", "is for a single run", fix)


def chosen_folds(cfg: DictConfig) -> list[int]:
    """Return the numbers of the folds to train.

    Raises:
        UserError: If they are not among `data.folds`, or one is there twice.
    """
    count, given = cfg.data.folds, cfg.cross_validation.folds
    check("data.folds", count, is_whole(count, 2), "a whole number of at least 2")
    folds = list(range(count)) if given is None else list(given) if isinstance(given, ListConfig) else []
    is_right = bool(folds) and all(fold in range(count) for fold in folds) and len(set(folds)) == len(folds)
    check("cross_validation.folds", given, is_right, f"a list of some of 0 to {count - 1} (data.folds)")
    if cfg.data.split not in FOLDS:
        raise UserError(f"data.split={cfg.data.split}", "has no folds", f"use {', '.join(FOLDS[:-1])} or {FOLDS[-1]}")
    return folds


def device_of(cfg: DictConfig) -> torch.device:
    """Return the device that the folds are trained on."""
    if cfg.trainer.accelerator not in ("auto", "gpu", "cuda") or not torch.cuda.is_available():
        return torch.device("cpu")
    devices = cfg.trainer.devices
    return torch.device("cuda", devices[0] if isinstance(devices, ListConfig) else 0)


def count_at_once(cfg: DictConfig, folds: int) -> int:
    """Return how many of so many folds are trained at once, as `cross_validation.at_once` wants.

    Raises:
        UserError: If it is neither `auto` nor a number of at least 1.
    """
    wanted = cfg.cross_validation.at_once
    is_known = wanted == "auto" or is_whole(wanted, 1)
    check("cross_validation.at_once", wanted, is_known, "auto, or a whole number of at least 1")
    steps, is_cpu = cfg.trainer.get("step", "auto"), device_of(cfg).type == "cpu"
    if wanted == 1 or folds < 2 or (wanted == "auto" and (is_cpu or steps == "eager")):
        return 1
    reason = "trainer.step=eager" if steps == "eager" or (is_cpu and steps == "auto") else ""
    if any("wandb" in member.get("_target_", "") for member in (cfg.logger or {}).values()):
        reason = "logger=wandb, which has one run at a time"
    if reason:
        log.info("the folds are trained one after the other, because of %s", reason)
        return 1
    return folds if wanted == "auto" else min(wanted, folds)


def check_same_recipe(cfg: DictConfig, base: Path) -> None:
    """Check that the folds that were trained in `base` before, also in part, are of this recipe.

    What they found for `auto`, and a smoothing in pixels, is set in `cfg`, so that all folds have the same.

    Raises:
        UserError: If one is not.
    """
    for file in sorted(base.glob("fold-*/config.yaml")):
        adopt_found(cfg, file)
        if different := differences(cfg, file, ignored="data.fold"):
            problem = f"was trained with {different}"
            raise UserError(short_path(file.parent), problem, f"type the same, or {OTHER_PLACE}")


def check_images(cfg: DictConfig, base: Path) -> None:
    """Check that the images are still to be split, and that folds that were trained in `base` before had the same ones.

    Raises:
        UserError: If all images are split already, or a fold had other images.
    """
    pairs = instantiate(cfg.data.pairs, _convert_="all")()
    if all(pair.split is not None for pair in pairs):
        problem = "has all pairs in train/, val/ or test/ already, which folds would not change"
        fix = "put the images into one images/ and the masks into one masks/, or train a single run"
        raise UserError(f"data={cfg.data.name}", problem, fix)
    ids = {pair.id for pair in pairs}
    for file in sorted(base.glob("fold-*/split.csv")):
        if others := ids ^ read_split(file).keys():
            problem = f"had other images than data={cfg.data.name} has now: {len(others)} differ, as {min(others)}"
            raise UserError(short_path(file.parent), problem, f"give the same, or {OTHER_PLACE}")
