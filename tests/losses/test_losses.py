"""Values of losses: computed by hand, and equal to those of SMP and MONAI where the definitions agree."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from unetkit.errors import UserError
from unetkit.losses import (
    BoundaryLoss,
    ClDiceLoss,
    CrossEntropyLoss,
    DiceBCELoss,
    DiceLoss,
    FocalLoss,
    FocalTverskyLoss,
    GeneralizedDiceLoss,
    HausdorffLoss,
    JaccardLoss,
    LovaszLoss,
    MCCLoss,
    TopKLoss,
    TverskyLoss,
    WeightedCrossEntropyLoss,
    WeightedSum,
)


def all_valid(target: Tensor) -> Tensor:
    return torch.ones_like(target, dtype=torch.bool)


def logits_of(probabilities: list[float]) -> Tensor:
    return torch.tensor(probabilities).logit().view(1, 1, 1, -1)


def test_bce_by_hand() -> None:
    target = torch.tensor([[[1, 0]]])
    loss = DiceBCELoss(dice_weight=0)(logits_of([0.8, 0.4]), target, all_valid(target))
    assert loss.item() == pytest.approx(-(math.log(0.8) + math.log(0.6)) / 2)


def test_dice_by_hand() -> None:
    target = torch.tensor([[[1, 0]]])
    loss = DiceBCELoss(bce_weight=0, smooth=1.0)(logits_of([0.8, 0.4]), target, all_valid(target))
    assert loss.item() == pytest.approx(1 - (2 * 0.8 + 1) / (1.2 + 1 + 1))


def test_dice_bce_is_the_weighted_sum_of_its_terms() -> None:
    target = torch.randint(0, 2, (2, 4, 5))
    logits = torch.randn(2, 1, 4, 5)
    dice = DiceBCELoss(1, 0)(logits, target, all_valid(target))
    bce = DiceBCELoss(0, 1)(logits, target, all_valid(target))
    both = DiceBCELoss(0.25, 2.0)(logits, target, all_valid(target))
    torch.testing.assert_close(both, 0.25 * dice + 2 * bce)


def test_the_loss_is_the_mean_over_images() -> None:
    target = torch.randint(0, 2, (3, 4, 5))
    logits = torch.randn(3, 1, 4, 5)
    loss = DiceBCELoss()
    single = [loss(logits[i : i + 1], target[i : i + 1], all_valid(target[i : i + 1])) for i in range(3)]
    torch.testing.assert_close(loss(logits, target, all_valid(target)), torch.stack(single).mean())


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_errors_on_empty_and_full_masks_have_a_gradient(value: int, dtype: torch.dtype) -> None:
    """The gradient of every pixel points towards the truth, also in half precision."""
    target = torch.full((1, 8, 8), value)
    logits = torch.full((1, 1, 8, 8), 30.0 if value == 0 else -30.0, dtype=dtype, requires_grad=True)
    loss = DiceBCELoss()(logits, target, all_valid(target))
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() > 1
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert (logits.grad > 0 if value == 0 else logits.grad < 0).all()


def test_dice_has_a_gradient_for_false_positives_on_an_empty_mask() -> None:
    target = torch.zeros(1, 2, 2, dtype=torch.long)
    logits = torch.zeros(1, 1, 2, 2, requires_grad=True)
    DiceBCELoss(bce_weight=0)(logits, target, all_valid(target)).backward()
    assert logits.grad is not None
    assert (logits.grad > 0).all()


def test_void_pixels_are_ignored() -> None:
    target = torch.tensor([[[1, 0, 255]]])
    logits = torch.randn(1, 1, 1, 3, requires_grad=True)
    DiceBCELoss()(logits, target, target != 255).backward()
    whole = DiceBCELoss()(logits, target, target != 255)
    part = DiceBCELoss()(logits[..., :2], target[..., :2], all_valid(target[..., :2]))
    torch.testing.assert_close(whole, part)
    assert logits.grad is not None
    assert logits.grad[..., 2].item() == 0


def test_images_without_a_valid_pixel_are_ignored() -> None:
    target = torch.stack([torch.randint(0, 2, (3, 3)), torch.full((3, 3), 255)])
    logits = torch.randn(2, 1, 3, 3)
    torch.testing.assert_close(
        DiceBCELoss()(logits, target, target != 255), DiceBCELoss()(logits[:1], target[:1], target[:1] != 255)
    )
    assert DiceBCELoss()(logits[1:], target[1:], target[1:] != 255).item() == 0


def test_two_logits_give_the_loss_of_their_difference_as_one_logit() -> None:
    target = torch.randint(0, 2, (2, 5, 5))
    two = torch.randn(2, 2, 5, 5)
    one = two[:, 1:] - two[:, :1]
    torch.testing.assert_close(
        DiceBCELoss()(two, target, all_valid(target)), DiceBCELoss()(one, target, all_valid(target))
    )


def jaccard_loss(wrong: list[int], truth: list[int]) -> float:
    """Return 1 - IoU of the mask that differs from the truth at the `wrong` pixels."""
    predicted = [t ^ w for t, w in zip(truth, wrong, strict=True)]
    overlap = sum(p & t for p, t in zip(predicted, truth, strict=True))
    union = sum(p | t for p, t in zip(predicted, truth, strict=True))
    return 1 - overlap / union if union else 0.0


@pytest.mark.parametrize("truth", [[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
def test_lovasz_is_the_extension_of_the_jaccard_loss(truth: list[int]) -> None:
    """Berman et al., definition 1: the sum, by falling margin, of margin times increase of the set's loss."""
    scores = [0.3, -0.2, 1.7, 0.9]
    margins = [1 - s if t else 1 + s for s, t in zip(scores, truth, strict=True)]
    expected, wrong = 0.0, [0] * 4
    for i in sorted(range(4), key=lambda i: -margins[i]):
        before = jaccard_loss(wrong, truth)
        wrong[i] = 1
        activated = margins[i] + 1 if margins[i] > 0 else math.exp(margins[i])
        expected += activated * (jaccard_loss(wrong, truth) - before)
    logits, target = torch.tensor(scores).view(1, 1, 2, 2), torch.tensor(truth).view(1, 2, 2)
    loss = LovaszLoss(symmetric=False)(logits, target, all_valid(target))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_symmetric_lovasz_is_the_mean_of_both_classes() -> None:
    logits, target = torch.randn(3, 1, 5, 6), torch.randint(0, 2, (3, 5, 6))
    target[:, 0] = 255
    valid = target != 255
    foreground, background = (
        LovaszLoss(symmetric=False)(sign * logits, torch.where(valid, truth, 255), valid)
        for sign, truth in ((1, target), (-1, 1 - target))
    )
    torch.testing.assert_close(LovaszLoss()(logits, target, valid), (foreground + background) / 2)


