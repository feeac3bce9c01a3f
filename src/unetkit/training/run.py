"""train(cfg): from a composed configuration to a run directory. The one place that instantiates."""

import logging
import re
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from omegaconf import DictConfig
from torch import nn

from unetkit.checkpoints.checkpoint import Checkpoint
from unetkit.checkpoints.checkpoint import build_network as build_network_of
from unetkit.checkpoints.files import checkpoint_file
from unetkit.checkpoints.metadata import Metadata
from unetkit.data import Preprocessing, SegmentationDataModule
from unetkit.errors import UserError, writable
from unetkit.losses import wants_weight
from unetkit.metrics import segmentation_metrics
from unetkit.paths import path_of, write_json
from unetkit.plots import images as pictures
from unetkit.plots.curves import draw_curves
from unetkit.training.callbacks import (
    CollapseWarning,
    EpochSeed,
    ImageLogger,
    RunStats,
    best_median_worst,
    predictor_of,
)
from unetkit.training.configuration import check_values, choose_precision, library_mistakes
from unetkit.training.module import SegmentationModule
from unetkit.training.records import (
    Summary,
    keep_old_metrics,
    log_results,
    log_setup,
    logged_scores,
    plain,
    summarise,
    write_records,
)
from unetkit.training.resume import (
    check_nothing_is_lost,
    check_resumable,
    lacks_records_only,
    metrics_before,
    next_epoch,
    read_resumed,
    warn_of_known_images,
)

log = logging.getLogger(__name__)


def train(cfg: DictConfig) -> Summary:
    """Train, score, draw and record one run; everything lies in `cfg.run_dir`.

    Returns:
        What `summary.json` holds.

    Raises:
        UserError: If the configuration or the data hold a mistake.
    """
    figures = RunStats()
    run_dir = path_of("run_dir", cfg.run_dir)
    _quieten_lightning()
    check_values(cfg)
    check_nothing_is_lost(cfg, run_dir)
    resume_from = read_resumed(cfg)
    is_new = resume_from is None  # weights= are only what a run began with, once it is resumed
    weights = Checkpoint.read(cfg.weights, "weights") if is_new and cfg.weights is not None else None
    L.seed_everything(cfg.seed, verbose=False)
    with library_mistakes():
        data = prepare_data(cfg)
        module = build_module(cfg, data, resume_from, weights)
        trainer = build_trainer(cfg, run_dir, figures)
    check_resumable(cfg, resume_from, module)
    if resume_from is not None:
        data.first_epoch = next_epoch(resume_from)
    if weights is not None:
        new = weights.load_weights_into(module.network, plain(cfg.model))
        warn_of_known_images(weights, cfg.data.name, data)
        log.info("starts from the weights of %s%s", cfg.weights, f", but for {', '.join(new)}" if new else "")
    with writable("run_dir", run_dir):
        keep_old_metrics(run_dir)
        write_records(cfg, run_dir, data, trainer)
    log_setup(data, module)
    fit(cfg, trainer, module, data)
    is_trained = resume_from is not None and lacks_records_only(cfg, resume_from)
    if resume_from is not None and is_trained:
        resume_from.load_weights_into(module.network, plain(cfg.model))  # averaged, if they are
    scores = logged_scores(trainer)
    # Stopped within an epoch, by max_steps or max_time, or after one that check_val_every_n_epoch leaves out.
    if module.scored_at != trainer.global_step and cfg.trainer.limit_val_batches:
        trainer.validate(module, datamodule=data, verbose=False)
        scores |= logged_scores(trainer)
    if data.has_test:
        trainer.test(module, datamodule=data, verbose=False)
        scores |= logged_scores(trainer)
    summary = summarise(cfg, trainer, data, module, figures, scores)
    if trainer.is_global_zero:
        module.network.to(trainer.strategy.root_device)
        picture = best_median_worst(predictor_of(module), data)
        pictures.write_png(run_dir / "pictures" / "predictions.png", picture)
        earlier = metrics_before(cfg, run_dir)
        draw_curves([*earlier, run_dir / "metrics.csv"], run_dir / "pictures" / "learning_curves.png")
        write_json(run_dir / "summary.json", summary)
        log_results(summary, run_dir, trainer)
    return summary


