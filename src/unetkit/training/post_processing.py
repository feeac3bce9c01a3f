"""Choose the threshold and the least area of a mask on images that the networks were not trained on."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unetkit.evaluation import Measured, Measures
from unetkit.evaluation.primary import Primary, read_primary, value_of
from unetkit.evaluation.registry import POOLED
from unetkit.metrics import THRESHOLDS, Counts, threshold_counts

IS_CANDIDATE = torch.isin(THRESHOLDS, torch.arange(20, 81) / 100)
CANDIDATES = THRESHOLDS[IS_CANDIDATE]
AREAS = (0, 5, 10, 20, 40, 80, 160)  # pixels
MAIN_OF_FOLDS = ("iou_per_image", "iou")


class PostProcessing(NamedTuple):
    """How a mask is made from probabilities.

    Attributes:
        threshold: Probability above which a pixel is foreground.
        min_area: Masks with fewer pixels than this become empty.
    """

    threshold: float
    min_area: int


def is_fitted_to(primary: Primary) -> bool:
    """Return whether post-processing can be fitted to a score: not to one that needs whole masks."""
    return primary.entry.source == "counts"


def choose(folds: Sequence[Measured], primary: Primary) -> tuple[PostProcessing, dict[str, Any]]:
    """Return the post-processing that is best on all folds, if a gain is shown; else that of training.

    A gain is shown if the score rises when each fold uses the values chosen on the other folds.

    Args:
        folds: Images of the folds, of one foreground class.
        primary: The leading score, of pixel counts (`is_fitted_to`).

    Returns:
        What to use, and the same with what was found, for the summary.
    """
    plain_score = mean_score([Counts.of_matrix(fold.measures.confusion, -1) for fold in folds], primary)
    fitted, estimate = fit(folds, primary), score_of_others_choice(folds, primary)
    sign = -1 if primary.entry.lower_is_better else 1
    gains = estimate is not None and sign * estimate > sign * round(plain_score.item(), 6)
    used = fitted if gains else PostProcessing(folds[0].threshold, 0)
    found = {"score": primary.name, "fitted": fitted._asdict(), "score_of_others_choice": estimate}
    return used, used._asdict() | found


def fit(folds: Sequence[Measured], primary: Primary) -> PostProcessing:
    """Return the threshold, in hundredths, and least area with the best score on these images.

    Among equal ones it takes the smallest area, then the threshold nearest to 0.5.
    """
    scores = torch.stack([mean_score([grid(fold, area) for fold in folds], primary) for area in AREAS])
    if primary.entry.lower_is_better:
        scores = -scores
    best = int((scores.double() - 1e-6 * (CANDIDATES - 0.5).abs()).argmax())
    return PostProcessing(round(CANDIDATES[best % len(CANDIDATES)].item(), 2), AREAS[best // len(CANDIDATES)])


def score_of_others_choice(folds: Sequence[Measured], primary: Primary) -> float | None:
    """Return the score if each fold uses the values chosen on the other folds; None for a single fold."""
    if len(folds) < 2:
        return None
    counts = []
    for i, fold in enumerate(folds):
        threshold, area = fit([*folds[:i], *folds[i + 1 :]], primary)
        column = int((CANDIDATES - threshold).abs().argmin())
        counts.append(Counts(*(count[:, column : column + 1] for count in grid(fold, area))))
    return round(mean_score(counts, primary).item(), 6)


def grid(fold: Measured, min_area: int) -> Counts:
    """Return the counts (N, T) of each image at each of `CANDIDATES`, where smaller masks become empty."""
    counts = threshold_counts(fold.measures.curves[:, -1])
    tp, fp, fn, tn = (column[:, IS_CANDIDATE] for column in counts)
    keeps = tp + fp >= min_area
    return Counts(tp * keeps, fp * keeps, fn + tp * ~keeps, tn + fp * ~keeps)


def mean_score(folds: Sequence[Counts], primary: Primary) -> Tensor:
    """Return the score (T,) of all images of the folds, whose counts are (N, T): their mean, or of all pixels."""
    images = Counts(*(torch.cat(columns) for columns in zip(*folds, strict=True)))
    is_pooled = primary.key.startswith(POOLED)
    counts = Counts(*(column.sum(0, keepdim=True) for column in images)) if is_pooled else images
    scores: Tensor = primary.entry.formula(counts)
    return scores.mean(0)


def together(folds: Sequence[Measured]) -> Measured:
    """Return the images of all folds, as if one model had predicted them."""
    first = folds[0]
    measures = Measures(*(torch.cat(columns) for columns in zip(*(fold.measures for fold in folds), strict=True)))
    ids = tuple(id for fold in folds for id in fold.ids)
    objects = None if first.objects is None else torch.cat([fold.objects for fold in folds if fold.objects is not None])
    return Measured(
        "out of fold",
        ids,
        first.classes,
        first.threshold,
        measures,
        first.has_background,
        first.optional,
        objects,
    )


def fold_scores(fold: Measured, primary: Primary) -> dict[str, float]:
    """Return the main scores of a fold and those that are optional, the leading one first."""
    shown = dict.fromkeys((primary, *map(read_primary, (*fold.optional, *MAIN_OF_FOLDS))))
    return {score.name: round(value_of(fold, score), 6) for score in shown}
