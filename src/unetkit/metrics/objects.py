"""Scores of single objects, such as nuclei: which predicted ones are true ones."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

THRESHOLDS = np.arange(10, 20)  # of the IoU, in twentieths: 0.50, 0.55, ..., 0.95


def object_counts(predicted: NDArray[np.int32], true: NDArray[np.int32]) -> Tensor:
    """Count predicted and true objects that match, at each IoU of 0.50, 0.55, ..., 0.95.

    A predicted and a true object match where their IoU exceeds the threshold; above 0.5 each has one match at most.

    Args:
        predicted: Number of the predicted object of each pixel (H, W); 0 is background.
        true: Number of the true object of each pixel (H, W); 0 is background, -1 void. Void pixels are left out.

    Returns:
        Numbers of objects (10, 3) int64: found, invented and missed.
    """
    valid = true >= 0
    ours, p, sizes = np.unique(predicted[valid], return_inverse=True, return_counts=True)
    theirs, t, true_sizes = np.unique(true[valid], return_inverse=True, return_counts=True)
    pairs = np.bincount(p * len(theirs) + t, minlength=len(ours) * len(theirs)).reshape(len(ours), len(theirs))
    union = sizes[:, None] + true_sizes[None] - pairs
    objects = (ours > 0)[:, None] & (theirs > 0)[None]
    # In integers, since in floats an IoU of 0.55 may exceed the threshold 0.55.
    found = np.array([((20 * pairs > k * union) & objects).sum() for k in THRESHOLDS])
    return torch.from_numpy(np.stack([found, (ours > 0).sum() - found, (theirs > 0).sum() - found], 1))


def object_precision(counts: Tensor) -> Tensor:
    """Compute found / (found + invented + missed), in [0, 1], of counts (..., 3); 1 where there is no object at all.

    Kaggle, 2018 Data Science Bowl, Evaluation: the score of an image is the mean over the thresholds, that of a data
    set the mean over images. It is called average precision (AP) there.
    """
    total = counts.sum(-1)
    return torch.where(total == 0, 1.0, counts[..., 0] / total.clamp(min=1))


def object_ap(counts: Tensor) -> Tensor:
    """Compute the mean over the thresholds of `object_precision`, in [0, 1], of counts (..., 10, 3)."""
    return object_precision(counts).mean(-1)


class ObjectScore(Metric):
    """Average precision of the objects of each image; the mean over images.

    Args:
        split: Numbers the objects (H, W) of a predicted mask (H, W) of class indices.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    total: Tensor
    images: Tensor

    def __init__(self, split: Callable[[NDArray[np.uint8]], NDArray[np.int32]]) -> None:
        super().__init__()
        self.split = split
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def update(
        self, prediction: Tensor, target: Tensor, valid: Tensor, objects: Sequence[NDArray[np.int32]] = ()
    ) -> None:
        """Add predicted class indices (B, H, W), where `valid` (B, H, W); `target` is not used.

        Args:
            prediction: Predicted class indices.
            target: True ones.
            valid: Valid pixels.
            objects: Numbers of the true objects (h, w) of each image, which may lack what was added below and on the
                right; 0 is background, -1 void.
        """
        arrays = (x.cpu().numpy() for x in (prediction, valid))
        for mask, counted, numbers in zip(*arrays, objects, strict=True):
            if counted.any():
                true = np.full(mask.shape, -1, np.int32)
                true[tuple(map(slice, numbers.shape))] = numbers
                true[~counted] = -1
                self.total += object_ap(object_counts(self.split(mask), true)).to(self.total)
                self.images += 1

    def compute(self) -> Tensor:
        """Compute the mean, in [0, 1]; nan without images."""
        return self.total / self.images
