"""Slices of NIfTI volumes, frames of DICOM files and, where asked for, pages of stacks are images of their own."""

import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from conftest import Array
from PIL import Image
from volume_files import write_dicom

from unetkit.data.decode import read_image
from unetkit.data.files import FileRef
from unetkit.data.mask_encoding import MaskEncoding
from unetkit.data.masks import read_mask
from unetkit.data.pages import pages_of
from unetkit.data.sources import folder_pairs
from unetkit.errors import UserError

nifti: Any = nibabel.Nifti1Image  # nibabel's constructors have no types
RNG = np.random.default_rng(0)


def write_tiff_stack(path: Path, pages: Array) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *rest = map(Image.fromarray, pages)
    first.save(path, save_all=True, append_images=rest)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_slices_of_volumes_are_pairs(suffix: str, kind: Any, tmp_path: Path) -> None:
    image = RNG.integers(-1000, 1000, (7, 6, 3)).astype(np.int16)
    mask = (image > 300).astype(np.uint8)
    for folder, volume in (("imagesTr", image), ("labelsTr", mask)):
        (tmp_path / folder).mkdir()
        ending = "_0000" if folder == "imagesTr" else ""
        kind(volume, np.eye(4)).to_filename(tmp_path / folder / f"ct_01{ending}{suffix}")
    pairs = folder_pairs(tmp_path)
    assert [pair.id for pair in pairs] == [f"ct_01_0000/{i:04}" for i in range(3)]
    for number, pair in enumerate(pairs):
        read = read_image(pair.image)
        np.testing.assert_array_equal(read, np.rot90(image[..., number]))
        np.testing.assert_array_equal(read_mask(pair, read.shape[:2], MaskEncoding()), read > 300)


