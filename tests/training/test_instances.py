"""`data.instances`: masks that number objects, from their files to a report with the scores of objects."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import Array, Unetkit, WriteImage
from training_runs import QUIET, composed, rows

from unetkit.checkpoints.checkpoint import Checkpoint
from unetkit.data import SegmentationDataModule, folder_pairs
from unetkit.data.decode import read_image
from unetkit.data.files import FileRef
from unetkit.errors import UserError
from unetkit.metrics import ObjectScore
from unetkit.prediction.objects import split_objects
from unetkit.training.cross_validation import cross_validate
from unetkit.training.run import train

SIDE = 40
TINY = ["model=plain_small", "model.channels=[4,8]", "data.batch_size=4", "trainer.max_epochs=1"]


def nuclei(count: int) -> list[tuple[Array, Array]]:
    """Images of two discs that touch, with their numbers."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        cy, cx = rng.integers(12, 16, 2)
        y, x = np.indices((SIDE, SIDE))
        numbers = np.zeros((SIDE, SIDE), np.uint16)
        for number, place in ((1, cx), (300, cx + 14)):
            numbers[np.hypot(y - cy, x - place) < 7.5] = number
        found.append((((numbers > 0) * 150 + rng.integers(0, 40, numbers.shape)).astype(np.uint8), numbers))
    return found


@pytest.fixture
def numbered(tmp_path: Path, write_image: WriteImage) -> Path:
    for i, (image, numbers) in enumerate(nuclei(10)):
        write_image(tmp_path / "nuclei" / "images" / f"{i:02}.png", image)
        write_image(tmp_path / "nuclei" / "masks" / f"{i:02}.png", numbers)
    return tmp_path / "nuclei"


def typed(root: Path, run_dir: Path, kind: str) -> list[str]:
    places = [f"data.cache_dir={root.parent / 'cache'}", f"run_dir={run_dir}"]
    return ["data=folder", f"data.root={root}", f"data.instances={kind}", *TINY, *QUIET, *places]


@pytest.mark.parametrize(("kind", "classes"), [("foreground", 2), ("boundary", 3)])
def test_numbers_become_classes(kind: str, classes: int, numbered: Path) -> None:
    data = SegmentationDataModule(
        name="nuclei",
        pairs=lambda: folder_pairs(numbered),
        augmentation=None,
        cache_dir=numbered.parent / "cache",
        instances=kind,
    )
    assert len(data.class_names) == classes
    numbers = nuclei(1)[0][1]
    mask = data.found.masks[0]
    assert ((mask > 0) == (numbers > 0)).all()
    if kind == "boundary":  # no inside of one touches that of another
        assert cv2.connectedComponents((mask == 1).astype(np.uint8))[0] == 3


def test_a_file_for_each_object_numbers_them(tmp_path: Path, write_image: WriteImage) -> None:
    for i, (image, numbers) in enumerate(nuclei(2)):
        write_image(tmp_path / "dsb" / f"n{i}" / "images" / f"n{i}.png", image)
        for number in (1, 300):
            write_image(tmp_path / "dsb" / f"n{i}" / "masks" / f"{number}.png", (numbers == number) * np.uint8(255))
    data = SegmentationDataModule(
        name="dsb",
        pairs=lambda: folder_pairs(tmp_path / "dsb"),
        augmentation=None,
        cache_dir=tmp_path / "cache",
        instances="boundary",
    )
    assert cv2.connectedComponents((data.found.masks[0] == 1).astype(np.uint8))[0] == 3


