"""A folder of DICOM slices is one volume, in the order and at the place that its headers say."""

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import cv2
import nibabel
import numpy as np
import pydicom
import pytest
from conftest import Array, Unetkit
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, generate_uid

from unetkit.data import Preprocessing
from unetkit.data.layout.find import find_layout
from unetkit.data.layout.inputs import find_images
from unetkit.data.sources import volume_pairs
from unetkit.data.volumes import read_mask_for_training, read_volume
from unetkit.errors import UserError
from unetkit.prediction.inputs import volume_of

SIZE, SPACING = (10, 16, 24), (2.5, 0.8, 0.6)  # (D, H, W), mm along them
ORIGIN = -20.0, 35.0, 100.0  # of the first voxel, towards the left, the back and up
RNG = np.random.default_rng(0)
nifti: Any = nibabel.Nifti1Image  # nibabel's constructors have no types


def write_slice(path: Path, pixels: Array, number: int, series: UID) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SeriesInstanceUID, dataset.InstanceNumber = series, number + 1
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.PixelSpacing = [SPACING[1], SPACING[2]]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]  # columns lead to the left, rows to the back
    dataset.ImagePositionPatient = [ORIGIN[0], ORIGIN[1], ORIGIN[2] + SPACING[0] * number]
    dataset.PixelData = pixels.astype(np.uint16).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def write_series(folder: Path, values: Array) -> Path:
    """Writes Hounsfield units (D, H, W), from the feet up, in files whose names say another order."""
    series = generate_uid()
    for number, name in enumerate(RNG.permutation(len(values))):
        write_slice(folder / f"IM{name:04}.dcm", values[number].astype(np.int32) + 1024, number, series)
    return folder


