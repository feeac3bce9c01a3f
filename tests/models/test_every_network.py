"""Properties that every network of conf/model has, as configured there."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

import unetkit
from unetkit.checkpoints.checkpoint import save_weights
from unetkit.checkpoints.metadata import Metadata
from unetkit.data import Preprocessing
from unetkit.losses import DiceBCELoss
from unetkit.models import centre_crop
from unetkit.training.run import train

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted({path.stem for path in (CONF / "model").glob("*.yaml")} - {"unet", "unet_3d"})  # images only
SMP = {"pspnet", "deeplabv3", "deeplabv3plus", "pan", "segformer", "hrnet", "unetplusplus", "fpn", "smp_unet"}
LARGE = SMP | {"brain_unet", "unet_large", "unet_milesial", "unet_milesial_bilinear", "unet_paper"}
TRAINED = {"dumbnet", "unet_recreation_small"}  # the latter with unpadded convolutions


def slow_unless(fast: set[str]) -> pytest.MarkDecorator:
    """Parametrize by the networks' names, all but some marked `slow`."""
    return pytest.mark.parametrize(
        "name", [pytest.param(name, marks=() if name in fast else pytest.mark.slow) for name in NAMES]
    )


def composed(name: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", [f"model={name}", "run_dir=unused", *overrides])


@slow_unless(set(NAMES) - LARGE)
def test_any_size_colours_classes_and_mixed_precision(name: str) -> None:
    torch.manual_seed(0)
    network = instantiate(composed(name, "model.in_channels=3", "model.num_classes=3").model, _convert_="all")
    margin = getattr(network, "margin", 0)
    network.eval()
    for height, width in ((32, 32), (29, 41)):
        x = torch.randn(1, 3, height + 2 * margin, width + 2 * margin)
        with torch.no_grad():
            assert network(x).shape == (1, 3, height, width)
    network.train()
    x = torch.randn(2, 3, 33 + 2 * margin, 27 + 2 * margin)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(x)
    target = torch.randint(0, 3, (2, 33, 27))
    DiceBCELoss()(centre_crop(logits, 33, 27), target, torch.ones_like(target, dtype=torch.bool)).backward()
    gradients = [p.grad for p in network.parameters() if p.requires_grad]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


def predicts(file: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 51), np.uint8)
    assert unetkit.load(file)(image).mask.shape == (40, 51)


@slow_unless(set(NAMES) - LARGE)
def test_its_checkpoint_predicts(name: str, tmp_path: Path) -> None:
    model = composed(name).model
    network: nn.Module = instantiate(model, _convert_="all")
    stored = OmegaConf.to_container(model, resolve=True)
    pixels = Preprocessing(model.in_channels, None, (0.5,) * model.in_channels, (0.2,) * model.in_channels)
    save_weights(tmp_path / "a.ckpt", Metadata(stored, pixels), network.state_dict())  # type: ignore[arg-type]
    predicts(tmp_path / "a.ckpt")


@slow_unless(TRAINED)
def test_a_run_trains_and_its_checkpoint_predicts(name: str, tmp_path: Path) -> None:
    cfg = composed(
        name, "data.count=6", "data.size=36", "data.batch_size=3", f"data.cache_dir={tmp_path}",
        "trainer.max_epochs=1", "trainer.accelerator=cpu", "trainer.precision=16", "trainer.enable_progress_bar=false",
    )  # fmt: skip
    cfg.run_dir = str(tmp_path / "run")
    if "gradient_checkpointing" in cfg.model:
        cfg.model.gradient_checkpointing = "all"
    assert np.isfinite(train(cfg)["train/loss_epoch"])
    predicts(tmp_path / "run")
