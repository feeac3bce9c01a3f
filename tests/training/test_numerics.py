"""Gradients in bfloat16 on a CPU, and what a run does where a processor computes them wrongly."""

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from torch import Tensor, nn
from training_runs import composed, run

from unetkit.models import ResidualUNet
from unetkit.paths import config_dir
from unetkit.training import numerics
from unetkit.training.numerics import avoid_wrong_gradients, wrong_layers

CONF = config_dir()
EXCEPT = {"unet", "unet_3d"}  # a base of others; a network of volumes
LAYOUTS = [torch.channels_last, torch.contiguous_format]


class Garbage(torch.autograd.Function):
    """The identity, whose gradient in channels_last is what oneDNN's was: partly what lay in memory."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, slope: Tensor) -> Tensor:
        is_broken = slope.dtype == torch.bfloat16 and not slope.is_contiguous()
        return torch.full_like(slope, torch.nan) if is_broken else slope


class BrokenConv(nn.Conv2d):
    """A convolution whose gradients are wrong in bfloat16 and channels_last."""

    def forward(self, input: Tensor) -> Tensor:
        return Garbage.apply(super().forward(input))  # type: ignore[no-any-return]


class AlwaysBroken(nn.Conv2d):
    """A convolution that loses a channel in bfloat16, in any order of memory."""

    def forward(self, input: Tensor) -> Tensor:
        y = super().forward(input)
        return y * torch.tensor([0] + [1] * (y.shape[1] - 1)).view(1, -1, 1, 1) if y.dtype == torch.bfloat16 else y


class BrokenVolumes(nn.Conv3d):
    """A convolution of volumes whose gradients are wrong in bfloat16 and channels_last."""

    def forward(self, input: Tensor) -> Tensor:
        return Garbage.apply(super().forward(input))  # type: ignore[no-any-return]


def test_wrong_layers_of_volumes_are_found() -> None:
    volumes = torch.zeros(1, 2, 8, 20, 24)
    assert wrong_layers(nn.Sequential(nn.Conv3d(2, 3, 3)), volumes, torch.channels_last) == []
    (found,) = wrong_layers(nn.Sequential(BrokenVolumes(2, 3, 3)), volumes, torch.channels_last)
    assert found.endswith("at 8x16x16 px")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_right_layers_pass(layout: torch.memory_format) -> None:
    network = nn.Sequential(nn.Conv2d(1, 20, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(20, 4, 2, stride=2))
    assert wrong_layers(network, torch.randn(2, 1, 33, 35), layout) == []


def test_a_wrong_layer_is_named_once_with_its_size() -> None:
    network = nn.Sequential(nn.Conv2d(1, 6, 1), BrokenConv(6, 6, 1), BrokenConv(6, 6, 1))
    assert wrong_layers(network, torch.randn(1, 1, 20, 24), torch.contiguous_format) == []
    (wrong,) = wrong_layers(network, torch.randn(1, 1, 20, 24), torch.channels_last)
    assert wrong == "BrokenConv(6, 6, kernel_size=(1, 1), stride=(1, 1)) at 20x24 px"


def test_the_check_changes_nothing_of_the_network() -> None:
    network = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6)).train()
    before, state = {k: v.clone() for k, v in network.state_dict().items()}, torch.get_rng_state()
    wrong_layers(network, torch.randn(1, 1, 20, 20, generator=torch.Generator().manual_seed(0)), torch.channels_last)
    assert network.training
    assert torch.equal(torch.get_rng_state(), state)
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        (BrokenConv, ["trainer.precision=16"], (False, 16)),
        (AlwaysBroken, ["trainer.precision=bf16-mixed"], (True, 32)),
        (AlwaysBroken, ["trainer.precision=16", "channels_last=false"], (False, 32)),
        (BrokenConv, ["trainer.precision=32"], (True, 32)),
        (nn.Conv2d, ["trainer.precision=16"], (True, 16)),
    ],
)
def test_a_run_falls_back_to_what_is_right(
    kind: type[nn.Conv2d], options: list[str], expected: tuple[bool, int], caplog: pytest.LogCaptureFixture
) -> None:
    cfg = composed("trainer.accelerator=cpu", *options)
    network = nn.Sequential(nn.Conv2d(1, 6, 1), kind(6, 6, 1)).to(memory_format=torch.channels_last)
    chosen = (cfg.channels_last, cfg.trainer.precision)
    avoid_wrong_gradients(cfg, network, torch.randn(1, 1, 20, 20))
    assert (cfg.channels_last, cfg.trainer.precision) == expected
    said = [record.message for record in caplog.records if "wrong bfloat16 gradients of" in record.message]
    assert len(said) == (chosen != expected)


def test_a_run_in_bfloat16_is_checked_before_it_trains(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numerics, "wrong_layers", lambda network, images, layout: ["Conv2d"])
    summary = run(tmp_path, cache, "trainer.precision=16", "trainer.max_epochs=1")
    assert summary["precision"] == "32-true"


@pytest.mark.parametrize("size", [128, 256])
def test_the_residual_networks_have_right_gradients_where_dilated_features_are_wide(size: int) -> None:
    network = ResidualUNet(channels=[20, 24, 36], dilations=[1, 2, 4])
    assert wrong_layers(network, torch.randn(1, 1, size, size), torch.channels_last) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [p.stem for p in sorted((CONF / "model").glob("*.yaml")) if p.stem not in EXCEPT])
def test_every_network_has_right_gradients_in_bfloat16(name: str) -> None:
    cfg = composed(f"model={name}").model
    network = instantiate(cfg)
    is_small = sum(p.numel() for p in network.parameters()) < 3_000_000
    large = 256 if getattr(network, "margin", 0) else 128  # valid convolutions lose 184 pixels
    for size in (101, 128, 256) if is_small else (large,):
        images = torch.randn(3 if is_small else 1, cfg.in_channels, size, size)
        assert wrong_layers(network, images, torch.channels_last) == [], size
