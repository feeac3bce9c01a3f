"""Build the parts of a run from its configuration: data, module and trainer."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from hydra.utils import instantiate
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.loggers import CSVLogger
from omegaconf import DictConfig
from torch import Tensor, nn

from unetkit.checkpoints.checkpoint import Checkpoint
from unetkit.checkpoints.checkpoint import build_network as build_described_network
from unetkit.checkpoints.metadata import Metadata
from unetkit.data import Preprocessing, SegmentationDataModule
from unetkit.evaluation.primary import read_extra, read_primary
from unetkit.losses import wants_weight
from unetkit.models import channels_last_of
from unetkit.training.callbacks import CollapseWarning, EpochSeed
from unetkit.training.checkpoint_io import WholeCheckpointIO
from unetkit.training.class_weights import settle_class_weights
from unetkit.training.compatibility import check_classes, check_dimensions, check_scores, check_something_to_learn
from unetkit.training.configuration import choose_precision, is_on_cpu
from unetkit.training.image_logger import ImageLogger
from unetkit.training.last_epoch import LastEpoch
from unetkit.training.module import SegmentationModule
from unetkit.training.monitor import check_logged, set_modes
from unetkit.training.progress_bar import Bar
from unetkit.training.records import plain
from unetkit.training.resume import Resume
from unetkit.training.resumed_values import GivenValues
from unetkit.training.run_kind import is_fold, is_found_again
from unetkit.training.run_state import last_checkpoint
from unetkit.training.run_stats import RunStats
from unetkit.training.save_within_epoch import SaveWithinEpoch
from unetkit.training.stop_on_nan import StopOnNaN
from unetkit.training.stopping import Stop
from unetkit.training.strategy import check_processes, check_strategy

log = logging.getLogger(__name__)

NOT_OF_LIGHTNING = ("compile", "max_time", "step")  # Lightning ends an epoch at max_time; see stopping.Stop


def prepare_data(cfg: DictConfig) -> SegmentationDataModule:
    """Build the data, prepared for the network; what was found replaces `auto` in `cfg`.

    Raises:
        UserError: If the data have a mistake, or nothing to learn.
    """
    augmentation = instantiate(cfg.augment, _convert_="all")
    data: SegmentationDataModule = instantiate(cfg.data, augmentation=augmentation, _convert_="all")
    check_something_to_learn(data, cfg.data.ignore_index)
    check_dimensions(cfg, data)
    cfg.data.channels, cfg.data.num_classes = data.channels, data.num_classes
    settle_class_weights(cfg, data)
    needs_border_weights = wants_weight(instantiate(cfg.loss, _convert_="all"))
    data.prepare(cfg.model.in_channels, with_border_weights=needs_border_weights)
    if cfg.model.in_channels < data.channels:
        log.warning("model.in_channels=1: the colour images are turned to grey")
    return data


def build_module(
    cfg: DictConfig, data: SegmentationDataModule, resume: Resume | None = None, weights: Checkpoint | None = None
) -> SegmentationModule:
    """Build the network with its loss and optimisation.

    Args:
        cfg: The whole configuration.
        data: The data, prepared for the network.
        resume: The run that is resumed.
        weights: The checkpoint whose weights a new run starts from.

    Raises:
        UserError: If the network has another number of classes than the masks, a threshold has no use, or the score
            that leads or is monitored is not computed.
    """
    check_classes(cfg, data.num_classes, is_multilabel=data.is_multilabel)
    set_modes(cfg)
    loss = instantiate(cfg.loss, _convert_="all")
    schedule = instantiate(cfg.scheduler, _convert_="all")
    primary = read_primary(cfg.metrics.primary)
    extra = read_extra(cfg.metrics.get("extra"))
    check_scores(cfg, data, primary, extra)
    network, preprocessing = build_network(cfg, data.prepared.preprocessing, resume, weights)
    recipe = describe_recipe(cfg, data.split.digest)
    module = SegmentationModule(
        network,
        loss,
        instantiate(cfg.optimizer, _convert_="all"),
        schedule if schedule["scheduler"] is not None else None,
        preprocessing=preprocessing,
        num_classes=cfg.model.num_classes,
        class_names=data.class_names,
        classes=data.scored_classes,
        is_multilabel=data.is_multilabel,
        primary=primary,
        extra=extra,
        threshold=cfg.threshold,
        mirror_border=cfg.mirror_border,
        deep_supervision=cfg.deep_supervision,
        metadata=Metadata(plain(cfg.model), preprocessing, cfg.threshold, data.describe(), recipe),
    )
    if data.has_volumes:
        module.spacings = data.found.spacings
    if any(score.entry.is_of_objects for score in (primary, *extra)):
        module.objects = data.objects
    check_logged(cfg.monitor, module.val_scores.names)
    if cfg.mirror_border and data.serving.crop_size is not None:  # a crop takes its surroundings from its image
        data.surroundings = int(getattr(network, "margin", 0))
        module.trains_on_surrounded_crops = data.surroundings > 0
    return module.to(memory_format=channels_last_of(network)) if cfg.channels_last else module


def describe_recipe(cfg: DictConfig, split_digest: str) -> dict[str, Any]:
    """Return the settings that must stay the same when training is resumed."""
    scheduler = cfg.scheduler.scheduler
    return {
        "optimizer": cfg.optimizer._target_,
        "scheduler": scheduler and scheduler._target_,
        # Stored in the optimiser's state, so that another value would have no effect.
        **{f"optimizer.{key}": value for key, value in plain(cfg.optimizer).items() if not key.startswith("_")},
        # The best score so far, which a plateau schedule has stored, is of this one.
        **({} if cfg.scheduler.monitor is None else {"scheduler.monitor": cfg.scheduler.monitor}),
        "callbacks=ema": _is_chosen(cfg.callbacks.get("ema")),
        "data.split": split_digest,
        "data.resize": plain(cfg.data).get("resize"),
        "deep_supervision": cfg.deep_supervision or None,  # checkpoints that are older than the key have None
    }


def build_network(
    cfg: DictConfig, preprocessing: Preprocessing, resume: Resume | None, weights: Checkpoint | None
) -> tuple[nn.Module, Preprocessing]:
    """Build the network, and the preprocessing with the statistics that the network was, or will be, trained with.

    Args:
        cfg: The whole configuration.
        preprocessing: Preprocessing with the statistics of the training images.
        resume: The run that is resumed; Lightning loads its weights.
        weights: The checkpoint whose weights are loaded.
    """
    if weights is not None:
        stored = weights.metadata.preprocessing
        if len(stored.mean) == preprocessing.channels:
            preprocessing = replace(preprocessing, mean=stored.mean, std=stored.std)
        network = build_described_network(plain(cfg.model), weights.subject)  # downloads no pretrained weights
        kept = weights.load_weights_into(network, plain(cfg.model))
        log.info("starts from %s%s", weights.subject, f", except for {', '.join(kept)}" if kept else "")
    elif resume is not None:
        preprocessing = resume.checkpoint.metadata.preprocessing
        if cfg.model.get("encoder_weights") is not None:  # they would be downloaded, and then replaced
            network = build_described_network(plain(cfg.model), resume.checkpoint.subject)
        else:
            network = instantiate(cfg.model, _convert_="all")
    else:
        network = instantiate(cfg.model, _convert_="all")
        if (statistics := getattr(network, "statistics", None)) is not None:  # of a pretrained encoder
            mean, std = statistics
            preprocessing = replace(preprocessing, mean=mean, std=std)
    return network, preprocessing


def example_input(data: SegmentationDataModule, module: SegmentationModule) -> Tensor:
    """Return a training image as the network is given it: (1, C, H, W) float32, of the size to train on."""
    image = data.dataset("train", augment=True)[0]["image"]
    return module.preprocessing.normalise(torch.from_numpy(np.moveaxis(image, -1, 0).copy())[None])


def build_trainer(
    cfg: DictConfig,
    run_dir: Path,
    stats: RunStats,
    stop: Stop | None = None,
    position: int = 0,
    more: Sequence[L.Callback] = (),
) -> L.Trainer:
    """Build Lightning's Trainer with the loggers and callbacks of every run, and those that were chosen.

    Args:
        cfg: The whole configuration.
        run_dir: Folder of the run.
        stats: What measures the run.
        stop: What asks the run to stop; None for nothing.
        position: Number of lines below the first one at which the progress bar is drawn.
        more: More callbacks.
    """
    stop = stop or Stop()
    set_modes(cfg)
    chosen = _members(cfg.callbacks)
    saves_epochs = any(isinstance(callback, LastEpoch) for callback in chosen)
    callbacks = [
        EpochSeed(cfg.seed),
        *([Bar(position)] if cfg.trainer.enable_progress_bar else []),
        *([StopOnNaN(run_dir, is_fold(cfg))] if cfg.get("stop_on_nan", True) else []),
        CollapseWarning(),
        ImageLogger(run_dir / "pictures"),
        *chosen,
        *more,
        GivenValues(),
        stats,  # the last one: see RunStats
        SaveWithinEpoch(last_checkpoint(run_dir), cfg.get("checkpoint_every"), stop, before_validation=saves_epochs),
    ]
    check_strategy(cfg, is_cpu=is_on_cpu(cfg.trainer.accelerator))
    precision = choose_precision(cfg.trainer.precision, cfg.trainer.accelerator)
    if precision == "bf16-mixed" and "bf16" not in str(cfg.trainer.precision):
        log.info("trainer.precision=%s on a CPU: bf16-mixed is used", cfg.trainer.precision)
    trainer: L.Trainer = instantiate(
        {key: value for key, value in plain(cfg.trainer).items() if key not in NOT_OF_LIGHTNING},
        logger=[CSVLogger(run_dir, name="", version=""), *_members(cfg.logger)],
        callbacks=callbacks,
        plugins=plugins(is_found_again(cfg)),
        precision=precision,
        default_root_dir=str(run_dir / "lightning"),  # not there, so Lightning finds no hpc_ckpt_*.ckpt to resume from
        enable_model_summary=False,
        _convert_="all",
    )
    check_processes(trainer, cfg.trainer.strategy)
    return trainer


def plugins(is_found_again: bool = False) -> list[Any]:
    """Return how checkpoints are written; under SLURM, also that Lightning neither saves nor requeues on SIGUSR1."""
    is_slurm = SLURMEnvironment.detect() and not TorchElasticEnvironment.detect()  # in the order of Lightning
    return [WholeCheckpointIO(is_found_again), *([SLURMEnvironment(auto_requeue=False)] if is_slurm else [])]


def _members(group: DictConfig | None) -> list[Any]:
    """Instantiate the members of a config group each of whose files adds one."""
    return [instantiate(member, _convert_="all") for member in (group or {}).values() if _is_chosen(member)]


def _is_chosen(member: DictConfig | None) -> bool:
    """Return whether a member's file was chosen; an experiment may set keys of a member that was not."""
    return member is not None and "_target_" in member
