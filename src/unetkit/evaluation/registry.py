"""Every score of an evaluation, each once: its name, formula, label and meaning. A new score is one more entry here."""

from collections.abc import Callable, Container, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unetkit.errors import UserError
from unetkit.metrics import (
    accuracy,
    average_precision,
    boundary_iou,
    calibration_error,
    dice,
    hausdorff95,
    iou,
    kaggle_score,
    matthews,
    object_ap,
    pixel_accuracy,
    pixel_error,
    precision,
    recall,
    specificity,
    surface_dice,
    v_info_of_masks,
    v_rand_of_masks,
    warping_error,
)

Mask = NDArray[np.bool_]

PER_IMAGE, POOLED = "per_image", "pooled"


class ScoreEntry(NamedTuple):
    """A score, with all that files, tables and figures need to know of it.

    Attributes:
        name: Its column in `scores.csv`, and the second half of its keys in `summary.json`, as in `pooled/iou`.
        label: Its name in tables and figures, with its unit.
        meaning: Explanation of what it measures, in one line.
        formula: Maps what `source` says to the score.
        source: `counts`: the formula takes `Counts` (..., K) of K classes and gives (..., K).
            `masks`: it takes prediction, truth and valid pixels of one class of one image, booleans (H, W), and
            gives a number.
            `ranking`: it takes numbers of pixels (..., B, 2) in bins of one class, see
            `unetkit.metrics.ranking_counts`, and gives (...).
            `objects`: it takes numbers of objects (..., 10, 3), see `unetkit.metrics.object_counts`, and gives (...).
            `calibration`: it takes sums (..., bins, 3) over all classes, see `unetkit.metrics.calibration_counts`, and
            gives (...).
        kinds: `per_image` if each image is scored and the mean is given, which counts and masks allow; `pooled` if
            the pixels of all images are counted together, which all but masks allow.
        of_all_classes: Maps confusion matrices (..., C, C) to the score (...) of all classes together, which then
            stands in place of the mean over the classes without the background.
        lower_is_better: Whether a smaller value is a better one.
        of_volumes: Whether a formula of `masks` takes volumes, too, with their `spacing`; those of counts always do.
        is_optional: Whether it is computed only where it leads or `metrics.extra` names it, as it suits few tasks.
    """

    name: str
    label: str
    meaning: str
    formula: Callable[..., Any]
    source: Literal["counts", "masks", "ranking", "objects", "calibration"] = "counts"
    kinds: tuple[str, ...] = (PER_IMAGE, POOLED)
    of_all_classes: Callable[[Tensor], Tensor] | None = None
    lower_is_better: bool = False
    is_optional: bool = False
    of_volumes: bool = False

    def of_masks(self, prediction: Mask, target: Mask, valid: Mask, spacing: Sequence[float] | None = None) -> float:
        """Compute a score whose source is `masks`, of one class of an image (H, W) or a volume (D, H, W).

        Raises:
            UserError: If it is a score of images only.
        """
        if prediction.ndim == 2:
            return float(self.formula(prediction, target, valid))
        self.check_of_volumes()
        return float(self.formula(prediction, target, valid, spacing))

    def check_of_volumes(self) -> None:
        """Check that it is a score of volumes, too.

        Raises:
            UserError: If it is not.
        """
        if self.source == "masks" and not self.of_volumes:
            raise UserError(
                f"metrics.extra={self.name}", "is a score of images, but the data are volumes", "leave it out"
            )

    @property
    def is_of_objects(self) -> bool:
        """Whether it scores objects that the masks number, and no single class."""
        return self.source == "objects"


