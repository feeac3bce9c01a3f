"""Weights of classes and label smoothing of the cross-entropy are torch's."""

import pytest
import torch
import torch.nn.functional as F

from unetkit.errors import UserError
from unetkit.losses import CrossEntropyLoss, DiceBCELoss, DiceLoss


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    target = torch.randint(0, 3, (2, 6, 7))
    target[0, :2] = 255
    return torch.randn(2, 3, 6, 7), target, target != 255


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_several_classes_as_torch(batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor], smoothing: float) -> None:
    logits, target, valid = batch
    weights = [0.5, 1.0, 4.0]
    ours = CrossEntropyLoss(weights, label_smoothing=smoothing)(logits, target, valid)
    masked = target.where(valid, torch.tensor(-100))
    each = F.cross_entropy(logits, masked, torch.tensor(weights), reduction="none", label_smoothing=smoothing)
    assert ours == pytest.approx(((each * valid).flatten(1).sum(1) / valid.flatten(1).sum(1)).mean().item(), abs=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_binary_masks_as_torch_and_as_two_logits(
    batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor], smoothing: float
) -> None:
    logits, target, _ = batch
    logits, target = logits[:, :1], target.clamp(max=1)
    valid = torch.ones_like(target, dtype=torch.bool)
    truth = target.float() * (1 - smoothing) + smoothing / 2
    torchs = F.binary_cross_entropy_with_logits(logits[:, 0], truth, pos_weight=torch.tensor(3.0))
    ours = CrossEntropyLoss(pos_weight=3.0, label_smoothing=smoothing)(logits, target, valid)
    assert ours == pytest.approx(torchs.item(), abs=1e-6)
    assert CrossEntropyLoss([1.0, 3.0], label_smoothing=smoothing)(logits, target, valid) == pytest.approx(ours.item())
    two = torch.cat([torch.zeros_like(logits), logits], 1)
    for loss in (CrossEntropyLoss(pos_weight=3.0, label_smoothing=smoothing),
                 CrossEntropyLoss([0.5, 3.0], label_smoothing=smoothing)):  # fmt: skip
        assert loss(two, target, valid) == pytest.approx(loss(logits, target, valid).item(), abs=1e-6)


def test_only_the_cross_entropy_of_a_sum_is_weighted(batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    weighted = DiceBCELoss(class_weights=[1.0, 2.0, 3.0])
    parts = DiceLoss()(*batch) + CrossEntropyLoss([1.0, 2.0, 3.0])(*batch)
    assert weighted(*batch) == pytest.approx(parts.item(), abs=1e-6)
    assert not weighted.state_dict()  # checkpoints stay as they were


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"class_weights": [1, 2], "pos_weight": 2}, "both weigh the foreground"),
        ({"class_weights": "auto"}, "must be a list of a weight"),
        ({"class_weights": [0, 0]}, "not all 0"),
        ({"class_weights": [1, -1]}, "a weight of at least 0"),
        ({"pos_weight": 0}, "above 0"),
        ({"label_smoothing": 1.0}, "at least 0 and below 1"),
    ],
)
def test_wrong_values_are_named(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        CrossEntropyLoss(**arguments)  # type: ignore[arg-type]


def test_a_weight_is_needed_for_each_class(batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    with pytest.raises(UserError, match="2 weights for 3 classes"):
        CrossEntropyLoss(pos_weight=2)(*batch)
