"""Choose the threshold and the least area of a mask on images that the networks were not trained on."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unetkit.evaluation import Measured, Measures
from unetkit.evaluation.measure import MASK_THRESHOLDS
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


def is_fitted_to(primary: Primary, folds: Sequence[Measured]) -> bool:
    """Return whether post-processing can be fitted to a score: not to one of objects, nor to whole masks of volumes."""
    return primary.entry.source == "counts" or all(fold.by_threshold is not None for fold in folds)


def choose(folds: Sequence[Measured], primary: Primary) -> tuple[PostProcessing, dict[str, Any]]:
    """Return the post-processing that is best on all folds, if a gain is shown; else that of training.

    A gain is shown if the score rises when each fold uses the values chosen on the other folds.

    Args:
        folds: Images of the folds, of one foreground class.
        primary: The leading score (`is_fitted_to`).

    Returns:
        What to use, and the same with what was found, for the summary.
    """
    if primary.entry.source == "counts":
        plain_score = mean_score([Counts.of_matrix(fold.measures.confusion, -1) for fold in folds], primary).item()
    else:
        plain_score = value_of(together(folds), primary)
    fitted = fit(folds, primary)
    by_others = [fit([*folds[:i], *folds[i + 1 :]], primary) for i in range(len(folds))] if len(folds) > 1 else []
    estimate = score_with(by_others, folds, primary) if by_others else None
    sign = -1 if primary.entry.lower_is_better else 1
    gains = estimate is not None and sign * estimate > sign * round(plain_score, 6)
    used = fitted if gains else PostProcessing(folds[0].threshold, 0)
    others = [
        choice._asdict() | {"score": score_with([choice], [fold], primary)}
        for choice, fold in zip(by_others, folds, strict=False)  # of a single fold there is none
    ]
    found = {"score": primary.name, "fitted": fitted._asdict(), "score_of_others_choice": estimate}
    return used, used._asdict() | found | {"others_choice": others}


def fit(folds: Sequence[Measured], primary: Primary) -> PostProcessing:
    """Return the threshold and least area with the best score on these images.

    Thresholds are hundredths; for a score of whole masks twentieths, with a least area of 0. Among equal ones it takes
    the smallest area, then the threshold nearest to 0.5.
    """
    thresholds, areas = settings(primary)
    scores = torch.stack([mean_score([grid(fold, area, primary) for fold in folds], primary) for area in areas])
    if primary.entry.lower_is_better:
        scores = -scores
    best = int((scores.double() - 1e-6 * (thresholds - 0.5).abs()).argmax())
    return PostProcessing(round(thresholds[best % len(thresholds)].item(), 2), areas[best // len(thresholds)])


def score_with(choices: Sequence[PostProcessing], folds: Sequence[Measured], primary: Primary) -> float:
    """Return the score of all images if each fold uses its own choice."""
    chosen = []
    for (threshold, area), fold in zip(choices, folds, strict=True):
        column = int((settings(primary)[0] - threshold).abs().argmin())
        chosen.append([part[:, column : column + 1] for part in grid(fold, area, primary)])
    return round(mean_score(chosen, primary).item(), 6)


def settings(primary: Primary) -> tuple[Tensor, Sequence[int]]:
    """Return the thresholds (T,) and the least areas that are tried for a score."""
    is_of_counts = primary.entry.source == "counts"
    return (CANDIDATES, AREAS) if is_of_counts else (torch.tensor(MASK_THRESHOLDS, dtype=torch.float64), (0,))


def grid(fold: Measured, min_area: int, primary: Primary) -> Sequence[Tensor]:
    """Return what the score follows from at each threshold, (N, T) of each image.

    For a score of whole masks it is the score; for others these are the columns of `Counts`, where masks below the
    least area are empty.
    """
    if primary.entry.source == "masks":
        assert fold.by_threshold is not None  # narrows the type for mypy: see `is_fitted_to`
        return [fold.by_threshold]
    counts = threshold_counts(fold.measures.curves[:, -1])
    tp, fp, fn, tn = (column[:, IS_CANDIDATE] for column in counts)
    keeps = tp + fp >= min_area
    return Counts(tp * keeps, fp * keeps, fn + tp * ~keeps, tn + fp * ~keeps)


def mean_score(folds: Sequence[Sequence[Tensor]], primary: Primary) -> Tensor:
    """Return the score (T,) of all images of the folds, see `grid`: their mean, or that of all pixels."""
    images = [torch.cat(columns) for columns in zip(*folds, strict=True)]
    if primary.entry.source == "masks":
        return images[0].mean(0)
    is_pooled = primary.key.startswith(POOLED)
    counts = Counts(*(column.sum(0, keepdim=True) for column in images)) if is_pooled else Counts(*images)
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
