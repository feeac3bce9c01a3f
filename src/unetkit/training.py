"""train(cfg): from a composed configuration to a run directory. The one place that instantiates."""

import json
import logging
import os
import platform
import subprocess
import time
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, WandbLogger
from omegaconf import DictConfig, OmegaConf

from unetkit import checkpoint
from unetkit.callbacks import CollapseWarning, EpochSeed, Pictures, RunFigures
from unetkit.data import SegmentationDataModule
from unetkit.data.splits import write_split
from unetkit.errors import UserError
from unetkit.models import layer_table
from unetkit.module import SegmentationModule

log = logging.getLogger(__name__)

Summary = dict[str, Any]


def train(cfg: DictConfig) -> Summary:
    """Train, score, draw and record one run; everything lies in `cfg.run_dir`.

    Returns:
        What `summary.json` holds.

    Raises:
        UserError: If the configuration or the data hold a mistake.
    """
    started = time.perf_counter()
    run_dir = Path(cfg.run_dir)
    _quieten_lightning()
    L.seed_everything(cfg.seed, verbose=False)
    try:
        data = prepare_data(cfg)
        module = build_module(cfg, data)
        figures = RunFigures()
        trainer = build_trainer(cfg, run_dir, figures)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise
    write_records(cfg, run_dir, data, trainer)
    announce(data, module)
    resume_from = check_resumable(cfg)
    trainer.fit(module, datamodule=data, ckpt_path=resume_from, weights_only=True)
    scores = _scores(trainer)
    if data.has_test:
        trainer.test(module, datamodule=data, verbose=False)
        scores |= _scores(trainer)
    summary = summarise(cfg, trainer, data, module, figures, scores, time.perf_counter() - started)
    if trainer.is_global_zero:
        (run_dir / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
        conclude(summary, run_dir, trainer)
    return summary


def prepare_data(cfg: DictConfig) -> SegmentationDataModule:
    """The data, decoded for the network; `cfg.data.channels` and `num_classes` are set to what was found."""
    augmentation = instantiate(cfg.augment, _convert_="all")
    data: SegmentationDataModule = instantiate(cfg.data, _partial_=True, _convert_="all")(augmentation=augmentation)
    data.inspect()
    cfg.data.channels, cfg.data.num_classes = data.channels, data.num_classes
    data.decode(cfg.model.in_channels)
    if cfg.model.in_channels < data.channels:
        log.warning("model.in_channels=1: the colour images are turned to grey")
    return data


def build_module(cfg: DictConfig, data: SegmentationDataModule) -> SegmentationModule:
    """The network with its loss and optimisation.

    Raises:
        UserError: If the network has another number of classes than the masks.
    """
    allowed = (1, 2) if data.num_classes == 1 else (data.num_classes,)
    if cfg.model.num_classes not in allowed:
        raise UserError(
            f"model.num_classes={cfg.model.num_classes}, but the masks have "
            f"{'two classes, which is 1 (sigmoid) or 2 (softmax)' if data.num_classes == 1 else data.num_classes}"
        )
    artefact = checkpoint.describe(plain(cfg.model), data.preprocessing, cfg.threshold, data.describe())
    schedule = instantiate(cfg.scheduler, _convert_="all")
    module = SegmentationModule(
        instantiate(cfg.model, _convert_="all"),
        instantiate(cfg.loss, _convert_="all"),
        instantiate(cfg.optimizer, _convert_="all"),
        schedule if schedule["scheduler"] is not None else None,
        preprocessing=data.preprocessing,
        num_classes=cfg.model.num_classes,
        threshold=cfg.threshold,
        mirror_border=cfg.mirror_border,
        artefact=artefact,
    )
    return module.to(memory_format=torch.channels_last) if cfg.channels_last else module


def build_trainer(cfg: DictConfig, run_dir: Path, figures: RunFigures) -> L.Trainer:
    """Lightning's Trainer with our callbacks, the CSV log and what `callbacks` and `logger` add."""
    keep_old_metrics(run_dir)
    loggers = [CSVLogger(run_dir, name="", version=""), *_listed(cfg.logger)]
    folder = run_dir / "checkpoints"
    callbacks = [
        ModelCheckpoint(folder, "best", monitor=cfg.monitor, mode="max", enable_version_counter=False),
        ModelCheckpoint(folder, "last", enable_version_counter=False),
        EpochSeed(cfg.seed),
        CollapseWarning(),
        figures,
        Pictures(run_dir / "pictures"),
        LearningRateMonitor("step"),
        *_listed(cfg.callbacks),
    ]
    precision = choose_precision(cfg.trainer.precision, cfg.trainer.accelerator)
    trainer: L.Trainer = instantiate(
        cfg.trainer,
        precision=precision,
        default_root_dir=str(run_dir),
        enable_model_summary=False,
        _partial_=True,
        _convert_="all",
    )(logger=loggers, callbacks=callbacks)
    return trainer


def choose_precision(precision: int | str, accelerator: str) -> int | str:
    """What `precision` means here: 16 is 16-mixed on a GPU, and bf16-mixed on a CPU, which has no fast float16."""
    if str(precision) not in ("16", "16-mixed", "16-true"):
        return precision
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available())
    if on_cpu:
        log.info("trainer.precision=%s on a CPU: bf16-mixed is used", precision)
        return "bf16-mixed"
    return "16-mixed" if str(precision) == "16" else precision


