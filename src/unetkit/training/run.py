"""Train one run: from a composed configuration to a run directory."""

import logging
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import lightning as L
import torch
from omegaconf import DictConfig

from unetkit.checkpoints.checkpoint import Checkpoint
from unetkit.data import SegmentationDataModule
from unetkit.errors import UserError, enough_memory, writable
from unetkit.paths import command_line, path_of, short_path, write_json
from unetkit.plots.curves import draw_curves
from unetkit.plots.images import write_png
from unetkit.run_files import STOPPED_BY, kept_metrics, read_json
from unetkit.training.build import build_module, build_trainer, example_input, prepare_data
from unetkit.training.configuration import check_values
from unetkit.training.image_logger import draw_best_median_worst
from unetkit.training.mistakes import library_mistakes, training_mistakes
from unetkit.training.module import SegmentationModule
from unetkit.training.monitor import set_modes
from unetkit.training.numerics import avoid_wrong_gradients
from unetkit.training.records import (
    Summary,
    keep_old_metrics,
    keep_overrides,
    log_results,
    log_setup,
    logged_scores,
    plain,
    summarise,
    write_records,
)
from unetkit.training.remote import define_scores, loggers_closed, send_results
from unetkit.training.renamed import keep_earlier_defaults, use_new_names
from unetkit.training.resume import (
    Resume,
    check_same_batches,
    check_same_training,
    find_resume,
    kept_training_loss,
    log_changes,
    log_resume,
    resolve_auto,
)
from unetkit.training.run_kind import is_fold, is_found_again
from unetkit.training.run_lock import only_run_in
from unetkit.training.run_names import label_as_typed
from unetkit.training.run_state import is_finished, last_checkpoint, run_of
from unetkit.training.run_stats import RunStats
from unetkit.training.side_by_side import Member
from unetkit.training.step_choice import choose_step, compile_parts
from unetkit.training.stopping import Stop
from unetkit.training.strategy import load_whole_weights
from unetkit.training.wandb_run import forget_run

log = logging.getLogger(__name__)

LESS_MEMORY = (
    "lower it, or set model.gradient_checkpointing=all, trainer.precision=16, data.crop_size or "
    "data.cache_on_device=false"
)


def train(
    cfg: DictConfig,
    typed: Sequence[str] | None = None,
    member: Member | None = None,
    callbacks: Sequence[L.Callback] = (),
) -> Summary:
    """Train, score, draw and record one run; all of it is written to `cfg.run_dir`.

    Args:
        cfg: The configuration.
        typed: The overrides it was composed with, to be kept for `checkpoint=RUN`; None if Hydra keeps them itself.
        member: Place of the run among several that are trained at once; None if it is trained alone.
        callbacks: More callbacks, beside those of the configuration.

    Returns:
        The content of `summary.json`.

    Raises:
        UserError: If the configuration or the data have a mistake.
    """
    stats = RunStats()
    run_dir = resolve(cfg)
    stop = Stop(cfg.trainer.max_time) if member is None else member.stop
    memory = enough_memory(f"data.batch_size={cfg.data.batch_size}", LESS_MEMORY)
    with stop.on_signals(), only_run_in(run_dir), memory, ExitStack() as at_end:
        return _train(cfg, run_dir, stats, stop, typed, member, callbacks, at_end)


def _train(
    cfg: DictConfig,
    run_dir: Path,
    stats: RunStats,
    stop: Stop,
    typed: Sequence[str] | None,
    member: Member | None,
    callbacks: Sequence[L.Callback],
    at_end: ExitStack,
) -> Summary:
    """Do what `train` does, in a run directory that no other run writes to."""
    if resolve_auto(cfg, run_dir) and is_finished(run_dir):
        log.info("checkpoint=auto: the run in %s is finished, so nothing is done", short_path(run_dir))
        return read_json(run_dir / "summary.json")
    resume = find_resume(cfg, run_dir)
    if resume is not None:
        keep_earlier_defaults(cfg, run_of(resume.checkpoint.path) / "config.yaml")
    weights = Checkpoint.read(cfg.weights, "weights") if cfg.weights is not None and resume is None else None
    L.seed_everything(cfg.seed, verbose=False)
    with library_mistakes():
        data = prepare_data(cfg)
        module = build_module(cfg, data, resume, weights)
        module.member = member
        example = example_input(data, module)
        avoid_wrong_gradients(cfg, module.network, example)
        if resume is None or not resume.is_in_place:
            forget_run(run_dir)
        position = 0 if member is None else member.position
        trainer = build_trainer(cfg, run_dir, stats, stop, position, callbacks)
    at_end.enter_context(loggers_closed(trainer))
    continue_from(cfg, run_dir, data, module, trainer, resume, weights)
    with writable("run_dir", run_dir):
        keep_old_metrics(run_dir)
        write_records(cfg, run_dir, data, trainer, typed)
        keep_overrides(run_dir, typed)
    define_scores(trainer, module.val_scores.names)
    log_setup(data, module, example)
    with stop.in_order(last := last_checkpoint(run_dir), is_found_again(cfg)):
        fit(cfg, trainer, module, data, resume)
    load_whole_weights(plain(cfg.model), trainer, module, run_dir)
    is_early = stop.was_early and last.exists()
    if is_early:
        Checkpoint.read(last).load_weights_into(module.network, plain(cfg.model))  # averaged ones, with callbacks=ema
    scores = score(cfg, trainer, module, data, resume)
    load_whole_weights(plain(cfg.model), trainer, module, run_dir)
    if trainer.is_global_zero:
        with writable("run_dir", run_dir):
            draw(trainer, module, data, run_dir, resume)
    summary = summarise(cfg, trainer, data, module, stats, scores)
    if is_early:
        summary |= {STOPPED_BY: "trainer.max_time", "last_checkpoint": str(last)}
    if trainer.is_global_zero:
        with writable("run_dir", run_dir):
            write_json(run_dir / "summary.json", summary)
        send_results(trainer, module, data, run_dir, summary)
        log_results(summary, run_dir, trainer)
        if is_early:
            again = command_line("train", f"checkpoint={short_path(run_dir)}")
            advice = "raise it, with another hydra.run.dir" if is_fold(cfg) else f"go on with {again}"
            log.info("trainer.max_time is over, before the run is at its end: %s", advice)
    return summary


