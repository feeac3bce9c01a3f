"""Where images and masks are, which belong together, and which are copies or neighbours of each other."""

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from example_files import CPU, ROOT, H, W, compose_proposal, finding_on, findings_of, make_pairs, save, save_pairs
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from unetkit.data.rle import encode_rle
from unetkit.doctor import Severity, contact_sheet, diagnose, report
from unetkit.errors import UserError
from unetkit.training.build import prepare_data


@pytest.fixture
def clean_folder(tmp_path: Path) -> Path:
    return save_pairs(tmp_path / "clean", *make_pairs(24))


@pytest.mark.parametrize(
    ("image_name", "mask_name", "rule"),
    [
        ("{}", "{}_mask", "names of masks end in _mask"),
        ("{}", "{}-gt", "names of masks end in -gt"),
        ("{}_sat", "{}_mask", "words such as image and mask differ"),
        ("img_{}", "label_{}", "words such as image and mask differ"),
        ("scan{}", "{}truth", "scan* has the mask *truth"),
        ("A{}", "a{}", "upper and lower case differ"),
    ],
)
def test_masks_are_found_by_usual_ways_to_name_them(tmp_path: Path, image_name: str, mask_name: str, rule: str) -> None:
    images, masks = make_pairs(8)
    renamed = {image_name.format(id[1:]): image for id, image in images.items()}
    save_pairs(tmp_path, renamed, {mask_name.format(id[1:]): mask for id, mask in masks.items()})
    diagnosis = diagnose(tmp_path, machine=CPU)
    assert len(diagnosis.coverage) == 8
    assert diagnosis.faults == 0
    assert f"layout    images in images/, masks in masks/ ({rule})" in report(diagnosis)


def test_folders_with_other_names_are_read_by_doctor_and_training_alike(clean_folder: Path, tmp_path: Path) -> None:
    (clean_folder / "images").rename(clean_folder / "imgs")
    (clean_folder / "masks").rename(clean_folder / "Labels")
    diagnosis = diagnose(clean_folder, machine=CPU)
    assert diagnosis.findings == ()
    assert len(diagnosis.coverage) == 24
    cfg = compose_proposal(diagnosis, tmp_path / "out")
    cfg.run_dir, cfg.data.cache_dir = str(tmp_path / "run"), str(tmp_path / "cache")
    assert len(prepare_data(cfg).found.pairs) == 24


def test_images_and_masks_may_lie_in_one_folder(tmp_path: Path) -> None:
    images, masks = make_pairs(8)
    for name, image in images.items():
        save(tmp_path / "my data" / f"{name}.png", image)
        save(tmp_path / "my data" / f"{name} (m).png", masks[name])
    diagnosis = diagnose(tmp_path / "my data", machine=CPU)
    assert len(diagnosis.coverage) == 8
    assert diagnosis.faults == 0


def test_the_keys_that_were_typed_are_in_the_proposal(tmp_path: Path) -> None:
    images, masks = make_pairs(8)
    for name, image in images.items():
        save(tmp_path / "data" / name / "t1.png", image)
        save(tmp_path / "data" / name / "t2.png", image)
        save(tmp_path / "data" / name / "drawn.png", masks[name])
    diagnosis = diagnose(tmp_path / "data", machine=CPU, images="*/t2.png", masks="*/drawn.png")
    assert diagnosis.faults == 0
    cfg = compose_proposal(diagnosis, tmp_path / "out")
    cfg.run_dir, cfg.data.cache_dir = str(tmp_path / "run"), str(tmp_path / "cache")
    assert [pair.id for pair in prepare_data(cfg).found.pairs] == sorted(images)


def test_outlines_are_proposed_with_the_names_of_their_classes(tmp_path: Path) -> None:
    for index, (name, image) in enumerate(make_pairs(8)[0].items()):
        save(tmp_path / "data" / f"{name}.png", image)
        label = ("cell", "nucleus")[index % 2]
        shape = {"label": label, "points": [[5, 5], [25, 5], [25, 20], [5, 20]], "shape_type": "polygon"}
        content = {"imagePath": f"{name}.png", "imageHeight": H, "imageWidth": W, "shapes": [shape]}
        (tmp_path / "data" / f"{name}.json").write_text(json.dumps(content))
    diagnosis = diagnose(tmp_path / "data", machine=CPU)
    assert diagnosis.plan.description == "outlines of cell, nucleus"
    assert diagnosis.coverage["p00"] == 20 * 15 / (H * W)
    cfg = compose_proposal(diagnosis, tmp_path / "out")
    cfg.run_dir, cfg.data.cache_dir = str(tmp_path / "run"), str(tmp_path / "cache")
    data = prepare_data(cfg)
    assert data.class_names == ["background", "cell", "nucleus"]
    assert data.found.pixels[0].tolist() == [H * W - 300, 300, 0]
    assert contact_sheet(diagnosis).size


