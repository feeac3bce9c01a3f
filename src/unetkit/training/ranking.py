"""The order of images by their IoU, of which pictures show the best, the median and the worst ones."""

from collections.abc import Sequence

import torch
from torch import Tensor

from unetkit.data import VOID
from unetkit.metrics import Counts, confusion, iou, label_confusion


class Ranking:
    """Collect images, and rank them by IoU, the mean over classes or labels.

    Args:
        num_classes: Channels of the network's logits.
        classes: Indices of the classes that are scored; None for all without the background, class 0.
        is_multilabel: Whether masks hold labels as bits.
    """

    def __init__(self, num_classes: int, classes: Sequence[int] | None, *, is_multilabel: bool) -> None:
        self.num_classes = num_classes
        self.classes = classes
        self.is_multilabel = is_multilabel
        self._counted: list[tuple[Tensor, Counts]] = []  # indices of images, and their pixels by class

    def clear(self) -> None:
        """Forget the images."""
        self._counted.clear()

    def add(self, index: Tensor, prediction: Tensor, target: Tensor) -> None:
        """Add images by their indices (B,), with their predicted and true masks (B, H, W)."""
        valid = target != VOID
        if self.is_multilabel:
            counts = label_confusion(prediction, target, valid, self.num_classes)
        else:
            counts = confusion(prediction, target, valid, self.num_classes, self.classes)
        self._counted.append((index, counts))

    def gather(self) -> None:
        """Collect the images of all processes; each of them must call this."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            ours = [(index.cpu(), Counts(*(count.cpu() for count in counts))) for index, counts in self._counted]
            everyone: list[list[tuple[Tensor, Counts]]] = [[]] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(everyone, ours)
            self._counted = [batch for of_one in everyone for batch in of_one]

    def best_first(self) -> list[tuple[float, int]]:
        """Return IoU and index of the images, without those that are empty in truth and prediction."""
        found = [
            (float(score), int(index))
            for indices, counts in self._counted
            for score, index, pixels in zip(
                iou(counts).mean(1), indices, (counts.tp + counts.fp + counts.fn).sum(1), strict=True
            )
            if pixels
        ]
        return sorted(found, reverse=True)
