"""k-fold cross-validation: every image is scored by the network of the fold that it was not in."""

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import Tensor
from tqdm import tqdm

from unetkit.checkpoints.checkpoint import Checkpoint, save_weights
from unetkit.data.splits import FOLDS, read_split
from unetkit.errors import UserError, check
from unetkit.evaluation import (
    LabelledImages,
    Measured,
    Measures,
    Summary,
    check_resampling,
    measure,
    open_models,
    resamples,
    summarise,
    write_scores,
)
from unetkit.metrics import THRESHOLDS, Counts, iou, kaggle_score, threshold_counts
from unetkit.paths import command_line, short_path, whole_file, write_json
from unetkit.prediction.predictor import TTA
from unetkit.training.records import plain
from unetkit.training.renamed import with_new_names
from unetkit.training.run import train
from unetkit.training.run_data import data_of_run

log = logging.getLogger(__name__)

IS_CANDIDATE = torch.isin(THRESHOLDS, torch.arange(20, 81) / 100)
CANDIDATES = THRESHOLDS[IS_CANDIDATE]
AREAS = (0, 5, 10, 20, 40, 80, 160)  # pixels; smaller predicted masks become empty
# What the summary of all folds takes from that of the first.
FACTS = ("parameters", "epochs", "precision", "device", "versions", "git_commit")
# Keys of the configuration that say where and how a fold ran, and not what was trained.
PLACES = re.compile(
    r"(run_dir|checkpoint|logger|cross_validation|monitor|task_name|tags|channels_last|model\.gradient_checkpointing"
    r"|callbacks\.(best|last|lr_monitor)"
    r"|data\.(fold|(pairs\.)?root|cache_dir|num_workers|cache_on_device)"
    r"|trainer\.(accelerator|devices|enable_progress_bar|log_every_n_steps|profiler|compile))(\..*)?"
)


class PostProcessing(NamedTuple):
    """From probabilities to a mask.

    Attributes:
        threshold: Probability above which a pixel is foreground.
        min_area: Masks of fewer pixels become empty.
    """

    threshold: float
    min_area: int


def cross_validate(cfg: DictConfig) -> Summary:
    """Train the folds that are not done yet, score each on its own images, and write what follows from all.

    In `cfg.run_dir`: `fold-0`, ... (run directories), `scores.csv` (each image, by the network that has not seen
    it), `summary.json`, and `ensemble/` with each fold's weights. They are of all folds that are done there, so that
    folds can be trained side by side. For binary masks, the threshold and least area that are best for Kaggle's score
    on all of these images are stored with the weights, if the score rises where each fold has the choice of the others.

    Raises:
        UserError: If the configuration or the data hold a mistake, or folds were trained there with another recipe or
            other images.
    """
    base = Path(cfg.run_dir)
    if cfg.data.split == "fraction":
        cfg.data.split = "kfold"
    check_keys(cfg)
    folds = chosen_folds(cfg)
    check_same_recipe(cfg, base)
    check_images(cfg, base)
    for fold in folds:
        train_fold(cfg, fold, base / f"fold-{fold}")
    runs = [run for fold in range(cfg.data.folds) if is_done(run := base / f"fold-{fold}")]
    measured = [measure_fold(run, cfg) for run in runs]
    whole = together(measured)
    summary = summarise([whole], resamples(len(whole.ids), cfg.cross_validation.bootstrap, cfg.seed))
    records = {run.name: json.loads((run / "summary.json").read_text(encoding="utf-8")) for run in runs}
    summary["folds"] = {
        run.name: fold_scores(fold) | {"seconds": records[run.name]["seconds"]}
        for run, fold in zip(runs, measured, strict=True)
    }
    first = records[runs[0].name]
    summary |= {"tta": cfg.cross_validation.tta, "seed": cfg.seed} | {key: first[key] for key in FACTS}
    summary["data"] = {key: first["data"][key] for key in ("name", "split", "folds", "seed")}
    chosen = None
    if len(whole.classes) == 1:
        chosen, summary["post_processing"] = choose(measured)
    write_ensemble(base / "ensemble", runs, chosen)
    write_scores(base / "scores.csv", [whole])
    write_json(base / "summary.json", summary)
    log_results(summary, base)
    return summary


def check_keys(cfg: DictConfig) -> None:
    """Check, before the first fold is trained, what is used after the last.

    Raises:
        UserError: If a key is out of range.
    """
    check_resampling(cfg.cross_validation.bootstrap, cfg.seed, "cross_validation.bootstrap")
    tta = cfg.cross_validation.tta
    check("cross_validation.tta", tta, tta in TTA, f"one of {', '.join(TTA)}")
    devices = cfg.trainer.devices
    is_one = devices in (1, "1") or (isinstance(devices, ListConfig) and len(devices) == 1)
    check("trainer.devices", devices, is_one, "1, or a list of one: folds can be trained side by side, each on its own")
    trial, epochs = cfg.trainer.fast_dev_run, cfg.trainer.max_epochs
    check("trainer.fast_dev_run", trial, not trial, "false, as folds are scored by checkpoints, which it doesn't write")
    check("trainer.max_epochs", epochs, epochs != 0, "1 or more, so that each fold has a checkpoint to score")
    if cfg.checkpoint is not None:
        raise UserError(
            f"checkpoint={cfg.checkpoint} is for train.py; here each fold goes on from its own, in hydra.run.dir=DIR"
        )


