"""Images and masks are found in every usual layout by one function, which says what it recognised."""

import json
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import Array, WriteImage
from PIL import Image

from unetkit.data import VOID
from unetkit.data.decode import read_image
from unetkit.data.mask_encoding import MaskEncoding
from unetkit.data.masks import read_mask
from unetkit.data.pair import Pair
from unetkit.data.sources import folder_pairs, layout_of
from unetkit.errors import UserError

H, W = 6, 8


def write(root: Path, paths: Iterable[str]) -> Path:
    """Writes images and masks of which the first pixel tells which belong together: the number in the path."""
    for path in paths:
        number = int("".join(re.findall(r"\d+", Path(path).stem)[:1]) or 0)
        pixels = np.zeros((H, W), np.uint8)
        pixels[0, number % W] = 255
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / path)
    return root


def place_of(pair: Pair) -> tuple[int, int]:
    """Where image and mask have their bright pixel."""
    mask = read_mask(pair, (H, W), MaskEncoding())
    return int(read_image(pair.image).argmax()), int(mask.argmax())


# For each layout: its files, the ids and splits of the pairs, and words of the line that says what was recognised.
LAYOUTS: dict[str, tuple[list[str], dict[str, str | None], str]] = {
    "equal names": (
        ["images/p1.png", "images/p2.jpg", "masks/p1.png", "masks/p2.png"],
        {"p1": None, "p2": None},
        "images in images/, masks in masks/ (equal names)",
    ),
    "other names of folders, in any case": (
        ["Imgs/p1.png", "Imgs/p2.png", "Ground Truth/p1.png", "Ground Truth/p2.png"],
        {"p1": None, "p2": None},
        "images in Imgs/, masks in Ground Truth/",
    ),
    "images beside the folder of masks": (
        ["p1.png", "p2.png", "GT/p1.png", "GT/p2.png"],
        {"p1": None, "p2": None},
        "images in the folder itself, masks in GT/",
    ),
    "folders in both": (
        ["img/a/p1.png", "img/b/p2.png", "label/a/p1.png", "label/b/p2.png"],
        {"a/p1": None, "b/p2": None},
        "equal names",
    ),
    "a folder for each patient": (
        [f"{who}/{what}/{name}.png" for who in ("amy", "bob") for what in ("images", "masks") for name in ("p1", "p2")],
        {"amy/p1": None, "amy/p2": None, "bob/p1": None, "bob/p2": None},
        "amy/images/ and bob/images/",
    ),
    "one image for each patient": (
        ["amy/scan/t1.png", "amy/seg/s1.png", "bob/scan/t1.png", "bob/seg/s1.png"],
        {"amy": None, "bob": None},
        "",
    ),
    "parts in the folders of kinds": (
        [f"{what}/{part}/p{i}.png" for what in ("images", "labels") for i, part in enumerate(("train", "val", "test"))],
        {"train/p0": "train", "val/p1": "val", "test/p2": "test"},
        "train 1, val 1",
    ),
    "kinds in the folders of parts": (
        [f"{part}/{what}/p{i}.png" for what in ("x", "y") for i, part in enumerate(("Training", "valid", "testing"))],
        {"train/p0": "train", "val/p1": "val", "test/p2": "test"},
        "",
    ),
    "a suffix": (
        ["images/p1.png", "images/p2.png", "masks/p1_mask.png", "masks/p2_mask.png"],
        {"p1": None, "p2": None},
        "names of masks end in _mask",
    ),
    "a prefix": (
        ["images/p1.png", "images/p2.png", "masks/mask_p1.png", "masks/mask_p2.png"],
        {"p1": None, "p2": None},
        "names of masks begin with mask_",
    ),
    "both have a suffix": (
        ["images/p1_sat.png", "images/p2_sat.png", "masks/p1_mask.png", "masks/p2_mask.png"],
        {"p1_sat": None, "p2_sat": None},
        "",
    ),
    "words around a number": (
        ["images/scan1.png", "images/scan12.png", "masks/1truth.png", "masks/12truth.png"],
        {"scan1": None, "scan12": None},
        "scan* has the mask *truth",
    ),
    "zeros before numbers": (
        ["images/im_001.png", "images/im_012.png", "masks/gt_1.png", "masks/gt_12.png"],
        {"im_001": None, "im_012": None},
        "zeros",
    ),
    "zeros before numbers that are the whole name": (
        ["images/01.png", "images/12.png", "masks/1.png", "masks/12.png"],
        {"01": None, "12": None},
        "zeros before numbers differ",
    ),
    "upper and lower case": (
        ["images/A1.png", "images/B2.png", "masks/a1.png", "masks/b2.png"],
        {"A1": None, "B2": None},
        "case",
    ),
    "masks beside their images (Carvana)": (
        ["p1.jpg", "p1_mask.gif", "p2.jpg", "p2_mask.gif"],
        {"p1": None, "p2": None},
        "masks beside their images",
    ),
    "an image and a mask for each patient": (
        ["amy/image.png", "amy/mask.png", "bob/image.png", "bob/mask.png"],
        {"amy": None, "bob": None},
        "beside",
    ),
    "words in the names of one folder (DeepGlobe)": (
        ["train/1_sat.jpg", "train/1_mask.png", "train/2_sat.jpg", "train/2_mask.png"],
        {"1_sat": None, "2_sat": None},
        "beside",
    ),
    "folders of masks named by parts (Carvana)": (
        ["train/c_1.jpg", "train/c_2.jpg", "train_masks/c_1_mask.gif", "train_masks/c_2_mask.gif"],
        {"c_1": None, "c_2": None},
        "train_masks/",
    ),
    "masks beside their images in folders of patients (LGG)": (
        [f"kaggle_3m/{who}/{who}_1{end}.tif" for who in ("TCGA_CS_1", "TCGA_DU_2") for end in ("", "_mask")],
        {"TCGA_CS_1/TCGA_CS_1_1": None, "TCGA_DU_2/TCGA_DU_2_1": None},
        "beside",
    ),
    "a PNG beside each JPEG": (["p1.jpg", "p1.png", "p2.jpg", "p2.png"], {"p1": None, "p2": None}, "beside"),
    "PASCAL VOC": (
        [f"VOC2012/{folder}/2007_0{i}.{kind}" for i in (1, 2, 3) for folder, kind in
         (("JPEGImages", "jpg"), ("SegmentationClass", "png"), ("SegmentationObject", "png"))]
        + ["VOC2012/JPEGImages/2008_05.jpg"],
        {"train/2007_01": "train", "val/2007_02": "val"},
        "split by train.txt, val.txt",
    ),
    "PASCAL VOC without lists": (
        ["JPEGImages/p1.jpg", "JPEGImages/p2.jpg", "JPEGImages/p3.jpg", "SegmentationClass/p1.png",
         "SegmentationClass/p2.png"],
        {"p1": None, "p2": None},
        "SegmentationClass/",
    ),
    "Cityscapes": (
        [
            f"{folder}/{part}/{city}/{city}_0000{i}_{end}.png"
            for i, (part, city) in enumerate((("train", "aachen"), ("val", "bochum")))
            for folder, end in (
                ("leftImg8bit", "leftImg8bit"),
                *(("gtFine", f"gtFine_{kind}") for kind in ("color", "instanceIds", "labelIds", "labelTrainIds")),
            )
        ],
        {"train/aachen/aachen_00000_leftImg8bit": "train", "val/bochum/bochum_00001_leftImg8bit": "val"},
        "gtFine/",
    ),
    "Cityscapes, coarse": (
        [f"{folder}/train/aachen/aachen_0{i}_{folder}{end}.png"
         for i in (1, 2) for folder, end in (("leftImg8bit", ""), ("gtCoarse", "_labelTrainIds"))],
        {"aachen_01_leftImg8bit": None, "aachen_02_leftImg8bit": None},
        "gtCoarse/",
    ),
    "CamVid": (
        [f"{part}{what}/p{i}.png" for i, part in enumerate(("train", "val", "test")) for what in ("", "annot")],
        {"train/p0": "train", "val/p1": "val", "test/p2": "test"},
        "trainannot/",
    ),
    "DRIVE": (
        [
            *("training/images/21_training.tif", "training/1st_manual/21_manual1.gif"),
            *("training/mask/21_training_mask.gif", "training/images/22_training.tif"),
            *("training/1st_manual/22_manual1.gif", "training/mask/22_training_mask.gif"),
            *("test/images/01_test.tif", "test/1st_manual/01_manual1.gif", "test/2nd_manual/01_manual2.gif"),
            "test/mask/01_test_mask.gif",
        ],
        {"train/21_training": None, "train/22_training": None, "test/01_test": "test"},
        "1st_manual",
    ),
    "nnU-Net": (
        ["Dataset1/imagesTr/c_01_0000.png", "Dataset1/imagesTr/c_02_0000.png", "Dataset1/labelsTr/c_01.png",
         "Dataset1/labelsTr/c_02.png", "Dataset1/imagesTs/c_03_0000.png"],
        {"c_01_0000": None, "c_02_0000": None},
        "labelsTr/",
    ),
    "ISIC": (
        [f"ISIC_Part1_Training_{end}" for end in ("Data/ISIC_01.jpg", "Data/ISIC_02.jpg")]
        + [f"ISIC_Part1_Training_GroundTruth/ISIC_0{i}_Segmentation.png" for i in (1, 2)],
        {"ISIC_01": None, "ISIC_02": None},
        "GroundTruth/",
    ),
    "parts of other names than images": (
        ["train/c_1.jpg", "train/c_2.jpg", "train_masks/c_1.png", "train_masks/c_2.png", "test/d_3.jpg"],
        {"c_1": None, "c_2": None},
        "train_masks/",
    ),
    "folders of usual names besides": (
        ["input/p1.png", "input/p2.png", "output/p1.png", "output/p2.png"],
        {"p1": None, "p2": None},
        "images in input/, masks in output/",
    ),
    "sat and map (Massachusetts)": (
        [f"{part}/{kind}/p{i}.{end}" for i, part in enumerate(("train", "train", "valid"))
         for kind, end in (("sat", "tiff"), ("map", "tif"))],
        {"train/p0": "train", "train/p1": "train", "val/p2": "val"},
        "",
    ),
    "masks that say so by name in folders that don't (Potsdam)": (
        ["2_Ortho_RGB/top_1_RGB.tif", "2_Ortho_RGB/top_2_RGB.tif", "5_Truth_all/top_1_label.tif",
         "5_Truth_all/top_2_label.tif"],
        {"top_1_RGB": None, "top_2_RGB": None},
        "top_*_RGB has the mask top_*_label",
    ),
    "a folder that begins with the word (STARE, Vaihingen)": (
        ["top/im1.png", "top/im2.png", "labels-ah/im1.ah.png", "labels-ah/im2.ah.png"],
        {"im1": None, "im2": None},
        "names of masks end in .ah",
    ),
    "Pascal Context": (
        [f"{folder}/p{i}.png" for i in (1, 2) for folder in ("JPEGImages", "SegmentationClassContext")],
        {"p1": None, "p2": None},
        "SegmentationClassContext/",
    ),
    "ISPRS, RGB and GT_color": (
        [f"train/{name}" for i in (1, 2) for name in (f"rgb/b{i}_Clipped.jpg", f"GT_color/b{i}_mask.png")],
        {"b1_Clipped": None, "b2_Clipped": None},
        "GT_color/",
    ),
    "predictions in the folder itself": (
        ["images/p1.png", "images/p2.png", "masks/p1.png", "masks/p2.png", "predictions/masks/p1.png",
         "predictions/overlays/p1.png", "old/images/p1.png", "old/masks/p1.png", "logo.png"],
        {"p1": None, "p2": None},
        "images in images/",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("paths", "expected", "line"), LAYOUTS.values(), ids=LAYOUTS)
def test_each_layout_gives_its_pairs(
    paths: list[str], expected: dict[str, str | None], line: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, paths)
    if expected.keys() & {"train/2007_01"}:
        lists = tmp_path / "VOC2012" / "ImageSets" / "Segmentation"
        lists.mkdir(parents=True)
        for part, name in (("train", "2007_01"), ("val", "2007_02"), ("trainval", "2007_01\n2007_02")):
            (lists / f"{part}.txt").write_text(f"{name}\n")
    with caplog.at_level("INFO"):
        pairs = folder_pairs(tmp_path)
    assert {pair.id: pair.split for pair in pairs} == expected
    for pair in pairs:
        image, mask = place_of(pair)
        assert image == mask, pair
    assert line in caplog.messages[-1]
    assert f"{len(pairs)} pairs" in caplog.messages[-1]
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in tmp_path.rglob("*.*"):
            if path.name != "all.zip" and path.is_file():
                archive.write(path, path.relative_to(tmp_path))
    assert {pair.id: pair.split for pair in folder_pairs(tmp_path / "all.zip")} == expected


@pytest.mark.parametrize(
    "folders", [("stage1_train/{}/images/{}.png", "stage1_train/{}/masks/{}.png"), ("images/{}.png", "masks/{}/{}.png")]
)
def test_one_file_for_each_nucleus_is_merged(folders: tuple[str, str], tmp_path: Path, write_image: WriteImage) -> None:
    image_path, mask_path = folders
    for name in ("3f2a", "77bc"):
        write_image(tmp_path / image_path.format(name, name), np.zeros((H, W, 3), np.uint8))
        for i, nucleus in enumerate(("aa1", "bb2", "cc3")[: 3 - (name == "77bc")]):
            mask = np.zeros((H, W), np.uint8)
            mask[i, : i + 2] = 255
            write_image(tmp_path / mask_path.format(name, f"{name}{nucleus}"), mask)
    first, second = folder_pairs(tmp_path)
    assert [first.id, second.id] == ["3f2a", "77bc"]
    assert read_mask(first, (H, W), MaskEncoding()).sum(1).tolist() == [2, 3, 4, 0, 0, 0]
    assert read_mask(second, (H, W), MaskEncoding()).sum(1).tolist() == [2, 3, 0, 0, 0, 0]


@pytest.mark.parametrize(
    "folders",
    [("n{0:02}/images/n{0:02}.png", "n{0:02}/masks/{1}.png"), ("images/n{0}.png", "masks/n{0}/cell_{1:03}.png")],
)
def test_numbered_masks_of_an_image_in_its_folder_are_not_taken_for_those_of_the_image_of_that_number(
    folders: tuple[str, str], tmp_path: Path, write_image: WriteImage
) -> None:
    image_path, mask_path = folders
    for image in range(8):
        write_image(tmp_path / image_path.format(image), np.zeros((H, W, 3), np.uint8))
        for i in range(1, 3 + image % 4):
            mask = np.zeros((H, W), np.uint8)
            mask[i, : i + 1] = 255
            write_image(tmp_path / mask_path.format(image, i), mask)
    pairs = folder_pairs(tmp_path)
    assert len(pairs) == 8
    for image, pair in enumerate(pairs):
        assert np.count_nonzero(read_mask(pair, (H, W), MaskEncoding()).any(1)) == 2 + image % 4


def test_different_masks_of_an_image_in_its_folder_are_not_merged(tmp_path: Path) -> None:
    write(tmp_path, [f"p{i}/images/p{i}.png" for i in range(4)])
    write(tmp_path, [f"p{i}/masks/{name}.png" for i in range(4) for name in (f"p{i}", "field_of_view")])
    with pytest.raises(UserError):
        folder_pairs(tmp_path)


def test_several_numbered_masks_of_an_image_are_merged(tmp_path: Path) -> None:
    write(tmp_path, [f"benign ({i}){end}.png" for i in (1, 2) for end in ("", "_mask")])
    write(tmp_path, ["benign (5).png"])
    (tmp_path / "benign (5).png").rename(tmp_path / "benign (2)_mask_1.png")
    first, second = folder_pairs(tmp_path)
    assert place_of(first) == (1, 1)
    assert np.flatnonzero(read_mask(second, (H, W), MaskEncoding())).tolist() == [2, 5]


@pytest.mark.parametrize(
    ("paths", "problem"),
    [
        (
            ["images/p1.png", "labels/p1.png", "gt/p1.png"],
            r"gt and labels may both hold the masks; say which: data.masks=gt or data.masks=labels",
        ),
        (
            ["images/p1.png", "masks/a/p1.png", "masks/b/p1.png"],
            r"1 image has several masks .*as in data.masks=masks/a or data.masks=masks/b",
        ),
        (
            [f"I_{eye}{end}.png" for eye in ("01L", "02R") for end in ("", "_1stHO", "_2ndHO")],
            r'data.masks="\*\*/\*1stHO.png" or data.masks="\*\*/\*2ndHO.png"',
        ),
        (["images/p1.png", "images/p2.png", "masks/p1.png"], r"1 image has no mask \(images/p2.png\); add masks"),
        (["images/p1.png", "masks/p1.png", "masks/p2.png"], r"1 mask has no image \(masks/p2.png\); add the images"),
        (
            ["images/p1.png", "images/p1.jpg", "masks/p1.png"],
            r"1 file has the same name as another.*\(images/p1.png\); keep one",
        ),
        (["val/images/p1.png", "val/masks/p1.png"], r"masks for val, but no train/"),
        (["images/p1.png"], r"no masks at all .*data.masks=FOLDER"),
        (["labels-a/p1.png", "labels-b/p1.png", "raw/p1.png"], r"labels-a and labels-b may both hold the masks"),
        (["images/p1.png", "masques/p1.png"], r"say which are the masks: data.masks=masques$"),
        (
            [f"a{i}_json/{name}.png" for i in (1, 2, 3) for name in ("img", "label", "label_viz")],
            r'3 images have several masks .*data.masks="\*\*/\*label.png" or data.masks="\*\*/\*label_viz.png"',
        ),
        (["Fotos/p1.png", "Masken/p1.png"], r"say which are the masks: data.masks=Fotos or data.masks=Masken"),
    ],
)  # fmt: skip
def test_what_can_not_be_told_apart_is_refused(paths: list[str], problem: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^data.root={tmp_path} can't be used: .*{problem}"):
        folder_pairs(write(tmp_path, paths))


def test_the_advised_key_settles_it(tmp_path: Path) -> None:
    write(tmp_path, ["images/p1.png", "masks/a/p1.png", "masks/b/p1.png", "masks/b/x.png"])
    (pair,) = folder_pairs(tmp_path, masks="masks/a")
    assert pair.mask is not None
    assert str(pair.mask).endswith("masks/a/p1.png")
    write(tmp_path / "chase", [f"I_0{i}L{end}.png" for i in (1, 2) for end in ("", "_1stHO", "_2ndHO")])
    pairs = folder_pairs(tmp_path / "chase", masks="**/*1stHO.png", images="**/*L.png")
    assert [pair.id for pair in pairs] == ["I_01L", "I_02L"]
    assert [place_of(pair) for pair in pairs] == [(1, 1), (2, 2)]


@pytest.mark.parametrize("is_inside", [True, False])
def test_patterns_pair_files_by_what_their_wildcards_stand_for(is_inside: bool, tmp_path: Path) -> None:
    write(
        tmp_path,
        [f"{who}/day{day}/{kind}.png" for who in ("amy", "bob") for day in (1, 2) for kind in ("t1", "s1", "x")],
    )
    start = "" if is_inside else f"{tmp_path}/"
    pairs = folder_pairs(tmp_path if is_inside else None, images=f"{start}*/day*/t1.png", masks=f"{start}*/day*/s1.png")
    assert [pair.id for pair in pairs] == ["amy/1", "amy/2", "bob/1", "bob/2"]
    for pair in pairs:
        assert Path(str(pair.image)).parent == Path(str(pair.mask)).parent


def test_a_key_that_names_nothing_is_told(tmp_path: Path) -> None:
    write(tmp_path, ["images/p1.png", "masks/p1.png"])
    with pytest.raises(UserError, match=r"data.masks=truth names no image below .*; give a folder, or a pattern"):
        folder_pairs(tmp_path, masks="truth")


def test_files_that_are_not_read_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, ["images/p1.png", "masks/p1.png"])
    (tmp_path / "images" / "p2.nrrd").touch()
    (tmp_path / "masks" / "p1_gtFine_polygons.json").touch()  # Cityscapes has one beside each mask
    with caplog.at_level("INFO"):
        folder_pairs(tmp_path)
    assert "1 file is of a kind that is not read (.nrrd); convert to PNG" in caplog.text
    assert "1 pair: images in images/" in caplog.text
    (tmp_path / "masks" / "p1.png").rename(tmp_path / "masks" / "p1.mat")
    with pytest.raises(UserError, match=r"2 files are of a kind that is not read \(\.mat, \.nrrd\) \(images/p2.nrrd"):
        folder_pairs(tmp_path)


def test_links_to_folders_are_followed_but_not_in_a_circle(tmp_path: Path) -> None:
    write(tmp_path / "disk", ["a.png", "b.png"])
    root = write(tmp_path / "data", ["masks/a.png", "masks/b.png"])
    (root / "images").symlink_to(tmp_path / "disk")
    (root / "masks" / "again").symlink_to(root)
    (tmp_path / "disk" / "there").symlink_to(tmp_path / "disk")
    assert [pair.id for pair in folder_pairs(str(root))] == ["a", "b"]


def test_folders_that_link_to_each_other_have_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unetkit.data.layout.tree.MAX_FOLDERS", 1000)
    root = write(tmp_path, ["images/a.png", "masks/a.png"])
    for name in "abcdefghi":
        (root / name).mkdir()
        for other in "abcdefghi":
            (root / name / other).symlink_to(root / other)
    with pytest.raises(UserError, match=r"has more than 1,000 folders; remove links to folders"):
        folder_pairs(str(root))


def test_a_link_to_a_folder_that_is_called_as_an_image_is_no_place_of_others(tmp_path: Path) -> None:
    write(tmp_path / "other", ["train/images/x.png", "train/masks/x.png"])
    root = write(tmp_path / "data", ["images/a.png", "masks/a.png", "masks/b.png"])
    (root / "images" / "b.png").symlink_to(tmp_path / "other")
    a, b = folder_pairs(str(root))
    assert (a.id, b.id) == ("a", "b")
    with pytest.raises(UserError, match=r"images/b\.png is a folder"):
        read_image(b.image, 1)


def outlines_of(pair: Pair, classes: int = 0) -> Array:
    encoding = MaskEncoding.of_keys(classes) if classes else MaskEncoding()
    height, width = read_image(pair.image).shape[:2]
    return read_mask(pair, (height, width), encoding)


class TestOutlines:
    def test_coco_is_drawn_as_its_own_library_draws_it(self, tmp_path: Path, write_image: WriteImage) -> None:
        from pycocotools import mask as library

        size = 80, 100
        crowd = np.zeros(size, np.uint8)
        crowd[60:70, 5:30] = 1
        disc = np.array(cv2.ellipse2Poly((60, 40), (25, 15), 0, 0, 360, 5), float) + 0.4
        squares = [[5.0, 5, 25, 5, 25, 30, 5, 30], [30.0, 5, 40, 5, 40, 15, 30, 15]]
        box = [8.0, 8, 14, 8, 14, 14, 8, 14]
        runs = library.encode(np.asfortranarray(crowd))
        pixels = crowd.T.ravel()
        changes = np.flatnonzero(np.diff(pixels)) + 1
        counts = np.diff([0, *changes, pixels.size]).tolist()
        for split, packed in (
            ("train", {**runs, "counts": runs["counts"].decode()}),
            ("val", {"size": size, "counts": counts}),
        ):
            write_image(tmp_path / f"{split}2017" / "000001.jpg", np.zeros((*size, 3), np.uint8))
            notes = [
                {"image_id": 7, "category_id": 90, "segmentation": [box], "area": 36, "iscrowd": 0},
                {"image_id": 7, "category_id": 17, "segmentation": squares, "area": 600, "iscrowd": 0},
                {"image_id": 7, "category_id": 17, "segmentation": [disc.ravel().tolist()], "area": 1178, "iscrowd": 0},
                {"image_id": 7, "category_id": 90, "segmentation": packed, "area": 250, "iscrowd": 1},
            ]
            content = {
                "images": [{"id": 7, "file_name": "000001.jpg", "height": size[0], "width": size[1]}],
                "annotations": notes,
                "categories": [{"id": 90, "name": "brush"}, {"id": 17, "name": "cat"}],
            }
            (tmp_path / "annotations").mkdir(exist_ok=True)
            (tmp_path / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content))
        pairs = folder_pairs(tmp_path)
        assert [(pair.id, pair.split) for pair in pairs] == [("train/000001", "train"), ("val/000001", "val")]
        for pair in pairs:
            drawn = outlines_of(pair, 3)
            np.testing.assert_array_equal(drawn == VOID, crowd == 1)
            for value, rings in ((1, [*squares, disc.ravel().tolist()]), (2, [box])):
                right = library.decode(library.merge(library.frPyObjects(rings, *size))) > 0
                if value == 1:
                    right &= ~(library.decode(library.frPyObjects([box], *size))[..., 0] > 0)
                wrong = np.count_nonzero((drawn == value) != right)
                assert wrong <= 0.02 * right.sum()  # pixels on the outline
        with pytest.raises(
            UserError, match=r"outlines of 2 classes \(cat,brush\).*set data.num_classes=3 data.class_names="
        ):
            outlines_of(pairs[0])

    def test_labelme(self, tmp_path: Path, write_image: WriteImage) -> None:
        shapes = {
            "a": [("cell", "polygon", [[2, 1], [7, 1], [7, 5], [2, 5]]), ("__ignore__", "rectangle", [[0, 0], [2, 1]])],
            "b": [("cell", "circle", [[5, 5], [5, 8]]), ("cell", "point", [[1, 1]])],
        }
        for name, held in shapes.items():
            write_image(tmp_path / f"{name}.jpg", np.zeros((10, 12), np.uint8))
            content = {
                "imagePath": f"{name}.jpg",
                "imageHeight": 10,
                "imageWidth": 12,
                "shapes": [{"label": label, "shape_type": kind, "points": points} for label, kind, points in held],
            }
            (tmp_path / f"{name}.json").write_text(json.dumps(content))
        layout = layout_of(tmp_path)
        first, second = (outlines_of(pair) for pair in layout.pairs)
        assert (first[1:5, 2:7] == 1).all()
        assert first[0, 0] == VOID
        assert second[5, 5] == 1
        assert 20 < second.sum() < 40
        assert any("1 object is a point" in finding.what for finding in layout.findings)
        assert "labelme" in layout.description

    def test_yolo(self, tmp_path: Path, write_image: WriteImage) -> None:
        for part in ("train", "val"):
            write_image(tmp_path / "images" / part / "a.jpg", np.zeros((20, 40), np.uint8))
            (tmp_path / "labels" / part).mkdir(parents=True)
            (tmp_path / "labels" / part / "a.txt").write_text("1 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75\n")
        (tmp_path / "data.yaml").write_text("names: [cat, dog]\n")
        pairs = folder_pairs(tmp_path)
        assert [(pair.id, pair.split) for pair in pairs] == [("train/a", "train"), ("val/a", "val")]
        mask = outlines_of(pairs[0], 3)
        assert (mask[5:15, 10:30] == 2).all()
        assert np.count_nonzero(mask) < 1.2 * 10 * 20
        (tmp_path / "labels" / "val" / "a.txt").write_text("1 0.5 0.5 0.2 0.2\n")
        with pytest.raises(UserError, match=r"labels/val/a.txt holds boxes .*, not outlines; a mask needs"):
            folder_pairs(tmp_path)
