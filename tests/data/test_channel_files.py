"""Images with a file for each channel are found, read, scaled and predicted as one; dataset.json names the classes."""

import json
import re
import shlex
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Array, Unetkit, WriteImage
from PIL import Image
from volume_files import write_nifti

from unetkit.checkpoints.export import RawToProbabilities
from unetkit.data import SegmentationDataModule
from unetkit.data.decode import read_image
from unetkit.data.files import FileRef
from unetkit.data.layout.described import DescribedClasses, described_classes
from unetkit.data.layout.inputs import find_images
from unetkit.data.preprocessing import Preprocessing
from unetkit.data.sources import folder_pairs, layout_of, volume_pairs
from unetkit.data.volumes import read_volume
from unetkit.errors import UserError
from unetkit.prediction.inputs import as_array, volume_of
from unetkit.prediction.predictor import Predictor

SIZE = 12, 20, 24  # (D, H, W)
RNG = np.random.default_rng(0)


def square(size: tuple[int, ...], number: int) -> Array:
    mask = np.zeros(size, np.uint8)
    mask[..., 4:14, 2 + number : 12 + number] = 1
    return mask


def write_slide(folder: Path, name: str, planes: Array, suffix: str = ".png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, plane in enumerate(planes):
        Image.fromarray(plane).save(folder / f"{name}_{number:04}{suffix}")


def write_slides(root: Path, suffix: str = ".png", count: int = 10) -> dict[str, Array]:
    """Writes a 2-D nnU-Net set of two channels and three classes; gives the channels by the name of the image."""
    images = {}
    for number in range(count):
        mask = square(SIZE[1:], number) + square(SIZE[1:], number // 2)
        planes = RNG.integers(0, 40, (2, *mask.shape), np.uint8) + 180 * np.stack([mask > 0, mask > 1]).astype(np.uint8)
        write_slide(root / "imagesTr", f"c_{number:02}", planes, suffix)
        (root / "labelsTr").mkdir(exist_ok=True)
        Image.fromarray(mask).save(root / "labelsTr" / f"c_{number:02}{suffix}")
        images[f"c_{number:02}"] = planes
    write_slide(root / "imagesTs", "c_90", planes, suffix)
    labels = {"background": 0, "cell": 1, "nucleus": 2}
    (root / "dataset.json").write_text(json.dumps({"channel_names": {"0": "dapi", "1": "gfp"}, "labels": labels}))
    return images


def write_scans(root: Path, count: int = 5) -> dict[str, Array]:
    """Writes an nnU-Net set of volumes whose two channels differ in kind: CT in int16, and PET in float32."""
    masks = {}
    for number in range(count):
        mask = square(SIZE, number)
        ct: Array = (RNG.normal(0, 20, SIZE) - 1000 + 800.0 * mask).astype(np.int16)
        pet: Array = (RNG.normal(0, 0.05, SIZE) + mask).astype(np.float32)
        for channel, values in ((0, ct), (1, pet)):
            write_nifti(root / "imagesTr" / f"p_{number}_{channel:04}.nii.gz", values)
        write_nifti(root / "labelsTr" / f"p_{number}.nii.gz", mask)
        masks[f"p_{number}"] = mask
    labels = {"background": 0, "tumour": 1}
    (root / "dataset.json").write_text(json.dumps({"channel_names": {"0": "CT", "1": "PET"}, "labels": labels}))
    return masks


def data_of(root: Path, cache: Path, **keys: Any) -> SegmentationDataModule:
    def pairs() -> Any:
        return folder_pairs(root)

    return SegmentationDataModule(name="t", pairs=pairs, root=str(root), augmentation=None, cache_dir=cache, **keys)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_the_channels_of_a_slide_are_one_image(suffix: str, tmp_path: Path) -> None:
    images = write_slides(tmp_path / "Dataset001", suffix)
    layout = layout_of(tmp_path)
    assert {pair.id: pair.split for pair in layout.pairs} == dict.fromkeys(images)
    for pair in layout.pairs:
        np.testing.assert_array_equal(read_image(pair.image), np.moveaxis(images[pair.id], 0, -1))
    assert "2 files for the channels of each" in layout.description
    assert "test has 1 image, but no masks" in [finding.what for finding in layout.findings]
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in (tmp_path / "Dataset001").rglob("*.*"):
            archive.write(path, path.relative_to(tmp_path))
    packed = folder_pairs(tmp_path / "all.zip")
    np.testing.assert_array_equal(read_image(packed[3].image), np.moveaxis(images["c_03"], 0, -1))
    assert described_classes(tmp_path / "all.zip") == described_classes(tmp_path)


def test_numbers_that_masks_have_too_are_no_channels(tmp_path: Path, write_image: WriteImage) -> None:
    for number in range(4):
        for folder in ("images", "masks"):
            write_image(tmp_path / folder / f"film_{number:04}.png", square(SIZE[1:], number) * 255)
    assert [pair.id for pair in folder_pairs(tmp_path)] == [f"film_{number:04}" for number in range(4)]


def test_an_image_without_one_of_its_channels_is_a_fault(tmp_path: Path) -> None:
    write_slides(tmp_path)
    (tmp_path / "imagesTr" / "c_04_0001.png").unlink()
    with pytest.raises(UserError, match=r"1 image has not all of the 2 channels .*c_04_0000.png\); add c_04_0001.png"):
        folder_pairs(tmp_path)
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(tmp_path / "imagesTr" / "c_04_0001.png")
    pair = folder_pairs(tmp_path)[4]
    with pytest.raises(UserError, match=r"c_04_0001\.png is 5x5, but one channel of an image of 20x24 is wanted"):
        read_image(pair.image)


def test_volumes_of_several_files_are_one_volume_and_its_slices_one_image(tmp_path: Path) -> None:
    masks = write_scans(tmp_path)
    pairs = volume_pairs(tmp_path)
    assert [pair.id for pair in pairs] == list(masks)
    volume = read_volume(pairs[2].image)
    assert volume.values.shape == (*SIZE, 2)
    np.testing.assert_array_equal(volume.values[..., 1] > 0.5, masks["p_2"])
    np.testing.assert_array_equal(volume.values[..., 0] > -600, masks["p_2"])
    slices = [pair for pair in folder_pairs(tmp_path) if pair.id.startswith("p_2/")]
    assert len(slices) == SIZE[0]
    read = read_image(slices[3].image)
    assert read.shape == (*SIZE[1:], 2)
    np.testing.assert_array_equal((read > [-600, 0.5]).all(-1), masks["p_2"][3])
    write_nifti(
        tmp_path / "imagesTr" / "p_2_0001.nii.gz", np.zeros(SIZE), np.diag([1, 1, 2.5, 1.0]) + np.eye(4, k=3) * 9
    )
    with pytest.raises(UserError, match=r"p_2_0001\.nii\.gz lies up to 9\.0 mm away from its image"):
        read_volume(pairs[2].image)


def test_each_channel_has_a_range_of_its_own(tmp_path: Path) -> None:
    write_scans(tmp_path)
    data = data_of(tmp_path, tmp_path / "cache")
    preprocessing = data.prepare(2).preprocessing
    (ct_low, ct_high), (pet_low, pet_high) = preprocessing.channel_ranges or ()
    assert -1100 < ct_low < -1000 < -210 < ct_high < -100
    assert -0.3 < pet_low < 0 < 1 < pet_high < 1.3
    levels = [len(np.unique(image[..., 1])) for image in data.prepared.whole.images]
    assert max(levels) > 50  # with the range of both it would be one
    again = Preprocessing.from_dict(json.loads(json.dumps(preprocessing.to_dict())))
    assert again == preprocessing
    assert again.is_sound
    with pytest.raises(UserError, match="is one file, but the network was trained on 2 files for the channels of each"):
        again.to_uint8(np.zeros((4, 2), np.float32))


@pytest.mark.parametrize("ranges", [5, [5, 6], [[0, 1]], [[1, 0], [0, 1]], [[0, 1], [0, "a"]], [[0, 1, 2], [0, 1]]])
def test_ranges_of_a_damaged_checkpoint_are_not_sound(ranges: Any) -> None:
    values = {"channels": 2, "value_range": [0.0, 1.0], "channel_ranges": ranges}
    assert not Preprocessing.from_dict(values).is_sound


@torch.inference_mode()
def test_an_exported_network_scales_each_channel_as_prediction_does() -> None:
    preprocessing = Preprocessing(2, (-1000.0, 5.0), (0.4, 0.5), (0.2, 0.3), channel_ranges=((-1000, -100), (0, 5)))
    network = torch.nn.Conv2d(2, 1, 1)
    image = np.stack([RNG.uniform(-1100, 0, (9, 8)), RNG.uniform(-1, 6, (9, 8))], -1).astype(np.float32)
    wanted = Predictor(network, preprocessing)(image).probability
    raw = torch.from_numpy(image).permute(2, 0, 1)[None]
    found = RawToProbabilities(network, preprocessing, is_multilabel=False)(raw)
    np.testing.assert_allclose(found[0, 0].numpy(), wanted, atol=1e-6)


def test_names_of_classes_are_those_of_the_description(tmp_path: Path) -> None:
    write_slides(tmp_path / "Dataset001")
    data = data_of(tmp_path, tmp_path / "cache")
    assert (data.num_classes, data.class_names) == (3, ["background", "cell", "nucleus"])
    assert data.found.masks[2].max() == 2
    typed = data_of(tmp_path, tmp_path / "cache", class_names=["a", "b", "c"], num_classes=3)
    assert typed.class_names == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"0": "background", "1": "liver"}, DescribedClasses(("background", "liver"))),
        ({"background": "0", "liver": "1"}, DescribedClasses(("background", "liver"))),
        ({"background": 0, "b": 2, "a": 1, "ignore": 3}, DescribedClasses(("background", "a", "b"), 3)),
        ({"background": 0, "whole": [1, 2], "core": [2]}, None),
        ({"background": 0, "a": 2}, None),
        ([0, 1], None),
    ],
)
def test_descriptions_are_read_in_each_of_their_forms(
    labels: Any, expected: DescribedClasses | None, tmp_path: Path
) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    assert described_classes(tmp_path) == expected