def check_resumable(cfg: DictConfig) -> str | None:
    """The checkpoint to go on from, if one is given.

    Raises:
        UserError: If it is of another network, or has as many epochs as are asked for.
    """
    if cfg.checkpoint is None:
        return None
    content = checkpoint.read(cfg.checkpoint)
    model, stored = plain(cfg.model), content["unetkit"]["model"]
    ignored = "gradient_checkpointing"  # changes no weight
    differing = [k for k in sorted(model.keys() | stored.keys()) if k != ignored and model.get(k) != stored.get(k)]
    if differing:
        key = differing[0]
        raise UserError(
            f"checkpoint={cfg.checkpoint} has model.{key}={stored.get(key)}, this run {model.get(key)}; "
            "resume with the same model=... and its overrides"
        )
    epochs = int(content["epoch"]) + 1
    if cfg.trainer.max_epochs is not None and 0 <= cfg.trainer.max_epochs <= epochs:
        raise UserError(
            f"checkpoint={cfg.checkpoint} has done {epochs} epochs already; ask for more with trainer.max_epochs"
        )
    log.info("going on after epoch %d of %s", epochs - 1, cfg.checkpoint)
    return str(Path(cfg.checkpoint).expanduser())


def keep_old_metrics(run_dir: Path) -> None:
    """Set an earlier run's metrics.csv in the same directory aside, which Lightning's logger would delete."""
    old = run_dir / "metrics.csv"
    if old.exists():
        number = 1
        while (kept := run_dir / f"metrics.{number}.csv").exists():
            number += 1
        old.rename(kept)
        log.info("%s is there already; its rows are kept in %s", old, kept.name)


def write_records(cfg: DictConfig, run_dir: Path, data: SegmentationDataModule, trainer: L.Trainer) -> None:
    """The resolved configuration, also to the loggers, and the split."""
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "config.yaml").write_text(OmegaConf.to_yaml(cfg, resolve=True))
    write_split(run_dir / "split.csv", [pair.id for pair in data.pairs], data.split)
    for logger in trainer.loggers[1:]:  # all but the CSV, beside which config.yaml lies
        logger.log_hyperparams(plain(cfg))


def announce(data: SegmentationDataModule, module: SegmentationModule) -> None:
    """What is trained on what."""
    facts = data.describe()
    log.info(
        "data %s: %d pairs to train on, %d to validate, %d to test; %.0f %% of the masks are empty",
        *(facts[key] for key in ("name", "train", "val", "test")),
        100 * facts["empty_masks"],
    )
    first = data.dataset("train")[0]["image"]
    pixels = torch.from_numpy(first.transpose(2, 0, 1).copy())[None]
    log.info(layer_table(module.network, module.preprocessing.normalise(pixels)))


def summarise(
    cfg: DictConfig,
    trainer: L.Trainer,
    data: SegmentationDataModule,
    module: SegmentationModule,
    figures: RunFigures,
    scores: dict[str, float],
    seconds: float,
) -> Summary:
    """What `summary.json` holds. The scores are those of the last epoch; the best epoch stands apart."""
    best, last = (c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint))
    score = best.best_model_score
    return {
        **scores,
        "best": {
            "monitor": cfg.monitor,
            "score": None if score is None else round(score.item(), 6),
            "checkpoint": best.best_model_path,
        },
        "last_checkpoint": last.best_model_path,
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "parameters": sum(p.numel() for p in module.network.parameters()),
        "images_per_second": figures.images_per_second,
        "peak_memory_mib": figures.peak_memory_mib,
        "seconds": round(seconds, 1),
        "data": data.describe(),
        "seed": cfg.seed,
        "precision": str(trainer.precision),
        "device": device_name(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "lightning": L.__version__,
        },
        "git_commit": git_commit(),
    }


def conclude(summary: Summary, run_dir: Path, trainer: L.Trainer) -> None:
    """Tell the scores, where the run lies, and what to type next."""
    shown = {k: v for k, v in summary.items() if k.startswith(("val/", "test/"))}
    lines = [f"  {name:<22}{value:.4f}" for name, value in shown.items()]
    last = summary["last_checkpoint"]
    where = os.path.relpath(run_dir)
    log.info("scores after %d epochs, %.0f s:\n%s", summary["epochs"], summary["seconds"], "\n".join(lines))
    log.info("the run lies in %s: look at pictures/predictions.png, metrics.csv and summary.json", where)
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            folder = os.path.relpath(Path(logger.experiment.dir).parent)
            offline = bool(logger.experiment.settings._offline)
            log.info("W&B: %s", f"send it with `wandb sync {folder}`" if offline else logger.experiment.url)
            logger.experiment.finish()
    log.info("next: python scripts/predict.py checkpoint=%s input=FILE_OR_FOLDER", os.path.relpath(last))


def device_name() -> str:
    """The GPU's name, or the processor's with its threads."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.processor() or platform.machine()} CPU, {torch.get_num_threads()} threads"


def git_commit() -> str | None:
    """The commit of the code, with `+` where files differ from it; None outside a clone."""
    command = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--dirty=+",
        "--abbrev=40",
        "--exclude=*",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def plain(cfg: DictConfig) -> dict[str, Any]:
    """A resolved configuration as plain containers."""
    return {str(key): value for key, value in dict(OmegaConf.to_container(cfg, resolve=True)).items()}  # type: ignore[arg-type]


def _scores(trainer: L.Trainer) -> dict[str, float]:
    metrics = trainer.callback_metrics
    return {
        name: round(value.item(), 6)
        for name, value in metrics.items()
        if name.startswith(("val/", "test/")) or name == "train/loss_epoch"
    }


def _listed(group: DictConfig | None) -> list[Any]:
    """Instantiate the members of a config group whose files each add one."""
    return [instantiate(member, _convert_="all") for member in (group or {}).values() if member is not None]


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
