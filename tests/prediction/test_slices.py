"""A network for images predicts NIfTI and DICOM slice by slice; each mask lies in the patient where its image lies."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from conftest import Array, Unetkit
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from test_files_to_files import bright, image_of, predict, read_png, written
from volume_files import write_dicom

from unetkit.checkpoints.checkpoint import save_weights
from unetkit.checkpoints.metadata import Metadata
from unetkit.data import Preprocessing
from unetkit.errors import UserError
from unetkit.models import UNet
from unetkit.prediction.ensemble import Ensemble
from unetkit.prediction.options import OutputOptions
from unetkit.prediction.predictor import Predictor

SIZE, SPACING = (6, 16, 24), (2.5, 0.8, 0.6)  # (D, H, W), mm along them
ORIGIN = np.array([-20.0, 35.0, 100.0])  # of the first pixel, towards the left, the back and up
AXIAL = np.array([[1.0, 0, 0], [0, 1, 0]])  # in which columns and rows follow each other
OBLIQUE = np.array([[0.8, 0.36, -0.48], [0, 0.8, 0.6]])
NAMES = ["e", "b", "f", "a", "d", "c"]  # whose order is not that of the slices


def load(path: Path) -> tuple[Array, Array]:
    """Return values and affine of a NIfTI file."""
    image: Any = nibabel.load(path)
    return np.asarray(image.dataobj), image.affine


def position(number: int, axes: Array, tilt: float = 0.0) -> Array:
    """Return where the first pixel of a slice lies; with a tilt, slices are moved along their rows."""
    return np.asarray(ORIGIN + number * (SPACING[0] * np.cross(*axes) + tilt * axes[1]))


def write_series(folder: Path, volume: Array, axes: Array = AXIAL, tilt: float = 0.0, **tags: Any) -> str:
    """Writes slices (D, H, W), the lowest one first; gives the name of the series."""
    series = generate_uid()
    for number, pixels in enumerate(volume):
        place = {"ImagePositionPatient": position(number, axes, tilt).tolist(), "PixelSpacing": [*SPACING[1:]]}
        place |= {"ImageOrientationPatient": axes.ravel().tolist(), "SeriesInstanceUID": series, **tags}
        write_dicom(folder / f"{NAMES[number]}.dcm", pixels, **place)
    return series


def check_place(path: Path, volume: Array, axes: Array, tilt: float = 0.0) -> None:
    """Check that each bright pixel (slice, row, column) of a series is one of its mask, at the same place in mm."""
    values, affine = load(path)
    found = np.argwhere(values) @ affine[:3, :3].T + affine[:3, 3]
    found *= [-1, -1, 1]  # towards the left, the back and up
    slices, rows, columns = np.nonzero(volume > 128)
    first = np.array([position(int(number), axes, tilt) for number in slices])
    wanted = first + np.outer(rows * SPACING[1], axes[1]) + np.outer(columns * SPACING[2], axes[0])
    assert len(found) == len(wanted) > 0
    found, wanted = (points[np.lexsort(points.round(2).T)] for points in (found, wanted))
    np.testing.assert_allclose(found, wanted, atol=1e-3)


@pytest.mark.parametrize(
    ("axes", "tilt"), [(AXIAL, 0.0), (AXIAL, 0.7), (OBLIQUE, 0.0)], ids=["axial", "tilted", "oblique"]
)
def test_a_series_has_one_mask_where_its_slices_lie(axes: Array, tilt: float, tmp_path: Path) -> None:
    volume = image_of(SIZE)
    write_series(tmp_path / "ct_01", volume, axes, tilt)
    done = predict(tmp_path / "ct_01", OutputOptions(tmp_path / "out"))
    assert (done.failed, done.done, done.masks) == ([], 6, 1)
    assert written(tmp_path / "out") == ["masks/ct_01.nii.gz", *(f"overlays/{name}.png" for name in sorted(NAMES))]
    check_place(tmp_path / "out" / "masks" / "ct_01.nii.gz", volume, axes, tilt)


def test_each_series_has_a_mask_and_slices_of_none_have_their_own(tmp_path: Path) -> None:
    volumes = [image_of(SIZE) for _ in range(4)]
    write_series(tmp_path / "in" / "one", volumes[0])
    first = write_series(tmp_path / "in" / "two", volumes[1][:3])
    for file in (tmp_path / "in" / "two").iterdir():
        file.rename(file.with_name(f"first_{file.name}"))
    second = write_series(tmp_path / "in" / "two", volumes[2], OBLIQUE)
    write_series(tmp_path / "in" / "gap", volumes[3][:4], OBLIQUE, SliceThickness=4)
    (tmp_path / "in" / "gap" / f"{NAMES[1]}.dcm").unlink()
    predict(tmp_path / "in", OutputOptions(tmp_path / "out", ["masks"]))
    masks = tmp_path / "out" / "masks"
    singles = [f"gap/{NAMES[number]}.nii.gz" for number in (0, 2, 3)]
    names = ["one.nii.gz", f"two/{first}.nii.gz", f"two/{second}.nii.gz"]
    assert written(masks) == sorted([*singles, *names])
    for name, volume, axes in zip(
        names, (volumes[0], volumes[1][:3], volumes[2]), (AXIAL, AXIAL, OBLIQUE), strict=True
    ):
        check_place(masks / name, volume, axes)
    only = np.zeros_like(volumes[3])
    only[2] = volumes[3][2]
    check_place(masks / singles[1], only, OBLIQUE)
    assert load(masks / singles[1])[0].shape == (24, 16, 1)
    assert nibabel.load(masks / singles[1]).header.get_zooms() == pytest.approx((0.6, 0.8, 4))  # type: ignore[attr-defined]


def test_frames_of_a_file_have_one_mask_in_the_order_of_their_places(tmp_path: Path) -> None:
    def item(**tags: Any) -> Dataset:
        dataset = Dataset()
        for name, value in tags.items():
            setattr(dataset, name, value)
        return dataset

    volume, order = image_of(SIZE), [3, 0, 5, 1, 4, 2]
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=OBLIQUE.ravel().tolist())],
        PixelMeasuresSequence=[item(PixelSpacing=[*SPACING[1:]])],
    )
    frames = [
        item(PlanePositionSequence=[item(ImagePositionPatient=position(number, OBLIQUE).tolist())]) for number in order
    ]
    tags = {"NumberOfFrames": 6, "SharedFunctionalGroupsSequence": [shared]}
    write_dicom(tmp_path / "in" / "mr.dcm", volume[order], PerFrameFunctionalGroupsSequence=frames, **tags)
    write_dicom(tmp_path / "in" / "cine.dcm", volume, NumberOfFrames=6, PixelSpacing=[*SPACING[1:]])
    write_dicom(tmp_path / "in" / "xray.dcm", volume[0], ImagerPixelSpacing=[*SPACING[1:]])
    predict(tmp_path / "in", OutputOptions(tmp_path / "out", ["masks"]))
    masks = tmp_path / "out" / "masks"
    check_place(masks / "mr.nii.gz", volume, OBLIQUE)
    for name, slices in (("cine", volume), ("xray", volume[:1])):  # which say no place
        mask: Any = nibabel.load(masks / f"{name}.nii.gz")
        np.testing.assert_array_equal(np.asarray(mask.dataobj), slices.transpose(2, 1, 0) > 128)
        assert (int(mask.header["sform_code"]), int(mask.header["qform_code"])) == (0, 0)
        assert mask.header.get_zooms() == pytest.approx((0.6, 0.8, 1))


def test_pictures_of_the_slices_are_written_where_asked_for(tmp_path: Path) -> None:
    volume = image_of(SIZE)
    write_series(tmp_path / "ct", volume)
    predict(tmp_path / "ct", OutputOptions(tmp_path / "out", ["masks"], mask_format="png"))
    for number, name in enumerate(NAMES):
        np.testing.assert_array_equal(
            read_png(tmp_path / "out" / "masks" / f"{name}.png"), 255 * (volume[number] > 128)
        )
    nifti: Any = nibabel.Nifti1Image
    nifti(volume, np.eye(4)).to_filename(tmp_path / "a.nii")
    predict(tmp_path / "a.nii", OutputOptions(tmp_path / "out", ["masks"], mask_format="png"))
    found = np.stack([read_png(tmp_path / "out" / "masks" / "a" / f"{k:04}.png") for k in range(24)])
    np.testing.assert_array_equal(found, 255 * (np.rot90(np.moveaxis(volume, 2, 0), axes=(1, 2)) > 128))


def test_labels_of_a_series_have_a_mask_each(tmp_path: Path) -> None:
    volume = image_of(SIZE)
    write_series(tmp_path / "ct", volume)
    predictor = Predictor(bright(2).members[0].network, Preprocessing(1), is_multilabel=True)
    ensemble = Ensemble([predictor], 0.1, classes=2, labels=("dark", "bone"))
    predict(tmp_path / "ct", OutputOptions(tmp_path / "out", ["masks"]), ensemble)
    assert written(tmp_path / "out" / "masks") == ["bone/ct.nii.gz", "dark/ct.nii.gz"]
    check_place(tmp_path / "out" / "masks" / "bone" / "ct.nii.gz", volume, AXIAL)


def test_a_series_with_a_slice_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", image_of(SIZE))
    file = tmp_path / "ct" / f"{NAMES[2]}.dcm"
    file.write_bytes(file.read_bytes()[:-100])  # the header is whole
    done = predict(tmp_path / "ct", OutputOptions(tmp_path / "out"))
    assert done.failed[0].startswith(f"{file} can't be read as an image")
    assert done.failed[1] == "ct has no mask, as 1 of its 6 slices have none"
    assert written(tmp_path / "out") == [f"overlays/{name}.png" for name in sorted(set(NAMES) - {NAMES[2]})]


def test_the_mask_of_a_series_is_the_file_that_output_names(tmp_path: Path, unetkit: Unetkit) -> None:
    model = {"_target_": "unetkit.models.UNet", "in_channels": 1, "num_classes": 1, "channels": [4]}
    save_weights(tmp_path / "net.ckpt", Metadata(model, Preprocessing(1)), UNet(1, 1, [4]).state_dict())
    write_series(tmp_path / "ct", image_of(SIZE))
    typed = [f"checkpoint={tmp_path / 'net.ckpt'}", "device=cpu", f"input={tmp_path / 'ct'}"]
    done = unetkit("predict", *typed, f"output={tmp_path / 'mask.nii.gz'}")
    assert (done.status, done.stdout) == (0, f"wrote 1 masks to {tmp_path / 'mask.nii.gz'}\n"), done.stderr
    assert load(tmp_path / "mask.nii.gz")[0].shape == (24, 16, 6)
    done = unetkit("predict", *typed, f"output={tmp_path / 'mask.png'}")
    assert "mask.png is one file, but the input is 6 images; give a folder" in done.stderr
    (tmp_path / "ct" / f"{NAMES[2]}.dcm").unlink()  # leaves a gap
    done = unetkit("predict", *typed, f"output={tmp_path / 'mask.nii.gz'}")
    assert "mask.nii.gz is one file, but the input is 5 volumes or images; give a folder" in done.stderr
    single = f"input={tmp_path / 'ct' / f'{NAMES[0]}.dcm'}"
    for name in ("one.nii.gz", "one.png"):
        done = unetkit("predict", *typed[:2], single, f"output={tmp_path / name}")
        assert (done.status, (tmp_path / name).is_file()) == (0, True), done.stderr


def test_masks_that_would_get_one_name_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "ct", image_of(SIZE))
    write_dicom(tmp_path / "in" / "ct.dcm", image_of(SIZE[1:]))
    with pytest.raises(UserError, match=r"ct\.dcm and .*a\.dcm would give masks of the same name; rename one"):
        predict(tmp_path / "in" / "**" / "*.dcm", OutputOptions(tmp_path / "out"))


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_the_mask_of_a_nifti_volume_lies_where_the_volume_lies(kind: Any, tmp_path: Path) -> None:
    affine = np.array([[-0.7, 0.1, 0, 90], [0.1, 0.7, 0, -120], [0, 0, 2.5, 7], [0, 0, 0, 1]])
    volume = image_of((30, 20, 4))
    file = kind(volume, affine)
    file.set_qform(affine, 1)
    file.to_filename(tmp_path / "ct.nii.gz")
    predict(tmp_path, OutputOptions(tmp_path / "out", ["masks", "overlays"]))
    mask: Any = nibabel.load(tmp_path / "out" / "masks" / "ct.nii.gz")
    assert type(mask) is kind
    np.testing.assert_allclose(mask.affine, affine, atol=1e-5)
    np.testing.assert_allclose(mask.header.get_zooms(), file.header.get_zooms(), atol=1e-5)
    np.testing.assert_array_equal(np.asarray(mask.dataobj), volume > 128)
    assert written(tmp_path / "out" / "overlays") == [f"ct/{i:04}.png" for i in range(4)]


def test_the_mask_of_a_single_slice_in_nifti_has_its_shape_and_place(tmp_path: Path) -> None:
    affine = np.diag([0.7, 0.9, 3.0, 1])
    affine[:3, 3] = 5, 6, 7
    nifti: Any = nibabel.Nifti1Image
    for shape in ((30, 20), (30, 20, 1)):
        image = image_of(shape)
        nifti(image, affine).to_filename(tmp_path / "a.nii")
        predict(tmp_path / "a.nii", OutputOptions(tmp_path / "out", ["masks"]))
        values, place = load(tmp_path / "out" / "masks" / "a.nii.gz")
        np.testing.assert_allclose(place, affine)
        np.testing.assert_array_equal(values, image > 128)
