"""Every YAML composes; every network is what its file says."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from unetkit import models

CONF = Path(__file__).parent.parent / "conf"
FILES = sorted(CONF.glob("*/*.yaml"))
PARAMETERS = {
    "plain_small": 113_201,
    "plain_base": 467_201,
    "unet_large": 31_036_481,
    "unet_paper": 31_030_658,
    "unet_recreation_small": 117_041,
    "unet_recreation_large": 482_033,
    "unet_milesial": 31_037_698,
    "unet_milesial_bilinear": 17_263_042,
    "attention_unet": 113_285,
    "residual_unet": 113_276,
    "separable_unet": 113_012,
    "dilated_unet": 113_201,
    "unet_scse": 112_761,
    "brain_unet": 7_763_041,
    "unet_3d": 113_409,
    "dumbnet": 37_633,
    "unet_small": 116_877,
    "unet_base": 480_885,
    "segmenter": 1_666_306,
    "transunet": 1_443_265,
    "utnet": 638_713,
    "pspnet": 11_963_201,
    "deeplabv3": 15_892_673,
    "deeplabv3plus": 12_323_025,
    "pan": 11_361_384,
    "segformer": 3_711_265,
    "hrnet": 11_784_661,
    "unetplusplus": 15_964_177,
    "fpn": 13_040_961,
    "smp_unet": 14_321_937,
}


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", [*overrides, "run_dir=unused"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}={file.stem}")
def test_every_choice_composes_and_resolves(file: Path) -> None:
    cfg = composed(f"{file.parent.name}={file.stem}")
    OmegaConf.to_container(cfg, resolve=True, throw_on_missing=False)


@pytest.mark.parametrize("name", [p.stem for p in sorted((CONF / "model").glob("*.yaml")) if p.stem != "unet"])
def test_every_network_is_a_module_of_the_stated_size(name: str) -> None:
    network = instantiate(composed(f"model={name}").model)
    assert type(network).__name__ in models.__all__  # from which a checkpoint may build it
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name]
    assert f"{PARAMETERS[name]:,}" in (CONF / "model" / f"{name}.yaml").read_text() or name == "unet_large"


@pytest.mark.parametrize("size", [101, 97])
@pytest.mark.parametrize("name", ["unet_small", "unet_base", "plain_small", "unet_recreation_large", "dumbnet"])
def test_networks_for_salt_keep_the_size(name: str, size: int) -> None:
    cfg = composed(f"model={name}")
    network: nn.Module = instantiate(cfg.model)
    x = torch.randn(1, cfg.model.in_channels, size, 131)
    assert network(x).shape == (1, cfg.model.num_classes, size, 131)


def test_the_paper_and_the_recreation_lose_their_margins() -> None:
    assert instantiate(composed("model=unet_paper").model).margin == (572 - 388) // 2
    assert instantiate(composed("model=unet_recreation_small").model).margin == (104 - 64) // 2


@pytest.mark.parametrize("name", ["cosine", "onecycle", "poly"])
def test_every_schedule_takes_a_run_of_any_length(name: str) -> None:
    make = instantiate(composed(f"scheduler={name}", "optimizer.lr=1").scheduler.scheduler)
    for total in range(1, 41):  # a one-cycle of 10 steps rises for exactly one
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(2))], lr=1.0)
        scheduler = make(optimizer, total_steps=total)
        for _ in range(total):
            assert 0 <= optimizer.param_groups[0]["lr"] <= 1
            optimizer.step()
            if scheduler.last_epoch < total - 1:
                scheduler.step()


@pytest.mark.parametrize("name", ["adamw", "sgd", "rmsprop"])
def test_every_optimizer_takes_parameters(name: str) -> None:
    make = instantiate(composed(f"optimizer={name}").optimizer)
    assert isinstance(make([nn.Parameter(torch.zeros(2))]), torch.optim.Optimizer)


def test_the_schedules_begin_and_end_where_they_should() -> None:
    for name, first, last in (("cosine", 0.1, 0.0), ("onecycle", 1 / 25, 0.0), ("poly", 1.0, 0.0)):
        cfg = composed(f"scheduler={name}", "optimizer.lr=1")
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(2))], lr=1.0)
        scheduler = instantiate(cfg.scheduler.scheduler)(optimizer, total_steps=200)
        rates = []
        for _ in range(200):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        assert rates[0] == pytest.approx(first, abs=1e-6), name
        assert rates[-1] == pytest.approx(last, abs=0.01), name
        assert max(rates) == pytest.approx(1, abs=1e-3), name
