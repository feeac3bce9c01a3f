"""Training at another size: scores, predictions and exports are at the size of the files."""

from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from conftest import Unetkit, WritePairs
from omegaconf import DictConfig
from training_runs import QUIET, composed

import unetkit
from unetkit.checkpoints.loading import load_ensemble
from unetkit.data import SegmentationDataModule, folder_pairs
from unetkit.errors import UserError
from unetkit.evaluation.labelled import LabelledImages
from unetkit.evaluation.measure import measure
from unetkit.metrics import iou
from unetkit.training.build import build_module, prepare_data
from unetkit.training.run import train

RNG = np.random.default_rng(0)


@pytest.fixture
def blocks(write_pairs: WritePairs, tmp_path: Path) -> Path:
    """Images of two sizes with bright rectangles to find."""
    images, masks = {}, {}
    for i in range(12):
        mask = np.zeros((72, 60) if i % 2 else (60, 80), np.uint8)
        mask[10 + i : 40 + i, 15:45] = 1
        images[f"{i:02}"] = (mask * 90 + RNG.integers(0, 120, mask.shape)).astype(np.uint8)
        masks[f"{i:02}"] = mask
    return write_pairs(tmp_path / "blocks", images, masks)


def config(blocks: Path, *overrides: str) -> DictConfig:
    """Compose a short run of a tiny network on the blocks, in a folder beside them."""
    folder = ["data=folder", f"data.root={blocks}", f"data.cache_dir={blocks.parent}/cache", "data.batch_size=4"]
    tiny = ["model=plain_small", "model.channels=[4,8]", "trainer.max_epochs=1", f"run_dir={blocks.parent}/run"]
    return composed(*folder, *tiny, *QUIET, *overrides)


@pytest.mark.parametrize("resize", ["0.5", "[32,48]"])
def test_scores_in_training_are_those_of_predictions_at_the_size_of_the_files(
    resize: str, blocks: Path, tmp_path: Path
) -> None:
    chosen = [f"data.resize={resize}", "loss=weighted_bce", "augment=flip", "trainer.max_epochs=4", "optimizer.lr=0.02"]
    summary = train(config(blocks, *chosen))
    data = SegmentationDataModule(
        name="blocks",
        pairs=partial(folder_pairs, blocks),
        augmentation=None,
        cache_dir=tmp_path / "cache",
        split=str(tmp_path / "run" / "split.csv"),
    )
    images = LabelledImages(data, "val")
    measured = measure("a", unetkit.load(tmp_path / "run"), images, images.classes)
    assert iou(measured.counts()).mean().item() == pytest.approx(summary["val/iou_per_image"], abs=1e-4)
    assert summary["val/iou_per_image"] > 0.2


def test_training_sees_the_small_images_and_validation_the_whole_masks(blocks: Path, tmp_path: Path) -> None:
    cfg = config(blocks, "data.resize=[32,48]")
    data = prepare_data(cfg)
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape[2:] == batch["mask"].shape[1:] == (32, 48)
    for batch in data.val_dataloader():
        assert batch["image"].shape[2:] == (32, 48)
        assert batch["mask"].shape[1:] in ((72, 60), (60, 80))


def test_without_mirrored_borders_the_same_part_of_the_file_is_scored_as_of_the_resized_image(blocks: Path) -> None:
    unpadded = [
        "data.resize=[64,64]",
        "mirror_border=false",
        "model=unet",
        "model.channels=[4,8]",
        "model.padding=valid",
    ]
    cfg = config(blocks, *unpadded)
    data = prepare_data(cfg)
    module = build_module(cfg, data)
    margin = cfg.data.resize[0] // 2 - module(torch.zeros(1, 1, 64, 64)).shape[2] // 2
    batch = next(iter(data.val_dataloader()))
    batch["mask"] = torch.full_like(batch["mask"], 1)
    module.validation_step(batch, 0)
    counts: Any = module.val_scores.metrics["iou"].counts
    height, width = (round(side * (1 - margin / 32)) for side in batch["mask"].shape[1:])
    assert counts.sum() == len(batch["mask"]) * height * width


def test_commands_write_masks_of_the_size_of_the_file_and_the_export_says_what_it_lacks(
    blocks: Path, tmp_path: Path, unetkit: Unetkit
) -> None:
    train(config(blocks, "data.resize=0.5"))
    asked = [f"checkpoint={tmp_path}/run", "device=cpu"]
    done = unetkit("predict", *asked, f"input={blocks}/images", f"output={tmp_path}/out", "write=[masks,overlays]")
    assert done.status == 0, done.stderr
    ensemble = load_ensemble([tmp_path / "run" / "checkpoints" / "last.ckpt"])
    for path in sorted((blocks / "images").iterdir()):
        image, mask = (cv2.imread(str(p), 0) for p in (path, tmp_path / "out" / "masks" / path.name))
        assert image is not None
        np.testing.assert_array_equal(mask, ensemble(image).mask * 255)
    done = unetkit("export", f"checkpoint={tmp_path}/run", f"output={tmp_path}/a.onnx")
    assert done.status == 0, done.stderr
    assert "resizing is not part of the file: give it images resized to scale 0.5" in done.stdout


def test_resuming_at_another_size_is_refused(blocks: Path, tmp_path: Path) -> None:
    train(config(blocks, "data.resize=0.5"))
    with pytest.raises(UserError, match=r"data\.resize"):
        train(config(blocks, "data.resize=0.25", f"checkpoint={tmp_path}/run", "trainer.max_epochs=2"))


def test_rows_at_another_size_are_those_of_the_whole_map() -> None:
    from unetkit.prediction.predictor import at_size, rows_at_size

    x = torch.rand(3, 37, 51)
    for size in ((150, 99), (20, 30), (37, 51), (1, 1)):
        rows = list(rows_at_size(x, *size))
        torch.testing.assert_close(torch.cat(rows, 1), at_size(x[None], size)[0], atol=1e-5, rtol=1e-5)