def chosen_folds(cfg: DictConfig) -> list[int]:
    """The folds to train.

    Raises:
        UserError: If they are none of `data.folds`, or one stands there twice.
    """
    count, given = cfg.data.folds, cfg.cross_validation.folds
    check("data.folds", count, isinstance(count, int) and count > 1, "a whole number of at least 2")
    folds = list(range(count)) if given is None else list(given) if isinstance(given, ListConfig) else []
    if not folds or not all(fold in range(count) for fold in folds) or len(set(folds)) < len(folds):
        raise UserError(f"cross_validation.folds={given} must be a list of some of 0 to {count - 1} (data.folds)")
    if cfg.data.split not in FOLDS:
        raise UserError(f"data.split={cfg.data.split} has no folds; use {', '.join(FOLDS[:-1])} or {FOLDS[-1]}")
    return folds


def check_same_recipe(cfg: DictConfig, base: Path) -> None:
    """Check that the folds that were trained in `base` before, to their end or not, are of this recipe.

    What they found for `auto` is set in `cfg`, so that all folds have the same.

    Raises:
        UserError: If one is not.
    """
    for file in sorted(base.glob("fold-*/config.yaml")):
        then = flat(with_new_names(OmegaConf.to_container(OmegaConf.load(file))))
        then.setdefault("data.shuffle_seed", then.get("data.seed"))  # as it was before there was such a key
        for key in ("channels", "num_classes"):
            if cfg.data[key] == "auto":
                cfg.data[key] = then[f"data.{key}"]
        now = flat(plain(cfg))
        keys = [k for k in sorted(now.keys() | then.keys()) if now.get(k) != then.get(k) and not PLACES.fullmatch(k)]
        if keys:
            shown = ", ".join(f"{key}={then.get(key)} (now {now.get(key)})" for key in keys[:3])
            more = f" and {len(keys) - 3} keys more" if len(keys) > 3 else ""
            raise UserError(
                f"{short_path(file.parent)} was trained with {shown}{more}; type the same, or give another "
                "hydra.run.dir"
            )


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """The leaves of nested containers by dotted key."""
    if not isinstance(node, dict):
        return {prefix: node}
    leaves: dict[str, Any] = {}
    for key, value in node.items():
        leaves |= flat(value, f"{prefix}.{key}" if prefix else str(key))
    return leaves


def check_images(cfg: DictConfig, base: Path) -> None:
    """Check that there is something to divide, and that the folds that were trained in `base` before divided the same.

    Raises:
        UserError: If all pairs have their sides already, or a fold had other images.
    """
    pairs = instantiate(cfg.data.pairs, _convert_="all")()
    if all(pair.split is not None for pair in pairs):
        raise UserError(
            f"data={cfg.data.name}: all pairs lie in train/, val/ or test/, which folds would not change; put the "
            "images into one images/ and the masks into one masks/, or use train.py"
        )
    ids = {pair.id for pair in pairs}
    for file in sorted(base.glob("fold-*/split.csv")):
        if others := ids ^ read_split(file).keys():
            raise UserError(
                f"{short_path(file.parent)} divided other images than data.root={cfg.data.root} holds now, as "
                f"{min(others)} shows ({len(others)} differ); give those, or another hydra.run.dir"
            )


def is_done(run: Path) -> bool:
    """Whether the fold of this run directory was trained to its end."""
    return (run / "summary.json").exists()


def train_fold(cfg: DictConfig, fold: int, run: Path) -> None:
    """Train a fold in its own run directory; go on where it was interrupted; do nothing if it is done."""
    if is_done(run):
        log.info("%s is done already", short_path(run))
        return
    last = run / "checkpoints" / "last.ckpt"
    mine = OmegaConf.merge(cfg, {"run_dir": str(run), "data": {"fold": fold}})
    assert isinstance(mine, DictConfig)
    mine.checkpoint = str(last) if last.exists() else None
    log.info("fold %d of %d", fold, cfg.data.folds)
    train(mine)


def measure_fold(run: Path, cfg: DictConfig) -> Measured:
    """The network of a fold on the images that it has not seen."""
    device = "cpu" if cfg.trainer.accelerator == "cpu" else "auto"
    (model,) = open_models([str(run)], [run.name], device, cfg.cross_validation.tta)
    images = LabelledImages(data_of_run(run), "val")
    shown = tqdm(images, run.name, unit="image", disable=not cfg.trainer.enable_progress_bar)
    return measure(run.name, model.predictor, shown, images.classes)


