"""Deep supervision: auxiliary losses on the decoder levels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import unetkit
from unetkit.checkpoints.metadata import Metadata
from unetkit.data import Batch, Preprocessing
from unetkit.errors import UserError
from unetkit.losses import DiceBCELoss
from unetkit.models import DumbNet, ResidualUNet, UNet
from unetkit.models.deep_supervision import SideHeads
from unetkit.prediction.predictor import Predictor
from unetkit.training.module import SegmentationModule
from unetkit.training.optimisation import parameter_groups

SMALL = (4, 6, 8)
PIXELS = Preprocessing(1, None, (0.4,), (0.2,))


def module_of(network: nn.Module, weight: float, **options: Any) -> SegmentationModule:
    make = torch.optim.SGD
    return SegmentationModule(
        network, DiceBCELoss(), make, None, preprocessing=PIXELS, deep_supervision=weight, **options
    )


def batch(size: int = 37) -> Batch:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (2, 1, size, size + 4), dtype=torch.uint8, generator=generator)
    return {"image": image, "mask": (image[:, 0] > 128).to(torch.uint8), "index": torch.arange(2)}


def step(module: SegmentationModule) -> tuple[Tensor, list[Tensor]]:
    """Return loss and gradients of one training step."""
    module.log = lambda *_, **__: None  # type: ignore[method-assign]  # there is no trainer to log to
    loss = module.training_step(batch(), 0)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach(), [p.grad for p in module.parameters() if p.grad is not None]


def test_side_logits_are_aligned_with_the_pixels_of_the_network() -> None:
    """A ramp over 6 pixels, at half of a size of 9 that is padded to 12 (1 before, 2 after), gives 0 to 8."""
    sides = SideHeads(UNet(1, 1, SMALL), 1)
    with torch.no_grad():
        sides.heads[0].get_parameter("weight").copy_(torch.tensor([1.0, 0, 0, 0, 0, 0]).view(1, 6, 1, 1))
    features = torch.zeros(1, 6, 6, 6)
    features[:, 0] = 2 * torch.arange(6.0) + 0.5 - 1
    (logits,) = sides([features], torch.zeros(1, 1, 9, 9))
    torch.testing.assert_close(logits[0, 0], torch.arange(9.0).expand(9, 9))


@pytest.mark.parametrize(
    ("network", "classes", "mirror_border"),
    [
        (UNet(1, 1, SMALL, padding="valid"), 1, True),
        (UNet(1, 1, SMALL, padding="valid"), 1, False),
        (UNet(1, 2, SMALL), 2, False),
        (ResidualUNet(1, 3), 3, True),
    ],
)
def test_side_logits_have_the_size_of_the_logits(network: nn.Module, classes: int, mirror_border: bool) -> None:
    module = module_of(network, 0.4, mirror_border=mirror_border, num_classes=classes)
    assert module.side_heads is not None
    with module.side_heads.watch(network) as features:
        logits = module(batch(61)["image"])
    sides = module.side_heads(features, logits)
    assert [side.shape for side in sides] == [logits.shape] * (len(features))
    assert len(features) == len(list(network.get_submodule("decoder").children())) - 1


def test_the_weighted_mean_of_the_side_losses_is_added_to_the_loss() -> None:
    torch.manual_seed(0)
    module = module_of(UNet(1, 1, (4, 6, 8, 8)), 0.4)
    assert module.side_heads is not None
    total, _ = step(module)
    data = batch()
    with module.side_heads.watch(module.network) as features:
        logits = module(data["image"])
    target, valid = data["mask"], data["mask"] < 2
    losses = [module.loss(x, target, valid) for x in (logits, *module.side_heads(features, logits))]
    assert len(losses) == 3
    torch.testing.assert_close(total, losses[0] + 0.4 * (losses[1] + losses[2]) / 2)


def test_the_network_has_no_heads_and_no_hooks_afterwards() -> None:
    network = UNet(1, 1, SMALL)
    keys = list(network.state_dict())
    module = module_of(network, 0.4)
    _, gradients = step(module)
    assert len(gradients) == len(list(module.parameters()))
    assert list(network.state_dict()) == keys
    assert not any(level._forward_hooks for level in network.decoder)
    grouped = [p for group in parameter_groups(network, module.side_heads) for p in group["params"]]
    assert {id(p) for p in grouped} == {id(p) for p in module.parameters()}


@pytest.mark.parametrize("checkpointing", [1, "all"])
def test_checkpointing_changes_no_number(checkpointing: int | str) -> None:
    torch.manual_seed(0)
    plain = module_of(UNet(1, 1, SMALL), 0.4)
    frugal = module_of(UNet(1, 1, SMALL, gradient_checkpointing=checkpointing), 0.4)
    frugal.load_state_dict(plain.state_dict())
    torch.testing.assert_close(step(frugal), step(plain), rtol=0, atol=0)
    torch.testing.assert_close(frugal.state_dict(), plain.state_dict(), rtol=0, atol=0)


def test_a_checkpoint_is_loaded_without_the_heads(tmp_path: Path) -> None:
    model = {"_target_": "unetkit.models.UNet", "in_channels": 1, "num_classes": 1, "channels": list(SMALL)}
    module = module_of(UNet(1, 1, SMALL), 0.4)
    state = module.state_dict()
    assert any(key.startswith("side_heads.") for key in state)
    torch.save({"state_dict": state, "unetkit": Metadata(model, PIXELS).to_dict()}, tmp_path / "a.ckpt")
    predictor = unetkit.load(tmp_path / "a.ckpt")
    image = np.random.default_rng(0).integers(0, 256, (21, 34), np.uint8)
    expected = Predictor(module.network, PIXELS)(image).probability
    np.testing.assert_allclose(predictor(image).probability, expected, atol=1e-5)


@pytest.mark.parametrize("network", [DumbNet(), UNet(1, 1, (4, 8))])
def test_a_network_without_decoder_levels_is_named(network: nn.Module) -> None:
    with pytest.raises(UserError, match=type(network).__name__):
        module_of(network, 0.4)
