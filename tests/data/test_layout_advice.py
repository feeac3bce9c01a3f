"""What the refusal of a layout says to type is typed, and works; formats that are not read are named."""

import json
import logging
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from test_layouts import H, W, write

from unetkit.data.decode import read_image
from unetkit.data.layout.inputs import find_images
from unetkit.data.mask_encoding import MaskEncoding
from unetkit.data.masks import read_mask
from unetkit.data.sources import folder_pairs
from unetkit.doctor import Machine, diagnose
from unetkit.errors import UserError

TYPED = re.compile(r"""'(data\.\w+=[^']+)'|(data\.\w+=(?:"[^"]+"|[^\s;,]+))""")


def numbered(names: str, *kinds: str) -> list[str]:
    return [names.format(i, kind) for i in (1, 2, 3) for kind in kinds]


# For each layout that is refused: its files, words of the error, the number of alternatives that it offers, and
# the number of files of each pair.
REFUSED: dict[str, tuple[list[str], str, int, int]] = {
    "Potsdam, in one folder": (
        numbered("top_{}_{}.tif", "rgb", "dsm", "label"),
        "6 images belong to 3 masks, 2 to each",
        2,
        3,
    ),
    "BraTS": (numbered("B_{0}/B_{0}_{1}.png", "flair", "t1", "seg"), "6 images belong to 3 masks, 2 to each", 2, 3),
    "CHASE_DB1": (
        [*numbered("Image_0{}L.jpg", ""), *numbered("Image_0{}L_{}.png", "1stHO", "2ndHO")],
        "3 images have several masks",
        3,
        3,
    ),
    "Drishti": (
        [*numbered("Images/g_{}.png", ""), *numbered("GT/g_{0}/SoftMap/g_{0}_{1}.png", "OD", "cup")],
        "3 images have several masks",
        3,
        3,
    ),
    "STARE": (
        numbered("{1}/im{0}.png", "labels-ah", "labels-vk", "raw"),
        "labels-ah and labels-vk may both hold the masks",
        2,
        3,
    ),
    "lungs": (
        numbered("{1}/M_{0}.png", "CXR_png", "ManualMask/leftMask", "ManualMask/rightMask"),
        "3 images have several masks",
        3,
        3,
    ),
    "two dates (LEVIR-CD)": (
        numbered("train/{1}/a{0}.png", "A", "B", "label"),
        "3 images have the same name as one in another folder",
        3,
        3,
    ),
    "two dates in several parts": (
        [*numbered("train/{1}/a{0}.png", "A", "B", "label"), *numbered("val/{1}/b{0}.png", "A", "B", "label")],
        "6 images have the same name as one in another folder",
        3,
        3,
    ),
    "bands in folders": (
        numbered("{1}/a{0}.png", "images/rgb", "images/nir", "masks"),
        "3 images have the same name as one in another folder",
        3,
        3,
    ),
    "labelme's folders": (numbered("a{0}_json/{1}.png", "img", "label", "label_viz"), "have several masks", 3, 3),
    "names of two kinds in a folder": (numbered("{1}00{0}.png", "img", "lab"), "there are no masks at all", 2, 2),
}


def alternatives(error: str) -> list[dict[str, Any]]:
    """The keys of each alternative of an error: keys follow each other in one, `or` and `;` begin another."""
    found: list[dict[str, Any]] = []
    end = -2
    for match in TYPED.finditer(error):
        key = next(filter(None, match.groups()))
        if match.start() > end + 1 or not found:
            found.append({})
        (override,) = OverridesParser.create().parse_overrides([key if "[" in key else key.replace('"', "")])
        value = override.value()
        found[-1][override.key_or_group.removeprefix("data.")] = (
            [*map(str, value)] if isinstance(value, list) else str(value)
        )
        end = match.end()
    return found


@pytest.mark.parametrize(("paths", "said", "count", "files"), REFUSED.values(), ids=REFUSED)
def test_each_alternative_that_an_error_names_is_typed(
    paths: list[str], said: str, count: int, files: int, tmp_path: Path
) -> None:
    write(tmp_path, paths)
    with pytest.raises(UserError) as refused:
        folder_pairs(tmp_path)
    assert said in str(refused.value)
    assert diagnose(tmp_path, machine=Machine("a CPU", False, 2**33)).faults
    choices = alternatives(refused.value.fix)
    assert len(choices) == count
    for keys in choices:
        pairs = folder_pairs(tmp_path, **keys)
        assert len(pairs) == len(paths) // files
        for pair in pairs:
            if "labels" not in keys:
                image = read_image(pair.image).reshape(H, W, -1)[..., -1]
                assert image.argmax() == read_mask(pair, (H, W), MaskEncoding()).argmax()


