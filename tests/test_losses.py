import math

import pytest
import torch
from torch import Tensor

from unetkit.errors import UserError
from unetkit.losses import DiceBCELoss, LovaszHingeLoss, Staged, WeightedSum, lovasz_hinge


def everything(target: Tensor) -> Tensor:
    return torch.ones_like(target, dtype=torch.bool)


def logits_of(probabilities: list[float]) -> Tensor:
    return torch.tensor(probabilities).logit().view(1, 1, 1, -1)


def test_bce_by_hand() -> None:
    target = torch.tensor([[[1, 0]]])
    loss = DiceBCELoss(dice_weight=0)(logits_of([0.8, 0.4]), target, everything(target))
    assert loss.item() == pytest.approx(-(math.log(0.8) + math.log(0.6)) / 2)


def test_dice_by_hand() -> None:
    target = torch.tensor([[[1, 0]]])
    loss = DiceBCELoss(bce_weight=0, smooth=1.0)(logits_of([0.8, 0.4]), target, everything(target))
    assert loss.item() == pytest.approx(1 - (2 * 0.8 + 1) / (1.2 + 1 + 1))


def test_weights_add_the_terms() -> None:
    target = torch.randint(0, 2, (2, 4, 5))
    logits = torch.randn(2, 1, 4, 5)
    dice = DiceBCELoss(1, 0)(logits, target, everything(target))
    bce = DiceBCELoss(0, 1)(logits, target, everything(target))
    both = DiceBCELoss(0.25, 2.0)(logits, target, everything(target))
    torch.testing.assert_close(both, 0.25 * dice + 2 * bce)


def test_dice_is_taken_per_image() -> None:
    target = torch.randint(0, 2, (3, 4, 5))
    logits = torch.randn(3, 1, 4, 5)
    loss = DiceBCELoss()
    single = [loss(logits[i : i + 1], target[i : i + 1], everything(target[i : i + 1])) for i in range(3)]
    torch.testing.assert_close(loss(logits, target, everything(target)), torch.stack(single).mean())


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_mistakes_cost_on_empty_and_full_masks(value: int, dtype: torch.dtype) -> None:
    """The gradient pulls every pixel towards the truth, also in half precision."""
    target = torch.full((1, 8, 8), value)
    logits = torch.full((1, 1, 8, 8), 30.0 if value == 0 else -30.0, dtype=dtype, requires_grad=True)
    loss = DiceBCELoss()(logits, target, everything(target))
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() > 1
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert (logits.grad > 0 if value == 0 else logits.grad < 0).all()


def test_dice_alone_pushes_a_false_positive_away_on_an_empty_mask() -> None:
    target = torch.zeros(1, 2, 2, dtype=torch.long)
    logits = torch.zeros(1, 1, 2, 2, requires_grad=True)
    DiceBCELoss(bce_weight=0)(logits, target, everything(target)).backward()
    assert logits.grad is not None
    assert (logits.grad > 0).all()


def test_void_pixels_have_no_say() -> None:
    target = torch.tensor([[[1, 0, 255]]])
    logits = torch.randn(1, 1, 1, 3, requires_grad=True)
    DiceBCELoss()(logits, target, target != 255).backward()
    whole = DiceBCELoss()(logits, target, target != 255)
    part = DiceBCELoss()(logits[..., :2], target[..., :2], everything(target[..., :2]))
    torch.testing.assert_close(whole, part)
    assert logits.grad is not None
    assert logits.grad[..., 2].item() == 0


def test_images_without_a_true_pixel_have_no_say() -> None:
    target = torch.stack([torch.randint(0, 2, (3, 3)), torch.full((3, 3), 255)])
    logits = torch.randn(2, 1, 3, 3)
    torch.testing.assert_close(
        DiceBCELoss()(logits, target, target != 255), DiceBCELoss()(logits[:1], target[:1], target[:1] != 255)
    )
    assert DiceBCELoss()(logits[1:], target[1:], target[1:] != 255).item() == 0


