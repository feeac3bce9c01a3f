"""k-fold cross-validation: every image is scored by the network of the fold that it was not in."""

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from tqdm import tqdm

from unetkit import checkpoint
from unetkit.data.splits import FOLDS
from unetkit.errors import UserError
from unetkit.evaluation import (
    LabelledImages,
    Measured,
    Measures,
    Summary,
    find_images,
    measure,
    open_models,
    resamples,
    summarise,
    write_scores,
    write_summary,
)
from unetkit.metrics import THRESHOLDS, Counts, iou, kaggle_score, threshold_counts
from unetkit.slim import slim
from unetkit.training import train

log = logging.getLogger(__name__)

IS_CANDIDATE = torch.isin(THRESHOLDS, torch.arange(20, 81) / 100)
CANDIDATES = THRESHOLDS[IS_CANDIDATE]
AREAS = (0, 5, 10, 20, 40, 80, 160)  # pixels; smaller predicted masks become empty


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
    it), `summary.json`, and `ensemble/` with each fold's weights and, for binary masks, the threshold and least area
    that were best for Kaggle's score on all of these images. What this choice is worth is estimated fold by fold,
    with the choice of the other folds.

    Raises:
        UserError: If the configuration or the data hold a mistake.
    """
    base = Path(cfg.run_dir)
    if cfg.data.split == "fraction":
        cfg.data.split = "kfold"
    folds = chosen_folds(cfg)
    check_undivided(cfg)
    runs = [base / f"fold-{fold}" for fold in folds]
    for fold, run in zip(folds, runs, strict=True):
        train_fold(cfg, fold, run)
    measured = [measure_fold(run, cfg) for run in runs]
    whole = together(measured)
    summary = summarise([whole], resamples(len(whole.ids), cfg.cross_validation.bootstrap, cfg.seed))
    summary["folds"] = {
        run.name: {name: round(score, 6) for name, score in fold_scores(fold).items()}
        for run, fold in zip(runs, measured, strict=True)
    }
    summary |= {"tta": cfg.cross_validation.tta, "seed": cfg.seed}
    chosen = None
    if len(whole.classes) == 1:
        chosen = fit(measured)
        summary["post_processing"] = {**chosen._asdict(), "kaggle": kaggle_of_others_choice(measured)}
    write_ensemble(base / "ensemble", runs, chosen)
    write_scores(base / "scores.csv", [whole])
    write_summary(base / "summary.json", summary)
    conclude(summary, base)
    return summary


def chosen_folds(cfg: DictConfig) -> list[int]:
    """The folds to train.

    Raises:
        UserError: If they are none of `data.folds`.
    """
    known = range(cfg.data.folds)
    folds = list(known) if cfg.cross_validation.folds is None else list(cfg.cross_validation.folds)
    if not folds or not set(folds) <= set(known):
        raise UserError(f"cross_validation.folds={folds} must be some of 0 to {cfg.data.folds - 1} (data.folds)")
    if cfg.data.split not in FOLDS:
        raise UserError(f"data.split={cfg.data.split} has no folds; use {', '.join(FOLDS[:-1])} or {FOLDS[-1]}")
    return folds


def check_undivided(cfg: DictConfig) -> None:
    """Check that there is something to divide.

    Raises:
        UserError: If all pairs have their sides already.
    """
    if all(pair.split is not None for pair in instantiate(cfg.data.pairs, _convert_="all")()):
        raise UserError(
            f"data={cfg.data.name}: all pairs lie in train/, val/ or test/, which folds would not change; put the "
            "images into one images/ and the masks into one masks/, or use train.py"
        )


def train_fold(cfg: DictConfig, fold: int, run: Path) -> None:
    """Train a fold in its own run directory; go on where it was interrupted; do nothing if it is done."""
    if (run / "summary.json").exists():
        log.info("%s is done already", os.path.relpath(run))
        return
    last = run / "checkpoints" / "last.ckpt"
    mine = OmegaConf.merge(cfg, {"run_dir": str(run), "data": {"fold": fold}})
    assert isinstance(mine, DictConfig)
    mine.checkpoint = str(last) if last.exists() else None
    log.info("fold %d of %d", fold, cfg.data.folds)
    train(mine)


def measure_fold(run: Path, cfg: DictConfig) -> Measured:
    """The network of a fold on the images that it has not seen."""
    (model,) = open_models([str(run)], [run.name], "auto", cfg.cross_validation.tta)
    images: LabelledImages = find_images(model, None, None, "val", cfg.data.cache_dir)
    return measure(run.name, model.predictor, tqdm(images, run.name, unit="image"), images.classes)


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
    return {name: score.mean().item() for name, score in scores.items()}


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
    """Each fold's weights and card, without the state of its training, for `scripts/predict.py`."""
    folder.mkdir(parents=True, exist_ok=True)
    for run in runs:
        content = slim(checkpoint.read(run / "checkpoints" / "last.ckpt"))
        content["unetkit"] = {**content["unetkit"], **(chosen._asdict() if chosen else {})}
        torch.save(content, folder / f"{run.name}.ckpt")


def conclude(summary: Summary, base: Path) -> None:
    """Tell the scores, and what to type next."""
    where = os.path.relpath(base)
    for name, scores in summary["folds"].items():
        log.info("%s: %s", name, ", ".join(f"{key} {value:.4f}" for key, value in scores.items()))
    value, low, high = summary["models"]["out of fold"]["scores"]["per_image/kaggle"].values()
    log.info("out of fold: kaggle %.4f, 95 %% interval %.4f to %.4f, tta=%s", value, low, high, summary["tta"])
    if "post_processing" in summary:
        log.info("best threshold and least area: %s", json.dumps(summary["post_processing"]))
    log.info("wrote scores.csv, summary.json and ensemble/ to %s", where)
    log.info('next: python scripts/predict.py checkpoint="%s/ensemble/*.ckpt" input=FILE_OR_FOLDER tta=flip', where)
