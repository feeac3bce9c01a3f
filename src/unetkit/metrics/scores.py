"""The scores that a run logs, as classes of torchmetrics.

The policy for empty masks is that of `unetkit.metrics.counts`: 1 if both masks are empty, 0 if only one is. Invalid
pixels (`VOID`) are ignored, and so are images without a valid pixel.
"""

from abc import abstractmethod

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from unetkit.metrics.counts import Counts, confusion, dice, iou, kaggle_score, ratio


class Score(Metric):
    """The mean over images of a score of each image, which is the mean over the classes without the background.

    The result does not depend on the batch size or on the number of processes.

    Args:
        num_classes: Channels of the network's logits; 1 and 2 both mean one foreground class.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    total: Tensor
    images: Tensor

    def __init__(self, num_classes: int = 1) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    @abstractmethod
    def score(self, counts: Counts) -> Tensor:
        """Compute the score (B, K), in [0, 1], of counts (B, K)."""

    def update(self, prediction: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add predicted and true class indices (B, H, W), where `valid` (B, H, W)."""
        counts = valid.flatten(1).any(1)
        score = self.score(confusion(prediction, target, valid, self.num_classes)).mean(1)
        self.total += score[counts].sum()
        self.images += counts.sum()

    def compute(self) -> Tensor:
        """Compute the mean, in [0, 1]; nan without images."""
        return self.total / self.images


class ImageIoU(Score):
    """Intersection over union (Jaccard) of each image."""

    def score(self, counts: Counts) -> Tensor:
        """See `iou`."""
        return iou(counts)


class Dice(Score):
    """Dice (= F1) of each image."""

    def score(self, counts: Counts) -> Tensor:
        """See `dice`."""
        return dice(counts)


class KaggleScore(Score):
    """TGS Salt's score of each image."""

    def score(self, counts: Counts) -> Tensor:
        """See `kaggle_score`."""
        return kaggle_score(counts)


class PooledIoU(Metric):
    """Intersection over union of the pixels of all images together; the mean over classes without the background."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    counts: Tensor

    def __init__(self, num_classes: int = 1) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.add_state("counts", torch.zeros(4, max(num_classes - 1, 1), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add predicted and true class indices (B, H, W), where `valid` (B, H, W)."""
        self.counts += torch.stack(confusion(prediction, target, valid, self.num_classes)).sum(1)

    def compute(self) -> Tensor:
        """Compute the mean over classes, in [0, 1]."""
        return iou(Counts(*self.counts)).mean()


class ClassIoU(Metric):
    """Intersection over union of each class, with the background, of the pixels of all images together.

    With the background, since class 0 may be an ordinary class, such as Cityscapes' road.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    overlap: Tensor
    union: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        zeros = torch.zeros(num_classes, dtype=torch.int64)
        self.add_state("overlap", zeros, dist_reduce_fx="sum")
        self.add_state("union", zeros.clone(), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add predicted and true class indices (B, H, W), where `valid` (B, H, W)."""
        predicted, true = prediction[valid].long(), target[valid].long()
        both = true[predicted == true]
        overlap, *each = (labels.bincount(minlength=self.num_classes) for labels in (both, predicted, true))
        self.overlap += overlap
        self.union += sum(each) - overlap

    def compute(self) -> Tensor:
        """Compute the score of each class (num_classes,), in [0, 1]; 1 if no pixel is true or predicted."""
        return ratio(self.overlap, self.union)


class PredictedShare(Metric):
    """Share of the valid pixels that are predicted as foreground; 0 or 1 shows that training has collapsed."""

    is_differentiable = False
    full_state_update = False
    predicted: Tensor
    pixels: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("predicted", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("pixels", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add predicted class indices (B, H, W), where `valid` (B, H, W); `target` is not used."""
        self.predicted += ((prediction > 0) & valid).sum()
        self.pixels += valid.sum()

    def compute(self) -> Tensor:
        """Compute the share, in [0, 1]."""
        return self.predicted / self.pixels


def segmentation_metrics(num_classes: int) -> MetricCollection:
    """Return the scores of a run by name: pooled and per-image IoU, Dice, Kaggle's score, and the predicted share."""
    return MetricCollection(
        {
            "iou": PooledIoU(num_classes),
            "iou_per_image": ImageIoU(num_classes),
            "dice": Dice(num_classes),
            "kaggle": KaggleScore(num_classes),
            "predicted_share": PredictedShare(),
        },
        compute_groups=False,
    )