VIA = {"a1.jpg77": {"filename": "a1.jpg", "regions": [{"shape_attributes": {"name": "polygon"}}]}}
FOREIGN = {
    "via_region_data.json": (VIA, "VGG Image Annotator (VIA)", "COCO"),
    "project.json": ({"_via_img_metadata": VIA}, "VGG Image Annotator (VIA)", "COCO"),
    "export.json": ([{"data_row": {"external_id": "a1.jpg"}}], "Labelbox", "COCO"),
    "export.ndjson": ({"data_row": {"external_id": "a1.jpg"}}, "Labelbox", "COCO"),
    "studio.json": ([{"data": {"image": "a1.jpg"}, "annotations": []}], "Label Studio", "COCO"),
    "ann/a1.jpg.json": ({"size": {"height": H, "width": W}, "objects": []}, "Supervisely", "COCO"),
    "annotations.xml": ("<?xml version='1.0'?>\n<annotations><version>1.1</version></annotations>", "CVAT", "COCO 1.0"),
    "Annotations/a1.xml": ("<annotation><object/></annotation>", "boxes of PASCAL VOC", "outlines"),
    "xml/a1.xml": ('<Annotations MicronsPerPixel="0.25"></Annotations>', "Aperio ImageScope", "PNG"),
    "buildings.geojson": ({"type": "FeatureCollection", "features": []}, "GeoJSON", "gdal_rasterize"),
    "buildings.shp": ("", "shapefiles", "gdal_rasterize"),
}


@pytest.mark.parametrize("path", FOREIGN)
def test_a_format_that_is_not_read_is_named_with_what_to_convert_it_to(path: str, tmp_path: Path) -> None:
    content, name, advice = FOREIGN[path]
    write(tmp_path, ["images/a1.jpg", "images/a2.jpg"])
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(
        UserError, match=rf"annotations in 1 file of {re.escape(name)}, which is not read .*; .*{advice}"
    ):
        folder_pairs(tmp_path)
    assert name in diagnose(tmp_path, machine=Machine("a CPU", False, 2**33)).findings[0].what
    write(tmp_path, ["masks/a1.png", "masks/a2.png"])
    assert len(folder_pairs(tmp_path)) == 2


def test_what_systems_and_drives_leave_behind_is_no_data(tmp_path: Path) -> None:
    write(tmp_path, ["images/p1.png", "images/p2.png", "masks/p1.png", "masks/p2.png"])
    write(tmp_path, ["images/@eaDir/p1.png/thumb_1.jpg", "images/.ipynb_checkpoints/p1.png", "$RECYCLE.BIN/x1.png"])
    for name in ("images/thumbs.db", "masks/Desktop.ini", "masks/._p1.png", "images/.DS_Store"):
        (tmp_path / name).write_text("x")
    assert [pair.id for pair in folder_pairs(tmp_path)] == ["p1", "p2"]
    assert diagnose(tmp_path, machine=Machine("a CPU", False, 2**33)).layout.findings == ()
    assert len(find_images(tmp_path)) == 2


def test_no_image_is_left_out_without_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, ["images/p1.png", "masks/p1.png", "images/p2.png", "masks/p2.png", "extra/p3.png", "logo4.png"])
    write(tmp_path / "b", ["train/c1.jpg", "train_masks/c1.png", "train/c2.jpg", "train_masks/c2.png", "test/d1.jpg"])
    with caplog.at_level(logging.INFO):
        folder_pairs(tmp_path / "b")
        assert "test has 1 image, but no masks" in caplog.text
        folder_pairs(tmp_path)
    assert "not read: no folder says images or masks" in caplog.text


@pytest.mark.parametrize(
    ("paths", "count"),
    [
        (["sat/1.png", "sat/2.png", "map/1.png", "map/2.png"], 2),
        (["input/1.png", "output/1.png"], 1),
        (["train/sat/1.png", "train/map/1.png", "valid/sat/2.png", "valid/map/2.png"], 2),
        (["a/1.png", "b/2.png"], 2),
        (["raw/1.png", "raw/1_mask.png", "output/1.png"], 1),
        (["train/image/1.png", "train/label/1.png", "test/2.png", "test/3.png"], 3),  # as training leaves out test
    ],
)
def test_prediction_leaves_out_the_masks_that_training_finds(paths: list[str], count: int, tmp_path: Path) -> None:
    assert len(find_images(write(tmp_path, paths))) == count


def test_a_zip_with_backslashes_is_read(tmp_path: Path) -> None:
    root = write(tmp_path / "data", ["images/p1.png", "images/p2.png", "masks/p1.png", "masks/p2.png"])
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("data\\images\\", b"")
        for path in root.rglob("*.png"):
            archive.write(path, str(path.relative_to(tmp_path)).replace("/", "\\"))
    assert [pair.id for pair in folder_pairs(tmp_path / "data.zip")] == ["p1", "p2"]
    assert [image.stem for image in find_images(tmp_path / "data.zip")] == ["p1", "p2"]
