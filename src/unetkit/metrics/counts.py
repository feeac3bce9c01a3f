"""Scores as formulas of pixel counts: of one image, of all images together, of each class.

One policy for empty masks: the score of a class is 1 if neither truth nor prediction has a pixel of it, and 0 if only
one has. Invalid pixels (`VOID`) are not counted.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

AT_ONCE = 2**22  # pixels that are counted at once, so that large images take little memory


class Counts(NamedTuple):
    """Numbers of pixels, each (..., K) for K classes.

    Attributes:
        tp: True positives: of the class, and predicted as such.
        fp: False positives: predicted as the class, but not of it.
        fn: False negatives: of the class, but not predicted as such.
        tn: True negatives: neither of the class nor predicted as such.
    """

    tp: Tensor
    fp: Tensor
    fn: Tensor
    tn: Tensor

    @classmethod
    def of_matrix(cls, matrix: Tensor, first: int = 1) -> "Counts":
        """Make the counts of the classes from `first` on from confusion matrices (..., C, C), truth in rows."""
        right = matrix.diagonal(dim1=-2, dim2=-1)
        tp, fp, fn = (x[..., first:] for x in (right, matrix.sum(-2) - right, matrix.sum(-1) - right))
        return cls(tp, fp, fn, matrix.sum((-2, -1))[..., None] - tp - fp - fn)


def scored_classes(num_classes: int) -> list[int]:
    """Return the indices of the classes without the background; 1 and 2 classes both mean one foreground class."""
    return list(range(1, max(num_classes, 2)))


def confusion(
    prediction: Tensor, target: Tensor, valid: Tensor, num_classes: int, classes: Sequence[int] | None = None
) -> Counts:
    """Count pixels of each class, (B, K), of class indices (B, H, W) where `valid`.

    Args:
        prediction: Predicted class indices.
        target: True class indices.
        valid: Pixels that count, booleans.
        num_classes: Number of classes; 1 and 2 both mean background and one foreground class.
        classes: Indices of the K classes; None for all without the background.
    """
    if valid.shape[1:].numel() > AT_ONCE:  # a sum of booleans takes 8 bytes for each
        columns = (torch.split(x.flatten(1), AT_ONCE, dim=1) for x in (prediction, target, valid))
        parts = [confusion(p, t, v, num_classes, classes) for p, t, v in zip(*columns, strict=True)]
        return Counts(*(torch.stack(column).sum(0) for column in zip(*parts, strict=True)))
    pixels = valid.flatten(1).sum(1)
    counts = []
    for label in scored_classes(num_classes) if classes is None else classes:
        predicted, true = (prediction == label) & valid, (target == label) & valid
        tp = (predicted & true).flatten(1).sum(1)
        fp, fn = predicted.flatten(1).sum(1) - tp, true.flatten(1).sum(1) - tp
        counts.append((tp, fp, fn, pixels - tp - fp - fn))
    return Counts(*(torch.stack(column, dim=1) for column in zip(*counts, strict=True)))


def confusion_matrix(prediction: Tensor, target: Tensor, valid: Tensor, num_classes: int) -> Tensor:
    """Count pixels by true class (rows) and predicted class (columns), where `valid`; (C, C) int64, C at least 2."""
    size = max(num_classes, 2)
    matrix = torch.zeros(size * size, dtype=torch.int64, device=target.device)
    columns = (torch.split(x.flatten(), AT_ONCE) for x in (prediction, target, valid))
    for predicted, true, counts in zip(*columns, strict=True):
        pairs = true[counts].long() * size + predicted[counts].long()
        matrix += torch.bincount(pairs, minlength=size * size)
    return matrix.view(size, size)


def ratio(part: Tensor, whole: Tensor, empty: Tensor | float = 1.0) -> Tensor:
    """Compute `part` / `whole`, and `empty` where `whole` is 0."""
    return torch.where(whole == 0, empty, part / whole.clamp(min=1))


def iou(c: Counts) -> Tensor:
    """Intersection over union (Jaccard): tp / (tp + fp + fn), in [0, 1]."""
    return ratio(c.tp, c.tp + c.fp + c.fn)


def dice(c: Counts) -> Tensor:
    """Dice (= F1): 2 tp / (2 tp + fp + fn), in [0, 1]."""
    return ratio(2 * c.tp, 2 * c.tp + c.fp + c.fn)


def precision(c: Counts) -> Tensor:
    """Share of the predicted pixels that are correct: tp / (tp + fp), in [0, 1]."""
    return ratio(c.tp, c.tp + c.fp, (c.fn == 0).to(torch.get_default_dtype()))


def recall(c: Counts) -> Tensor:
    """Share of the true pixels that are found (sensitivity): tp / (tp + fn), in [0, 1]."""
    return ratio(c.tp, c.tp + c.fn, (c.fp == 0).to(torch.get_default_dtype()))


def specificity(c: Counts) -> Tensor:
    """Recall of the pixels outside the class: tn / (tn + fp), in [0, 1], with the same policy for empty masks."""
    return recall(Counts(tp=c.tn, fp=c.fn, fn=c.fp, tn=c.tp))


def accuracy(c: Counts) -> Tensor:
    """Share of all pixels that are correct: (tp + tn) / all, in [0, 1]. High for any mask if the class is rare."""
    return ratio(c.tp + c.tn, c.tp + c.fp + c.fn + c.tn)


def pixel_error(c: Counts) -> Tensor:
    """Share of all pixels that are wrong: 1 - accuracy, in [0, 1]; 0 is best."""
    return 1 - accuracy(c)


def pixel_accuracy(matrix: Tensor) -> Tensor:
    """Share (...), in [0, 1], of correct pixels in confusion matrices (..., C, C); equal to `accuracy` for C = 2."""
    return ratio(matrix.diagonal(dim1=-2, dim2=-1).sum(-1), matrix.sum((-2, -1)))


def matthews(c: Counts) -> Tensor:
    """Matthews' correlation coefficient of truth and prediction, in [-1, 1].

    If truth or prediction is constant, 1 if both are equal, else 0. Matthews 1975, *Comparison of the predicted and
    observed secondary structure of T4 phage lysozyme*.
    """
    tp, fp, fn, tn = (count.double() for count in c)
    # Four roots, since the product of the four sums overflows 64 bits.
    scale = (tp + fp).sqrt() * (tp + fn).sqrt() * (tn + fp).sqrt() * (tn + fn).sqrt()
    return ratio(tp * tn - fp * fn, scale, ((fp == 0) & (fn == 0)).double())


def kaggle_score(c: Counts) -> Tensor:
    """Kaggle's score of an image, in [0, 1]: the share of the thresholds 0.50, 0.55, ..., 0.95 that its IoU exceeds.

    Kaggle, TGS Salt Identification Challenge, Evaluation. For an empty mask, 1 if the prediction is empty, else 0.
    """
    union = c.tp + c.fp + c.fn
    # tp / union > k / 20 in integers, since in floats an IoU of 0.55 may exceed the threshold 0.55.
    exceeded = torch.stack([20 * c.tp > k * union for k in range(10, 20)]).float().mean(0)
    return torch.where(union == 0, 1.0, exceeded)
