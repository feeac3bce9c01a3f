"""Run one model on many images and count all that scores and curves follow from."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unetkit.data import VOID
from unetkit.data.types import of_label
from unetkit.data.volumes import Volume
from unetkit.errors import UserError
from unetkit.evaluation.registry import ScoreEntry, scores_with
from unetkit.metrics import Counts, calibration_counts, confusion_matrix, curve_counts, ranking_sample
from unetkit.metrics.objects import object_counts
from unetkit.prediction.objects import split_objects
from unetkit.prediction.predictor import Prediction, Predictor

MASK_THRESHOLDS = tuple(twentieths / 20 for twentieths in range(2, 19))  # at which a score of masks is computed


class Measures(NamedTuple):
    """What is counted of N images with C classes (at least 2), of which K are scored: all but a background.

    Attributes:
        confusion: Pixels (N, C, C) int64 by true class (rows) and predicted class; of multi-label masks (N, K, 2, 2),
            without and with each label.
        of_masks: The scores (N, K, S) float64 whose source is `masks`, in the order of `Measured.scores`.
        curves: Histograms (N, K, T + 1, 2) int64, see `unetkit.metrics.curve_counts`.
        ranking: Probabilities (N, K, 2, SAMPLE) float32 that stand for the order of the pixels, see
            `unetkit.metrics.ranking_sample`.
        calibration: Sums (N, bins, 3) float64, see `unetkit.metrics.calibration_counts`.
    """

    confusion: Tensor
    of_masks: Tensor
    curves: Tensor
    ranking: Tensor
    calibration: Tensor


@dataclass(frozen=True)
class Measured:
    """A model on images.

    Attributes:
        name: Name of the model.
        ids: Names of the N images that are not void throughout.
        classes: Names of the K scored classes: all, or all without the background.
        threshold: Probability above which a pixel is foreground.
        measures: Counts of these images.
        has_background: Whether class 0 is background, and not scored.
        optional: Names of the optional scores that were computed.
        objects: Objects (N, 10, 3) that were found, invented and missed, see `unetkit.metrics.object_counts`; None
            where the masks do not number objects.
        by_threshold: A score of masks (N, T) at each of `MASK_THRESHOLDS`, see `measure`; None if none was asked for.
    """

    name: str
    ids: tuple[str, ...]
    classes: tuple[str, ...]
    threshold: float
    measures: Measures
    has_background: bool = True
    optional: tuple[str, ...] = ()
    objects: Tensor | None = None
    by_threshold: Tensor | None = None

    @property
    def scores(self) -> tuple[ScoreEntry, ...]:
        """The scores that it has."""
        return scores_with(self.optional)

    def counts(self) -> Counts:
        """Return the counts (N, K) of each image and scored class."""
        return self.counts_of(self.measures.confusion)

    def counts_of(self, confusion: Tensor) -> Counts:
        """Return the counts (..., K) of confusion matrices, which may be sums of several images."""
        if self.is_multilabel:
            return Counts(*(column.squeeze(-1) for column in Counts.of_matrix(confusion)))
        return Counts.of_matrix(confusion, int(self.has_background))

    @property
    def is_multilabel(self) -> bool:
        """Whether the classes are labels that may overlap."""
        return self.measures.confusion.ndim == 4

    @property
    def pixels(self) -> Tensor:
        """The number (N,) of valid pixels of each image."""
        matrix = self.measures.confusion
        return (matrix[:, 0] if self.is_multilabel else matrix).sum((1, 2))

    @property
    def coverage(self) -> NDArray[np.float64]:
        """Share (N,) of the valid pixels of each image that are not of class 0; of labels the mean of their shares."""
        return self._shares(2)

    @property
    def predicted_share(self) -> NDArray[np.float64]:
        """The same share of the predicted masks."""
        return self._shares(1)

    def _shares(self, axis: int) -> NDArray[np.float64]:
        """Return the shares of true masks, for the axis 2 of the matrices, or of predicted ones, for 1."""
        matrix = self.measures.confusion
        if self.is_multilabel:
            background = matrix.sum(axis + 1)[..., 0].double().mean(1)
        else:
            background = matrix.sum(axis)[:, 0].double()
        return np.asarray(1 - background / self.pixels)


def measure(
    name: str,
    predictor: Predictor,
    images: Iterable[tuple[str, NDArray[Any] | Volume, NDArray[np.uint8]]],
    classes: tuple[str, ...],
    has_background: bool = True,
    optional: tuple[str, ...] = (),
    objects_of: Callable[[str], NDArray[np.int32]] | None = None,
    at_thresholds: ScoreEntry | None = None,
) -> Measured:
    """Predict images and count.

    Args:
        name: Name of the model.
        predictor: The model.
        images: Name, image as read from its file, and true class indices (H, W), `VOID` where nothing is scored; or a
            volume. An image that is void throughout is left out.
        classes: Names of the classes that are scored.
        has_background: Whether class 0 is background, and not among them.
        optional: Names of the optional scores to compute, see `unetkit.evaluation.registry`.
        objects_of: Gives the numbers of the objects (H, W) of the image of a name; None if there are none.
        at_thresholds: A score whose source is `masks`, to compute at each of `MASK_THRESHOLDS` as well, where these are
            images with one foreground class; None for none.

    Raises:
        UserError: If an image is not of the kind that the model was trained on, none is left, or NaN is predicted.
    """
    ids, rows = [], []
    objects: list[Tensor] = []
    by_threshold: list[Tensor] = []
    for id, image, truth in images:
        if isinstance(image, Volume):
            predict, spacing = partial(predictor.predict_volume, image.values, image.spacing, id), image.spacing
        else:
            pixels = predictor.preprocessing.to_uint8(image, id)
            predict, spacing = partial(predictor.predict_prepared, pixels), None
        try:
            prediction = predict()
        except UserError as error:  # NaN
            raise error.about(f"{name}, given {id},") from error
        if (truth != VOID).any():
            ids.append(id)
            if objects_of is not None:
                objects.append(object_counts(split_objects(prediction.mask), objects_of(id)))
            if at_thresholds is not None and has_background and prediction.is_binary and truth.ndim == 2:
                by_threshold.append(scores_at_thresholds(prediction.probability, truth, at_thresholds))
            if predictor.is_multilabel:
                rows.append(measure_labels(prediction, truth, len(classes), optional))
            else:
                first = int(has_background)
                rows.append(measure_image(prediction, truth, len(classes) + first, first, optional, spacing))
    if not rows:
        raise UserError("no image", "has a pixel to score: all masks are void")
    measures = Measures(*(torch.stack(column) for column in zip(*rows, strict=True)))
    found = torch.stack(objects) if objects else None
    optional = tuple(dict.fromkeys((*optional, "ap"))) if objects else optional
    swept = torch.stack(by_threshold) if by_threshold else None
    return Measured(name, tuple(ids), classes, predictor.threshold, measures, has_background, optional, found, swept)


def scores_at_thresholds(probability: NDArray[np.float32], truth: NDArray[np.uint8], entry: ScoreEntry) -> Tensor:
    """Return a score (T,) float64 of the masks of one image at `MASK_THRESHOLDS`.

    Args:
        probability: Probability (H, W) of the foreground.
        truth: Class indices (H, W), or `VOID`.
        entry: The score, whose source is `masks`.
    """
    valid, target = truth != VOID, truth == 1
    scores = [entry.of_masks(probability > threshold, target, valid) for threshold in MASK_THRESHOLDS]
    return torch.tensor(scores, dtype=torch.float64)


def measure_labels(
    prediction: Prediction, truth: NDArray[np.uint8], labels: int, optional: tuple[str, ...] = ()
) -> Measures:
    """Count one image with a multi-label mask, as if each label were an image with a binary mask.

    Args:
        prediction: Prediction for the image.
        truth: The sum of 2^k over the labels k of each pixel (H, W), or `VOID`.
        labels: Number of labels.
        optional: See `measure`.
    """
    of_labels = []
    for label in range(labels):
        of_one = Prediction(prediction.probability[label], of_label(prediction.mask, label))
        of_labels.append(measure_image(of_one, of_label(truth, label), 2, optional=optional))
    confusion, of_masks, curves, ranking, calibration = zip(*of_labels, strict=True)
    return Measures(
        torch.stack(confusion),
        torch.cat(of_masks),
        torch.cat(curves),
        torch.cat(ranking),
        torch.stack(calibration).sum(0),
    )


def measure_image(
    prediction: Prediction,
    truth: NDArray[np.uint8],
    num_classes: int,
    first: int = 1,
    optional: tuple[str, ...] = (),
    spacing: Sequence[float] | None = None,
) -> Measures:
    """Count one image or volume; the results lack the axis N.

    Args:
        prediction: Prediction for the image.
        truth: Class indices (H, W), or `VOID`.
        num_classes: C, the background included.
        first: Index of the first class that is scored.
        optional: Names of the optional scores to compute.
        spacing: Distance of neighbouring voxels of a volume along (D, H, W), in mm; None if it is not known.
    """
    valid = truth != VOID
    # The truth is copied, as it may be a read-only map of a file, which torch warns about.
    mask, target, counts = (torch.from_numpy(x) for x in (prediction.mask, truth.copy(), valid))
    probability = torch.from_numpy(prediction.probability)
    if prediction.is_binary:
        of_classes, confidence, hit = torch.stack([1 - probability, probability]), probability, target == 1
    else:
        of_classes, confidence, hit = probability, probability.amax(0), target == mask
    labels = range(first, num_classes)
    entries = [score for score in scores_with(optional) if score.source == "masks"]
    pairs = [(prediction.mask == label, truth == label) for label in labels]
    of_masks = [[entry.of_masks(*pair, valid, spacing) for entry in entries] for pair in pairs]
    classes = [(p, target == k, counts) for k, p in zip(labels, of_classes[first:], strict=True)]
    return Measures(
        confusion_matrix(mask, target, counts, num_classes),
        torch.tensor(of_masks, dtype=torch.float64),
        torch.stack([curve_counts(*of_class) for of_class in classes]),
        torch.stack([ranking_sample(*of_class) for of_class in classes]),
        calibration_counts(confidence[counts], hit[counts]),
    )
