"""The U-Net for volumes."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from unetkit.losses import DiceBCELoss
from unetkit.metrics import PooledIoU
from unetkit.models import UNet, activation_bytes, classify, mirror_pad, predict_full_frame, probabilities

SMALL = (4, 6, 8)


@pytest.mark.parametrize(
    "options",
    [
        {"padding": "zeros", "upsampling": "transposed"},
        {"padding": "replicate", "upsampling": "nearest", "block": "residual", "attention": "gate"},
        {"padding": "reflect", "upsampling": "bilinear", "block": "separable", "attention": "scse", "dilation": 2},
        {"padding": "reflect", "upsampling": "transposed", "bottleneck": "pyramid"},
    ],
    ids=lambda o: "-".join(map(str, o.values())),
)
def test_logits_have_the_size_of_any_volume(options: dict[str, Any]) -> None:
    network = UNet(2, 3, SMALL, spatial_dims=3, **options)
    logits = network(torch.randn(1, 2, 9, 1, 14))
    assert logits.shape == (1, 3, 9, 1, 14)
    logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_unpadded_volumes_lose_their_margin() -> None:
    network = UNet(1, 1, (2, 4), spatial_dims=3, padding="valid", norm="group", attention="gate").eval()
    lost = 2 * network.margin
    assert lost == 16
    assert network(torch.randn(1, 1, 20, 21, 17)).shape == (1, 1, 4, 5, 1)
    assert predict_full_frame(network, torch.randn(1, 1, 3, 6, 5)).shape == (1, 1, 3, 6, 5)


def test_mirroring_of_volumes_is_that_of_numpy() -> None:
    x = np.arange(24.0).reshape(1, 1, 2, 3, 4)
    amounts = ((3, 2), (0, 5), (1, 1))
    padded = mirror_pad(torch.from_numpy(x), *amounts)
    assert np.array_equal(padded.numpy(), np.pad(x, ((0, 0), (0, 0), *amounts), "reflect"))


def test_checkpointing_changes_no_number() -> None:
    plain = UNet(1, 1, SMALL, spatial_dims=3)
    frugal = UNet(1, 1, SMALL, spatial_dims=3, gradient_checkpointing="all")
    frugal.load_state_dict(plain.state_dict())
    x = torch.randn(2, 1, 9, 11, 8)
    for network in (plain, frugal):
        network(x).square().mean().backward()
    for a, b in zip(plain.parameters(), frugal.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=0)
    torch.testing.assert_close(list(plain.buffers()), list(frugal.buffers()), rtol=0, atol=0)
    assert activation_bytes(frugal, x) < activation_bytes(plain, x)


def balls(count: int, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Make volumes (B, 1, 16, 16, 16) of noise with one bright ball, and their masks (B, 16, 16, 16).

    With three classes, half of the balls are dark and have class 2.
    """
    axes = torch.arange(16.0)
    centre = 4 + 8 * torch.rand(count, 3, 1, 1, 1, generator=generator)
    grid = torch.stack(torch.meshgrid(axes, axes, axes, indexing="ij"))
    inside = (grid - centre).square().sum(1) < 16
    label = torch.arange(count) % 2 if classes == 3 else torch.zeros(count, dtype=torch.int64)
    brightness = (2.0 - 4.0 * label)[:, None, None, None] * inside
    volume = brightness + torch.randn(inside.shape, generator=generator)
    return volume[:, None], inside * (1 + label)[:, None, None, None]


@pytest.mark.parametrize("classes", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_balls_in_noise_are_learnt(classes: int) -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    network = UNet(1, classes, (6, 12), spatial_dims=3, upsampling="bilinear")
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.02)
    loss = DiceBCELoss()
    unseen, truth = balls(6, classes, generator)

    def iou() -> float:
        score = PooledIoU(classes)
        with torch.no_grad():
            probability = probabilities(network.eval()(unseen), is_multilabel=False)
            score.update(classify(probability, 0.5, is_multilabel=False), truth, torch.ones_like(truth) > 0)
        return score.compute().item()

    before, losses = iou(), []
    for _ in range(40):
        network.train()
        volume, target = balls(4, classes, generator)
        losses.append(value := loss(network(volume), target, torch.ones_like(target) > 0))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]
    assert iou() > before + 0.4
