"""Crops for an unpadded network come with what it loses of them, from their image instead of their mirror image."""

from pathlib import Path

import torch
from training_runs import config, run

from unetkit.training.build import build_module, prepare_data

VALID = [
    "model=unet",
    "model.padding=valid",
    "model.channels=[4,8]",
    "data.size=60",
    "data.crop_size=20",
    "augment=none",
]


def test_a_crop_gives_the_logits_that_its_place_in_the_whole_image_has(tmp_path: Path, cache: Path) -> None:
    cfg = config(tmp_path, cache, *VALID, "model.norm=none", "model.channels=[4]")  # no pooling, so any place is alike
    data = prepare_data(cfg)
    module = build_module(cfg, data)
    assert data.surroundings == 2
    crop = data.dataset("train", augment=True)[0]
    whole = data.dataset("train")[0]
    with torch.no_grad():
        everywhere = module.eval()(tensor(whole["image"]))[0, 0]
        logits = module.train()(tensor(crop["image"]))[0, 0]
    assert logits.shape == (20, 20)
    places = everywhere.unfold(0, 20, 1).unfold(1, 20, 1)
    assert ((places - logits).abs().amax((2, 3)) < 1e-4).any()


def test_such_a_run_learns_from_the_crops_and_scores_whole_images(tmp_path: Path, cache: Path) -> None:
    summary = run(tmp_path / "run", cache, *VALID, "loss=weighted_bce", "augment=elastic_device", "model.dropout=0.5")
    assert summary["val/loss"] > 0


def tensor(image: object) -> torch.Tensor:
    """Return an image (H, W, C) as a batch of one."""
    return torch.tensor(image).movedim(-1, 0)[None]