def together(folds: Sequence[Measured]) -> Measured:
    """The images of all folds as if of one model."""
    first = folds[0]
    measures = Measures(*(torch.cat(columns) for columns in zip(*(fold.measures for fold in folds), strict=True)))
    ids = tuple(id for fold in folds for id in fold.ids)
    return Measured("out of fold", ids, first.classes, first.threshold, measures)


def fold_scores(fold: Measured) -> dict[str, float]:
    """The main scores of a fold."""
    counts = Counts.of_matrix(fold.measures.confusion)
    pooled = Counts(*(column.sum(0) for column in counts))
    scores = {"kaggle": kaggle_score(counts), "iou_per_image": iou(counts), "iou": iou(pooled)}
    return {name: round(score.mean().item(), 6) for name, score in scores.items()}


def choose(folds: Sequence[Measured]) -> tuple[PostProcessing, dict[str, Any]]:
    """The post-processing that is best on all folds, if choosing so is shown to gain; else that of the training.

    It is shown if Kaggle's score rises where each fold has the choice of the others.

    Returns:
        What to use, and the same with what was found, for the summary.
    """
    plain_score = fold_scores(together(folds))["kaggle"]
    fitted, estimate = fit(folds), kaggle_of_others_choice(folds)
    gains = estimate is not None and estimate > plain_score
    used = fitted if gains else PostProcessing(folds[0].threshold, 0)
    return used, used._asdict() | {"fitted": fitted._asdict(), "kaggle_of_others_choice": estimate}


def fit(folds: Sequence[Measured]) -> PostProcessing:
    """The threshold, in hundredths, and least area with the highest mean of Kaggle's score on these images.

    Of equal ones, the smallest area, and the threshold nearest to 0.5.
    """
    scores = torch.stack([torch.cat([kaggle_grid(fold, area) for fold in folds]).mean(0) for area in AREAS])
    best = int((scores.double() - 1e-6 * (CANDIDATES - 0.5).abs()).argmax())
    return PostProcessing(round(CANDIDATES[best % len(CANDIDATES)].item(), 2), AREAS[best // len(CANDIDATES)])


def kaggle_of_others_choice(folds: Sequence[Measured]) -> float | None:
    """Kaggle's score where each fold has the post-processing that the others would choose; None of a single fold."""
    if len(folds) < 2:
        return None
    scores = []
    for i, fold in enumerate(folds):
        threshold, area = fit([*folds[:i], *folds[i + 1 :]])
        column = int((CANDIDATES - threshold).abs().argmin())
        scores.append(kaggle_grid(fold, area)[:, column])
    return round(torch.cat(scores).mean().item(), 6)


def kaggle_grid(fold: Measured, min_area: int) -> Tensor:
    """Kaggle's score (N, T) of each image at each of `CANDIDATES`, where smaller masks become empty."""
    counts = threshold_counts(fold.measures.curves[:, 0])
    tp, fp, fn, tn = (column[:, IS_CANDIDATE] for column in counts)
    keeps = tp + fp >= min_area
    return kaggle_score(Counts(tp * keeps, fp * keeps, fn + tp * ~keeps, tn + fp * ~keeps))


def write_ensemble(folder: Path, runs: Sequence[Path], chosen: PostProcessing | None) -> None:
    """Write a checkpoint of each fold without the state of its training, with the chosen post-processing."""
    for run in runs:
        checkpoint = Checkpoint.read(run / "checkpoints" / "last.ckpt")
        metadata = replace(checkpoint.metadata, **(chosen._asdict() if chosen else {}))
        with whole_file(folder / f"{run.name}.ckpt") as part:
            save_weights(part, metadata, checkpoint.state_dict, checkpoint.epoch)


def log_results(summary: Summary, base: Path) -> None:
    """Tell the scores, and what to type next."""
    where = short_path(base)
    for name, scores in summary["folds"].items():
        log.info("%s: kaggle %.4f, iou_per_image %.4f, iou %.4f, %.0f s", name, *scores.values())
    value, low, high = summary["models"]["out of fold"]["scores"]["per_image/kaggle"].values()
    log.info("out of fold: kaggle %.4f, 95 %% interval %.4f to %.4f, tta=%s", value, low, high, summary["tta"])
    if "post_processing" in summary:
        chosen = summary["post_processing"]
        gains = chosen["kaggle_of_others_choice"]
        log.info(
            "threshold %g and least area %d are used; fitted to all folds they are %g and %d, which %s",
            chosen["threshold"],
            chosen["min_area"],
            *chosen["fitted"].values(),
            "one fold can't judge"
            if gains is None
            else f"gives kaggle {gains:.4f} where each fold has the others' choice",
        )
    log.info("wrote scores.csv, summary.json and ensemble/ to %s", where)
    log.info("next: %s", command_line("predict", f"checkpoint={where}", "input=FILE_OR_FOLDER", "tta=flip"))