def test_a_description_that_is_broken_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"labels": {')
    assert described_classes(tmp_path) is None


def test_files_to_predict_are_joined_and_named_without_the_number_of_the_channel(tmp_path: Path) -> None:
    write_slides(tmp_path)
    folder = tmp_path / "imagesTr"
    joined = find_images(folder, 2)
    assert [(ref.last, [other.last for other in ref.channels]) for ref in joined[:1]] == [
        ("c_00_0000.png", ["c_00_0001.png"])
    ]
    assert len(joined) == 10
    (one,) = find_images(folder / "c_03_0001.png", 2)
    assert one == FileRef(folder / "c_03_0000.png", channels=(FileRef(folder / "c_03_0001.png"),))
    with pytest.raises(UserError, match=r"c_00\.png is read from c_00\.png, but the network was trained on 2 files"):
        find_images(tmp_path / "labelsTr", 2)


def test_the_path_of_one_channel_stands_for_all_in_python(tmp_path: Path) -> None:
    images = write_slides(tmp_path)
    write_scans(tmp_path / "scans")
    kind = Preprocessing(2, file_per_channel=True)
    slide = as_array(tmp_path / "imagesTr" / "c_04_0000.png", kind)
    np.testing.assert_array_equal(slide, np.moveaxis(images["c_04"], 0, -1))
    scan = volume_of(tmp_path / "scans" / "imagesTr" / "p_1_0000.nii.gz", kind)
    assert scan.values.shape == (*SIZE, 2)


def write_brats(root: Path) -> dict[str, Array]:
    images = {}
    for number in range(6):
        mask = square(SIZE, number)
        values = [(RNG.normal(0, 9, SIZE) + 100.0 * mask * k).astype(np.int16) for k in (1, 2)]
        for name, volume in zip(("t1", "flair", "seg"), (*values, mask), strict=True):
            write_nifti(root / f"amy{number}" / f"amy{number}_{name}.nii.gz", volume)
        images[f"amy{number}"] = np.stack([values[1], values[0]], -1)  # in the order of the names
    return images


def test_several_files_for_one_mask_are_refused_with_the_keys_that_make_them_channels(
    tmp_path: Path, unetkit: Unetkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    images = write_brats(tmp_path / "brats")
    with pytest.raises(UserError, match="12 images belong to 6 masks, 2 to each") as refused:
        volume_pairs("brats")
    advised = re.search(r"('data.images=\[.*\]' data\.masks=\S+); for one of them, set (\S+)", str(refused.value))
    assert advised
    keys = dict(argument.removeprefix("data.").split("=", 1) for argument in shlex.split(advised[1]))
    pairs = volume_pairs("brats", images=json.loads(keys["images"]), masks=keys["masks"])
    assert len(pairs) == 6
    for pair, image in zip(pairs, images.values(), strict=True):
        np.testing.assert_array_equal(read_volume(pair.image).values, image)
    one = shlex.split(advised[2])[0].removeprefix("data.images=")
    assert [pair.image.channels for pair in volume_pairs("brats", images=one)] == [()] * 6
    examined = unetkit("doctor", "data.root=brats", *shlex.split(advised[1]))
    assert examined.status == 0, examined.stderr
    assert "the 6 files are volumes" in examined.stdout


def test_a_channel_that_a_pattern_does_not_name_is_told(tmp_path: Path) -> None:
    write_brats(tmp_path)
    (tmp_path / "amy3" / "amy3_t1.nii.gz").unlink()
    with pytest.raises(UserError, match=r"data\.images=\*\*/\*_t1\.nii\.gz names no channel for amy3/amy3_flair"):
        volume_pairs(tmp_path, images=["**/*_flair.nii.gz", "**/*_t1.nii.gz"], masks="**/*_seg.nii.gz")


@pytest.mark.slow
def test_slides_of_two_channels_from_files_to_masks(
    tmp_path: Path, unetkit: Unetkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_slides(tmp_path / "slides")
    small = ("model=plain_small", "model.channels=[4,8]", "data.batch_size=4", "data.cache_dir=cache")
    quick = ("trainer.max_epochs=1", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false")
    trained = unetkit("train", "data=folder", "data.root=slides", *small, *quick, "hydra.run.dir=run")
    assert trained.status == 0, trained.stderr
    assert "val/iou/nucleus" in (tmp_path / "run" / "metrics.csv").read_text()
    predicted = unetkit("predict", "checkpoint=run", "input=slides/imagesTs", "device=cpu")
    assert "wrote 1 masks" in predicted.stdout, predicted.stderr
    assert [path.name for path in (tmp_path / "predictions" / "masks").iterdir()] == ["c_90.png"]
    for typed in ((), ("input=slides",)):
        evaluated = unetkit("evaluate", "checkpoint=run", *typed, "bootstrap=100", "device=cpu", "cache_dir=cache")
        assert evaluated.status == 0, evaluated.stderr
