"""Every network of conf/model as it stands: any image, colours, classes, mixed precision, a run and its checkpoint."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig

import unetkit
from unetkit.losses import DiceBCELoss
from unetkit.models import centre_crop
from unetkit.training.run import train

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted({path.stem for path in (CONF / "model").glob("*.yaml")} - {"unet", "unet_3d"})  # images only


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def composed(name: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", [f"model={name}", "run_dir=unused", *overrides])


@pytest.mark.parametrize("name", NAMES)
def test_any_size_colours_classes_and_mixed_precision(name: str) -> None:
    torch.manual_seed(0)
    network = instantiate(composed(name, "model.in_channels=3", "model.num_classes=3").model, _convert_="all")
    margin = getattr(network, "margin", 0)
    network.eval()
    for height, width in ((101, 101), (97, 131)):
        x = torch.randn(1, 3, height + 2 * margin, width + 2 * margin)
        with torch.no_grad():
            assert network(x).shape == (1, 3, height, width)
    network.train()
    x = torch.randn(2, 3, 33 + 2 * margin, 47 + 2 * margin)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(x)
    target = torch.randint(0, 3, (2, 33, 47))
    DiceBCELoss()(centre_crop(logits, 33, 47), target, torch.ones_like(target, dtype=torch.bool)).backward()
    gradients = [p.grad for p in network.parameters() if p.requires_grad]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_trains_and_its_checkpoint_predicts(name: str, tmp_path: Path, cache: Path) -> None:
    cfg = composed(
        name, "data.count=6", "data.size=36", "data.batch_size=3", f"data.cache_dir={cache}", "trainer.max_epochs=1",
        "trainer.accelerator=cpu", "trainer.precision=16", "trainer.enable_progress_bar=false",
    )  # fmt: skip
    cfg.run_dir = str(tmp_path)
    if "gradient_checkpointing" in cfg.model:
        cfg.model.gradient_checkpointing = "all"
    summary = train(cfg)
    assert np.isfinite(summary["train/loss_epoch"])
    predictor = unetkit.load(tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (40, 51), np.uint8)
    assert predictor(image).mask.shape == (40, 51)
