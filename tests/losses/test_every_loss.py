"""Properties that every loss of conf/loss has."""

from functools import cache
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from sampling import sampled
from torch import Tensor, nn

from unetkit.losses import apply_loss

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted(path.stem for path in (CONF / "loss").glob("*.yaml"))
SUM = ["loss.weights.dice=1", "loss.weights.boundary=0.5", "loss.weights.weighted_bce=0.1"]


@cache
def configured(name: str) -> nn.Module:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", [f"loss={name}", *(SUM if name == "sum" else []), "run_dir=unused"])
    loss: nn.Module = instantiate(cfg.loss, _convert_="all")
    return loss


def value(loss: nn.Module, logits: Tensor, target: Tensor) -> Tensor:
    """Compute the loss, with a weight of 2 for every pixel if it takes weights."""
    return apply_loss(loss, logits, target, target != 255, torch.full(target.shape, 2.0))


def blob(*size: int, classes: int = 2) -> Tensor:
    """Return a target (1, *) with a block of each class."""
    target = torch.zeros(1, *size, dtype=torch.long)
    for label in range(1, classes):
        target[0, 1:-3, 5 * label - 3 : 5 * label + 2] = label
    return target


def logits_for(target: Tensor, channels: int, certainty: float = 20.0) -> Tensor:
    """Return logits (B, channels, *) that predict the target."""
    classes = torch.arange(channels).view(1, -1, *[1] * (target.ndim - 1))
    return certainty * (2.0 * (target[:, None] == (classes if channels > 1 else 1)) - 1)


@pytest.mark.parametrize(("name", "channels", "size"), sampled(NAMES, [1, 2, 4], [(16, 20), (8, 18, 10)]))
def test_a_perfect_prediction_costs_nothing_and_its_opposite_a_lot(
    name: str, channels: int, size: tuple[int, ...]
) -> None:
    loss = configured(name)
    target = blob(*size, classes=max(channels, 2))
    assert value(loss, logits_for(target, channels), target).item() == pytest.approx(0, abs=1e-3)
    assert value(loss, logits_for(target, channels, -20.0), target).item() > 0.05


@pytest.mark.parametrize(("name", "full", "channels"), sampled(NAMES, [False, True], [1, 2, 4]))
def test_gradients_correct_errors_on_empty_and_full_masks(name: str, full: bool, channels: int) -> None:
    torch.manual_seed(0)
    target = torch.full((2, 16, 20), int(full))
    errors = blob(16, 20).bool().expand(2, -1, -1)
    logits = logits_for(torch.where(errors, 1 - target, target), channels, 2.0)
    logits = (logits + 0.3 * torch.randn(logits.shape)).requires_grad_()
    torch.autograd.backward(value(configured(name), logits, target))
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad.any()
    if name != "cldice":  # where the skeleton of an error shrinks when the error grows
        pull = -logits.grad[:, int(full) if channels > 1 else 0][errors].sum()
        assert pull < 0 if channels == 1 and not full else pull > 0


@pytest.mark.parametrize(("name", "channels", "dtype"), sampled(NAMES, [1, 4], [torch.bfloat16, torch.float16]))
def test_half_precision_and_large_logits_are_stable(name: str, channels: int, dtype: torch.dtype) -> None:
    loss = configured(name)
    targets = [blob(16, 20), torch.zeros(1, 16, 20).long(), torch.ones(1, 16, 20).long(), torch.full((1, 16, 20), 255)]
    for target in [*targets, torch.cat(targets)]:
        for certainty in (30.0, -30.0, 0.0):
            logits = logits_for(target, channels, certainty).to(dtype).requires_grad_()
            cost = value(loss, logits, target)
            torch.autograd.backward(cost)
            assert cost.dtype == torch.float32
            assert cost.isfinite()
            assert logits.grad is not None
            assert logits.grad.isfinite().all()


@pytest.mark.parametrize(("name", "channels"), sampled(NAMES, [1, 3]))
def test_void_pixels_and_void_images_are_ignored(name: str, channels: int) -> None:
    torch.manual_seed(0)
    loss = configured(name)
    part, logits = blob(16, 20, classes=3), torch.randn(2, channels, 19, 24)
    target = torch.full((2, 19, 24), 255)
    target[:1, :16, :20] = part
    logits.requires_grad_()
    cost = value(loss, logits, target)
    torch.autograd.backward(cost)
    torch.testing.assert_close(cost, value(loss, logits[:1, :, :16, :20], part), rtol=1e-5, atol=1e-6)
    assert logits.grad is not None
    assert not logits.grad[(target == 255)[:, None].expand_as(logits)].any()
    nothing = torch.full_like(target, 255)
    assert value(loss, logits, nothing).item() == 0


@pytest.mark.parametrize("name", [name for name in NAMES if "lovasz" not in name])
def test_two_logits_give_the_loss_of_their_difference_as_one_logit(name: str) -> None:
    torch.manual_seed(0)
    loss, target = configured(name), blob(16, 20)
    two = torch.randn(1, 2, 16, 20)
    torch.testing.assert_close(value(loss, two, target), value(loss, two[:, 1:] - two[:, :1], target))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("boundary", "hausdorff", "cldice", "sum")])
@pytest.mark.parametrize("is_empty", [False, True])
def test_an_image_of_larger_pixels_costs_the_same(name: str, is_empty: bool) -> None:
    torch.manual_seed(0)
    loss, target, logits = configured(name), blob(16, 20) * (not is_empty), torch.randn(1, 1, 16, 20)
    large_target, large_logits = (x.repeat_interleave(3, -1).repeat_interleave(3, -2) for x in (target, logits))
    cost = value(loss, logits, target)
    torch.testing.assert_close(value(loss, large_logits, large_target), cost, rtol=1e-4, atol=1e-6)


def iou(logits: Tensor, target: Tensor) -> float:
    predicted = logits.argmax(1) if logits.shape[1] > 1 else (logits[:, 0] > 0).long()
    hit = ((predicted == target) & (target > 0)).sum()
    return (hit / ((predicted > 0) | (target > 0)).sum()).item()


@pytest.mark.parametrize(("name", "channels"), sampled(NAMES, [1, 3]))
def test_gradient_steps_lower_the_loss_and_raise_the_iou(name: str, channels: int) -> None:
    torch.manual_seed(0)
    loss, target = configured(name), torch.cat([blob(16, 20, classes=max(channels, 2)), blob(16, 20)])
    logits = torch.randn(2, channels, 16, 20).requires_grad_()
    before = value(loss, logits, target).item(), iou(logits, target)
    optimizer = torch.optim.Adam([logits], lr=0.2)
    for _ in range(30):
        optimizer.zero_grad()
        torch.autograd.backward(value(loss, logits, target))
        optimizer.step()
    assert value(loss, logits, target).item() < before[0]
    assert iou(logits, target) > before[1] + 0.2