@pytest.mark.parametrize("value", [0, 1])
def test_symmetric_lovasz_has_the_right_gradient_on_empty_and_full_masks(value: int) -> None:
    target = torch.full((2, 6, 6), value)
    logits = torch.randn(2, 1, 6, 6, dtype=torch.float16, requires_grad=True)
    LovaszLoss()(logits, target, all_valid(target)).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert (logits.grad.sum() > 0) == (value == 0)


def test_lovasz_ignores_void_pixels() -> None:
    target = torch.randint(0, 2, (2, 5, 5))
    target[:, 3:] = 255
    logits = torch.randn(2, 1, 5, 5)
    whole = LovaszLoss()(logits, target, target != 255)
    part = LovaszLoss()(logits[..., :3, :], target[:, :3], all_valid(target[:, :3]))
    torch.testing.assert_close(whole, part)


def test_a_sum_weighs_its_terms() -> None:
    target = torch.randint(0, 2, (1, 4, 4))
    logits = torch.randn(1, 1, 4, 4)
    bce, dice = DiceBCELoss(0, 1), DiceBCELoss(1, 0)
    both = WeightedSum({"bce": bce, "dice": dice}, {"bce": 2.0, "dice": 0.5})
    a, b = (loss(logits, target, all_valid(target)) for loss in (bce, dice))
    torch.testing.assert_close(both(logits, target, all_valid(target)), 2 * a + 0.5 * b)
    with pytest.raises(UserError, match="one weight for each of bce"):
        WeightedSum({"bce": bce}, {"dice": 1.0})


