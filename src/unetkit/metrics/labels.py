"""Scores of multi-label masks: those of binary masks, of each label."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.wrappers.abstract import WrapperMetric

from unetkit.metrics.counts import Counts, confusion


def label_confusion(prediction: Tensor, target: Tensor, valid: Tensor, labels: int) -> Counts:
    """Count pixels of each label, (B, K), of labels (B, H, W) as bits where `valid`."""
    each = [confusion(prediction >> k & 1, target >> k & 1, valid, 1) for k in range(labels)]
    return Counts(*(torch.cat(columns, 1) for columns in zip(*each, strict=True)))


class LabelScore(WrapperMetric):
    """A score of binary masks, computed for each label.

    Args:
        make: Makes the score of a binary mask.
        labels: The labels that are scored; label k is bit k of a mask.
        as_mean: Whether the result is the mean over the labels, and not a value of each.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    def __init__(self, make: Callable[[], Metric], labels: Sequence[int], *, as_mean: bool = True) -> None:
        super().__init__()
        self.labels = list(labels)
        self.as_mean = as_mean
        self.each = nn.ModuleList(make() for _ in self.labels)

    def update(self, prediction: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add predicted and true labels (B, H, W) as bits, where `valid` (B, H, W)."""
        for label, metric in zip(self.labels, self._metrics(), strict=True):
            metric.update(prediction >> label & 1, target >> label & 1, valid)

    def compute(self) -> Tensor:
        """Compute the mean, or the score (L,) of each label."""
        values = torch.stack([metric.compute() for metric in self._metrics()])
        return values.mean() if self.as_mean else values

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Raise an error, as the scores of a single batch are of no use."""
        raise NotImplementedError

    def reset(self) -> None:
        """Forget what was added."""
        super().reset()
        for metric in self._metrics():
            metric.reset()

    def _metrics(self) -> list[Metric]:
        return [metric for metric in self.each if isinstance(metric, Metric)]
