"""One model on many images: all that is counted of each, from which every score and curve follows."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unetkit.data import VOID
from unetkit.errors import UserError
from unetkit.metrics import boundary_iou, calibration_counts, confusion_matrix, curve_counts, hausdorff95
from unetkit.prediction.predictor import Prediction, Predictor


class Measures(NamedTuple):
    """What is counted of images, stacked along a first axis N; C classes (at least 2), K = C - 1 without background.

    Attributes:
        confusion: Pixels (N, C, C) by true (rows) and predicted class.
        boundary_iou: (N, K).
        hausdorff95: Pixels (N, K).
        curves: See `unetkit.metrics.curve_counts`, (N, K, T + 1, 2).
        calibration: See `unetkit.metrics.calibration_counts`, (N, bins, 3).
    """

    confusion: Tensor
    boundary_iou: Tensor
    hausdorff95: Tensor
    curves: Tensor
    calibration: Tensor


@dataclass(frozen=True)
class Measured:
    """A model on images.

    Attributes:
        name: Of the model.
        ids: Of the N images that have pixels that count.
        classes: Names of the K classes without the background.
        threshold: Probability above which a pixel is foreground.
        measures: Of these images.
    """

    name: str
    ids: tuple[str, ...]
    classes: tuple[str, ...]
    threshold: float
    measures: Measures

    @property
    def coverage(self) -> NDArray[np.float64]:
        """Share (N,) of the pixels that count which are not background."""
        pixels = self.measures.confusion.sum(2).double()
        return np.asarray(1 - pixels[:, 0] / pixels.sum(1))


def measure(
    name: str,
    predictor: Predictor,
    images: Iterable[tuple[str, NDArray[Any], NDArray[np.uint8]]],
    classes: tuple[str, ...],
) -> Measured:
    """Predict images and count.

    Args:
        name: Of the model.
        predictor: The model.
        images: Name, image as read, and true class indices (H, W) with `VOID` where nothing counts. An image that
            is void throughout is left out.
        classes: Names of the classes without the background.

    Raises:
        UserError: If an image is not of the kind that the model was trained on, none is left, or NaN is predicted.
    """
    ids, rows = [], []
    for id, image, truth in images:
        prediction = predictor.predict_prepared(predictor.preprocessing.to_uint8(image, id))
        if not np.isfinite(prediction.probability).all():
            raise UserError(
                f"{name} predicts no numbers (NaN) of {id}: its training diverged; remove its run, and train it anew "
                "with a lower optimizer.lr"
            )
        if (truth != VOID).any():
            ids.append(id)
            rows.append(measure_image(prediction, truth, len(classes) + 1))
    if not rows:
        raise UserError("no image has a pixel that counts: all masks are void")
    measures = Measures(*(torch.stack(column) for column in zip(*rows, strict=True)))
    return Measured(name, tuple(ids), classes, predictor.threshold, measures)


def measure_image(prediction: Prediction, truth: NDArray[np.uint8], num_classes: int) -> Measures:
    """What is counted of one image, without the axis N.

    Args:
        prediction: Of the image.
        truth: Class indices (H, W), or `VOID`.
        num_classes: C, the background included.
    """
    valid = truth != VOID
    # A copy of the truth: it may be a read-only map of a file.
    mask, target, counts = (torch.from_numpy(x) for x in (prediction.mask, truth.copy(), valid))
    probability = torch.from_numpy(prediction.probability)
    if probability.ndim == 2:
        foreground, confidence, hit = probability[None], probability, target == 1
    else:
        foreground, confidence, hit = probability[1:], probability.amax(0), target == mask
    labels = range(1, num_classes)
    outlines = [(prediction.mask == label, truth == label, valid) for label in labels]
    return Measures(
        confusion_matrix(mask, target, counts, num_classes),
        torch.tensor([boundary_iou(*masks) for masks in outlines], dtype=torch.float64),
        torch.tensor([hausdorff95(*masks) for masks in outlines], dtype=torch.float64),
        torch.stack([curve_counts(p, target == k, counts) for k, p in zip(labels, foreground, strict=True)]),
        calibration_counts(confidence[counts], hit[counts]),
    )