def resolve(cfg: DictConfig) -> Path:
    """Make the configuration one of the present version, check it, and return the run directory.

    Raises:
        UserError: If a value is wrong.
    """
    _quieten_lightning()
    use_new_names(cfg)
    set_modes(cfg)
    check_values(cfg)
    label_as_typed(cfg)
    return path_of("run_dir", cfg.run_dir)


def continue_from(
    cfg: DictConfig,
    run_dir: Path,
    data: SegmentationDataModule,
    module: SegmentationModule,
    trainer: L.Trainer,
    resume: Resume | None,
    weights: Checkpoint | None,
) -> None:
    """Check that what is resumed, or started from, fits this run.

    Raises:
        UserError: If the run that is resumed had another network, recipe or split.
    """
    if resume is not None:
        assert module.metadata is not None  # narrows the type for mypy
        check_same_training(resume, module.metadata, module.network)
        check_same_batches(resume, data.serving.batch_size, trainer.world_size, data.epoch)
        log_resume(resume, cfg.monitor, run_dir)
        log_changes(cfg, resume)
        data.first_epoch, data.first_batch = resume.next_epoch, resume.next_batch
    elif weights is not None:
        split = weights.metadata.recipe.get("data.split")
        if weights.metadata.data_name == data.name and split not in (None, data.split.digest):
            log.warning(
                "%s was trained on another part of data=%s: scores on images that it has seen are too high",
                weights.subject,
                data.name,
            )


def fit(
    cfg: DictConfig,
    trainer: L.Trainer,
    module: SegmentationModule,
    data: SegmentationDataModule,
    resume: Resume | None = None,
) -> None:
    """Train.

    Raises:
        UserError: If Lightning refuses the configuration, or the machine can't run it.
    """
    choose_step(cfg, trainer, module, data)
    if cfg.trainer.compile:
        torch.compiler.reset()  # of earlier folds, or runs of a sweep
        compile_parts(module, cfg.trainer.compile, data.cache_dir)
    path = None if resume is None else resume.checkpoint.path
    try:
        with training_mistakes(cfg):
            trainer.fit(module, datamodule=data, ckpt_path=path, weights_only=True)
    finally:
        module.step = None  # its graph holds memory
        for part in (module.network, module.loss):
            part._compiled_call_impl = None  # pictures have other shapes, each of which would be compiled


def score(
    cfg: DictConfig,
    trainer: L.Trainer,
    module: SegmentationModule,
    data: SegmentationDataModule,
    resume: Resume | None = None,
) -> dict[str, float]:
    """Return the scores of the trained network; validate and test it where that is still to be done."""
    if resume is not None and resume.lacks_only_records:
        resume.checkpoint.load_weights_into(module.network, plain(cfg.model))  # averaged ones, with callbacks=ema
        scores = kept_training_loss(resume.checkpoint.path.parent.parent, resume.next_epoch - 1)
    else:
        scores = logged_scores(trainer)
    # Stopped within an epoch by max_steps or max_time, or after an epoch that check_val_every_n_epoch leaves out.
    if module.scored_at != trainer.global_step and cfg.trainer.limit_val_batches:
        trainer.validate(module, datamodule=data, verbose=False)
        scores |= logged_scores(trainer)
    if data.has_test:
        trainer.test(module, datamodule=data, verbose=False)
        scores |= logged_scores(trainer)
    return scores


def draw(
    trainer: L.Trainer, module: SegmentationModule, data: SegmentationDataModule, run_dir: Path, resume: Resume | None
) -> None:
    """Draw predictions and learning curves."""
    module.network.to(trainer.strategy.root_device)
    try:
        sheet = draw_best_median_worst(module.predictor(), data, module.ranking())
        write_png(run_dir / "pictures" / "predictions.png", sheet)
    except UserError as error:  # NaN, with stop_on_nan=false
        log.warning("pictures/predictions.png is not drawn: %s", error)
    earlier = kept_metrics(run_dir) if resume is not None and resume.is_in_place else []
    leading = {f"val/{module.primary.name}": module.primary.label}
    try:
        draw_curves([*earlier, run_dir / "metrics.csv"], run_dir / "pictures" / "learning_curves.png", leading)
    except UserError as error:  # an earlier part that somebody edited
        log.warning("pictures/learning_curves.png is not drawn: %s", error)


def _quieten_lightning() -> None:
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logger = logging.getLogger(name)
        logger.handlers.clear()  # Hydra adds its own; each line would come twice
        logger.setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=FutureWarning, module="lightning")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
    warnings.filterwarnings("ignore", message=".*The dirpath has changed.*")
    warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")  # data.first_batch makes it so
