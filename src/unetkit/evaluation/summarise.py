"""Summarise an evaluation for `summary.json`: scores with intervals, differences to the first model, empty masks."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from unetkit.evaluation.bootstrap import bootstrap, difference
from unetkit.evaluation.measure import Measured
from unetkit.evaluation.primary import Primary
from unetkit.evaluation.registry import BY_NAME, PER_IMAGE
from unetkit.evaluation.statistics import mean_over_images, per_image, statistics
from unetkit.metrics import Counts, object_precision

Summary = dict[str, Any]
SAME = 1e-9  # scores of an image that differ by less count as equal


def summarise(models: Sequence[Measured], draws: Tensor, primary: Primary | None = None) -> Summary:
    """Compute scores with 95 % intervals of each model and class, and the differences to the first model.

    Args:
        models: Models, measured on the same images.
        draws: How often each image is drawn, see `resamples`.
        primary: The score that leads; of one class, its differences are under its own key, `per_image/iou/salt`.
    """
    return {
        "images": len(models[0].ids),
        "resamples": len(draws),
        "models": {model.name: _of_model(model, draws) for model in models},
        "differences": {model.name: compare(model, models[0], draws, primary) for model in models[1:]},
    }


def compare(model: Measured, reference: Measured, draws: Tensor, primary: Primary | None = None) -> dict[str, Any]:
    """Subtract the scores of a reference from those of a model, paired by image.

    Returns:
        By key of a score: value, low and high of the difference; for scores of images also on how many images the
        model is `better` and `worse`.
    """
    ours, theirs = statistics(model), statistics(reference)
    found: dict[str, Any] = {
        key: difference(statistic, theirs[key], draws)._asdict() for key, statistic in ours.items()
    }
    own, other = per_image(model), per_image(reference)
    for name, scores in own.items():
        found[f"{PER_IMAGE}/{name}"] |= _better_and_worse(name, scores.mean(1) - other[name].mean(1))
    if primary is not None and primary.class_name is not None:
        label, name = model.classes.index(primary.class_name), primary.entry.name
        of_model, of_reference = (statistics(measured, label)[primary.key] for measured in (model, reference))
        gap = difference(of_model, of_reference, draws)._asdict()
        counted = _better_and_worse(name, own[name][:, label] - other[name][:, label])
        found[primary.full_key] = gap | (counted if primary.key.startswith(PER_IMAGE) else {})
    return found


def _better_and_worse(name: str, gain: Tensor) -> dict[str, int]:
    """Count the images on which a score (N,) is better, and worse, by its gain."""
    gain = -gain if BY_NAME[name].lower_is_better else gain
    return {"better": int((gain > SAME).sum()), "worse": int((gain < -SAME).sum())}


def empty_masks(model: Measured, label: int) -> dict[str, float | None]:
    """Count the images without a class that got a mask of it, and the images with it that got none.

    Args:
        model: The model.
        label: Index of the class in `model.classes`.

    Returns:
        Numbers of images, and the median and largest size of the invented and missed masks in pixels.
    """
    counts = Counts(*(column[:, label] for column in model.counts()))
    size, predicted = counts.tp + counts.fn, counts.tp + counts.fp
    invented, missed = predicted[(size == 0) & (predicted > 0)], size[(size > 0) & (predicted == 0)]
    return {
        "empty": int((size == 0).sum()),
        "empty_that_got_a_mask": len(invented),
        "median_size_of_these_masks": _median(invented),
        "largest_of_these_masks": int(invented.max()) if len(invented) else None,
        "not_empty": int((size > 0).sum()),
        "not_empty_that_got_none": len(missed),
        "median_size_of_what_was_missed": _median(missed),
        "largest_that_was_missed": int(missed.max()) if len(missed) else None,
    }


def _of_model(model: Measured, draws: Tensor) -> dict[str, Any]:
    several = model.classes if len(model.classes) > 1 else ()
    return {
        "scores": {key: bootstrap(s, draws)._asdict() for key, s in statistics(model).items()},
        "classes": {
            name: {key: bootstrap(s, draws)._asdict() for key, s in statistics(model, label).items()}
            for label, name in enumerate(several)
        },
        "empty_masks": {name: empty_masks(model, label) for label, name in enumerate(model.classes)},
        "confusion": model.measures.confusion.sum(0).tolist(),
        **({} if model.objects is None else {"objects": object_scores(model.objects, draws)}),
    }


def object_scores(objects: Tensor, draws: Tensor) -> dict[str, Any]:
    """Return the scores of objects (N, 10, 3) with their intervals: means over images, by the IoU that they need."""
    precision = object_precision(objects).double()
    chosen = {"ap": precision.mean(1), "ap50": precision[:, 0], "ap75": precision[:, 5]}
    return {name: bootstrap(mean_over_images(values), draws)._asdict() for name, values in chosen.items()}


def _median(sizes: Tensor) -> float | None:
    return sizes.double().quantile(0.5).item() if len(sizes) else None