def test_three_classes() -> None:
    target = torch.tensor([[[0, 1, 2]]])
    perfect = torch.nn.functional.one_hot(target, 3).permute(0, 3, 1, 2) * 40.0
    assert DiceBCELoss()(perfect, target, all_valid(target)).item() == pytest.approx(0, abs=1e-5)
    assert DiceBCELoss()(-perfect, target, all_valid(target)).item() > 20


# Two pixels of class 1 and one of class 0. The soft counts of these probabilities: overlap 1.4, false positives 0.3,
# false negatives 0.6, true negatives 0.7.
P, T = [0.8, 0.6, 0.3], [[[1, 1, 0]]]
BY_HAND = [
    (DiceLoss(smooth=1), 1 - (2 * 1.4 + 1) / (1.7 + 2 + 1)),
    (JaccardLoss(smooth=1), 1 - (1.4 + 1) / (2.3 + 1)),
    (TverskyLoss(0.2, 0.9, smooth=1), 1 - 2.4 / (2.4 + 0.2 * 0.3 + 0.9 * 0.6)),
    (FocalTverskyLoss(0.2, 0.9, gamma=2, smooth=1), math.sqrt(1 - 2.4 / (2.4 + 0.2 * 0.3 + 0.9 * 0.6))),
    (MCCLoss(smooth=1), 1 - (2.4 * 1.7 - 0.3 * 0.6) / math.sqrt(2.7 * 3.0 * 2.0 * 2.3)),
    (GeneralizedDiceLoss(), 1 - 2 * (1.4 / 4 + 0.7) / (3.7 / 4 + 2.3)),
    (CrossEntropyLoss(), -(math.log(0.8) + math.log(0.6) + math.log(0.7)) / 3),
    (
        FocalLoss(alpha=0.25, gamma=2),
        -(0.25 * 0.04 * math.log(0.8) + 0.25 * 0.16 * math.log(0.6) + 0.75 * 0.09 * math.log(0.7)) / 3,
    ),
    (FocalLoss(alpha=None, gamma=0), -(math.log(0.8) + math.log(0.6) + math.log(0.7)) / 3),
    (TopKLoss(share=0.1), -math.log(0.6)),
    (TopKLoss(share=0.5), -(math.log(0.6) + math.log(0.7)) / 2),
]


@pytest.mark.parametrize(("loss", "value"), BY_HAND, ids=[type(loss).__name__ for loss, _ in BY_HAND])
def test_values_by_hand(loss: torch.nn.Module, value: float) -> None:
    target = torch.tensor(T)
    assert loss(logits_of(P), target, all_valid(target)).item() == pytest.approx(value, rel=1e-5)


def test_pixel_weights_multiply_the_cross_entropy() -> None:
    target = torch.tensor(T)
    weight = torch.tensor([[[2.0, 0.5, 0.0]]])
    loss = WeightedCrossEntropyLoss()(logits_of(P), target, all_valid(target), weight)
    assert loss.item() == pytest.approx(-(2 * math.log(0.8) + 0.5 * math.log(0.6)) / 3)
    with pytest.raises(UserError, match="border weight map"):
        WeightedCrossEntropyLoss()(logits_of(P), target, all_valid(target), None)


def test_errors_far_from_the_outline_cost_more() -> None:
    """A row of nine pixels, the first three true: distances are 1 to 6 px outside, 2, 1 and 0 px inside."""
    target = torch.tensor([[[1, 1, 1, 0, 0, 0, 0, 0, 0]]])
    side = 3  # the root of nine pixels
    p = [0.4, 1.0, 1.0, 0.1, 0.0, 0.0, 0.0, 0.0, 0.3]
    logits = logits_of(p).clamp(-40, 40)
    loss = BoundaryLoss()(logits, target, all_valid(target))
    assert loss.item() == pytest.approx((2 * 0.6 + 1 * 0.1 + 6 * 0.3) / side / 9, rel=1e-5)
    # Above 0.5 are pixels 1 and 2, so the predicted outline is 1 px from pixel 0, 1 px from 3 and 6 px from 8.
    squares = [(3, 1, 0.36), (1, 1, 0.01), (6, 6, 0.09)]
    expected = sum((t**2 + q**2) * e for t, q, e in squares) / side**2 / 9
    assert HausdorffLoss(alpha=2)(logits, target, all_valid(target)).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("value", [0, 1])
