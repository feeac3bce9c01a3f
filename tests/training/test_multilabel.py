"""`data.labels=multilabel`: masks of several labels, which may overlap, from their files to a report."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Array, Unetkit, WriteImage
from training_runs import QUIET, ROOT, composed

import unetkit
from unetkit.checkpoints.checkpoint import Checkpoint
from unetkit.data.decode import read_image
from unetkit.data.files import FileRef
from unetkit.errors import UserError
from unetkit.losses import CrossEntropyLoss, DiceBCELoss, EachLabel, LovaszLoss, TopKLoss
from unetkit.training import image_logger
from unetkit.training.build import build_module, prepare_data
from unetkit.training.cross_validation import cross_validate
from unetkit.training.run import train

SIDE = 32
TINY = ["model=plain_small", "model.channels=[4,8]", "data.batch_size=4", "trainer.max_epochs=2"]


def cells(count: int) -> list[tuple[Array, Array, Array]]:
    """Images of cells, with the masks of the cell and of the nucleus in it."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        y, x = np.indices((SIDE, SIDE)) - rng.integers(10, SIDE - 10, 2)[:, None, None]
        cell, nucleus = np.hypot(y, x) < 9, np.hypot(y, x) < 4
        image = cell * 80 + nucleus * 100 + rng.integers(0, 30, cell.shape)
        found.append((image.astype(np.uint8), cell, nucleus))
    return found


@pytest.fixture
def folders(tmp_path: Path, write_image: WriteImage) -> Path:
    """Twelve images, with the masks of each label in a folder of its own."""
    for i, (image, cell, nucleus) in enumerate(cells(12)):
        write_image(tmp_path / "cells" / "images" / f"{i:02}.png", image)
        write_image(tmp_path / "cells" / "masks" / "cell" / f"{i:02}.png", cell * np.uint8(255))
        write_image(tmp_path / "cells" / "masks" / "nucleus" / f"{i:02}.png", nucleus * np.uint8(255))
    return tmp_path / "cells"


def typed(root: Path, run_dir: Path) -> list[str]:
    places = [f"data.cache_dir={root.parent / 'cache'}", f"run_dir={run_dir}"]
    return ["data=folder", f"data.root={root}", "data.labels=multilabel", *TINY, *QUIET, *places]


def ids_of(run_dir: Path, part: str) -> list[str]:
    with (run_dir / "split.csv").open() as file:
        return [row["id"] for row in csv.DictReader(file) if row["split"] == part]


def masks_of(folder: Path, ids: list[str]) -> Array:
    return np.stack([read_image(FileRef(folder / f"{id}.png")) > 0 for id in ids])


def iou(masks: Array, truths: Array) -> float:
    return float((masks & truths).sum() / max((masks | truths).sum(), 1))


