"""Checkpoints of runs with one, two and several classes predict what was trained."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from training_runs import QUIET, composed, content_of, rows, run, weights

import unetkit
from unetkit.data import synthetic_multiclass_pairs, synthetic_pairs
from unetkit.data.decode import read_image
from unetkit.data.files import FileRef
from unetkit.training.run import train


def test_a_checkpoint_has_plain_containers_and_predicts(tmp_path: Path, cache: Path) -> None:
    run(tmp_path, cache, "model=unet_milesial", "model.channels=[4,8]", "trainer.max_epochs=1", "threshold=0.3")
    path = tmp_path / "checkpoints" / "last.ckpt"
    card = torch.load(path, weights_only=True)["unetkit"]
    assert card["model"]["in_channels"] == card["preprocessing"]["channels"] == 3
    predictor = unetkit.load(path)
    assert predictor.threshold == 0.3
    image = cv2.imread(str(synthetic_pairs(cache, 24, 36, 0)[0].image), cv2.IMREAD_UNCHANGED)
    assert image is not None
    prediction = predictor(image)
    assert prediction.mask.shape == prediction.probability.shape == (36, 36)
    assert np.array_equal(prediction.mask, prediction.probability > 0.3)


def test_two_logits_of_binary_masks_are_a_softmax_with_a_threshold(tmp_path: Path, cache: Path) -> None:
    summary = run(tmp_path, cache, "data.num_classes=2", "threshold=0.3")
    assert not [name for name in summary if name.startswith("val/iou/")]
    path = tmp_path / "checkpoints" / "last.ckpt"
    assert weights(path)["network.head.weight"].shape[0] == 2
    predictor = unetkit.load(path)
    image = read_image(synthetic_pairs(cache, 24, 36, 0)[0].image)
    prediction = predictor(image)
    pixels = torch.from_numpy(predictor.preprocessing.to_uint8(image)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        logits = predictor.network(predictor.preprocessing.normalise(pixels))
    np.testing.assert_allclose(prediction.probability, logits.softmax(1)[0, 1], atol=1e-6)
    np.testing.assert_array_equal(prediction.mask, prediction.probability > 0.3)


def test_a_run_of_several_classes_leaves_void_out(tmp_path: Path, cache: Path) -> None:
    """Loss and scores are those computed by hand from the pixels that count, which the void ones are no part of."""
    names, root = ["rock", "salt", "water", "sand"], tmp_path / "data"
    for pair in synthetic_multiclass_pairs(cache, 12, 36, 0):
        assert isinstance(pair.mask, FileRef)
        mask = read_image(pair.mask)
        mask[:, : int(pair.id) + 5] = 255  # more void in each
        for part, pixels in (("images", read_image(pair.image)), ("masks", mask)):
            (root / part).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / part / f"{pair.id}.png"), pixels)
    options = [f"data.root={root}", "data.num_classes=4", f"data.class_names=[{','.join(names)}]", "data.batch_size=4"]
    options += ["data=folder", "model=plain_small", "model.channels=[4,8]", "data.ignore_index=255", *QUIET]
    fixed = ["trainer.max_epochs=2", f"run_dir={tmp_path}", f"data.cache_dir={cache}"]
    summary = train(composed(*options, *fixed))
    card = content_of(tmp_path)["unetkit"]
    assert card["data"]["class_names"] == names

    predictor = unetkit.load(tmp_path / "checkpoints" / "last.ckpt")
    validating = [line.split(",")[0] for line in (tmp_path / "split.csv").read_text().split() if line.endswith("val")]
    overlap, union, losses = np.zeros(4), np.zeros(4), []
    for name in validating:
        prediction = predictor(read_image(FileRef(root / "images" / f"{name}.png")))
        truth = read_image(FileRef(root / "masks" / f"{name}.png"))
        counts = truth != 255
        true, mask, probability = truth[counts], prediction.mask[counts], prediction.probability[:, counts]
        classes = np.arange(4)[:, None]
        overlap += ((mask == classes) & (true == classes)).sum(1)
        union += ((mask == classes) | (true == classes)).sum(1)
        p, t = probability[1:], true == classes[1:]
        smooth = np.where(t.any(1), 0, 0.01 * len(true))  # of classes that are not in the mask
        dice = (2 * (p * t).sum(1) + smooth) / (p.sum(1) + t.sum(1) + smooth)
        losses.append(1 - dice.mean() - np.log(probability[true, np.arange(len(true))]).mean())
    expected = np.divide(overlap, union, out=np.ones(4), where=union > 0)
    for name, iou in zip(names, expected, strict=True):
        assert summary[f"val/iou/{name}"] == pytest.approx(iou, abs=1e-5)
    assert summary["val/iou"] == pytest.approx(expected[1:].mean(), abs=1e-5)
    assert summary["val/loss"] == pytest.approx(np.mean(losses), abs=1e-4)
    assert {f"val/iou/{name}" for name in names} <= rows(tmp_path)[-1].keys()
