"""The score that leads a run, `metrics.primary`, and further ones, `metrics.extra`.

How they are typed, where training logs them, where evaluations keep them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torchmetrics import Metric

from unetkit.errors import UserError, check
from unetkit.evaluation.measure import Measured
from unetkit.evaluation.registry import MAIN, PER_IMAGE, POOLED, SCORES, ScoreEntry, kind_of, score_of, scores_with
from unetkit.evaluation.statistics import statistics
from unetkit.metrics import CountScore, LabelScore, MaskScore, ObjectScore, PooledIoU
from unetkit.prediction.objects import check_can_split, split_objects

DEFAULT = "iou_per_image"
# Names of training that are not those of the registry; all others are scores of images.
KEYS = {"iou": f"{POOLED}/iou", "iou_per_image": f"{PER_IMAGE}/iou"} | {
    score.name: f"{PER_IMAGE}/{score.name}"
    for score in SCORES
    if score.name != "iou" and score.source in ("counts", "masks", "objects") and not score.of_all_classes
}


class Primary(NamedTuple):
    """The leading score.

    Attributes:
        name: Its name as typed, and as training logs it after `val/`: `iou_per_image`, `iou/salt`.
        key: Its key in an evaluation, such as `per_image/iou`.
        class_name: The class whose score it is; None for the mean over the classes.
    """

    name: str
    key: str
    class_name: str | None

    @property
    def entry(self) -> ScoreEntry:
        """The score in the registry."""
        return score_of(self.key)

    @property
    def full_key(self) -> str:
        """Its key with the class behind it, such as `pooled/iou/salt`."""
        return self.key if self.class_name is None else f"{self.key}/{self.class_name}"

    @property
    def label(self) -> str:
        """Its name for people, such as `IoU of salt, pooled`."""
        of_class = "" if self.class_name is None else f" of {self.class_name}"
        return f"{self.entry.label}{of_class}, {kind_of(self.key)}"

    @property
    def column(self) -> str:
        """Its column in `scores.csv`; that of the score per image, if it is pooled."""
        return self.entry.name if self.class_name is None else f"{self.entry.name}_{self.class_name}"


def read_primary(given: object, key: str = "metrics.primary") -> Primary:
    """Return the score that is typed as `metrics.primary`, or as one of another key of the configuration.

    Raises:
        UserError: If there is no such score.
    """
    name, _, class_name = str(given).partition("/")
    if name not in KEYS:
        problem = f"must be one of {', '.join(KEYS)}, or one of these for one class, as iou/NAME"
        raise UserError(f"{key}={given}", problem)
    primary = Primary(str(given), KEYS[name], class_name or None)
    if class_name and primary.entry.is_of_objects:
        raise UserError(f"{key}={given}", "is a score of all objects, and not of a class", f"set {key}={name}")
    return primary


def read_extra(given: object) -> list[Primary]:
    """Return the scores that are typed as `metrics.extra`, a list; None for none.

    Raises:
        UserError: If it is no list, or there is no such score.
    """
    is_list = isinstance(given, Sequence) and not isinstance(given, str)
    check("metrics.extra", given, given is None or is_list, "a list of scores, as in metrics.extra=[v_rand,v_info]")
    return [read_primary(name, "metrics.extra") for name in given or ()]  # type: ignore[attr-defined]


def optional_scores(scores: Iterable[Primary]) -> tuple[str, ...]:
    """Return which of the scores an evaluation computes only because they are named."""
    names = {score.entry.name for score in scores}
    return tuple(entry.name for entry in scores_with(names) if entry.is_optional)


def check_objects(score: Primary, has_objects: bool, key: str = "metrics.primary") -> None:
    """Check that a score of objects finds numbered ones, and can tell predicted ones apart.

    Raises:
        UserError: If not.
    """
    if score.entry.is_of_objects:
        if not has_objects:
            problem = "scores objects, but the masks number none"
            raise UserError(f"{key}={score.name}", problem, "set data.instances=boundary, or another score")
        check_can_split(f"{key}={score.name}")


def lower_is_better(monitor: str) -> bool:
    """Return whether less of a value that training logs, such as `val/loss`, is better: of losses and of distances."""
    name = monitor.removeprefix("val/")
    score = name.partition("/")[0]
    return "loss" in monitor or (score in KEYS and read_primary(name).entry.lower_is_better)


def check_class(primary: Primary, classes: Sequence[str], key: str = "metrics.primary") -> None:
    """Check that the class whose score leads, or is another key's, is one of those that are scored.

    Raises:
        UserError: If it is not.
    """
    if primary.class_name is not None and primary.class_name not in classes:
        problem = f"names no class that is scored: these are {', '.join(classes)}"
        raise UserError(f"{key}={primary.name}", problem, "see data.class_names and data.background")


def primary_of_config(config: Mapping[str, Any]) -> Primary:
    """Return the leading score of a run's configuration; of an earlier version, the score that it monitored.

    Raises:
        UserError: If there is no such score.
    """
    metrics = config.get("metrics")
    if isinstance(metrics, Mapping) and metrics.get("primary") is not None:
        return read_primary(metrics["primary"])
    name = str(config.get("monitor", "")).removeprefix("val/")
    return read_primary(name if name.partition("/")[0] in KEYS else DEFAULT)


def extra_of_config(config: Mapping[str, Any]) -> list[Primary]:
    """Return the further scores of a run's configuration; none in one of an earlier version.

    Raises:
        UserError: If there is no such score.
    """
    metrics = config.get("metrics")
    return read_extra(metrics.get("extra") if isinstance(metrics, Mapping) else None)


def primary_metric(
    primary: Primary,
    num_classes: int,
    class_names: Sequence[str],
    classes: Sequence[int] | None = None,
    *,
    is_multilabel: bool = False,
) -> Metric:
    """Return the metric that computes a score in training, such as the leading one.

    Args:
        primary: The score.
        num_classes: Channels of the network's logits.
        class_names: Names of all classes.
        classes: Indices of the classes that are scored; None for all without the background.
        is_multilabel: Whether classes are labels, held as bits.
    """
    label = classes if primary.class_name is None else [class_names.index(primary.class_name)]
    if is_multilabel:
        of_mask = primary._replace(class_name=None)
        labels = range(num_classes) if label is None else label
        return LabelScore(lambda: primary_metric(of_mask, 1, ("background", "foreground")), labels)
    entry = primary.entry
    if primary.key.startswith(POOLED):
        return PooledIoU(num_classes, label)
    if entry.is_of_objects:
        return ObjectScore(split_objects)
    if entry.source == "masks":
        return MaskScore(entry.of_masks, num_classes, label)
    return CountScore(entry.formula, num_classes, label)


def value_of(measured: Measured, primary: Primary) -> float:
    """Compute the leading score of measured images."""
    label = None if primary.class_name is None else measured.classes.index(primary.class_name)
    once = torch.ones(1, len(measured.ids), dtype=torch.float64)
    return float(statistics(measured, label)[primary.key](once))


def found_in(scores_of_model: Mapping[str, Any], primary: Primary) -> dict[str, float]:
    """Return value, low and high of the leading score from what `summarise` says of a model."""
    classes = scores_of_model.get("classes", {})  # empty if there is only one
    place = classes[primary.class_name] if primary.class_name in classes else scores_of_model["scores"]
    found: dict[str, float] = place[primary.key]
    return found


class Shown(NamedTuple):
    """A score to show: its key, with the class behind it if there is one; its label; its value, low and high."""

    key: str
    label: str
    found: dict[str, float]


def shown_first(scores_of_model: Mapping[str, Any], primary: Primary) -> list[Shown]:
    """Return the scores of a model to show first: the leading one, then the other main ones."""
    key = primary.full_key
    others = [
        Shown(other, f"{score_of(other).label}, {kind_of(other)}", scores_of_model["scores"][other])
        for other in MAIN
        if other != key
    ]
    return [Shown(key, primary.label, found_in(scores_of_model, primary)), *others]