def test_from_files_to_a_report(
    numbered: Path, tmp_path: Path, unetkit: Unetkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train(composed(*typed(numbered, tmp_path / "run", "boundary")))
    done = unetkit("predict", "checkpoint=run", "input=nuclei/images", "instances=true", "write=[masks]")
    assert done.status == 0, done.stderr
    numbers = read_image(FileRef(Path("predictions/instances/00.png")))
    mask = read_image(FileRef(Path("predictions/masks/00.png")))
    assert numbers.dtype == np.uint16
    assert not numbers[mask == 0].any()
    common = ["checkpoint=run", "device=cpu", "bootstrap=100", f"cache_dir={tmp_path / 'cache'}"]
    scored = unetkit("evaluate", *common, "input=nuclei", "part=all")
    assert scored.status == 0, scored.stderr
    assert "objects/ap50" in scored.stdout
    summary = json.loads(Path("evaluation/summary.json").read_text())
    rows = Path("evaluation/scores.csv").read_text().splitlines()
    column = rows[0].split(",").index("ap")
    mean = np.mean([float(line.split(",")[column]) for line in rows[1:]])
    assert summary["models"]["run"]["objects"]["ap"]["value"] == pytest.approx(mean, abs=1e-5)
    assert "Scores of objects" in Path("evaluation/report.html").read_text()


@pytest.mark.slow
def test_a_cross_validation_scores_objects(numbered: Path, tmp_path: Path) -> None:
    keys = ["data.folds=2", "cross_validation.bootstrap=100"]
    summary = cross_validate(composed(*typed(numbered, tmp_path / "cv", "boundary"), *keys, name="cross_validate"))
    assert 0 <= summary["models"]["out of fold"]["objects"]["ap"]["value"] <= 1


def test_what_does_not_number_objects_is_refused_in_one_line(numbered: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="null, foreground or boundary"):
        train(composed(*typed(numbered, tmp_path / "run", "watershed")))
    np.save(numbered / "masks" / "half.npy", np.full((SIDE, SIDE), 0.5))
    cv2.imwrite(str(numbered / "images" / "half.png"), np.zeros((SIDE, SIDE), np.uint8))
    with pytest.raises(UserError, match="numbers of objects are whole"):
        train(composed(*typed(numbered, tmp_path / "run", "foreground")))


def test_ap_of_objects_leads(numbered: Path, tmp_path: Path, unetkit: Unetkit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    keys = ["metrics.primary=ap", "metrics.extra=[dice]", "trainer.max_epochs=3", "optimizer.lr=0.01"]
    summary = train(composed(*typed(numbered, tmp_path / "run", "boundary"), *keys))
    logged = [float(row["val/ap"]) for row in rows(tmp_path / "run") if row["val/ap"]]
    best = Checkpoint.read("run/best")
    assert best.epoch == int(np.argmax(logged))
    common = ["checkpoint=run", "device=cpu", "bootstrap=100", f"cache_dir={tmp_path / 'cache'}"]
    scored = unetkit("evaluate", *common)
    assert scored.status == 0, scored.stderr
    found = json.loads(Path("evaluation/summary.json").read_text())
    assert found["primary"] == "ap"
    value = found["models"]["run"]["scores"]["per_image/ap"]["value"]
    assert value == pytest.approx(found["models"]["run"]["objects"]["ap"]["value"])
    assert value == pytest.approx(summary["val/ap"], abs=1e-5)


def test_ap_in_training_leaves_out_void_pixels_and_what_was_added_to_images_of_other_sizes() -> None:
    numbers = nuclei(1)[0][1].astype(np.int32)
    true = np.where(numbers == 300, -1, numbers)
    prediction = np.zeros((1, SIDE + 8, SIDE + 8), np.uint8)
    prediction[0, :SIDE, :SIDE] = numbers > 0
    valid = np.zeros(prediction.shape, np.bool_)
    valid[0, :SIDE, :SIDE] = true >= 0
    score = ObjectScore(split_objects)
    given = torch.from_numpy(prediction), torch.from_numpy(prediction), torch.from_numpy(valid)
    score.update(*given, objects=[true])
    assert score.compute() == 1
    score.update(*given, objects=[np.where(true > 0, 0, true)])  # nothing is there, one object is invented
    assert score.compute() == 0.5


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["metrics.primary=ap", "data.instances=null"], "the masks number none"),
        (["metrics.extra=[ap]", "data.instances=null"], "metrics.extra=ap"),
        (["metrics.primary=ap/inside"], "set metrics.primary=ap"),
        (["metrics.primary=ap", "mirror_border=false"], "mirror_border"),
    ],
)
def test_ap_without_whole_objects_is_refused(
    keys: list[str], said: str, tmp_path: Path, write_image: WriteImage
) -> None:
    for i, (image, numbers) in enumerate(nuclei(4)):
        write_image(tmp_path / "nuclei" / "images" / f"{i:02}.png", image)
        write_image(tmp_path / "nuclei" / "masks" / f"{i:02}.png", (numbers > 0).astype(np.uint8))
    with pytest.raises(UserError, match=said):
        train(composed(*typed(tmp_path / "nuclei", tmp_path / "run", "foreground"), *keys))