def test_two_logits_are_the_sigmoid_of_their_difference() -> None:
    target = torch.randint(0, 2, (2, 5, 5))
    two = torch.randn(2, 2, 5, 5)
    one = two[:, 1:] - two[:, :1]
    torch.testing.assert_close(
        DiceBCELoss()(two, target, everything(target)), DiceBCELoss()(one, target, everything(target))
    )


def jaccard_loss(wrong: list[int], truth: list[int]) -> float:
    """1 - IoU of the mask whose pixels differ from the truth where `wrong` says."""
    predicted = [t ^ w for t, w in zip(truth, wrong, strict=True)]
    overlap = sum(p & t for p, t in zip(predicted, truth, strict=True))
    union = sum(p | t for p, t in zip(predicted, truth, strict=True))
    return 1 - overlap / union if union else 0.0


@pytest.mark.parametrize("truth", [[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
def test_lovasz_is_the_extension_of_the_jaccard_loss(truth: list[int]) -> None:
    """Berman et al., definition 1: sum over pixels, by falling margin, of margin times growth of the set's loss."""
    scores = [0.3, -0.2, 1.7, 0.9]
    margins = [1 - s if t else 1 + s for s, t in zip(scores, truth, strict=True)]
    expected, wrong = 0.0, [0] * 4
    for i in sorted(range(4), key=lambda i: -margins[i]):
        before = jaccard_loss(wrong, truth)
        wrong[i] = 1
        activated = margins[i] + 1 if margins[i] > 0 else math.exp(margins[i])
        expected += activated * (jaccard_loss(wrong, truth) - before)
    everywhere = torch.ones(1, 4, dtype=torch.bool)
    loss = lovasz_hinge(torch.tensor([scores]), torch.tensor([truth]).bool(), everywhere)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("value", [0, 1])
def test_symmetric_lovasz_has_a_gradient_on_empty_and_full_masks(value: int) -> None:
    target = torch.full((2, 6, 6), value)
    logits = torch.randn(2, 1, 6, 6, dtype=torch.float16, requires_grad=True)
    LovaszHingeLoss()(logits, target, everything(target)).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert (logits.grad.sum() > 0) == (value == 0)


def test_lovasz_leaves_void_out() -> None:
    target = torch.randint(0, 2, (2, 5, 5))
    target[:, 3:] = 255
    logits = torch.randn(2, 1, 5, 5)
    whole = LovaszHingeLoss()(logits, target, target != 255)
    part = LovaszHingeLoss()(logits[..., :3, :], target[:, :3], everything(target[:, :3]))
    torch.testing.assert_close(whole, part)


def test_lovasz_is_for_one_logit() -> None:
    target = torch.zeros(1, 2, 2)
    with pytest.raises(UserError, match="one logit, not 2"):
        LovaszHingeLoss()(torch.zeros(1, 2, 2, 2), target, everything(target))


def test_sums_and_stages() -> None:
    target = torch.randint(0, 2, (1, 4, 4))
    logits = torch.randn(1, 1, 4, 4)
    bce, dice = DiceBCELoss(0, 1), DiceBCELoss(1, 0)
    both = WeightedSum({"bce": bce, "dice": dice}, {"bce": 2.0, "dice": 0.5})
    a, b = (loss(logits, target, everything(target)) for loss in (bce, dice))
    torch.testing.assert_close(both(logits, target, everything(target)), 2 * a + 0.5 * b)
    staged = Staged(bce, dice, switch=0.5)
    assert staged(logits, target, everything(target)) == a
    staged.progress = 0.5
    assert staged(logits, target, everything(target)) == b
    with pytest.raises(UserError, match="one factor for each of bce"):
        WeightedSum({"bce": bce}, {"dice": 1.0})


def test_more_classes() -> None:
    target = torch.tensor([[[0, 1, 2]]])
    right = torch.nn.functional.one_hot(target, 3).permute(0, 3, 1, 2) * 40.0
    assert DiceBCELoss()(right, target, everything(target)).item() == pytest.approx(0, abs=1e-5)
    assert DiceBCELoss()(-right, target, everything(target)).item() > 20
