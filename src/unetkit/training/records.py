"""Write and log the records of a run: configuration, split, summary, and what to do next."""

import logging
import platform
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from unetkit.data import SegmentationDataModule
from unetkit.data.jpeg import is_jpeg
from unetkit.evaluation import git_commit
from unetkit.models import layer_table
from unetkit.paths import command_line, short_path, write_text
from unetkit.run_files import OVERRIDES
from unetkit.training.loggers import wandb_refusals
from unetkit.training.module import SegmentationModule
from unetkit.training.recipes import flat
from unetkit.training.run_names import chosen_files
from unetkit.training.run_stats import RunStats
from unetkit.training.waiting import waiting_line

log = logging.getLogger(__name__)

Summary = dict[str, Any]
SAME_SPACING = 0.1  # relative difference of spacings that does not matter


@rank_zero_only
def keep_old_metrics(run_dir: Path) -> None:
    """Rename the metrics.csv of an earlier run in the same directory, which Lightning's logger would delete.

    Its summary.json is removed: only a run that is done has one.
    """
    (run_dir / "summary.json").unlink(missing_ok=True)
    old = run_dir / "metrics.csv"
    if old.exists():
        number = 1
        while (kept := run_dir / f"metrics.{number}.csv").exists():
            number += 1
        old.rename(kept)
        log.info("%s exists; its rows are kept in %s", old, kept.name)


