"""Other people's data sets, from files to a report by the commands that a person types."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from conftest import Array, Unetkit
from PIL import Image

SIDE = 40
SMALL = ("model=plain_small", "model.channels=[4,8]", "data.batch_size=4", "data.crop_size=null")
QUICK = ("trainer.max_epochs=1", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false", "data.cache_dir=cache")

Write = Callable[[Path], None]


def scenes(count: int, classes: int) -> list[tuple[Array, Array]]:
    """RGB images with a square of each class, and their class indices."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        for value in range(1, classes):
            y, x = rng.integers(0, SIDE - 12, 2)
            mask[y : y + 12, x : x + 12] = value
        image = rng.integers(0, 60, (SIDE, SIDE, 3)) + mask[..., None] * (180 // (classes - 1))
        found.append((image.astype(np.uint8), mask))
    return found


def save_image(path: Path, image: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.ascontiguousarray(image[..., ::-1]))


def write_voc(root: Path) -> None:
    """PASCAL VOC: palette masks of 20 classes, of which two are there, with void outlines, and lists of names."""
    palette = [(255 * (i & 1), 127 * (i >> 1 & 1), 60 * (i >> 2)) for i in range(8)] * 32
    lists: dict[str, list[str]] = {"train": [], "val": []}
    for i, (image, mask) in enumerate(scenes(12, 3)):
        save_image(root / "JPEGImages" / f"2007_{i:06}.jpg", image)
        outline = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        file = Image.fromarray(np.where(outline, 255, mask).astype(np.uint8), mode="P")
        file.putpalette(np.array(palette, np.uint8).ravel().tolist())
        path = root / "SegmentationClass" / f"2007_{i:06}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        file.save(path)
        lists["val" if i % 4 == 0 else "train"].append(path.stem)
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    for name, ids in lists.items():
        (root / "ImageSets" / "Segmentation" / f"{name}.txt").write_text("\n".join(ids))


def write_coco(root: Path) -> None:
    """COCO: polygons of two classes, a file for each part."""
    pairs = scenes(12, 3)
    for part, chosen in (("train", pairs[:9]), ("val", pairs[9:])):
        images, notes = [], []
        for i, (image, mask) in enumerate(chosen):
            save_image(root / f"{part}2017" / f"{i:012}.jpg", image)
            images.append({"id": i, "file_name": f"{i:012}.jpg", "height": SIDE, "width": SIDE})
            for value in (1, 2):
                contours, _ = cv2.findContours((mask == value).astype(np.uint8), cv2.RETR_EXTERNAL, 2)
                polygons = [(c.reshape(-1, 2) + 0.5).ravel().tolist() for c in contours if len(c) > 2]
                notes.append({"image_id": i, "category_id": value, "segmentation": polygons, "area": 9, "iscrowd": 0})
        content = {
            "images": images,
            "annotations": [note for note in notes if note["segmentation"]],
            "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        }
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{part}2017.json").write_text(json.dumps(content))


def write_nuclei(root: Path) -> None:
    """DSB2018: a folder for each image, and a file for each nucleus."""
    for i, (image, mask) in enumerate(scenes(12, 3)):
        name = f"{i * 7919:08x}"
        save_image(root / "stage1_train" / name / "images" / f"{name}.png", image)
        for value in (1, 2):
            nucleus = np.repeat((mask == value)[..., None], 3, 2).astype(np.uint8) * 255
            save_image(root / "stage1_train" / name / "masks" / f"{name[::-1]}{value}.png", nucleus)


def write_geotiffs(root: Path) -> None:
    """Satellite tiles of four 16-bit bands (near infrared tells objects), with a coordinate system."""
    for i, (image, mask) in enumerate(scenes(12, 2)):
        place = {"crs": "EPSG:32633", "transform": rasterio.transform.from_origin(5e5 + 10 * SIDE * i, 5.2e6, 10, 10)}
        shape = {"driver": "GTiff", "width": SIDE, "height": SIDE}
        bands = np.concatenate([image[..., :3].min(2, keepdims=True).repeat(3, 2), image[..., :1]], 2) * np.uint16(40)
        for kind, values in (("images", bands), ("labels", mask[..., None])):
            path = root / kind / f"tile_{i}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            with rasterio.open(path, "w", count=values.shape[2], dtype=values.dtype, **shape, **place) as file:
                file.write(np.moveaxis(values, 2, 0))
                if kind == "images":
                    file.colorinterp = [*file.colorinterp[:3], rasterio.enums.ColorInterp.undefined]


DATA_SETS: dict[str, tuple[Write, str]] = {
    "voc": (write_voc, "split by train.txt, val.txt"),
    "coco": (write_coco, "COCO's outlines"),
    "geotiffs": (write_geotiffs, "images in images/, masks in labels/ (equal names)"),
    "nuclei": (write_nuclei, "all masks in the folder of an image are merged"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DATA_SETS)
def test_from_files_to_a_report(name: str, unetkit: Unetkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write, recognised = DATA_SETS[name]
    write(tmp_path / name)
    examined = unetkit("doctor", f"data.root={name}")
    assert examined.status == 0, examined.stderr
    assert recognised in examined.stdout
    command = shlex.split(examined.stdout.splitlines()[-1])
    trained = unetkit(*command[command.index("train") :], *SMALL, *QUICK, "hydra.run.dir=run")
    assert trained.status == 0, trained.stderr
    assert recognised in (tmp_path / "run" / "train.log").read_text()
    predicted = unetkit("predict", "checkpoint=run", f"input={name}", "device=cpu", "mask_format=tif")
    assert predicted.status == 0, predicted.stderr
    assert re.search(r"wrote 12 masks", predicted.stdout)
    if name == "geotiffs":
        with (
            rasterio.open(tmp_path / "predictions" / "masks" / "tile_7.tif") as mask,
            rasterio.open(tmp_path / name / "images" / "tile_7.tif") as image,
        ):
            assert (mask.crs, mask.transform) == (image.crs, image.transform)
    for typed in ((), (f"input={name}",)):
        evaluated = unetkit("evaluate", "checkpoint=run", *typed, "bootstrap=100", "device=cpu", "cache_dir=cache")
        assert evaluated.status == 0, evaluated.stderr
    assert (tmp_path / "evaluation" / "report.html").exists()
