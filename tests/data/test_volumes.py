"""Volumes are read from every format with their spacing, masks lie where their images lie, and both are resampled."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import segyio
import torch
import torch.nn.functional as F
from conftest import Array
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from volume_files import AFFINE, SIZE, SPACING, ellipsoid, nifti, write_ellipsoids, write_nifti, write_stack

from unetkit.data.files import FileRef
from unetkit.data.limits import decoding_at_most
from unetkit.data.mask_encoding import MaskEncoding
from unetkit.data.masks import read_mask
from unetkit.data.medical import write_volume_like
from unetkit.data.resampling import resampled, rows_at
from unetkit.data.sources import volume_pairs
from unetkit.data.volumes import VolumeRef, as_volume, read_for_training, read_volume
from unetkit.errors import UserError

IMAGE, MASK = ellipsoid(0)


def turned(path: Path, codes: str, target: Path) -> Path:
    """Write a NIfTI file with its axes in another order and direction; it lies where it lay."""
    image = nibabel.load(path)
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(tuple(codes)))  # type: ignore[no-untyped-call, attr-defined]
    nibabel.save(image.as_reoriented(turn), target)  # type: ignore[attr-defined]
    return target


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SLA"])
def test_nifti_is_turned_to_the_same_axes_however_it_is_stored(codes: str, tmp_path: Path) -> None:
    path = turned(write_nifti(tmp_path / "a.nii.gz", IMAGE), codes, tmp_path / f"{codes}.nii.gz")
    volume = read_volume(FileRef(path))
    np.testing.assert_array_equal(volume.values[..., 0], IMAGE)
    assert volume.spacing == pytest.approx(SPACING)
    back = nibabel.Nifti1Image.from_bytes(gzip.decompress(write_volume_like(path.read_bytes(), MASK, "a")))
    original = nibabel.load(path)
    np.testing.assert_allclose(back.affine, original.affine)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(read_volume_bytes(back, tmp_path), MASK)


def read_volume_bytes(image: nibabel.Nifti1Image, folder: Path) -> Array:
    image.to_filename(folder / "back.nii")
    return read_volume(FileRef(folder / "back.nii")).values[..., 0]


def test_masks_without_an_orientation_get_that_of_their_image(tmp_path: Path) -> None:
    write_ellipsoids(tmp_path, 1)
    mask = tmp_path / "labelsTr" / "case_00.nii.gz"
    values = np.asarray(nibabel.load(mask).dataobj)  # type: ignore[attr-defined]
    bare = nifti(values, None)
    assert bare.header["sform_code"] == bare.header["qform_code"] == 0
    bare.to_filename(mask)
    (pair,) = volume_pairs(tmp_path)
    np.testing.assert_array_equal(read_mask(pair, SIZE, MaskEncoding()), MASK)


def test_every_format_gives_the_same_volume(tmp_path: Path) -> None:
    cube = IMAGE.astype(np.float32)
    np.save(tmp_path / "a.npy", IMAGE)
    write_stack(tmp_path / "a.tif", IMAGE.astype(np.uint16) + 5000, "ImageJ=1.53t\nunit=micron\nspacing=2.5\n", 4.0)
    segyio.tools.from_array3D(str(tmp_path / "a.sgy"), np.ascontiguousarray(cube.transpose(0, 2, 1)), format=5)
    npy, tif, segy = (read_volume(FileRef(tmp_path / f"a.{suffix}")) for suffix in ("npy", "tif", "sgy"))
    np.testing.assert_array_equal(npy.values[..., 0], IMAGE)
    np.testing.assert_array_equal(tif.values[..., 0], IMAGE.astype(np.uint16) + 5000)
    np.testing.assert_array_equal(segy.values[..., 0], cube)
    assert (npy.spacing, segy.spacing) == (None, None)
    assert tif.spacing == pytest.approx((2.5e-3, 0.25e-3, 0.25e-3))


def test_the_spacing_of_ome_tiff_is_read(tmp_path: Path) -> None:
    text = '<OME><Pixels PhysicalSizeX="0.5" PhysicalSizeY="0.5" PhysicalSizeZ="2" PhysicalSizeXUnit="mm"/></OME>'
    assert read_volume(FileRef(write_stack(tmp_path / "a.tif", MASK, text, 1.0))).spacing == (2.0, 0.5, 0.5)


def test_resampling_is_that_of_torch() -> None:
    values = np.random.default_rng(0).normal(size=(5, 7, 6, 2)).astype(np.float32)
    x = torch.from_numpy(values).movedim(-1, 0)[None]
    for size in ((5, 7, 9), (9, 4, 6), (3, 14, 11), (1, 7, 6)):
        wanted = F.interpolate(x, size, mode="trilinear", align_corners=False)[0].movedim(0, -1)
        np.testing.assert_allclose(resampled(values, size), wanted, atol=1e-5)
        nearest = F.interpolate(x, size, mode="nearest-exact")[0].movedim(0, -1)
        np.testing.assert_array_equal(resampled(values, size, nearest=True), nearest)


def test_predictions_at_another_spacing_come_back_in_the_own_size() -> None:
    ramp = np.broadcast_to(np.arange(12.0, dtype=np.float32)[:, None, None, None], (12, 5, 5, 1))
    seen = []

    def rows(image: Array) -> "list[torch.Tensor]":
        seen.append(image.shape)
        return [torch.from_numpy(part).movedim(-1, 0) for part in np.array_split(image, 3)]

    slabs = rows_at(ramp, (1, 1, 1), (2, 1, 1), lambda image: iter(rows(image)))
    result = torch.cat(list(slabs), 1)[0].numpy()
    assert seen == [(6, 5, 5, 1)]
    np.testing.assert_allclose(result[1:-1], ramp[1:-1, ..., 0], atol=1e-5)


def test_pairs_are_resampled_together(tmp_path: Path) -> None:
    (pair,) = volume_pairs(write_ellipsoids(tmp_path, 1), spacing=[1.25, 2, 2])
    assert isinstance(pair.image, VolumeRef)
    image = read_for_training(pair.image)
    assert image.shape == (48, 16, 16, 1)
    mask = read_mask(pair, image.shape[:3], MaskEncoding())
    assert mask.mean() == pytest.approx(MASK.mean(), rel=0.05)
    assert image[mask == 1].mean() > 150 > 0 > image[mask == 0].mean()  # both lie at the same place


@pytest.mark.parametrize(
    ("break_mask", "message"),
    [
        (lambda path: write_nifti(path, MASK[:-1]), "is 23x32x32, its image 24x32x32"),
        (lambda path: write_nifti(path, MASK, AFFINE + np.eye(4)[:, [1, 2, 0, 3]][:, ::-1] * 9), "away from its image"),
    ],
)
def test_a_mask_that_lies_elsewhere_is_refused(break_mask: "object", message: str, tmp_path: Path) -> None:
    write_ellipsoids(tmp_path, 1)
    break_mask(tmp_path / "labelsTr" / "case_00.nii.gz")  # type: ignore[operator]
    (pair,) = volume_pairs(tmp_path)
    with pytest.raises(UserError, match=message):
        read_mask(pair, SIZE, MaskEncoding())


def test_what_can_not_be_resampled_or_is_no_volume_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", IMAGE)
    with pytest.raises(UserError, match=r"does not say its spacing, .* set data.spacing=null"):
        read_for_training(as_volume(FileRef(tmp_path / "a.npy"), (1, 1, 1)))
    np.save(tmp_path / "b.npy", IMAGE[0])
    with pytest.raises(UserError, match=r"holds int16 of shape .*save it as numbers of shape \(D, H, W\)"):
        read_volume(FileRef(tmp_path / "b.npy"))
    with decoding_at_most(20_000, "data.max_pixels"), pytest.raises(UserError, match="24 x 32 x 32 voxels, more than"):
        read_volume(FileRef(tmp_path / "a.npy"))
    with pytest.raises(UserError, match=r"data.spacing=\[1, 1\]"):
        volume_pairs(tmp_path, spacing=[1, 1])
