"""From what was counted to scores: of each image, over all, of each class, and of resampled images."""

from collections.abc import Callable

from torch import Tensor

from unetkit.evaluation.measure import Measured
from unetkit.metrics import (
    Counts,
    accuracy,
    average_precision,
    calibration_error,
    dice,
    iou,
    kaggle_score,
    matthews,
    pixel_accuracy,
    precision,
    recall,
    specificity,
)

Statistic = Callable[[Tensor], Tensor]
"""A score (R,) of R samples in which each of N images occurs as often as (R, N) float64 says."""

FORMULAS: dict[str, Callable[[Counts], Tensor]] = {
    "iou": iou,
    "dice": dice,
    "precision": precision,
    "recall": recall,
    "specificity": specificity,
    "accuracy": accuracy,
    "mcc": matthews,
}
LOWER_IS_BETTER = {"hausdorff95", "ece"}


def per_image(measured: Measured) -> dict[str, Tensor]:
    """Scores (N, K) of each image and class, by name."""
    counts = Counts.of_matrix(measured.measures.confusion)
    return {
        **{name: formula(counts).double() for name, formula in FORMULAS.items()},
        "kaggle": kaggle_score(counts).double(),
        "boundary_iou": measured.measures.boundary_iou,
        "hausdorff95": measured.measures.hausdorff95,
    }


def statistics(measured: Measured, label: int | None = None) -> dict[str, Statistic]:
    """All scores of a model by name: `per_image/...`, the mean over images, and `pooled/...`, of all pixels together.

    Args:
        measured: The model.
        label: Index of a class in `measured.classes`; None for the mean over them, but for accuracy and calibration
            (`pooled/ece`), which then are those of all classes, the background included.
    """
    every = slice(None) if label is None else slice(label, label + 1)
    # Floating once, not in each block of resamples: sums of whole numbers stay exact below 2**53.
    confusion, curves = measured.measures.confusion.double(), measured.measures.curves[:, every].double()
    found: dict[str, Statistic] = {}
    for name, scores in per_image(measured).items():
        found[f"per_image/{name}"] = mean_over_images(scores[:, every].mean(1))
    for name, formula in FORMULAS.items():
        found[f"pooled/{name}"] = _pooled(confusion, formula, every)
    found["pooled/average_precision"] = lambda weights: average_precision(_sums(weights, curves)).nanmean(1)
    if label is None:
        calibration = measured.measures.calibration
        found["per_image/accuracy"] = mean_over_images(pixel_accuracy(confusion).double())
        found["pooled/accuracy"] = lambda weights: pixel_accuracy(_sums(weights, confusion))
        found["pooled/ece"] = lambda weights: calibration_error(_sums(weights, calibration))
    return found


def mean_over_images(scores: Tensor) -> Statistic:
    """The mean of scores (N,) of images."""
    return lambda weights: (weights @ scores) / weights.sum(1)


def _pooled(confusion: Tensor, formula: Callable[[Counts], Tensor], every: slice) -> Statistic:
    return lambda weights: formula(Counts.of_matrix(_sums(weights, confusion)))[:, every].mean(1)


def _sums(weights: Tensor, values: Tensor) -> Tensor:
    """Sums (R, ...) of values (N, ...) over the images, each counted as often as (R, N) says."""
    return (weights @ values.flatten(1)).view(-1, *values.shape[1:])
