"""Choose the threshold and the least area of a mask on images that the networks were not trained on."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unetkit.evaluation import Measured, Measures
from unetkit.metrics import THRESHOLDS, Counts, iou, kaggle_score, threshold_counts

IS_CANDIDATE = torch.isin(THRESHOLDS, torch.arange(20, 81) / 100)
CANDIDATES = THRESHOLDS[IS_CANDIDATE]
AREAS = (0, 5, 10, 20, 40, 80, 160)  # pixels


class PostProcessing(NamedTuple):
    """How a mask is made from probabilities.

    Attributes:
        threshold: Probability above which a pixel is foreground.
        min_area: Masks with fewer pixels than this become empty.
    """

    threshold: float
    min_area: int


def choose(folds: Sequence[Measured]) -> tuple[PostProcessing, dict[str, Any]]:
    """Return the post-processing that is best on all folds, if a gain is shown; else that of training.

    A gain is shown if Kaggle's score rises when each fold uses the values chosen on the other folds.

    Returns:
        What to use, and the same with what was found, for the summary.
    """
    plain_score = fold_scores(together(folds))["kaggle"]
    fitted, estimate = fit(folds), kaggle_of_others_choice(folds)
    gains = estimate is not None and estimate > plain_score
    used = fitted if gains else PostProcessing(folds[0].threshold, 0)
    return used, used._asdict() | {"fitted": fitted._asdict(), "kaggle_of_others_choice": estimate}


def fit(folds: Sequence[Measured]) -> PostProcessing:
    """Return the threshold, in hundredths, and least area with the highest mean of Kaggle's score on these images.

    Among equal ones it takes the smallest area, then the threshold nearest to 0.5.
    """
    scores = torch.stack([torch.cat([kaggle_grid(fold, area) for fold in folds]).mean(0) for area in AREAS])
    best = int((scores.double() - 1e-6 * (CANDIDATES - 0.5).abs()).argmax())
    return PostProcessing(round(CANDIDATES[best % len(CANDIDATES)].item(), 2), AREAS[best // len(CANDIDATES)])


def kaggle_of_others_choice(folds: Sequence[Measured]) -> float | None:
    """Return Kaggle's score if each fold uses the values chosen on the other folds; None for a single fold."""
    if len(folds) < 2:
        return None
    scores = []
    for i, fold in enumerate(folds):
        threshold, area = fit([*folds[:i], *folds[i + 1 :]])
        column = int((CANDIDATES - threshold).abs().argmin())
        scores.append(kaggle_grid(fold, area)[:, column])
    return round(torch.cat(scores).mean().item(), 6)


def kaggle_grid(fold: Measured, min_area: int) -> Tensor:
    """Return Kaggle's score (N, T) of each image at each of `CANDIDATES`, where smaller masks become empty."""
    counts = threshold_counts(fold.measures.curves[:, 0])
    tp, fp, fn, tn = (column[:, IS_CANDIDATE] for column in counts)
    keeps = tp + fp >= min_area
    return kaggle_score(Counts(tp * keeps, fp * keeps, fn + tp * ~keeps, tn + fp * ~keeps))


def together(folds: Sequence[Measured]) -> Measured:
    """Return the images of all folds, as if one model had predicted them."""
    first = folds[0]
    measures = Measures(*(torch.cat(columns) for columns in zip(*(fold.measures for fold in folds), strict=True)))
    ids = tuple(id for fold in folds for id in fold.ids)
    return Measured("out of fold", ids, first.classes, first.threshold, measures)


def fold_scores(fold: Measured) -> dict[str, float]:
    """Return the main scores of a fold."""
    counts = Counts.of_matrix(fold.measures.confusion)
    pooled = Counts(*(column.sum(0) for column in counts))
    scores = {"kaggle": kaggle_score(counts), "iou_per_image": iou(counts), "iou": iou(pooled)}
    return {name: round(score.mean().item(), 6) for name, score in scores.items()}
