"""Class 0 is counted where it is no background, pixels that nobody labelled are void, and doubts are told."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from conftest import Unetkit
from example_files import CPU, Array, H, W, compose_proposal, finding_on, make_pairs, masks_in_stripes, save, save_pairs

from unetkit.data.mask_encoding import MaskEncoding
from unetkit.data.masks import read_mask
from unetkit.data.sources import folder_pairs
from unetkit.doctor import Severity, contact_sheet, diagnose, report
from unetkit.errors import UserError
from unetkit.plots.images import GREY

QUICK = (
    *("model=plain_small", "model.channels=[4,8]", "data.batch_size=4", "data.crop_size=null", "trainer.max_epochs=1"),
    *("trainer.accelerator=cpu", "trainer.enable_progress_bar=false", "data.cache_dir=cache", "hydra.run.dir=run"),
)


def write(root: Path, image: str, mask: str, values: list[int]) -> Path:
    """Images and masks in two parts, each value in every mask but for the last, which is in every second."""
    images, masks = make_pairs(12)[0], masks_in_stripes(values, 12)
    for i, name in enumerate(images):
        part = "val" if i % 4 == 3 else "train"
        save(root / image.format(part=part, name=name), images[name])
        save(root / mask.format(part=part, name=name), masks[name])
    return root


CAMVID = "{part}/{name}.png", "{part}annot/{name}.png"
CITYSCAPES = (
    "leftImg8bit/{part}/aachen/aachen_{name}_leftImg8bit.png",
    "gtFine/{part}/aachen/aachen_{name}_gtFine_label",
)
ADE20K = "images/{part}/ADE_{part}_{name}.jpg", "annotations/{part}/ADE_{part}_{name}.png"
PUBLIC = {
    "CamVid": (*CAMVID, [0, 1, 3, 8, 11], {"num_classes": 11, "ignore_index": 11, "background": None}),
    "CamVid with all classes": (
        *CAMVID,
        [*range(12)],
        {"num_classes": 11, "ignore_index": 11, "background": None},
    ),
    "CamVid without unlabelled pixels": (
        *CAMVID,
        [*range(11)],
        {"num_classes": 11, "ignore_index": 11, "background": None},
    ),
    "CamVid with 255": (*CAMVID, [*range(11), 255], {"num_classes": 11, "ignore_index": 255, "background": None}),
    "Cityscapes, classes of training": (
        CITYSCAPES[0],
        CITYSCAPES[1] + "TrainIds.png",
        [0, 1, 2, 10, 13, 255],
        {"num_classes": 19, "ignore_index": 255, "background": None},
    ),
    "Cityscapes, all labels": (
        CITYSCAPES[0],
        CITYSCAPES[1] + "Ids.png",
        [0, 7, 8, 11, 23],
        {"mask_values": [7, 8, 11, 23], "ignore_index": 0, "background": None},
    ),
    "ADE20K": (*ADE20K, [0, 1, 3, 150], {"mask_values": [*range(1, 151)], "ignore_index": 0, "background": None}),
    "LoveDA": (
        "{part}/Rural/images_png/{name}.png",
        "{part}/Rural/masks_png/{name}.png",
        [0, 1, 2, 7],
        {"mask_values": [*range(1, 8)], "ignore_index": 0, "background": None},
    ),
    "Oxford-IIIT Pet": (
        "images/{name}.jpg",
        "annotations/trimaps/{name}.png",
        [1, 2, 3],
        {"mask_values": [2, 1], "ignore_index": 3, "background": 0},
    ),
}


@pytest.mark.parametrize(("image", "mask", "values", "keys"), PUBLIC.values(), ids=PUBLIC)
def test_public_data_sets_are_known_by_their_names_and_values(
    image: str, mask: str, values: list[int], keys: dict[str, object], tmp_path: Path
) -> None:
    diagnosis = diagnose(write(tmp_path / "data", image, mask, values), machine=CPU)
    assert diagnosis.faults == 0
    proposed = compose_proposal(diagnosis, tmp_path / "out").data
    assert {key: proposed.get(key) for key in keys} == keys
    assert len(proposed.class_names) == max(diagnosis.plan.num_classes, 2)
    finding = finding_on(diagnosis, "the masks are those of")
    assert finding.severity == Severity.WARNING
    if values == [*range(12)]:
        assert "if these are other data, set data.num_classes=12 data.background=0" in finding.fix
    if keys["background"] is None:
        assert "share of labelled pixels" in report(diagnosis)
        assert (contact_sheet(diagnosis) == GREY).all(-1).any()  # outlines and legend of class 0
    save(tmp_path / "data" / mask.format(part="train", name="p01"), np.full((H, W), 201, np.uint8))
    assert diagnose(tmp_path / "data", machine=CPU).plan.background == 0  # other values: it is another data set


@pytest.mark.parametrize("values", [[0, 1], [0, 1, 2]])
def test_own_data_in_the_folders_of_camvid_keep_their_background(values: list[int], tmp_path: Path) -> None:
    plan = diagnose(write(tmp_path, *CAMVID, values), machine=CPU).plan
    assert (plan.background, plan.class_names) == (0, None)


def doubts(masks: dict[str, Array], tmp_path: Path) -> list[str]:
    save_pairs(tmp_path / "data", make_pairs(24)[0], masks)
    diagnosis = diagnose(tmp_path / "data", machine=CPU)
    assert diagnosis.plan.background == 0
    return [finding.command for finding in diagnosis.findings if "whether class 0 is a background" in finding.what]


@pytest.mark.parametrize(
    ("values", "are_told"),
    [([0, 1], False), ([0, 1, 2], False), ([1, 0, 2], True), ([0, 1, 2, 3, 4], True), ([3, 2, 1, 0], True)],
)
def test_a_doubt_about_class_0_is_told(values: list[int], are_told: bool, tmp_path: Path) -> None:
    masks = masks_in_stripes(values)
    if values == [1, 0, 2]:
        masks = {id: np.where(mask == 0, 1, mask) if id < "p06" else mask for id, mask in masks.items()}
    commands = doubts(masks, tmp_path)
    assert bool(commands) == are_told


def test_the_error_of_training_says_the_same(tmp_path: Path) -> None:
    pair, *others = folder_pairs(write(tmp_path / "data", *CAMVID, [*range(12)]))
    with pytest.raises(UserError, match=r"for CamVid, set data.num_classes=11 data.ignore_index=11 data.back.*=null"):
        read_mask(pair, (H, W), MaskEncoding(), others)


@pytest.mark.slow
def test_the_proposed_command_scores_and_draws_every_class(
    tmp_path: Path, unetkit: Unetkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "data", *CAMVID, [*range(12)])
    examined = unetkit("doctor", "data.root=data")
    assert examined.status == 0, examined.stderr
    command = shlex.split(examined.stdout.splitlines()[-1])
    trained = unetkit(*command[command.index("train") :], *QUICK)
    assert trained.status == 0, trained.stderr
    evaluated = unetkit("evaluate", "checkpoint=run", "bootstrap=100", "device=cpu", "cache_dir=cache")
    assert evaluated.status == 0, evaluated.stderr
    classes = json.loads(Path("evaluation/summary.json").read_text())["models"]["run"]["classes"]
    assert len(classes) == 11
    assert next(iter(classes)) == "Sky"
    page = Path("evaluation/report.html").read_text(encoding="utf-8")
    assert "means over all classes" in page
    assert "Sky" in page


@pytest.mark.slow
def test_the_command_of_a_doubt_counts_class_0(
    tmp_path: Path, unetkit: Unetkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (typed,) = doubts(masks_in_stripes([0, 10, 20, 30, 40, 50]), tmp_path)
    command = shlex.split(typed)
    trained = unetkit(*command[command.index("train") :], *QUICK)
    assert trained.status == 0, trained.stderr
    assert "val/iou/background" in json.loads(Path("run/summary.json").read_text())
