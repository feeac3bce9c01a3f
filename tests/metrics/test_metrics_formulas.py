"""Formulas of scores: by hand, and equal to those of torchmetrics, MONAI and scikit-learn."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics import functional as reference

from unetkit.metrics import (
    THRESHOLDS,
    Counts,
    accuracy,
    boundary_iou,
    calibration_counts,
    calibration_error,
    confusion,
    confusion_matrix,
    curve_counts,
    dice,
    hausdorff95,
    iou,
    kaggle_score,
    matthews,
    pixel_accuracy,
    precision,
    recall,
    specificity,
    threshold_counts,
)

Formula = Callable[[Counts], Tensor]
FORMULAS: list[Formula] = [iou, dice, precision, recall, specificity, accuracy, matthews, kaggle_score]


def counted(tp: int, fp: int, fn: int, tn: int) -> Counts:
    return Counts(*(torch.tensor([value]) for value in (tp, fp, fn, tn)))


def random_masks(seed: int, classes: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Return prediction, truth with void pixels (255) and valid (4, 17, 19); 60 % or more of the pixels are right."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, classes, (4, 17, 19), generator=generator)
    other = torch.randint(0, classes, target.shape, generator=generator)
    prediction = torch.where(torch.rand(target.shape, generator=generator) < 0.6, target, other)
    target[torch.rand(target.shape, generator=generator) < 0.1] = 255
    return prediction, target, target != 255


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        (iou, 30 / 60),
        (dice, 60 / 90),
        (precision, 30 / 40),
        (recall, 30 / 50),
        (specificity, 40 / 50),
        (accuracy, 70 / 100),
        (matthews, (30 * 40 - 10 * 20) / math.sqrt(40 * 50 * 50 * 60)),
        (kaggle_score, 0.0),  # 0.50 must be exceeded
    ],
)
def test_formulas_by_hand(formula: Formula, value: float) -> None:
    assert formula(counted(tp=30, fp=10, fn=20, tn=40)).item() == pytest.approx(value)


@pytest.mark.parametrize("formula", FORMULAS)
def test_empty_masks(formula: Formula) -> None:
    """1 if both masks are empty, 0 if only one is; accuracy and specificity count the background too."""
    assert formula(counted(0, 0, 0, 100)) == 1
    if formula in (iou, dice, precision, recall, kaggle_score, matthews):
        assert formula(counted(0, 7, 0, 93)) == 0
        assert formula(counted(0, 0, 7, 93)) == 0
    assert formula(counted(100, 0, 0, 0)) == 1  # full and full


def test_specificity_treats_a_full_mask_as_an_empty_background() -> None:
    assert specificity(counted(tp=90, fp=0, fn=10, tn=0)) == 0
    assert specificity(counted(tp=90, fp=10, fn=0, tn=0)) == 0


def test_dice_is_the_f1_score() -> None:
    prediction, target, valid = random_masks(0)
    ours = dice(confusion(prediction, target, valid, 1))[:, 0]
    for p, t, v, value in zip(prediction, target, valid, ours, strict=True):
        assert value == pytest.approx(reference.classification.binary_f1_score(p[v], t[v]).item())
    c = confusion(prediction, target, valid, 1)
    harmonic = 2 / (1 / precision(c) + 1 / recall(c))
    torch.testing.assert_close(dice(c), harmonic)


@pytest.mark.parametrize(
    ("formula", "torchmetrics_name"),
    [
        (iou, "binary_jaccard_index"),
        (precision, "binary_precision"),
        (recall, "binary_recall"),
        (specificity, "binary_specificity"),
        (accuracy, "binary_accuracy"),
        (matthews, "binary_matthews_corrcoef"),
    ],
)
def test_formulas_agree_with_torchmetrics(formula: Formula, torchmetrics_name: str) -> None:
    prediction, target, valid = random_masks(1)
    counts = confusion(prediction, target, valid, 1)
    pooled = Counts(*(column.sum(0) for column in counts))
    theirs = getattr(reference.classification, torchmetrics_name)(prediction[valid], target[valid])
    assert formula(pooled).item() == pytest.approx(theirs.item(), abs=1e-6)


def test_matthews_agrees_with_scikit_learn_on_images_of_many_pixels() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    prediction, target, valid = random_masks(2)
    ours = matthews(confusion(prediction, target, valid, 1))[0].item()
    assert ours == pytest.approx(sklearn.matthews_corrcoef(target[0][valid[0]], prediction[0][valid[0]]))
    large = counted(*(10**8 * n for n in (30, 10, 20, 40)))  # products beyond 64 bits
    assert matthews(large).item() == pytest.approx(matthews(counted(30, 10, 20, 40)).item())


def test_confusion_matrix_agrees_with_torchmetrics_and_gives_the_counts() -> None:
    prediction, target, valid = random_masks(3, classes=4)
    matrix = confusion_matrix(prediction, target, valid, 4)
    theirs = reference.classification.multiclass_confusion_matrix(prediction, target, 4, ignore_index=255)
    assert torch.equal(matrix, theirs)
    pooled = Counts(*(column.sum(0) for column in confusion(prediction, target, valid, 4)))
    for ours, expected in zip(Counts.of_matrix(matrix), pooled, strict=True):
        assert torch.equal(ours, expected)
    assert pixel_accuracy(matrix) == pytest.approx((prediction == target)[valid].float().mean().item())


def test_void_pixels_are_ignored() -> None:
    prediction, target, valid = random_masks(4)
    other = torch.where(valid, prediction, 1 - prediction)
    assert all(map(torch.equal, confusion(prediction, target, valid, 1), confusion(other, target, valid, 1)))
    assert torch.equal(confusion_matrix(prediction, target, valid, 2), confusion_matrix(other, target, valid, 2))
    p, q, t, v = (x[0].numpy() for x in (prediction == 1, other == 1, target == 1, valid))
    assert hausdorff95(p, t, v) == hausdorff95(q, t, v)
    assert boundary_iou(p, t, v) == boundary_iou(q, t, v)


def square(top: int, left: int, side: int = 10, size: tuple[int, int] = (40, 60)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_hausdorff_by_hand() -> None:
    here = square(10, 10)
    assert hausdorff95(here, here) == 0
    assert hausdorff95(here, square(10, 40)) == 30  # moved by 30: distances of the outlines are 21 to 30
    speck = here | square(39, 59, side=1)  # one pixel of 37, less than the 5 % above the percentile
    assert hausdorff95(speck, here) == 0


def test_hausdorff_of_empty_masks() -> None:
    none, some = np.zeros((30, 40), bool), square(0, 0, size=(30, 40))
    assert hausdorff95(none, none) == 0
    assert hausdorff95(some, none) == hausdorff95(none, some) == 50  # the diagonal


@pytest.mark.parametrize("seed", range(3))
def test_hausdorff_agrees_with_monai(seed: int) -> None:
    monai = pytest.importorskip("monai.metrics")
    rng = np.random.default_rng(seed)
    one, other = (np.kron(rng.random((8, 9)) < 0.3, np.ones((5, 5), bool)) for _ in range(2))
    batch = [torch.from_numpy(mask)[None, None].float() for mask in (one, other)]
    theirs = monai.compute_hausdorff_distance(*batch, include_background=True, percentile=95).item()
    assert hausdorff95(one, other) == pytest.approx(theirs, abs=1e-5)


def test_boundary_iou_by_hand() -> None:
    """A diagonal of 50 makes the band one pixel wide."""
    here = square(10, 10, size=(30, 40))
    assert boundary_iou(here, here) == 1
    inner = square(11, 11, side=8, size=(30, 40))
    assert boundary_iou(here, inner) == 0  # IoU 0.64, but the outlines have no pixel in common
    moved = square(10, 11, size=(30, 40))  # of 36 + 36 pixels of outline, top and bottom share 9 each
    assert boundary_iou(here, moved) == pytest.approx(18 / 54)
    none = np.zeros((30, 40), bool)
    assert boundary_iou(none, none) == 1
    assert boundary_iou(here, none) == boundary_iou(none, here) == 0


def test_boundary_iou_of_thin_masks_is_their_iou() -> None:
    """A mask that is thinner than twice the band is all band (Cheng et al.)."""
    one, other = square(10, 10, side=4, size=(300, 400)), square(10, 12, side=4, size=(300, 400))
    assert boundary_iou(one, other) == pytest.approx(8 / 24)


def test_the_border_of_a_void_region_is_no_outline() -> None:
    valid = np.ones((30, 40), bool)
    valid[:, 20:] = False
    truth = np.zeros((30, 40), bool)
    truth[10:20, 10:40] = True  # continues in the void region
    cut = truth & valid
    assert hausdorff95(cut, truth, valid) == 0
    assert boundary_iou(cut, truth, valid) == 1
    shorter = truth & (np.arange(40) < 19)  # ends one pixel before the void region
    assert boundary_iou(shorter, truth, valid) < 0.8


def test_calibration_by_hand() -> None:
    confidence = torch.tensor([0.9, 0.9, 0.9, 0.9, 0.2, 0.2])
    hit = torch.tensor([True, True, True, False, False, False])
    error = calibration_error(calibration_counts(confidence, hit))
    assert error.item() == pytest.approx((4 * abs(0.9 - 0.75) + 2 * abs(0.2 - 0)) / 6)


def test_calibration_agrees_with_torchmetrics() -> None:
    generator = torch.Generator().manual_seed(5)
    confidence, hit = torch.rand(5000, generator=generator), torch.rand(5000, generator=generator) < 0.3
    theirs = reference.classification.binary_calibration_error(confidence, hit.int(), n_bins=15)
    assert calibration_error(calibration_counts(confidence, hit)).item() == pytest.approx(theirs.item(), abs=1e-6)


def test_counts_of_curves_are_those_of_masks_at_each_threshold() -> None:
    generator = torch.Generator().manual_seed(6)
    probability = torch.rand(9, 11, generator=generator)
    probability[0] = THRESHOLDS[50]  # exactly at a threshold is not above it
    target, valid = torch.rand(2, 9, 11, generator=generator) < torch.tensor([0.4, 0.9])[:, None, None]
    curve = threshold_counts(curve_counts(probability, target, valid))
    for place in (0, 7, 50, 51, len(THRESHOLDS) - 1):
        mask = (probability > THRESHOLDS[place])[None]
        at_threshold = confusion(mask.long(), target[None].long(), valid[None], 1)
        assert [column[place] for column in curve] == [column.item() for column in at_threshold]