def test_without_an_outline_the_distance_is_one_image_side(value: int) -> None:
    target = torch.full((1, 4, 4), value)
    logits = torch.full((1, 1, 4, 4), 0.9 if value == 0 else 0.1).logit()
    pixel = 0 if value == 0 else 1 / 4
    loss = BoundaryLoss()(logits, target, all_valid(target))
    assert loss.item() == pytest.approx((1 - pixel) * 0.9, rel=1e-5)
    assert HausdorffLoss()(logits, target, all_valid(target)).item() == pytest.approx(2 * 0.81, rel=1e-5)


def test_centre_lines_by_hand() -> None:
    """The skeleton of a bar of 3 x 7 pixels is its middle row; a prediction of that row alone is perfect."""
    target = torch.zeros(1, 7, 11, dtype=torch.long)
    target[0, 2:5, 2:9] = 1
    line = torch.full((1, 1, 7, 11), -40.0)
    line[0, 0, 3, 2:9] = 40
    loss = ClDiceLoss(alpha=1, iterations=3, smooth=1e-6)
    assert loss(line, target, all_valid(target)).item() == pytest.approx(0, abs=1e-4)
    missing = torch.full((1, 1, 7, 11), -40.0)
    missing[0, 0, 3, 6:9] = 40  # three pixels; two of the five of the true skeleton are predicted
    assert loss(missing, target, all_valid(target)).item() == pytest.approx(1 - 2 * 0.4 / 1.4, abs=1e-4)


def test_lovasz_softmax_by_hand() -> None:
    """Errors 0.7, 0.4, 0.2 of class 1 (truth 0, 1, 1): 0.7 1/3 + 0.4 (2/3 - 1/3) + 0.2 (1 - 2/3), as IoU falls."""
    target = torch.tensor([[[0, 1, 1]]])
    two = torch.cat([torch.zeros(1, 1, 1, 3), logits_of([0.7, 0.6, 0.8])], 1)
    loss = LovaszLoss(symmetric=False)(two, target, all_valid(target))
    assert loss.item() == pytest.approx((0.7 + 0.4 + 0.2) / 3)
    both = LovaszLoss(symmetric=True)(two, target, all_valid(target))
    background = 0.7 * 1 + 0  # its only pixel has the largest error, after which there is no overlap
    assert both.item() == pytest.approx(((0.7 + 0.4 + 0.2) / 3 + background) / 2)


def scene(classes: int) -> tuple[Tensor, Tensor]:
    """Return logits (1, classes, 24, 20) and a target (1, 24, 20) that contains each class."""
    torch.manual_seed(0)
    target = torch.zeros(1, 24, 20, dtype=torch.long)
    for label in range(1, classes):
        target[0, 6 * label - 3 : 6 * label + 2, 4:15] = label
    return torch.randn(1, classes, 24, 20), target


BINARY = {"mode": "binary"}
SMP_BINARY = [
    (DiceLoss(smooth=1), "DiceLoss", {**BINARY, "smooth": 0.5}),
    (JaccardLoss(smooth=1), "JaccardLoss", {**BINARY, "smooth": 1.0}),
    (TverskyLoss(0.3, 0.7, smooth=1), "TverskyLoss", {**BINARY, "alpha": 0.3, "beta": 0.7, "smooth": 1.0}),
    (
        FocalTverskyLoss(0.3, 0.7, 4 / 3, smooth=1),
        "TverskyLoss",
        {**BINARY, "alpha": 0.3, "beta": 0.7, "gamma": 0.75, "smooth": 1.0},
    ),
    (FocalLoss(0.25, 2.0), "FocalLoss", {**BINARY, "alpha": 0.25, "gamma": 2.0}),
    (CrossEntropyLoss(), "SoftBCEWithLogitsLoss", {}),
]


