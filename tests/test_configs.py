"""Every file of conf/ composes; networks, optimisers and schedules are what their files say."""

import re
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from unetkit import models

CONF = Path(__file__).parent.parent / "conf"
GROUPS = {
    folder.name: sorted(file.stem for file in folder.glob("*.yaml"))
    for folder in sorted(CONF.iterdir())
    if folder.is_dir()
}
NETWORKS = [name for name in GROUPS["model"] if name != "unet"]
TOGETHER = GROUPS.keys() - {"experiment", "debug", "sweep"}  # two choose files of other groups, one is of `tune`


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", [*overrides, "run_dir=unused"])


@pytest.mark.parametrize(
    "choices",
    [
        *(f"{group}={name}" for group in ("experiment", "debug") for name in GROUPS[group]),
        *(
            " ".join(f"{group}={GROUPS[group][i % len(GROUPS[group])]}" for group in sorted(TOGETHER))
            for i in range(max(len(GROUPS[group]) for group in TOGETHER))
        ),
    ],
)
def test_every_choice_composes_and_resolves(choices: str) -> None:
    OmegaConf.to_container(composed(*choices.split()), resolve=True, throw_on_missing=False)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_has_as_many_parameters_as_its_file_says(name: str) -> None:
    with torch.device("cpu" if name == "segformer" else "meta"):  # shapes without values, which SegFormer's code reads
        network = instantiate(composed(f"model={name}").model)
    assert type(network).__name__ in models.__all__  # from which a checkpoint may build it
    stated = re.search(r"# ([\d,]+) parameters", (CONF / "model" / f"{name}.yaml").read_text())
    assert stated is not None
    assert f"{sum(p.numel() for p in network.parameters()):,}" == stated[1]


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


@pytest.mark.parametrize("name", GROUPS["optimizer"])
def test_every_optimizer_takes_parameters(name: str) -> None:
    make = instantiate(composed(f"optimizer={name}").optimizer)
    assert isinstance(make([nn.Parameter(torch.zeros(2))]), torch.optim.Optimizer)


def test_schedules_begin_and_end_at_the_stated_rates() -> None:
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