def prepare_data(cfg: DictConfig) -> SegmentationDataModule:
    """The data, decoded for the network; `cfg.data.channels` and `num_classes` are set to what was found."""
    augmentation = instantiate(cfg.augment, _convert_="all")
    data: SegmentationDataModule = instantiate(cfg.data, augmentation=augmentation, _convert_="all")
    data.inspect()
    if not data.pixels[:, 1:].any():
        void = cfg.data.ignore_index
        why = "" if void is None else f"; data.ignore_index={void} leaves those of this value out"
        raise UserError(f"no mask of data={data.name} has a foreground pixel, so there is nothing to learn{why}")
    cfg.data.channels, cfg.data.num_classes = data.channels, data.num_classes
    data.decode(cfg.model.in_channels)
    if cfg.model.in_channels < data.channels:
        log.warning("model.in_channels=1: the colour images are turned to grey")
    return data


def build_module(
    cfg: DictConfig,
    data: SegmentationDataModule,
    resumed: Checkpoint | None = None,
    weights: Checkpoint | None = None,
) -> SegmentationModule:
    """Build the network with its loss and optimisation.

    Args:
        cfg: The whole configuration.
        data: The data, decoded.
        resumed: The checkpoint of the run that goes on.
        weights: The checkpoint whose weights a new run starts from.

    Raises:
        UserError: If the network has another number of classes than the masks, or a threshold has no use.
    """
    is_binary = data.num_classes <= 2
    allowed = (1, 2) if is_binary else (data.num_classes,)
    if cfg.model.num_classes not in allowed:
        raise UserError(
            f"model.num_classes={cfg.model.num_classes}, but the masks have "
            f"{'two classes, which is 1 (sigmoid) or 2 (softmax)' if is_binary else data.num_classes}"
        )
    if not is_binary and cfg.threshold != 0.5:
        raise UserError(
            f"threshold={cfg.threshold} is for binary masks; of {data.num_classes} classes the likeliest is taken, so "
            "leave it out"
        )
    loss = instantiate(cfg.loss, _convert_="all")
    if wants_weight(loss):
        data.compute_border_weights()
    schedule = instantiate(cfg.scheduler, _convert_="all")
    recipe = {
        "optimizer": cfg.optimizer._target_,
        "scheduler": schedule["scheduler"] and cfg.scheduler.scheduler._target_,
        # Kept with the optimiser's state, so that another value would have no effect.
        **{f"optimizer.{key}": value for key, value in plain(cfg.optimizer).items() if not key.startswith("_")},
        "callbacks=ema": _is_chosen(cfg.callbacks.get("ema")),
        "data.split": data.split_digest,
        "deep_supervision": cfg.deep_supervision or None,  # as checkpoints from before it have
    }
    network, preprocessing = build_network(cfg, data.preprocessing, resumed, weights)
    metadata = Metadata(plain(cfg.model), preprocessing, cfg.threshold, data.describe(), recipe)
    module = SegmentationModule(
        network,
        loss,
        instantiate(cfg.optimizer, _convert_="all"),
        schedule if schedule["scheduler"] is not None else None,
        preprocessing=preprocessing,
        num_classes=cfg.model.num_classes,
        class_names=data.class_names,
        threshold=cfg.threshold,
        mirror_border=cfg.mirror_border,
        deep_supervision=cfg.deep_supervision,
        metadata=metadata,
    )
    return module.to(memory_format=torch.channels_last) if cfg.channels_last else module


def build_network(
    cfg: DictConfig, preprocessing: Preprocessing, resumed: Checkpoint | None, weights: Checkpoint | None
) -> tuple[nn.Module, Preprocessing]:
    """Build the network, and the preprocessing with the statistics of the checkpoint that it goes on or starts from."""
    if resumed is not None:
        preprocessing = resumed.metadata.preprocessing
        if cfg.model.get("encoder_weights") is not None:  # all is there, nothing to download
            return build_network_of(plain(cfg.model), resumed.subject), preprocessing
    elif weights is not None:
        stored = weights.metadata.preprocessing
        if len(stored.mean) == preprocessing.channels:
            preprocessing = replace(preprocessing, mean=stored.mean, std=stored.std)
        return build_network_of(plain(cfg.model), weights.subject), preprocessing
    network: nn.Module = instantiate(cfg.model, _convert_="all")
    statistics = getattr(network, "statistics", None)
    if statistics is not None and resumed is None:  # those of a pretrained encoder
        mean, std = statistics
        preprocessing = replace(preprocessing, mean=mean, std=std)
    return network, preprocessing


