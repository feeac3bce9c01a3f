"""Compute scores from what was counted: of each image, of all together, of each class, and of resampled images."""

from collections.abc import Callable

import torch
from torch import Tensor

from unetkit.evaluation.measure import Measured
from unetkit.evaluation.registry import PER_IMAGE, POOLED
from unetkit.metrics import Counts, ranking_counts

Statistic = Callable[[Tensor], Tensor]
"""A score (R,) of R samples in which each of N images occurs as often as (R, N) float64 says."""


def per_image(measured: Measured) -> dict[str, Tensor]:
    """Compute the scores (N, K) float64 of each image and class, by name."""
    counts = measured.counts()
    of_masks = iter(measured.measures.of_masks.unbind(2))
    found: dict[str, Tensor] = {}
    for score in measured.scores:
        if score.source == "counts":
            found[score.name] = score.formula(counts).double()
        elif score.source == "masks":
            found[score.name] = next(of_masks)
        elif score.source == "objects":  # of no class, so the same for each
            assert measured.objects is not None  # narrows the type for mypy
            found[score.name] = score.formula(measured.objects).double()[:, None].expand(-1, len(measured.classes))
    return found


def statistics(measured: Measured, label: int | None = None) -> dict[str, Statistic]:
    """Compute all scores of a model by key: `per_image/NAME`, means over images, and `pooled/NAME`, of all pixels.

    Args:
        measured: The model.
        label: Index of a class in `measured.classes`. None for the mean over them; scores of all classes together,
            the background included, are given for None only.
    """
    columns = slice(None) if label is None else slice(label, label + 1)
    # Converted once, not in each block of resamples; sums of whole numbers stay exact below 2**53.
    confusion = measured.measures.confusion.double()
    found: dict[str, Statistic] = {}
    for name, scores in per_image(measured).items():
        found[f"{PER_IMAGE}/{name}"] = mean_over_images(scores[:, columns].mean(1))
    for score in measured.scores:
        key = f"{POOLED}/{score.name}"
        if POOLED not in score.kinds:
            continue
        if score.source == "counts":
            found[key] = _of_counts(measured, confusion, score.formula, columns)
        elif score.source == "ranking":
            found[key] = _of_ranking(measured, score.formula, columns)
        elif label is None:
            found[key] = _of_sums(measured.measures.calibration, score.formula)
        if label is None and score.of_all_classes and not measured.is_multilabel:
            found[key] = _of_sums(confusion, score.of_all_classes)
            found[f"{PER_IMAGE}/{score.name}"] = mean_over_images(score.of_all_classes(confusion).double())
    return found


def mean_over_images(scores: Tensor) -> Statistic:
    """Return the statistic that is the mean of scores (N,) of images."""
    return lambda weights: (weights @ scores) / weights.sum(1)


def _of_counts(measured: Measured, confusion: Tensor, formula: Callable[[Counts], Tensor], columns: slice) -> Statistic:
    return lambda weights: formula(measured.counts_of(_sums(weights, confusion)))[:, columns].mean(1)


def _of_ranking(measured: Measured, formula: Callable[[Tensor], Tensor], columns: slice) -> Statistic:
    sizes = measured.measures.curves[:, columns].sum(-2)
    counts = ranking_counts(measured.measures.ranking[:, columns], sizes)

    def score(weights: Tensor) -> Tensor:
        classes = [formula(_sums(weights, of_class)) for of_class in counts.unbind(1)]  # one at a time, for memory
        return torch.stack(classes, 1).nanmean(1)  # it is nan for a class that no image has

    return score


def _of_sums(values: Tensor, formula: Callable[[Tensor], Tensor]) -> Statistic:
    return lambda weights: formula(_sums(weights, values))


def _sums(weights: Tensor, values: Tensor) -> Tensor:
    """Sum values (N, ...) over the images, each as often as weights (R, N) say; the sums are (R, ...)."""
    return (weights @ values.flatten(1)).view(-1, *values.shape[1:])
