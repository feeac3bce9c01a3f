"""Choose single images to show, and draw their errors in patterns, so that nobody has to tell colours apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from unetkit.data import VOID
from unetkit.data.volumes import Volume
from unetkit.evaluation import LabelledImages, Measured, Model, per_image
from unetkit.plots.images import Image, heatmap, overlay, visible
from unetkit.plots.orthogonal import Place, flat_mask, flat_probability, place_of, three_slices
from unetkit.plots.ranking import three_groups
from unetkit.plots.shrink import shrink
from unetkit.prediction.predictor import Prediction, Predictor

SIDE = 320  # pixels of the longer side of a picture, at most
EACH = 3  # images of a group
# Right, false and missed differ in colour (Okabe & Ito 2008), in lightness and in pattern: plain, stripes, dots.
RIGHT, FALSE, MISSED = (np.array(rgb, np.float32) for rgb in ((86, 180, 233), (213, 94, 0), (240, 228, 66)))


@dataclass(frozen=True)
class Case:
    """An image to show.

    Attributes:
        group: Why it is shown, as in `worst`.
        caption: Its name and scores.
        pictures: Its pictures with their captions.
    """

    group: str
    caption: str
    pictures: list[tuple[str, Image]]


def choose(models: Sequence[Measured]) -> list[tuple[str, int]]:
    """Choose the images to show, as pairs of group and index.

    The groups are: the worst, median and best by the first model's IoU, of the images with foreground; of the images
    without, those where it marks most pixels; for several models, the images on which their IoUs differ most.
    """
    scores = np.stack([per_image(model)["iou"].mean(1).numpy() for model in models])
    filled = np.flatnonzero((models[0].coverage > 0) | (not models[0].has_background))
    worst, median, best = three_groups(filled[np.argsort(scores[0][filled], kind="stable")].tolist(), EACH)
    empty = (models[0].coverage == 0) & models[0].has_background
    marked = (models[0].predicted_share * models[0].pixels.numpy()).round() * empty
    groups = {
        "worst": worst,
        "median": median,
        "best": best[::-1],
        "empty, but marked": _largest(marked),
        "most different": _largest(np.ptp(scores, axis=0)),
    }
    return [(group, int(item)) for group, items in groups.items() for item in items]


def _largest(values: NDArray[Any]) -> NDArray[np.int64]:
    """Return the indices of at most `EACH` largest values above 0."""
    order = np.argsort(-values, kind="stable")[:EACH]
    return order[values[order] > 0]


def draw(
    chosen: Sequence[tuple[str, int]], models: Sequence[Model], measured: Sequence[Measured], images: LabelledImages
) -> list[Case]:
    """Predict the chosen images again and draw the image, the truth, and each model's errors and probability."""
    places = {id: place for place, id in enumerate(images.ids)}
    scores = [per_image(model)["iou"].mean(1) for model in measured]
    cases = []
    for group, item in chosen:
        id, image, truth = images[places[measured[0].ids[item]]]
        shown: list[tuple[str, Image]] = []
        place = place_of(truth, image.spacing) if isinstance(image, Volume) else None
        truth = flat_mask(truth, place)
        for model in models:
            prepared = model.predictor.preprocessing.to_uint8(_flat(image, place), id)
            if not shown:
                shown = [
                    ("image", shrink(visible(prepared), SIDE)),
                    ("truth", shrink(_overlay(prepared, truth, images), SIDE)),
                ]
            prediction = _predict(model.predictor, image, prepared, place)
            shown += _predicted(prepared, truth, prediction, f"{model.name}: " if len(models) > 1 else "", images)
        ious = ", ".join(
            f"{'IoU' if len(models) == 1 else model.name} {score[item]:.3f}"
            for model, score in zip(models, scores, strict=True)
        )
        cases.append(Case(group, f"{id}: {ious}", shown))
    return cases


def _flat(image: NDArray[Any] | Volume, place: Place | None) -> NDArray[Any]:
    """Return an image as it is, and three slices of a volume."""
    return three_slices(image.values, place) if isinstance(image, Volume) and place else image  # type: ignore[return-value]


def _predict(predictor: Predictor, image: NDArray[Any] | Volume, prepared: Image, place: Place | None) -> Prediction:
    """Return the prediction for an image, and three slices of that for a volume."""
    if not isinstance(image, Volume):
        return predictor.predict_prepared(prepared)
    whole = predictor.predict_volume(image.values, image.spacing)
    return Prediction(flat_probability(whole.probability, place, whole.is_binary), flat_mask(whole.mask, place))


def _predicted(
    image: Image, truth: NDArray[np.uint8], prediction: Prediction, prefix: str, images: LabelledImages
) -> list[tuple[str, Image]]:
    """Draw the errors and the probability of one foreground class, or the classes and the errors of several."""
    has_background = images.has_background or images.is_multilabel
    probability, wrong = prediction.probability, errors(image, truth, prediction.mask, has_background)
    if probability.ndim == 2:
        return [(f"{prefix}errors", wrong), (f"{prefix}probability", shrink(heatmap(probability), SIDE))]
    drawn = (f"{prefix}prediction", shrink(_overlay(image, prediction.mask, images), SIDE))
    return [drawn, (f"{prefix}errors", wrong)]


def _overlay(image: Image, mask: NDArray[np.uint8], images: LabelledImages) -> Image:
    return overlay(image, mask, images.has_background, is_multilabel=images.is_multilabel)


def errors(image: Image, truth: NDArray[np.uint8], mask: NDArray[np.uint8], has_background: bool = True) -> Image:
    """Draw right pixels plain, false ones striped and missed ones dotted over the image; void stays as it is.

    A pixel of one class that is predicted as another, but not as background, is false. Without
    a background, every wrong pixel is false, and right ones stay as they are.
    """
    picture = shrink(visible(image), SIDE)
    times = max(SIDE // max(picture.shape[:2]), 1)
    picture = picture.repeat(times, 0).repeat(times, 1).astype(np.float32)
    size = picture.shape[1], picture.shape[0]
    valid = truth != VOID
    wrong = (mask != truth) & valid
    right = (mask == truth) & (truth > 0) & valid & has_background
    false, missed = wrong & ((mask > 0) | (not has_background)), wrong & (mask == 0) & has_background
    y, x = np.indices(picture.shape[:2])
    stripes, dots = (x + y) % 12 < 6, (x % 8 < 4) & (y % 8 < 4)
    for region, colour, strength in (
        (right, RIGHT, np.full(x.shape, 0.4)),
        (false, FALSE, np.where(stripes, 0.9, 0.15)),
        (missed, MISSED, np.where(dots, 0.9, 0.15)),
    ):
        inside = cv2.resize(region.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        alpha = strength[inside][:, None]
        picture[inside] = (1 - alpha) * picture[inside] + alpha * colour
    return picture.round().astype(np.uint8)
