"""The scores that a run logs, as classes of torchmetrics.

The policy for empty masks is that of `unetkit.metrics.counts`: 1 if both masks are empty, 0 if only one is. Invalid
pixels (`VOID`) are ignored, and so are images without a valid pixel.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from unetkit.metrics.counts import Counts, confusion, dice, iou, kaggle_score, ratio, scored_classes
from unetkit.metrics.labels import LabelScore


class Score(Metric):
    """The mean over images of a score of each image, which is the mean over classes.

    The result does not depend on the batch size or on the number of processes.

    Args:
        num_classes: Channels of the network's logits; 1 and 2 both mean one foreground class.
        classes: Indices of the classes that are scored; None for all without the background, class 0.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    total: Tensor
    images: Tensor

    def __init__(self, num_classes: int = 1, classes: Sequence[int] | None = None) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.classes = scored_classes(num_classes) if classes is None else list(classes)
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    @abstractmethod
    def score(self, counts: Counts) -> Tensor:
        """Compute the score (B, K), in [0, 1], of counts (B, K)."""

    def update(self, prediction: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add predicted and true class indices (B, H, W), where `valid` (B, H, W)."""
        counts = valid.flatten(1).any(1)
        score = self.score(confusion(prediction, target, valid, self.num_classes, self.classes)).mean(1)
        self.total += torch.where(counts, score, 0).sum()  # an index of booleans would wait for the device
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


class CountScore(Score):
    """Any score of each image that is a formula of counts.

    Args:
        formula: Maps counts (B, K) to scores (B, K), as those of `unetkit.metrics.counts` do.
        num_classes: See `Score`.
        classes: See `Score`.
    """

    def __init__(
        self, formula: Callable[[Counts], Tensor], num_classes: int = 1, classes: Sequence[int] | None = None
    ) -> None:
        super().__init__(num_classes, classes)
        self.formula = formula

    def score(self, counts: Counts) -> Tensor:
        """See the formula."""
        return self.formula(counts)


class MaskScore(Score):
    """Any score of each image that is a formula of masks, as those of `unetkit.metrics.boundaries` and `partitions`.

    Args:
        formula: Maps prediction, truth and valid pixels of one class, booleans (H, W), to a number.
        num_classes: See `Score`.
        classes: See `Score`.
    """

    def __init__(
        self,
        formula: Callable[..., float],
        num_classes: int = 1,
        classes: Sequence[int] | None = None,
    ) -> None:
        super().__init__(num_classes, classes)
        self.formula = formula

    def score(self, counts: Counts) -> Tensor:
        """Raise an error, as counts do not say where pixels are."""
        raise NotImplementedError

    def update(
        self,
        prediction: Tensor,
        target: Tensor,
        valid: Tensor,
        spacings: Sequence[Sequence[float] | None] | None = None,
    ) -> None:
        """Add predicted and true class indices (B, H, W), where `valid` (B, H, W).

        Volumes (B, D, H, W) come with the distance of their voxels along each axis, in mm, where that is known.
        """
        arrays = (x.cpu().numpy() for x in (prediction, target, valid))
        for mask, truth, counted, spacing in zip(*arrays, spacings or [None] * len(target), strict=True):
            if counted.any():
                of_volume = {} if spacing is None else {"spacing": spacing}
                scores = [self.formula(mask == k, truth == k, counted, **of_volume) for k in self.classes]
                self.total += float(np.mean(scores))
                self.images += 1


class PooledIoU(Metric):
    """Intersection over union of the pixels of all images together; the mean over classes.

    Args:
        num_classes: Channels of the network's logits; 1 and 2 both mean one foreground class.
        classes: Indices of the classes that are scored; None for all without the background, class 0.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    counts: Tensor

    def __init__(self, num_classes: int = 1, classes: Sequence[int] | None = None) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.classes = scored_classes(num_classes) if classes is None else list(classes)
        self.add_state("counts", torch.zeros(4, len(self.classes), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add predicted and true class indices (B, H, W), where `valid` (B, H, W)."""
        self.counts += torch.stack(confusion(prediction, target, valid, self.num_classes, self.classes)).sum(1)

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
        size = self.num_classes
        pairs = torch.where(valid, target.long() * size + prediction, size * size).flatten()
        counts = pairs.new_zeros(size * size + 1).scatter_add_(0, pairs, torch.ones_like(pairs))
        matrix = counts[:-1].view(size, size)  # truth in rows
        overlap = matrix.diagonal()
        self.overlap += overlap
        self.union += matrix.sum(0) + matrix.sum(1) - overlap

    def compute(self) -> Tensor:
        """Compute the score of each class (num_classes,), in [0, 1]; 1 if no pixel is true or predicted."""
        return ratio(self.overlap, self.union)


class MeanLoss(Metric):
    """The mean loss of images, of batches that may differ in size; NaN if one of them is.

    torchmetrics 1.9's MeanMetric leaves out the weights where it lets NaN pass (`nan_strategy="disable"`).
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    total: Tensor
    images: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, loss: Tensor, valid: Tensor) -> None:
        """Add the mean loss of a batch, a scalar, whose images without a pixel in `valid` (B, H, W) do not count."""
        images = valid.flatten(1).any(1).sum()
        self.total += loss * images
        self.images += images

    def compute(self) -> Tensor:
        """Compute the mean; NaN without images."""
        return self.total / self.images


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
        self.predicted += torch.count_nonzero((prediction > 0) & valid)  # a sum takes 8 bytes for each pixel
        self.pixels += torch.count_nonzero(valid)

    def compute(self) -> Tensor:
        """Compute the share, in [0, 1]."""
        return self.predicted / self.pixels


def segmentation_metrics(
    num_classes: int, classes: Sequence[int] | None = None, *, is_multilabel: bool = False
) -> MetricCollection:
    """Return the scores of a run by name: pooled and per-image IoU, Dice, Kaggle's score, and the predicted share.

    Args:
        num_classes: Channels of the network's logits; 1 and 2 both mean one foreground class.
        classes: Indices of the classes that are scored; None for all without the background, class 0.
        is_multilabel: Whether masks hold labels as bits, so that each score is the mean of those of the labels.
    """
    kinds: dict[str, Callable[..., Metric]] = {
        "iou": PooledIoU,
        "iou_per_image": ImageIoU,
        "dice": Dice,
        "kaggle": KaggleScore,
    }
    scores: dict[str, Metric | MetricCollection] = {}
    for name, kind in kinds.items():
        scores[name] = LabelScore(kind, range(num_classes)) if is_multilabel else kind(num_classes, classes)
    return MetricCollection(scores | {"predicted_share": PredictedShare()}, compute_groups=False)