@rank_zero_only
def write_records(
    cfg: DictConfig, run_dir: Path, data: SegmentationDataModule, trainer: L.Trainer, typed: Sequence[str] | None = None
) -> None:
    """Write the resolved configuration and the split; send the configuration to the loggers, with the chosen files.

    Args:
        cfg: The configuration.
        run_dir: Folder of the run.
        data: The data.
        trainer: The trainer, whose loggers get the configuration.
        typed: The overrides that the run was composed with; None if Hydra composed it.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    write_text(run_dir / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    data.split.write(run_dir / "split.csv")
    if not trainer.loggers[1:]:  # the first is the CSV log, beside which config.yaml lies
        return
    facts = flat(plain(cfg)) | chosen_files(typed) | {"data.fingerprint": data.split.digest}
    for logger in trainer.loggers[1:]:
        with wandb_refusals() if isinstance(logger, WandbLogger) else nullcontext():
            logger.log_hyperparams(facts)


@rank_zero_only
def keep_overrides(run_dir: Path, typed: Sequence[str] | None) -> None:
    """Write what a run was composed with to where Hydra keeps what was typed; None leaves that as it is."""
    if typed is not None:
        (run_dir / OVERRIDES).parent.mkdir(exist_ok=True)
        write_text(run_dir / OVERRIDES, OmegaConf.to_yaml(OmegaConf.create(list(typed))))


@rank_zero_only
def log_setup(data: SegmentationDataModule, module: SegmentationModule, example: Tensor) -> None:
    """Log the data and the network."""
    log_data(data)
    log.info("an epoch: %s", data.epoch)
    log.info(layer_table(module.network, example))


def log_data(data: SegmentationDataModule) -> None:
    """Log how many pairs there are, of which classes, and what may be wrong with them."""
    facts = data.describe()
    log.info(
        "data %s: %d pairs to train on, %d to validate, %d to test; %.0f %% of the masks are empty",
        *(facts[key] for key in ("name", "train", "val", "test")),
        100 * facts["empty_masks"],
    )
    if data.split.is_given and data.split_options.method != "fraction":
        log.warning("data.split=%s has no effect: the folders say which pair trains", data.split_options.method)
    why = "the folders say which pair trains" if data.split.is_given else f"data.split={data.split_options.method}"
    for key, value in data.split_options.unused(data.split.is_given).items():
        log.warning("data.%s=%s has no effect: %s", key, value, why)
    if data.split.mosaics is not None:
        sizes = np.bincount(data.split.mosaics)
        log.info("%d tiles have a neighbour, which is kept on the same side of the split", sizes[sizes > 1].sum())
    pairs = data.found.pairs
    if without := [pair.id for pair, values in zip(pairs, data.found.nodata, strict=True) if values]:
        values = sorted({value for held in data.found.nodata for value in held})
        log.info(
            "pixels without data: %s in %d images, such as %s; they are void, and left out of the range of values; if "
            "they are data, set data.value_range=[LOW,HIGH] around them",
            *(", ".join(f"{value:g}" for value in values), len(without), without[0]),
        )
    if masked := data.found.masked:
        log.info("pixels that a mask within the file leaves out, in %d images, are void", len(masked))
    if hidden := data.found.hidden_alpha:
        log.warning(
            "%d images have an alpha channel that is not the same everywhere, such as %s: it is not read; if it holds "
            "data, set data.channels=%d",
            *(len(hidden), hidden[0], data.channels + 1),
        )
    if line := spacing_line(data):
        log.warning(line)
    jpegs = sum(is_jpeg(pair.mask) for pair in pairs)
    if jpegs:
        log.info("%d masks are JPEG, which blurs outlines: each pixel gets the nearest value; PNG is exact", jpegs)
    if data.num_classes > 2:
        shares = facts["class_shares"].items()
        log.info("classes: %s", ", ".join(f"{name} {share:.1%}" for name, share in shares))
        absent = [name for name, share in shares if share == 0]
        if absent:
            log.warning("in no mask: %s; is data.num_classes right? Such a class scores 1", ", ".join(absent))


def spacing_line(data: SegmentationDataModule) -> str:
    """Return what to do about volumes of several spacings that are not resampled; empty if they are alike."""
    known = np.array([spacing for spacing in data.found.spacings if spacing is not None])
    if len(known) == 0 or (np.ptp(known, axis=0) <= SAME_SPACING * known.min(0)).all():
        return ""
    low, high, middle = (
        ",".join(f"{x:.3g}" for x in side) for side in (known.min(0), known.max(0), np.median(known, 0))
    )
    return (
        f"the spacing of the volumes along z, y, x is from [{low}] to [{high}] mm, and a network sees voxels only: "
        f"data.spacing=[{middle}] resamples them to the middle one"
    )


def summarise(
    cfg: DictConfig,
    trainer: L.Trainer,
    data: SegmentationDataModule,
    module: SegmentationModule,
    stats: RunStats,
    scores: dict[str, float],
) -> Summary:
    """Return the content of `summary.json`: the scores of the last epoch, the best epoch, and facts of the run."""
    checkpoints = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
    best = next((callback for callback in checkpoints if callback.monitor == cfg.monitor), None)
    last = next((callback for callback in checkpoints if callback.monitor is None), None)
    score = None if best is None else best.best_model_score
    return {
        **scores,
        "best": {
            "monitor": cfg.monitor,
            "score": None if score is None else round(score.item(), 6),
            "checkpoint": "" if best is None else best.best_model_path,
        },
        "primary": cfg.metrics.primary,
        "last_checkpoint": "" if last is None else last.best_model_path,
        "task_name": cfg.task_name,
        "tags": list(cfg.tags),
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "parameters": sum(p.numel() for p in module.network.parameters()),
        "images_per_second": stats.images_per_second,
        "data_wait": stats.data_wait,
        "data_wait_parts": stats.data_wait_parts,
        "peak_memory_mib": stats.peak_memory_mib,
        "seconds": round(stats.seconds_of_the_run, 1),
        "data": data.describe(),
        "seed": cfg.seed,
        "precision": str(trainer.precision),
        "device": device_name(trainer.strategy.root_device),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "lightning": L.__version__,
        },
        "git_commit": git_commit(),
    }


def monitored_score(summary: Summary) -> float | None:
    """Return the best value of the monitored score, for sweeps that optimise it; None if the run was not scored."""
    best = summary["best"]
    score: float | None = summary.get(best["monitor"]) if best["score"] is None else best["score"]
    return score


def log_results(summary: Summary, run_dir: Path, trainer: L.Trainer) -> None:
    """Log the scores, where the run is, and the next command."""
    scores = [key for key in summary if key.startswith(("val/", "test/"))]
    first = {f"{phase}/{name}" for phase in ("val", "test") for name in (summary["primary"], "loss")}
    shown = {key: summary[key] for key in sorted(scores, key=lambda key: key not in first)}
    width = max([20, *map(len, shown)]) + 2
    lines = [f"  {name:<{width}}{value:.4f}" for name, value in shown.items()]
    log.info("scores after %d epochs, %.0f s:\n%s", summary["epochs"], summary["seconds"], "\n".join(lines))
    if line := waiting_line(summary, trainer):
        log.info(line)
    log.info("the run lies in %s: look at pictures/, metrics.csv and summary.json", short_path(run_dir))
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger) and not logger.experiment.disabled:
            folder = short_path(Path(logger.experiment.dir).parent)
            online = None if logger.experiment.offline else logger.experiment.url
            log.info("W&B: %s", online or f"send it with `wandb sync {folder}`")
    if last := summary["last_checkpoint"]:
        log.info("next: %s", command_line("predict", f"checkpoint={short_path(last)}", "input=FILE_OR_FOLDER"))


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Return a resolved configuration as plain containers."""
    return {str(key): value for key, value in dict(OmegaConf.to_container(cfg, resolve=True)).items()}  # type: ignore[arg-type]


def device_name(device: torch.device) -> str:
    """Return the GPU's name, or the processor's with its number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.processor() or platform.machine()} CPU, {torch.get_num_threads()} threads"


def logged_scores(trainer: L.Trainer) -> dict[str, float]:
    """Return the last logged training loss and scores, by name."""
    metrics = trainer.callback_metrics
    return {
        name: round(value.item(), 6)
        for name, value in metrics.items()
        if name.startswith(("val/", "test/")) or name == "train/loss_epoch"
    }
