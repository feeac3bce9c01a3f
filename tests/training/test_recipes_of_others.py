"""The training of milesial/Pytorch-UNet and of U_net_recreation, as recipes: what they set, and that they train."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import WritePairs
from hydra.utils import instantiate
from training_runs import QUIET, composed, content_of

from unetkit.data.synthetic import write as write_synthetic
from unetkit.losses import apply_loss
from unetkit.training.build import build_module, prepare_data
from unetkit.training.run import train

NARROW = "model.channels=[4,8]"


def test_the_loss_of_milesials_recipe_is_its_own_of_one_class() -> None:
    """dice_loss of its utils/dice_score.py and BCEWithLogitsLoss, on one image, as in its train.py with --classes 1."""
    torch.manual_seed(0)
    logits, target = torch.randn(1, 1, 9, 8), torch.randint(0, 2, (1, 9, 8))
    probability, truth = logits[:, 0].sigmoid(), target.float()
    dice = (2 * (probability * truth).sum() + 1e-6) / (probability.sum() + truth.sum() + 1e-6)
    theirs = F.binary_cross_entropy_with_logits(logits[:, 0], truth) + 1 - dice
    loss = instantiate(composed("experiment=milesial_carvana").loss)
    torch.testing.assert_close(apply_loss(loss, logits, target, target < 2, None), theirs, atol=1e-5, rtol=1e-5)


def test_milesials_recipe_trains_at_half_size_and_its_schedule_counts_validations(
    tmp_path: Path, write_pairs: WritePairs
) -> None:
    rng = np.random.default_rng(0)
    images = {f"{i:02}": rng.integers(0, 256, (32, 32, 3)).astype(np.uint8) for i in range(12)}
    root = write_pairs(tmp_path / "data", images, {k: 255 * (x[..., 0] > 128) for k, x in images.items()})
    places = [f"data.root={root}", f"data.cache_dir={tmp_path / 'cache'}", f"run_dir={tmp_path / 'run'}"]
    cfg = composed("experiment=milesial_carvana", *QUIET, *places, NARROW, "trainer.max_epochs=1")
    data = prepare_data(cfg)
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (1, 3, 16, 16)
    (group, *_) = build_module(cfg, data).make_optimizer([torch.nn.Parameter(torch.zeros(2, 2))]).param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (1e-5, 0.999, 1e-8)
    summary = train(cfg)
    assert (summary["primary"], summary["best"]["monitor"], summary["steps"]) == ("dice", "val/dice", 11)
    state = content_of(tmp_path / "run")["lr_schedulers"][0]
    assert (state["mode"], state["patience"]) == ("max", 5)
    assert state["last_epoch"] >= 5  # times that it was given a score, in one epoch


@pytest.mark.parametrize(("name", "epochs"), [("small", 300), ("large", 500)])
def test_the_recreations_recipe_trains_at_104_in_the_order_of_names(name: str, epochs: int, tmp_path: Path) -> None:
    write_synthetic(tmp_path / "data", count=12, size=101, seed=0)
    places = [f"data.root={tmp_path / 'data'}", f"data.cache_dir={tmp_path / 'cache'}", f"run_dir={tmp_path / 'run'}"]
    short = ["data.split=fraction", "data.batch_size=4", NARROW, "trainer.max_epochs=2"]
    cfg = composed(f"experiment=recreation_{name}", *QUIET, *places, *short)
    data = prepare_data(cfg)
    batches = list(data.train_dataloader())
    assert torch.cat([batch["index"] for batch in batches]).tolist() == sorted(data.split.indices("train"))
    assert batches[0]["image"].shape[2:] == (104, 104)
    summary = train(cfg)
    assert summary["best"]["monitor"] == "val/loss"
    assert np.isfinite(summary["val/loss"])
    checkpoint = content_of(tmp_path / "run")
    state, (group, *_) = checkpoint["lr_schedulers"][0], checkpoint["optimizer_states"][0]["param_groups"]
    assert (state["mode"], state["patience"], state["threshold"], state["last_epoch"]) == ("min", 20, 0.01, 1)
    assert (group["lr"], group["weight_decay"]) == (1e-4, 1e-4)
    assert checkpoint["unetkit"]["monitored"] == pytest.approx(summary["train/loss_epoch"])  # it is given next
    whole = composed(f"experiment=recreation_{name}")
    assert (whole.trainer.max_epochs, whole.data.split, whole.data.batch_size) == (epochs, "recreation", 40)