def test_images_without_any_mask_are_told(tmp_path: Path) -> None:
    for name, image in make_pairs(3)[0].items():
        save(tmp_path / f"{name}.png", image)
    diagnosis = diagnose(tmp_path, machine=CPU)
    assert "there are no masks at all" in findings_of(diagnosis, Severity.FAULT)[0].what
    assert diagnosis.experiment is None
    assert "3 images" in report(diagnosis)
    assert contact_sheet(diagnosis).size


@pytest.mark.parametrize(
    ("split", "what", "error"),
    [
        (None, "all masks are empty", "data=folder has no foreground pixel"),
        ("val", "1 folder is empty", r"1 folder is empty \(val\)"),
    ],
)
def test_what_training_refuses_is_a_fault(tmp_path: Path, split: str | None, what: str, error: str) -> None:
    images, masks = make_pairs(8)
    if split is None:
        save_pairs(tmp_path, images, {id: mask * 0 for id, mask in masks.items()})
    else:
        save_pairs(tmp_path / "train", images, masks)
        (tmp_path / split / "masks").mkdir(parents=True)
    assert finding_on(diagnose(tmp_path, machine=CPU), what).severity == Severity.FAULT
    options = ["data=folder", f"data.root={tmp_path}", f"run_dir={tmp_path}", f"data.cache_dir={tmp_path}"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("train", options)
    with pytest.raises(UserError, match=error):
        prepare_data(cfg)


def test_a_folder_without_images_is_an_error_of_one_line(clean_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="nothing is there"):
        diagnose(tmp_path / "empty", machine=CPU)
    with pytest.raises(UserError, match=r"data\.root is not set"):
        diagnose(None, machine=CPU)
    with pytest.raises(UserError, match="does not exist"):
        diagnose(tmp_path / "nowhere", machine=CPU)


def test_masks_that_differ_among_equal_images_are_named(tmp_path: Path) -> None:
    images, masks = make_pairs(24)
    images["p07"] = images["p08"] = images["p06"]
    masks["p07"] = masks["p06"]
    diagnosis = diagnose(save_pairs(tmp_path, images, masks), machine=CPU)
    assert finding_on(diagnosis, "equal images has different masks").names == ("p06 = p08",)


def test_copies_in_several_splits_are_found(tmp_path: Path) -> None:
    images, masks = make_pairs(24)
    save_pairs(tmp_path / "train", images, masks)
    save_pairs(tmp_path / "valid", {"x": images["p03"]}, {"x": masks["p03"]})
    diagnosis = diagnose(tmp_path, machine=CPU)
    assert finding_on(diagnosis, "equal images is in several splits").names == ("train/p03 = val/x",)
    assert "split" not in OmegaConf.create(diagnosis.experiment or "").data


@pytest.mark.parametrize(("name", "split"), [("s{:02}", "contiguous"), ("s{}", "fraction")])
def test_slices_of_a_volume_are_split_in_blocks_if_names_sort_by_number(tmp_path: Path, name: str, split: str) -> None:
    rng = np.random.default_rng(3)
    long = cv2.resize(rng.integers(0, 255, (6, 30), dtype=np.uint8), (30 * 12, H))
    images = {name.format(i): long[:, 4 * i : 4 * i + W] for i in range(24)}  # a window that moves on
    masks = dict(zip(images, make_pairs(24)[1].values(), strict=True))
    diagnosis = diagnose(save_pairs(tmp_path, images, masks), machine=CPU)
    assert compose_proposal(diagnosis, tmp_path / "out").data.split == split
    severity = finding_on(diagnosis, "images with neighbouring numbers are alike").severity
    assert severity == (Severity.NOTE if split == "contiguous" else Severity.WARNING)


def test_tgs_salt_is_read_as_downloaded_from_kaggle(clean_folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        for path in sorted(clean_folder.glob("*/*.png")):
            if path.parts[-2:] != ("masks", "p05.png"):
                archive.write(path, path.relative_to(clean_folder))
    masks = make_pairs(24)[1]
    codes = {id: encode_rle(mask > 0) for id, mask in masks.items()} | {"p07": "1 3"}
    (tmp_path / "train.csv").write_text("id,rle_mask\n" + "".join(f"{id},{code}\n" for id, code in codes.items()))
    diagnosis = diagnose(tmp_path, machine=CPU)
    assert diagnosis.layout.source == "tgs_salt"
    assert finding_on(diagnosis, "not what train.csv says").names == ("p07",)
    assert diagnosis.faults == 1
    assert diagnosis.coverage["p05"] == pytest.approx(np.mean(masks["p05"] > 0))
    assert compose_proposal(diagnosis, tmp_path / "out").data.name == tmp_path.name


def test_wrong_run_length_codes_are_one_finding(clean_folder: Path) -> None:
    for id in ("p03", "p04"):
        (clean_folder / "masks" / f"{id}.png").unlink()
    (clean_folder / "train.csv").write_text("id,rle_mask\np03,1 {x}\np04,7\n")
    finding = finding_on(diagnose(clean_folder, machine=CPU), "run-length code")
    assert finding.names == ("images/p03.png", "images/p04.png")
    assert "is not pairs of positive integers" in finding.what
