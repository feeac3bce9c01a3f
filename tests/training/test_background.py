"""`data.background=null`: class 0 is scored like the others, as the 11 classes of street scenes are."""

import csv
import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import Array, Unetkit, WritePairs
from training_runs import QUIET, composed, run

import unetkit
from unetkit.data import SegmentationDataModule
from unetkit.data.decode import read_image
from unetkit.data.files import FileRef
from unetkit.errors import UserError
from unetkit.plots.images import GREY
from unetkit.training.cross_validation import cross_validate
from unetkit.training.run import train

NAMES = ["road", "car", "tree"]


@pytest.fixture
def street(tmp_path: Path, write_pairs: WritePairs) -> Path:
    """Twelve images of three classes, of which the first is no background."""
    rng = np.random.default_rng(0)
    masks = {f"{i:02d}": rng.integers(0, 3, (4, 4), np.uint8).repeat(8, 0).repeat(8, 1) for i in range(12)}
    images = {id: (mask * 80 + rng.integers(0, 40, mask.shape)).astype(np.uint8) for id, mask in masks.items()}
    return write_pairs(tmp_path / "street", images, masks)


def typed(root: Path, run_dir: Path) -> list[str]:
    own = ["data=folder", f"data.root={root}", "data.num_classes=3", f"data.class_names=[{','.join(NAMES)}]"]
    tiny = ["model=plain_small", "model.channels=[4,8]", "trainer.max_epochs=1", "data.folds=2", "data.batch_size=4"]
    places = [f"data.cache_dir={root.parent / 'cache'}", f"run_dir={run_dir}"]
    return [*own, *tiny, *QUIET, "data.background=null", *places]


def ious(masks: list[Array], truths: list[Array]) -> Array:
    """The pooled IoU of each class, by hand."""
    mask, truth = (np.concatenate([x.ravel() for x in arrays]) for arrays in (masks, truths))
    both = [((mask == k) & (truth == k)).sum() for k in range(3)]
    either = [((mask == k) | (truth == k)).sum() for k in range(3)]
    return np.asarray(np.array(both) / np.array(either))


def test_a_score_of_a_class_that_is_background_is_refused(street: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="names no class that is scored: these are car, tree"):
        train(composed(*typed(street, tmp_path / "other"), "metrics.primary=iou/road", "data.background=0"))


@pytest.mark.slow
def test_training_scores_every_class(street: Path, tmp_path: Path) -> None:
    summary = train(composed(*typed(street, tmp_path / "run"), "metrics.primary=iou/road"))
    predictor = unetkit.load(tmp_path / "run")
    with (tmp_path / "run" / "split.csv").open() as file:
        ids = [row["id"] for row in csv.DictReader(file) if row["split"] == "val"]
    images, masks = ([read_image(FileRef(street / part / f"{id}.png")) for id in ids] for part in ("images", "masks"))
    expected = ious([predictor(image).mask for image in images], masks)
    assert summary["val/iou"] == pytest.approx(expected.mean(), abs=1e-5)
    assert summary["best"]["score"] == pytest.approx(expected[0], abs=1e-5)


@pytest.mark.slow
def test_folds_evaluation_report_and_overlays_show_every_class(
    street: Path, tmp_path: Path, unetkit: Unetkit, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "unetkit")
    summary = cross_validate(composed(*typed(street, tmp_path / "cv"), name="cross_validate"))
    model = summary["models"]["out of fold"]
    assert list(model["classes"]) == NAMES
    mean = np.mean([model["classes"][name]["pooled/iou"]["value"] for name in NAMES])
    assert model["scores"]["pooled/iou"]["value"] == pytest.approx(mean)
    for name in NAMES:
        value = model["classes"][name]["pooled/iou"]["value"]
        assert f"out of fold, {name}: pooled/iou {value:.4f}, per_image/iou" in caplog.text
    fold, out = tmp_path / "cv" / "fold-0", tmp_path / "out"
    for images in ([], [f"input={street}"]):
        done = unetkit("evaluate", f"checkpoint={fold}", f"output={out}", "bootstrap=100", "device=cpu", *images)
        assert done.status == 0, done.stderr
        scored = json.loads((out / "summary.json").read_text())["models"]["fold-0"]
        assert list(scored["classes"]) == NAMES
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "means over all classes" in page
    assert re.search(rf"rgb\({', '.join(map(str, GREY))}\)[^>]*></span>road", page)
    assert 'id="coverage"' not in page
    done = unetkit("predict", f"checkpoint={fold}", f"input={street / 'images'}", f"output={out}", "device=cpu")
    assert done.status == 0, done.stderr
    pixels = np.concatenate([read_image(FileRef(file)).reshape(-1, 3) for file in (out / "overlays").glob("*.png")])
    assert (pixels == GREY).all(1).any()


@pytest.mark.slow
def test_two_classes_may_both_be_scored(tmp_path: Path, cache: Path) -> None:
    summary = run(tmp_path, cache, "data.background=null", "trainer.max_epochs=1", "metrics.primary=iou/background")
    assert 0 <= summary["val/iou/background"] <= 1
    assert summary["val/iou"] >= summary["val/iou/background"] / 2


def test_another_background_is_refused_with_what_says_it() -> None:
    with pytest.raises(UserError, match=r"data.background=3 must be 0, or null .* data.mask_values says which value"):
        SegmentationDataModule(name="x", pairs=list, augmentation=None, cache_dir="x", background=3)