@pytest.mark.slow
def test_from_files_to_a_report(
    folders: Path, tmp_path: Path, unetkit: Unetkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    summary = train(composed(*typed(folders, tmp_path / "run"), "metrics.primary=iou/nucleus"))
    common = ["checkpoint=run", "device=cpu", "bootstrap=100", f"cache_dir={tmp_path / 'cache'}"]
    assert unetkit("predict", "checkpoint=run", "input=cells/images", "write=[masks,probabilities]").status == 0
    assert {path.name for path in Path("predictions/masks").iterdir()} == {"cell", "nucleus"}
    assert set(np.unique(read_image(FileRef(Path("predictions/masks/cell/00.png"))))) <= {0, 255}
    assert np.load("predictions/probabilities/00.npy").shape == (SIDE, SIDE, 2)
    val = ids_of(tmp_path / "run", "val")
    by_hand = {
        name: iou(masks_of(Path("predictions/masks") / name, val), masks_of(folders / "masks" / name, val))
        for name in ("cell", "nucleus")
    }
    for name, value in by_hand.items():
        assert summary[f"val/iou/{name}"] == pytest.approx(value, abs=1e-5)
    assert summary["val/iou"] == pytest.approx(np.mean(list(by_hand.values())), abs=1e-5)
    assert summary["best"]["score"] == pytest.approx(by_hand["nucleus"], abs=1)

    done = unetkit("evaluate", *common)
    assert done.status == 0, done.stderr
    scored = json.loads(Path("evaluation/summary.json").read_text())["models"]["run"]
    assert scored["scores"]["pooled/iou"]["value"] == pytest.approx(summary["val/iou"], abs=1e-5)
    for name, value in by_hand.items():
        assert scored["classes"][name]["pooled/iou"]["value"] == pytest.approx(value, abs=1e-5)
    page = Path("evaluation/report.html").read_text()
    assert "nucleus" in page
    assert "Confusion matrix" not in page
    columns = Path("evaluation/scores.csv").read_text().splitlines()[0].split(",")
    assert {"iou_cell", "dice_nucleus"} <= set(columns)

    folder = unetkit("evaluate", *common, "input=cells", "part=all")
    assert folder.status == 0, folder.stderr
    assert json.loads(Path("evaluation/summary.json").read_text())["images"] == 12
    again = unetkit("evaluate", *common, "data=folder", "data.root=cells")
    assert again.status == 0, again.stderr

    assert unetkit("export", "checkpoint=run", "output=cells.onnx").status == 0
    example = [
        sys.executable,
        str(ROOT / "examples" / "onnx_python.py"),
        "cells.onnx",
        "cells/images/00.png",
        "bits.png",
    ]
    subprocess.run(example, check=True, capture_output=True)
    bits = read_image(FileRef(Path("bits.png")))
    for label, name in enumerate(("cell", "nucleus")):
        own = read_image(FileRef(Path(f"predictions/masks/{name}/00.png"))) > 0
        assert (own != (bits >> label & 1)).mean() < 0.01
    refused = unetkit("predict", "checkpoint=run", "input=cells/images/00.png", "output=one.png")
    assert refused.status == 1
    assert "each label gets a folder" in refused.stderr


def test_pictures_of_a_large_image_show_some_pixels_of_each_label(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = composed(*typed(folders, tmp_path / "run"))
    data = prepare_data(cfg)
    predictor = build_module(cfg, data).predictor()
    pair = data.dataset("val")[0]
    whole = predictor.predict_prepared(pair["image"])
    monkeypatch.setattr(image_logger, "SHOWN", SIDE // 2)
    np.testing.assert_array_equal(image_logger.predict_shown(predictor, pair, data).mask, whole.mask[::2, ::2])


def test_a_checkpoint_says_that_its_labels_may_overlap(folders: Path, tmp_path: Path) -> None:
    summary = train(composed(*typed(folders, tmp_path / "run"), "trainer.max_epochs=1"))
    assert Checkpoint.read(tmp_path / "run").metadata.labels == ["cell", "nucleus"]
    predictor = unetkit.load(tmp_path / "run")
    prediction = predictor(np.zeros((SIDE, SIDE), np.uint8))
    assert prediction.probability.shape == (2, SIDE, SIDE)
    bits = (prediction.probability > predictor.threshold) * np.array([1, 2])[:, None, None]
    assert (prediction.mask == bits.sum(0)).all()
    val = ids_of(tmp_path / "run", "val")
    masks = np.stack([predictor(folders / "images" / f"{id}.png").mask for id in val])
    cell, nucleus = (
        iou(masks >> label & 1 > 0, masks_of(folders / "masks" / name, val))
        for label, name in enumerate(("cell", "nucleus"))
    )
    assert summary["val/iou/cell"] == pytest.approx(cell, abs=1e-5)
    assert summary["val/iou"] == pytest.approx((cell + nucleus) / 2, abs=1e-5)


@pytest.mark.parametrize("loss", [DiceBCELoss(), LovaszLoss(), TopKLoss()], ids=lambda loss: type(loss).__name__)
def test_the_loss_is_the_mean_of_that_of_each_label(loss: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 2, 8, 8, generator=generator)
    bits = torch.randint(0, 4, (3, 8, 8), generator=generator).to(torch.uint8)
    valid = torch.rand(3, 8, 8, generator=generator) > 0.1
    each = [loss(logits[:, k : k + 1], (bits >> k & 1).long(), valid) for k in range(2)]
    assert EachLabel(loss)(logits, bits, valid).item() == pytest.approx((each[0] + each[1]).item() / 2, abs=1e-6)


def test_a_loss_of_border_weights_and_weights_of_classes_are_refused(folders: Path, tmp_path: Path) -> None:
    for override, said in (("loss=weighted_bce", "borders"), ("loss.class_weights=[1,2]", "class_weights")):
        with pytest.raises(UserError, match=said):
            train(composed(*typed(folders, tmp_path / "run"), override))


@pytest.mark.slow
def test_folds_are_trained_and_scored(folders: Path, tmp_path: Path) -> None:
    keys = ["data.folds=2", "trainer.max_epochs=1", "cross_validation.bootstrap=100"]
    summary = cross_validate(composed(*typed(folders, tmp_path / "cv"), *keys, name="cross_validate"))
    assert set(summary["models"]["out of fold"]["classes"]) == {"cell", "nucleus"}
    assert "post_processing" not in summary


def test_the_doctor_proposes_labels_and_its_experiment_trains(
    folders: Path, tmp_path: Path, unetkit: Unetkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = unetkit("doctor", "data.root=cells")
    assert done.status == 0, done.stdout
    assert "labelled pixels have several labels" in done.stdout
    quick = ["trainer.max_epochs=1", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false"]
    where = ["hydra.run.dir=run", f"data.cache_dir={tmp_path / 'cache'}"]
    trained = unetkit("train", "--config-dir", "doctor", "experiment=my_data", *quick, *where)
    assert trained.status == 0, trained.stderr
    assert "val/iou/nucleus" in json.loads(Path("run/summary.json").read_text())


def test_without_the_key_training_says_that_masks_may_be_those_of_labels(folders: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.labels=multilabel"):
        train(composed(*typed(folders, tmp_path / "run"), "data.labels=classes"))


def test_each_label_has_a_weight_of_its_own(folders: Path, tmp_path: Path) -> None:
    cfg = composed(*typed(folders, tmp_path / "run"), "loss.pos_weight=auto")
    data = prepare_data(cfg)
    ids = [data.found.pairs[i].id for i in data.split.indices("train")]
    of_training = [masks_of(folders / "masks" / name, ids) for name in ("cell", "nucleus")]
    expected = [float((~masks).sum() / masks.sum()) for masks in of_training]
    assert list(cfg.loss.pos_weight) == pytest.approx(expected, abs=1e-3)
    assert expected[1] > 2 * expected[0]
    loss = build_module(cfg, data).loss
    logits = torch.linspace(-3, 3, 2 * 2 * 8).view(2, 2, 2, 4)
    target = torch.arange(16, dtype=torch.uint8).view(2, 2, 4) % 4
    got = EachLabel(CrossEntropyLoss(pos_weight=[3.0, 20.0]))(logits, target, target < 4)
    truth = torch.stack([target & 1, target >> 1], 1).float()
    weights = torch.tensor([3.0, 20.0]).view(2, 1, 1)
    assert got == pytest.approx(F.binary_cross_entropy_with_logits(logits, truth, pos_weight=weights).item())
    assert isinstance(loss, EachLabel)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("loss.pos_weight=[1,2,3]", "2 weights, one each for cell, nucleus"),
        ("loss.class_weights=auto", "loss.pos_weight=auto weighs the foreground of each label"),
    ],
)
def test_weights_that_are_not_of_labels_are_named(key: str, said: str, folders: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        prepare_data(composed(*typed(folders, tmp_path / "run"), key))