def test_the_scale_of_a_volume_is_applied_and_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    for offset in (3.0, 5.5):
        image = nifti(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
        image.header.set_slope_inter(0.5, offset)
        image.to_filename(path)
        read = read_image(pages_of(FileRef(path), stacks=False)[1])
        np.testing.assert_allclose(read, np.rot90(np.arange(24).reshape(2, 3, 4)[..., 1] * 0.5 + offset))


def test_dicom_values_are_those_of_its_scale(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 4000, (9, 8)).astype(np.uint16)
    path = write_dicom(tmp_path / "a.dcm", pixels, RescaleSlope=1, RescaleIntercept=-1024)
    np.testing.assert_array_equal(read_image(FileRef(path)), pixels.astype(np.int16) - 1024)
    path = write_dicom(tmp_path / "float.dcm", pixels)
    dataset = pydicom.dcmread(path)
    del dataset.PixelData, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation
    dataset.BitsAllocated, dataset.FloatPixelData = 32, (pixels / np.float32(7)).tobytes()
    dataset.save_as(path)
    np.testing.assert_array_equal(read_image(FileRef(path)), pixels / np.float32(7))


@pytest.mark.parametrize(("dtype", "bits", "total"), [(np.uint16, 12, 4095), (np.uint8, 8, 255), (np.int16, 16, -1)])
def test_where_the_lowest_value_of_dicom_is_white_all_images_are_turned_alike(
    dtype: Any, bits: int, total: int, tmp_path: Path
) -> None:
    for most in (100, 50):  # else pixels of one brightness would get other values in another image
        pixels = RNG.integers(0, most, (9, 8)).astype(dtype)
        tags = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": bits, "HighBit": bits - 1}
        path = write_dicom(tmp_path / "a.dcm", pixels, RescaleSlope=2, RescaleIntercept=-5, **tags)
        np.testing.assert_array_equal(read_image(FileRef(path)), (total - pixels.astype(int)) * 2 - 5)


@pytest.mark.parametrize("bits", [8, 16])
def test_dicom_with_a_palette_has_its_colours(bits: int, tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (9, 8), np.uint8)
    colours = RNG.integers(0, 2**bits, (3, 256)).astype(f"u{bits // 8}")
    tags: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name, values in zip(("Red", "Green", "Blue"), colours, strict=True):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        tags[f"{name}PaletteColorLookupTableData"] = values.tobytes()
    path = write_dicom(tmp_path / "a.dcm", pixels, **tags)
    np.testing.assert_array_equal(read_image(FileRef(path)), np.moveaxis(colours[:, pixels], 0, -1))


def test_compressed_dicom_is_read_or_says_what_to_install(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 4096, (9, 8)).astype(np.uint16)
    path = write_dicom(tmp_path / "a.dcm", pixels)
    dataset = pydicom.dcmread(path)
    dataset.compress(pydicom.uid.RLELossless)
    dataset.save_as(path)
    np.testing.assert_array_equal(read_image(FileRef(path)), pixels)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLosslessSV1
    dataset.save_as(path)
    with pytest.raises(
        UserError, match=r"a\.dcm is compressed as JPEG Lossless, .*; pip install python-gdcm to read it"
    ):
        read_image(FileRef(path))


def test_frames_of_a_dicom_file_are_images(tmp_path: Path) -> None:
    frames = RNG.integers(0, 255, (4, 9, 8), np.uint8)
    path = write_dicom(tmp_path / "a.dcm", frames, NumberOfFrames=4)
    for page, frame in zip(pages_of(FileRef(path), stacks=False), frames, strict=True):
        np.testing.assert_array_equal(read_image(page), frame)
    with pytest.raises(UserError, match=r"a\.dcm is a volume of 4 slices"):
        read_image(FileRef(path))


def test_pages_of_isbi_s_stacks_are_pairs_where_asked_for(tmp_path: Path) -> None:
    volume = RNG.integers(0, 255, (5, 12, 10), np.uint8)
    write_tiff_stack(tmp_path / "train-volume.tif", volume)
    write_tiff_stack(tmp_path / "train-labels.tif", np.where(volume > 99, 255, 0).astype(np.uint8))
    write_tiff_stack(tmp_path / "test-volume.tif", volume)
    pairs = folder_pairs(tmp_path, stacks=True)
    assert [pair.id for pair in pairs] == [f"train-volume/{i:04}" for i in range(5)]
    for pair, page in zip(pairs, volume, strict=True):
        np.testing.assert_array_equal(read_image(pair.image), page)
        np.testing.assert_array_equal(read_mask(pair, (12, 10), MaskEncoding()), page > 99)
    (whole,) = folder_pairs(tmp_path)
    with pytest.raises(UserError, match=r"is a stack of several images; set data\.stacks=true"):
        read_image(whole.image)


def test_planes_of_npy_files_are_pairs_where_asked_for(tmp_path: Path) -> None:
    volume = RNG.integers(0, 255, (3, 12, 10), np.uint8)
    for folder, array in (("images", volume), ("masks", np.uint8(volume > 99))):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "a.npy", array)
    for pair, plane in zip(folder_pairs(tmp_path, stacks=True), volume, strict=True):
        np.testing.assert_array_equal(read_image(pair.image), plane)
        np.testing.assert_array_equal(read_mask(pair, (12, 10), MaskEncoding()), plane > 99)


def test_a_mask_with_other_slices_is_a_fault(tmp_path: Path) -> None:
    for folder, count in (("images", 3), ("masks", 2)):
        (tmp_path / folder).mkdir()
        nifti(np.zeros((5, 6, count), np.uint8), np.eye(4)).to_filename(tmp_path / folder / "a.nii")
    with pytest.raises(UserError, match=r"a has 3 images in its file, but 2 masks \(a\.nii\); give a mask for each"):
        folder_pairs(tmp_path)


@pytest.mark.parametrize(("name", "package"), [("a.nii.gz", "nibabel"), ("a.dcm", "pydicom")])
def test_the_extra_is_named_if_it_is_missing_and_broken_files_are_named(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    if package == "nibabel":
        nifti(RNG.integers(0, 9, (20, 20, 5), np.uint8), np.eye(4)).to_filename(path)
    else:
        write_dicom(path, RNG.integers(0, 9, (20, 20), np.uint8))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 3 // 4])
    with pytest.raises(UserError, match=r"a\..* can't be read as an image|without pixels"):
        read_image(pages_of(FileRef(path), stacks=False)[0])
    path.write_bytes(whole)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"pip install 'unetkit\[medical\]' to read it"):
        pages_of(FileRef(path), stacks=False)
