"""Scores of predicted masks: formulas of counts, outlines, cells, curves, ranking, calibration; those that a run logs.

To add a score to evaluation: write its formula in a file here, with its range and its source, as in `counts.py`;
name it in `__all__` below; add an entry to `SCORES` in `unetkit.evaluation.registry`. To log it in each run, add a
class to `scores.py` and an entry to `segmentation_metrics`. Add hand-computed values to tests/metrics/.
"""

from unetkit.metrics.boundaries import boundary_iou, hausdorff95, surface_dice
from unetkit.metrics.calibration import calibration_counts, calibration_error
from unetkit.metrics.counts import (
    Counts,
    accuracy,
    confusion,
    confusion_matrix,
    dice,
    iou,
    kaggle_score,
    matthews,
    pixel_accuracy,
    pixel_error,
    precision,
    ratio,
    recall,
    scored_classes,
    specificity,
)
from unetkit.metrics.curves import THRESHOLDS, curve_counts, threshold_counts
from unetkit.metrics.labels import LabelScore, label_confusion
from unetkit.metrics.objects import ObjectScore, object_ap, object_counts, object_precision
from unetkit.metrics.partitions import VInfo, VRand, v_info, v_info_of_masks, v_rand, v_rand_of_masks
from unetkit.metrics.ranking import average_precision, ranking_counts, ranking_sample
from unetkit.metrics.scores import (
    ClassIoU,
    CountScore,
    Dice,
    ImageIoU,
    KaggleScore,
    MaskScore,
    MeanLoss,
    PooledIoU,
    PredictedShare,
    Score,
    segmentation_metrics,
)
from unetkit.metrics.warping import WarpingError, warp, warping_error

__all__ = [
    "THRESHOLDS",
    "ClassIoU",
    "CountScore",
    "Counts",
    "Dice",
    "ImageIoU",
    "KaggleScore",
    "LabelScore",
    "MaskScore",
    "MeanLoss",
    "ObjectScore",
    "PooledIoU",
    "PredictedShare",
    "Score",
    "VInfo",
    "VRand",
    "WarpingError",
    "accuracy",
    "average_precision",
    "boundary_iou",
    "calibration_counts",
    "calibration_error",
    "confusion",
    "confusion_matrix",
    "curve_counts",
    "dice",
    "hausdorff95",
    "iou",
    "kaggle_score",
    "label_confusion",
    "matthews",
    "object_ap",
    "object_counts",
    "object_precision",
    "pixel_accuracy",
    "pixel_error",
    "precision",
    "ranking_counts",
    "ranking_sample",
    "ratio",
    "recall",
    "scored_classes",
    "segmentation_metrics",
    "specificity",
    "surface_dice",
    "threshold_counts",
    "v_info",
    "v_info_of_masks",
    "v_rand",
    "v_rand_of_masks",
    "warp",
    "warping_error",
]
