"""Scores as torchmetrics: by hand, over batches and processes, and equal to torchmetrics' own."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import BinaryF1Score, BinaryJaccardIndex

from unetkit.metrics import (
    ClassIoU,
    Dice,
    ImageIoU,
    KaggleScore,
    MeanLoss,
    PooledIoU,
    PredictedShare,
    Score,
    segmentation_metrics,
)

EMPTY, ONE, TWO, FULL = [0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]


def masks(*rows: list[int]) -> Tensor:
    return torch.tensor(rows)[:, None]


def scored(metric: Metric, prediction: Tensor, target: Tensor) -> float:
    metric.update(prediction, target, target != 255)
    value: float = metric.compute().item()
    return value


@pytest.mark.parametrize(
    ("predicted", "true", "iou", "dice", "kaggle"),
    [
        (EMPTY, EMPTY, 1, 1, 1),  # both empty
        (ONE, EMPTY, 0, 0, 0),  # one false positive on an empty mask
        (EMPTY, ONE, 0, 0, 0),
        (FULL, FULL, 1, 1, 1),
        (TWO, ONE, 1 / 2, 2 / 3, 0),  # 0.50 must be exceeded strictly
        (FULL, [1, 1, 1, 0], 3 / 4, 6 / 7, 0.5),  # 0.50, 0.55, 0.60, 0.65, 0.70; not 0.75
    ],
)
def test_scores_of_one_image_by_hand(
    predicted: list[int], true: list[int], iou: float, dice: float, kaggle: float
) -> None:
    prediction, target = masks(predicted), masks(true)
    assert scored(ImageIoU(), prediction, target) == pytest.approx(iou)
    assert scored(PooledIoU(), prediction, target) == pytest.approx(iou)
    assert scored(Dice(), prediction, target) == pytest.approx(dice)
    assert scored(KaggleScore(), prediction, target) == pytest.approx(kaggle)


def test_per_image_iou_is_the_mean_over_images_and_pooled_iou_is_not() -> None:
    prediction, target = masks(ONE, EMPTY), masks(TWO, EMPTY)
    assert scored(ImageIoU(), prediction, target) == pytest.approx((1 / 2 + 1) / 2)
    assert scored(PooledIoU(), prediction, target) == pytest.approx(1 / 2)


def test_kaggle_counts_thresholds_exactly() -> None:
    """The IoU is overlap / 100; in floats, an IoU of 0.55 could fall on either side of the threshold 0.55."""
    target = torch.ones(1, 10, 10, dtype=torch.long)
    for overlap in range(50, 101):
        prediction = (torch.arange(100) < overlap).long().view(1, 10, 10)
        expected = sum(overlap > t for t in range(50, 100, 5)) / 10
        assert scored(KaggleScore(), prediction, target) == pytest.approx(expected), overlap


def test_scores_of_masks_that_are_not_empty_agree_with_torchmetrics() -> None:
    torch.manual_seed(0)
    prediction, target = torch.randint(0, 2, (8, 9, 9)), torch.randint(0, 2, (8, 9, 9))
    assert scored(PooledIoU(), prediction, target) == pytest.approx(BinaryJaccardIndex()(prediction, target).item())
    f1 = [BinaryF1Score()(p, t).item() for p, t in zip(prediction, target, strict=True)]
    assert scored(Dice(), prediction, target) == pytest.approx(np.mean(f1))


def test_void_pixels_and_void_images_are_ignored() -> None:
    prediction, target = masks([1, 1, 0, 0], FULL), masks([1, 255, 255, 0], [255] * 4)
    for metric in (ImageIoU(), PooledIoU(), Dice(), KaggleScore()):
        assert scored(metric, prediction, target) == 1
    assert scored(PredictedShare(), prediction, target) == 0.5


@pytest.mark.parametrize("metric", [ImageIoU, Dice, KaggleScore, PooledIoU])
def test_scores_do_not_depend_on_batches_and_processes(metric: type[Score]) -> None:
    torch.manual_seed(1)
    prediction, target = torch.randint(0, 2, (12, 5, 5)), torch.randint(0, 2, (12, 5, 5))
    whole = metric()
    whole.update(prediction, target, target < 255)
    parts = [metric(), metric()]  # as of two processes, with batches of unequal sizes
    for part, chosen in ((0, slice(0, 5)), (0, slice(5, 6)), (1, slice(6, 12))):
        parts[part].update(prediction[chosen], target[chosen], target[chosen] < 255)
    parts[0].merge_state(parts[1])
    assert parts[0].compute() == pytest.approx(whole.compute())


def test_scores_are_means_over_the_classes_without_the_background() -> None:
    prediction, target = masks([0, 1, 2, 2]), masks([0, 1, 1, 2])
    assert scored(ImageIoU(3), prediction, target) == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert scored(PooledIoU(3), prediction, target) == pytest.approx((1 / 2 + 1 / 2) / 2)


def test_class_iou_gives_a_score_for_each_class_and_the_background() -> None:
    prediction, target = masks([0, 1, 1, 2], [3, 0, 1, 1]), masks([0, 1, 2, 2], [255, 0, 0, 1])
    metric = ClassIoU(5)
    for i in range(2):
        metric.update(prediction[i : i + 1], target[i : i + 1], target[i : i + 1] < 255)
    assert metric.compute().tolist() == pytest.approx([2 / 3, 2 / 4, 1 / 2, 1, 1])  # 3 and 4 are in no valid pixel


def test_pooled_iou_is_the_mean_of_class_iou_without_the_background() -> None:
    torch.manual_seed(2)
    prediction, target = torch.randint(0, 4, (3, 9, 9)), torch.randint(0, 4, (3, 9, 9))
    metric = ClassIoU(4)
    metric.update(prediction, target, target < 255)
    assert metric.compute()[1:].mean() == pytest.approx(scored(PooledIoU(4), prediction, target))


def test_the_collection_names_all_scores() -> None:
    metrics = segmentation_metrics(1).clone(prefix="val/")
    metrics.update(masks(ONE), masks(ONE), masks(ONE) < 255)
    assert set(metrics.compute()) == {
        "val/iou",
        "val/iou_per_image",
        "val/dice",
        "val/kaggle",
        "val/predicted_share",
    }


def test_the_mean_loss_weighs_batches_by_their_images_and_lets_nan_pass() -> None:
    mean, valid = MeanLoss(), torch.ones(3, 2, 2, dtype=torch.bool)
    mean.update(torch.tensor(1.0), valid)
    valid[1:] = False  # one image left
    mean.update(torch.tensor(5.0), valid)
    assert mean.compute().item() == 2
    mean.update(torch.tensor(torch.nan), valid)
    assert mean.compute().isnan()