@pytest.mark.parametrize(("ours", "name", "options"), SMP_BINARY, ids=[type(o).__name__ for o, *_ in SMP_BINARY])
def test_binary_values_are_those_of_smp(ours: torch.nn.Module, name: str, options: dict[str, Any]) -> None:
    theirs = getattr(pytest.importorskip("segmentation_models_pytorch").losses, name)(**options)
    logits, target = scene(2)
    logits = logits[:, :1]
    expected = theirs(logits, target[:, None].float())
    torch.testing.assert_close(ours(logits, target, all_valid(target)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("ours", "name", "options"),
    [
        (DiceLoss(smooth=1), "DiceLoss", {"smooth": 0.5, "classes": [1, 2, 3]}),
        (JaccardLoss(smooth=1), "JaccardLoss", {"smooth": 1.0, "classes": [1, 2, 3]}),
        (LovaszLoss(symmetric=True), "LovaszLoss", {"per_image": True}),
    ],
    ids=["dice", "jaccard", "lovasz"],
)
def test_values_of_four_classes_are_those_of_smp(ours: torch.nn.Module, name: str, options: dict[str, Any]) -> None:
    theirs = getattr(pytest.importorskip("segmentation_models_pytorch").losses, name)(mode="multiclass", **options)
    logits, target = scene(4)
    torch.testing.assert_close(ours(logits, target, all_valid(target)), theirs(logits, target), rtol=1e-5, atol=1e-6)


def test_mcc_is_that_of_smp() -> None:
    theirs = pytest.importorskip("segmentation_models_pytorch").losses.MCCLoss(eps=1e-6)
    logits, target = scene(2)
    expected = theirs(logits[:, :1].sigmoid(), target[:, None].float())
    torch.testing.assert_close(MCCLoss(1e-6)(logits[:, :1], target, all_valid(target)), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("classes", [2, 4])
def test_values_are_those_of_monai(classes: int) -> None:
    """MONAI's boundary loss leaves out a constant, and its distances are in pixels."""
    monai = pytest.importorskip("monai.losses")
    logits, target = scene(classes)
    truth = torch.nn.functional.one_hot(target, classes).permute(0, 3, 1, 2).float()
    softmax: dict[str, Any] = {"softmax": True, "include_background": False}
    side = (24 * 20) ** 0.5
    boundary = monai.BoundaryLoss(include_background=False)
    skeletons = monai.SoftclDiceLoss(iter_=3, smooth=1e-9)
    per_class = [skeletons(logits.softmax(1)[:, [k]], truth[:, [k]]) for k in range(1, classes)]
    pairs = [
        (GeneralizedDiceLoss(), monai.GeneralizedDiceLoss(softmax=True, smooth_nr=0, smooth_dr=0)(logits, truth)),
        (FocalLoss(0.25, 2), monai.FocalLoss(use_softmax=True, alpha=0.25, gamma=2.0)(logits, truth) * classes),
        (HausdorffLoss(2), monai.HausdorffDTLoss(alpha=2.0, **softmax)(logits, truth) / side**2),
        (BoundaryLoss(), (boundary(logits.softmax(1), truth) - boundary(truth, truth)) / side),
        (ClDiceLoss(alpha=1), torch.stack(per_class).mean()),
        (MCCLoss(1e-6), monai.MCCLoss(smooth_nr=0, smooth_dr=0, **softmax)(logits, truth)),
    ]
    for ours, expected in pairs:
        value = ours(logits, target, all_valid(target))
        assert value.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-6), ours


def test_a_sum_skips_terms_of_weight_0_and_passes_on_pixel_weights() -> None:
    target = torch.tensor(T)
    weight = torch.tensor([[[2.0, 0.5, 0.0]]])
    border, dice = WeightedCrossEntropyLoss(), DiceLoss()
    both = WeightedSum({"border": border, "dice": dice}, {"border": 2.0, "dice": 1.0})
    arguments = (logits_of(P), target, all_valid(target))
    assert both.wants_weight
    torch.testing.assert_close(both(*arguments, weight), 2 * border(*arguments, weight) + dice(*arguments))
    alone = WeightedSum({"border": border, "dice": dice}, {"border": 0.0, "dice": 1.0})
    assert not alone.wants_weight
    assert alone(*arguments) == dice(*arguments)
    with pytest.raises(UserError, match=r"loss\.weights are all 0; set one at least, as loss\.weights\.border=1"):
        WeightedSum({"border": border}, {"border": 0.0})


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: DiceLoss(smooth=0), "smooth=0"),
        (
            lambda: DiceLoss(smoothing=0),
            "loss.smoothing=0 must be a share of the image's pixels, above 0 and at most 1",
        ),
        (lambda: ClDiceLoss(smoothing=100), "smoothing=100"),
        (lambda: TverskyLoss(alpha=-1), "alpha=-1"),
        (lambda: FocalTverskyLoss(gamma=0), "gamma=0"),
        (lambda: FocalLoss(alpha=25), "alpha=25"),
        (lambda: FocalLoss(gamma=-2), "gamma=-2"),
        (lambda: TopKLoss(share=10), "share=10"),
        (lambda: HausdorffLoss(alpha=0), "alpha=0"),
        (lambda: ClDiceLoss(alpha=2), "alpha=2"),
        (lambda: DiceBCELoss(bce_weight=None), "loss.bce_weight=None must be a number"),  # type: ignore[arg-type]
        (lambda: WeightedSum({"a": DiceLoss()}, {"a": None}), "loss.weights.a=None"),  # type: ignore[dict-item]
    ],
)
def test_values_out_of_range_are_named(make: Callable[[], object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        make()


REGIONS: list[Callable[..., torch.nn.Module]] = [
    DiceLoss,
    JaccardLoss,
    TverskyLoss,
    FocalTverskyLoss,
    partial(DiceBCELoss, 1, 1),
    partial(ClDiceLoss, 0),
]


@pytest.mark.parametrize("loss", REGIONS)
def test_smoothing_is_a_share_of_the_valid_pixels_of_masks_without_the_class(
    loss: Callable[..., torch.nn.Module],
) -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, 5, 5), torch.randint(0, 3, (2, 5, 5))
    target[:, 4] = 255  # 20 pixels are left
    valid = target != 255
    present = loss(smooth=1e-6)(logits, target, valid)
    torch.testing.assert_close(loss(smoothing=0.25)(logits, target, valid), present, rtol=1e-5, atol=0)
    target[valid] = 0
    absent = loss(smooth=5)(logits, target, valid)
    torch.testing.assert_close(loss(smoothing=0.25)(logits, target, valid), absent, rtol=1e-6, atol=0)


def test_smoothing_of_correlations_and_of_skeletons_is_for_all_masks() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, 5, 5), torch.randint(0, 3, (2, 5, 5))
    target[:, 4] = 255
    for by_share, in_pixels in (
        (MCCLoss(smoothing=0.25), MCCLoss(smooth=5)),
        (ClDiceLoss(alpha=1, smoothing=0.25), ClDiceLoss(alpha=1, smooth=0.25 * 20**0.5)),  # a share of the side
    ):
        expected = in_pixels(logits, target, target != 255)
        torch.testing.assert_close(by_share(logits, target, target != 255), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (DiceLoss(5), DiceLoss(smooth=5)),
        (TverskyLoss(0.2, 0.6, 5), TverskyLoss(0.2, 0.6, smooth=5)),
        (FocalTverskyLoss(0.3, 0.7, 2, 5), FocalTverskyLoss(gamma=2, smooth=5)),
        (DiceBCELoss(1, 2, 5), DiceBCELoss(1, 2, smooth=5)),
        (ClDiceLoss(0.5, 3, 5), ClDiceLoss(smooth=5)),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_smoothing_in_pixels_keeps_its_place_among_the_arguments(old: torch.nn.Module, new: torch.nn.Module) -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, 5, 5), torch.randint(0, 3, (2, 5, 5))
    valid = all_valid(target)
    assert old(logits, target, valid) == new(logits, target, valid)


def test_the_old_key_is_named_with_the_new_one(caplog: pytest.LogCaptureFixture) -> None:
    for smooth in (123.5, 123.5):
        DiceBCELoss(smooth=smooth)
    said = (
        "smooth=123.5 is in pixels, as before; the present key is smoothing=0.01, a share of the pixels of empty masks"
    )
    assert caplog.text.count(said) == 1


@pytest.mark.parametrize("probability", [0.01, 0.1, 0.5])
def test_dice_pulls_on_an_empty_mask_with_its_false_positives(probability: float) -> None:
    """The gradient of each probability is s / (S + s)^2, where S is their sum and s 1 % of 400 pixels."""
    probabilities = torch.full((1, 1, 20, 20), probability)
    logits = probabilities.logit().requires_grad_()
    target = torch.zeros(1, 20, 20, dtype=torch.long)
    torch.autograd.backward(DiceLoss()(logits, target, all_valid(target)))
    assert logits.grad is not None
    expected = 4 / (400 * probability + 4) ** 2 * probability * (1 - probability)
    torch.testing.assert_close(logits.grad, torch.full_like(logits, expected))