SCORES = (
    ScoreEntry("iou", "IoU", "overlap of mask and truth, divided by their union", iou),
    ScoreEntry("dice", "Dice", "twice the overlap, divided by the sum of both sizes (F1)", dice),
    ScoreEntry("precision", "precision", "share of the mask that is right", precision),
    ScoreEntry("recall", "recall", "share of the truth that is found", recall),
    ScoreEntry(
        "specificity", "specificity", "share of the pixels outside the truth that the mask leaves out", specificity
    ),
    ScoreEntry(
        "accuracy",
        "accuracy",
        "share of all pixels that are right; high wherever foreground is rare",
        accuracy,
        of_all_classes=pixel_accuracy,
    ),
    ScoreEntry("mcc", "MCC", "correlation of mask and truth, from -1 to 1", matthews),
    ScoreEntry(
        "kaggle",
        "Kaggle's score",
        "share of the thresholds 0.50, 0.55 ... 0.95 that the IoU exceeds",
        kaggle_score,
        kinds=(PER_IMAGE,),
    ),
    ScoreEntry(
        "boundary_iou",
        "boundary IoU",
        "IoU of bands along the outlines, as wide as 2 % of the image's diagonal",
        boundary_iou,
        source="masks",
        kinds=(PER_IMAGE,),
        of_volumes=True,
    ),
    ScoreEntry(
        "hausdorff95",
        "Hausdorff-95, px (mm in volumes)",
        "95 % of each outline lies closer than this to the other; lower is better",
        hausdorff95,
        source="masks",
        kinds=(PER_IMAGE,),
        of_volumes=True,
        lower_is_better=True,
    ),
    ScoreEntry(
        "average_precision",
        "average precision",
        "area under the precision-recall curve",
        average_precision,
        source="ranking",
        kinds=(POOLED,),
    ),
    ScoreEntry(
        "ece",
        "calibration error (ECE)",
        "mean gap between probability and share of right pixels; lower is better",
        calibration_error,
        source="calibration",
        kinds=(POOLED,),
        lower_is_better=True,
    ),
    ScoreEntry(
        "surface_dice",
        "surface Dice",
        "share of both outlines or surfaces that lies within a pixel, or the longest side of a voxel, of the other",
        surface_dice,
        source="masks",
        kinds=(PER_IMAGE,),
        is_optional=True,
        of_volumes=True,
    ),
    ScoreEntry(
        "v_rand",
        "V_rand",
        "how well cells are separated (ISBI 2012): F-score of two random pixels' being in one cell",
        v_rand_of_masks,
        source="masks",
        kinds=(PER_IMAGE,),
        is_optional=True,
    ),
    ScoreEntry(
        "v_info",
        "V_info",
        "how well cells are separated (ISBI 2012): what true and predicted cells say of each other",
        v_info_of_masks,
        source="masks",
        kinds=(PER_IMAGE,),
        is_optional=True,
    ),
    ScoreEntry(
        "warping_error",
        "warping error",
        "share of pixels that differ after outlines were moved (ISBI 2012): gaps and bridges; lower is better",
        warping_error,
        source="masks",
        kinds=(PER_IMAGE,),
        lower_is_better=True,
        is_optional=True,
    ),
    ScoreEntry(
        "pixel_error",
        "pixel error",
        "share of all pixels that are wrong; lower is better",
        pixel_error,
        lower_is_better=True,
        is_optional=True,
    ),
    ScoreEntry(
        "ap",
        "AP of objects",
        "share of found objects among all found, invented and missed ones, mean over IoU 0.50, 0.55 ... 0.95",
        object_ap,
        source="objects",
        kinds=(PER_IMAGE,),
        is_optional=True,
    ),
)
BY_NAME = {score.name: score for score in SCORES}
MAIN = ("per_image/iou", "per_image/dice", "pooled/iou")  # keys of the scores to show first, behind the leading one


def scores_with(optional: Container[str]) -> tuple[ScoreEntry, ...]:
    """Return all scores in their order; of those that are optional, only the ones that are named."""
    return tuple(score for score in SCORES if not score.is_optional or score.name in optional)


def score_of(key: str) -> ScoreEntry:
    """Return the score of a key such as `per_image/iou`."""
    return BY_NAME[key.partition("/")[2]]


def kind_of(key: str) -> str:
    """Return the kind of a key such as `per_image/iou`, in words: `per image`."""
    return key.partition("/")[0].replace("_", " ")


def all_keys(first: str, optional: Sequence[str] = ()) -> list[str]:
    """Return the keys of all scores for a table: those of images, then pooled ones, in each the main ones first.

    Args:
        first: The key of the leading score, which is the first of its kind.
        optional: Names of the optional scores that were computed.
    """
    scores = scores_with(optional)
    keys = [f"{kind}/{score.name}" for kind in (PER_IMAGE, POOLED) for score in scores if kind in score.kinds]
    return sorted(keys, key=lambda key: (not key.startswith(PER_IMAGE), key != first, key not in MAIN))