def build_trainer(cfg: DictConfig, run_dir: Path, figures: RunStats) -> L.Trainer:
    """Lightning's Trainer with our callbacks, the CSV log and what `callbacks` and `logger` add.

    Raises:
        UserError: If `monitor` is not a score.
    """
    scores = [f"val/{name}" for name, metric in segmentation_metrics(1).items() if metric.higher_is_better]
    if cfg.monitor not in scores:
        raise UserError(f"monitor={cfg.monitor} must be one of {', '.join(scores)}")
    loggers = [CSVLogger(run_dir, name="", version=""), *_listed(cfg.logger)]
    folder = run_dir / "checkpoints"
    callbacks = [
        ModelCheckpoint(folder, "best", monitor=cfg.monitor, mode="max", enable_version_counter=False),
        ModelCheckpoint(folder, "last", enable_version_counter=False, save_on_train_epoch_end=True),
        EpochSeed(cfg.seed),
        CollapseWarning(),
        ImageLogger(run_dir / "pictures"),
        LearningRateMonitor("step"),
        *_listed(cfg.callbacks),
        figures,  # last, so that it doesn't take the others' work for waiting
    ]
    precision = choose_precision(cfg.trainer.precision, cfg.trainer.accelerator)
    trainer: L.Trainer = instantiate(
        {key: value for key, value in cfg.trainer.items() if key != "compile"},
        logger=loggers,
        callbacks=callbacks,
        precision=precision,
        default_root_dir=str(run_dir),
        enable_model_summary=False,
        _convert_="all",
    )
    return trainer


def fit(cfg: DictConfig, trainer: L.Trainer, module: SegmentationModule, data: SegmentationDataModule) -> None:
    """Train.

    Raises:
        UserError: If Lightning refuses the configuration, or the GPU's memory does not suffice.
    """
    resume_from = None if cfg.checkpoint is None else checkpoint_file(cfg.checkpoint)
    if cfg.trainer.compile:
        torch.compiler.reset()  # of earlier folds, or runs of a sweep
        # In place, so that the keys of checkpoints stay.
        module.network.compile(mode=None if cfg.trainer.compile is True else cfg.trainer.compile)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=resume_from, weights_only=True)
    except SystemExit:  # so Lightning ends on Ctrl-C, without a word that would be seen
        last = Path(cfg.run_dir) / "checkpoints" / "last.ckpt"
        kept = f"{last} holds what is done, to go on from" if last.exists() else "no epoch was done, so nothing is kept"
        sys.exit(f"stopped; {kept}")
    except MisconfigurationException as error:
        raise UserError(str(error)) from error
    except torch._dynamo.exc.TorchDynamoException as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"trainer.compile={cfg.trainer.compile} fails here ({reason}); use false") from error
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"data.batch_size={cfg.data.batch_size} does not fit into the GPU's memory; lower it, or set "
            "model.gradient_checkpointing=all, trainer.precision=16, data.crop_size or data.cache_on_device=false"
        ) from error
    except (ValueError, RuntimeError) as error:  # of which those above are kinds
        reason = " ".join(str(error).split())
        if "does not have a deterministic implementation" in reason:
            raise UserError(
                f"trainer.deterministic=true: {reason.split('.')[0]}; use trainer.deterministic=warn"
            ) from error
        if not re.search("val_check_interval|Early stopping conditioned on", reason):
            raise
        raise UserError(reason) from error
    finally:
        module.network._compiled_call_impl = None  # pictures are of other shapes, each of which would be compiled


def _listed(group: DictConfig | None) -> list[Any]:
    """Instantiate the members of a config group whose files each add one."""
    return [instantiate(member, _convert_="all") for member in (group or {}).values() if _is_chosen(member)]


def _is_chosen(member: DictConfig | None) -> bool:
    """Whether its file was chosen; what an experiment sets of it remains where it was not, as in `callbacks=none`."""
    return member is not None and "_target_" in member


def _quieten_lightning() -> None:
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logger = logging.getLogger(name)
        logger.handlers.clear()  # Hydra has its own, and each line would come twice
        logger.setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=FutureWarning, module="lightning")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
    warnings.filterwarnings("ignore", message=".*The dirpath has changed.*")