def write_mask(path: Path, mask: Array) -> Path:
    """Writes a mask (D, H, W) as NIfTI, at the same place: its axes lead to the right, the front and up."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-SPACING[2], -SPACING[1], SPACING[0], 1.0])
    affine[:3, 3] = -ORIGIN[0], -ORIGIN[1], ORIGIN[2]
    nifti(mask.transpose(2, 1, 0), affine).to_filename(path)
    return path


def scan(number: int) -> tuple[Array, Array]:
    mask: Array = np.zeros(SIZE, np.uint8)
    mask[3:7, 4:11, 3 + number : 14 + number] = 1
    return (RNG.normal(0, 20, SIZE) + 300.0 * mask).astype(np.int16), mask


@pytest.mark.parametrize("name", ["ct_01", "1.2.840.113654.2.55"])
def test_slices_are_put_in_order_and_turned_as_a_nifti_of_the_same_place(name: str, tmp_path: Path) -> None:
    image, mask = scan(0)
    write_series(tmp_path / "images" / name, image)
    write_mask(tmp_path / "masks" / f"{name}.nii.gz", mask)
    (pair,) = volume_pairs(tmp_path)
    assert pair.id == name
    volume = read_volume(pair.image)
    np.testing.assert_array_equal(volume.values[..., 0], image[:, :, ::-1])  # columns lead to the right
    assert volume.spacing == pytest.approx(SPACING)
    found = read_mask_for_training(pair.mask, pair.image)  # type: ignore[arg-type]  # both are volumes
    np.testing.assert_array_equal(found, mask[:, :, ::-1])


@pytest.mark.parametrize(
    "paths",
    [
        ("images/ct_{}", "masks/ct_{}"),
        ("ct_{}/images", "ct_{}/masks"),
        ("ct_{}/scan", "ct_{}/seg"),
        ("ct_{}/images", "ct_{}/mask.nii.gz"),
    ],
)
def test_series_and_their_masks_are_found_in_usual_layouts(paths: tuple[str, str], tmp_path: Path) -> None:
    for number in range(3):
        image, mask = scan(number)
        image_path, mask_path = (tmp_path / path.format(number) for path in paths)
        write_series(image_path, image)
        if mask_path.name.endswith(".gz"):
            write_mask(mask_path, mask)
        else:
            write_series(mask_path, mask)
    pairs = volume_pairs(tmp_path)
    assert [pair.id for pair in pairs] == ["ct_0", "ct_1", "ct_2"]
    for pair in pairs:
        values = read_volume(pair.image).values[..., 0]
        mask = read_mask_for_training(pair.mask, pair.image)  # type: ignore[arg-type]
        np.testing.assert_array_equal(values > 150, mask)


def test_what_is_no_volume_is_refused(tmp_path: Path) -> None:
    image, mask = scan(0)
    folder = write_series(tmp_path / "images" / "a", image)
    write_mask(tmp_path / "masks" / "a.nii.gz", mask)
    (pair,) = volume_pairs(tmp_path)
    middle = next(path for path in folder.iterdir() if pydicom.dcmread(path).InstanceNumber == 5)
    kept = middle.read_bytes()
    middle.unlink()
    (pair,) = volume_pairs(tmp_path)
    with pytest.raises(UserError, match=r"lie 2\.5 to 5 mm from each other; is a file missing, or there twice"):
        read_volume(pair.image)
    middle.write_bytes(kept)
    write_slice(folder / "IM0004b.dcm", image[4], 4, generate_uid())
    (pair,) = volume_pairs(tmp_path)
    with pytest.raises(UserError, match="are of several series or sizes; give each series a folder"):
        read_volume(pair.image)


def test_slices_that_all_lie_at_one_place_are_refused(tmp_path: Path) -> None:
    series = generate_uid()
    for name in ("a", "b"):
        write_slice(tmp_path / "ct" / f"{name}.dcm", scan(0)[0][4] + 1024, 0, series)
    with pytest.raises(UserError, match=r"lie 0 to 0 mm from each other; is a file missing, or there twice"):
        volume_of(tmp_path / "ct", Preprocessing(1))


def test_pictures_in_one_folder_are_no_series(tmp_path: Path) -> None:
    for number in range(3):
        write_slice(tmp_path / f"x{number}.dcm", scan(number)[0][4] + 1024, 0, generate_uid())
    assert len(find_images(tmp_path, volumes=True)) == 3
    series = write_series(tmp_path / "ct", scan(0)[0])
    assert [(ref.stem, len(ref.files)) for ref in find_images(series, volumes=True)] == [("ct", 10)]
    assert len(find_images(series)) == 10
    assert volume_of(series, Preprocessing(1)).values.shape == (*SIZE, 1)


@pytest.mark.slow
def test_series_from_files_to_masks_at_their_place(
    tmp_path: Path, unetkit: Unetkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(5):
        image, mask = scan(number)
        write_series(tmp_path / "scans" / "images" / f"ct_{number}", image)
        write_mask(tmp_path / "scans" / "masks" / f"ct_{number}.nii.gz", mask)
    examined = unetkit("doctor", "data.root=scans")
    advised = re.search(r"holds DICOM series, which are volumes; train on them with `(.*)`", examined.stderr)
    assert advised, examined.stderr
    command = shlex.split(advised[1])
    small = ("model.channels=[4,8]", "data.patch_size=[8,16,16]", "trainer.max_epochs=1", "data.cache_dir=cache")
    quick = ("trainer.accelerator=cpu", "trainer.enable_progress_bar=false", "hydra.run.dir=run")
    trained = unetkit(*command[command.index("train") :], *small, *quick)
    assert trained.status == 0, trained.stderr
    predicted = unetkit("predict", "checkpoint=run", "input=scans/images", "device=cpu", "threshold=0.0")
    assert predicted.status == 0, predicted.stderr
    assert sorted(path.name for path in Path("predictions/masks").iterdir())[0] == "ct_0.nii.gz"
    found: Any = nibabel.load("predictions/masks/ct_3.nii.gz")
    truth: Any = nibabel.load("scans/masks/ct_3.nii.gz")
    np.testing.assert_allclose(found.affine, truth.affine, atol=1e-4)
    assert found.shape == truth.shape


@pytest.mark.skipif(os.name == "nt", reason="the advice is of Unix")
@pytest.mark.parametrize("names", [("IM0", "IM1"), ("1.2.840.113619.2.1", "1.2.840.113619.2.2")])
def test_files_without_a_suffix_are_renamed_by_the_command_that_is_told(names: tuple[str, str], tmp_path: Path) -> None:
    images, masks = tmp_path / "the data" / "images", tmp_path / "the data" / "masks"
    for number, name in enumerate(names):
        write_slice(images / name, RNG.integers(0, 99, (6, 7)), number, UID("1.2"))
        masks.mkdir(exist_ok=True)
        cv2.imwrite(str(masks / f"{name}.png"), np.zeros((6, 7), np.uint8))
    said = rf"{re.escape(names[0])} is a DICOM file, but its name does not end in \.dcm; rename all: (.*)"
    with pytest.raises(UserError, match=said):
        find_images([images])
    with pytest.raises(UserError, match=said) as refused:
        find_layout(tmp_path / "the data")
    command = re.search(said, str(refused.value))
    assert command is not None
    subprocess.run(command[1], shell=True, check=True)
    assert [ref.last for ref in find_images([images])] == [f"{name}.dcm" for name in names]
    assert len(find_layout(tmp_path / "the data").pairs) == 2
