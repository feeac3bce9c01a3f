"""Zarr arrays are read as images, stacks and volumes; OME-Zarr says axes and spacing."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from conftest import Array, Unetkit

from unetkit.data.decode import read_image
from unetkit.data.files import FileRef
from unetkit.data.layout.inputs import find_images
from unetkit.data.mask_encoding import MaskEncoding
from unetkit.data.masks import read_mask
from unetkit.data.sources import folder_pairs, volume_pairs
from unetkit.data.volumes import read_mask_for_training, read_volume
from unetkit.errors import UserError

RNG = np.random.default_rng(0)


def write(path: Path, values: Array, version: Any = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    zarr.create_array(
        str(path), data=values, chunks=tuple(max(side // 2, 1) for side in values.shape), zarr_format=version
    )
    return path


def write_ome(path: Path, values: Array, axes: str, scale: list[float], **attributes: Any) -> Path:
    """Writes the two levels of an OME-Zarr 0.4 image, in micrometres."""
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    group.create_array("0", data=values)
    group.create_array("1", data=values[..., ::2, ::2])
    kinds = {"t": "time", "c": "channel"}
    named = [
        {"name": axis, "type": kinds.get(axis, "space"), **({} if axis in kinds else {"unit": "micrometer"})}
        for axis in axes
    ]
    levels = [
        {"path": name, "coordinateTransformations": [{"type": "scale", "scale": [side * factor for side in scale]}]}
        for name, factor in (("0", 1), ("1", 2))
    ]
    attrs: Any = group.attrs
    attrs.update({"multiscales": [{"version": "0.4", "axes": named, "datasets": levels}], **attributes})
    return path


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3), (20, 30, 5)])
def test_arrays_are_images_and_masks(version: int, shape: tuple[int, ...], tmp_path: Path) -> None:
    images = {}
    for name in ("a", "b"):
        images[name] = RNG.integers(0, 255, shape, np.uint8)
        write(tmp_path / "images" / f"{name}.zarr", images[name], version)
        write(
            tmp_path / "masks" / f"{name}.zarr",
            (images[name].reshape(20, 30, -1)[..., 0] > 99).astype(np.uint8),
            version,
        )
    pairs = folder_pairs(tmp_path)
    assert [pair.id for pair in pairs] == ["a", "b"]
    for pair in pairs:
        np.testing.assert_array_equal(read_image(pair.image), images[pair.id])
        mask = read_mask(pair, (20, 30), MaskEncoding())
        np.testing.assert_array_equal(mask, images[pair.id].reshape(20, 30, -1)[..., 0] > 99)
    assert [ref.stem for ref in find_images(tmp_path)] == ["a", "b"]
    assert [ref.stem for ref in find_images(tmp_path / "images" / "a.zarr")] == ["a"]


def test_a_changed_chunk_changes_the_fingerprint(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zarr", np.zeros((8, 8), np.uint8))
    before = FileRef(path).fingerprint()
    array: Any = zarr.open(str(path), mode="r+")
    array[7, 7] = 3
    assert FileRef(path).fingerprint() != before


def test_arrays_are_volumes_or_stacks_of_planes(tmp_path: Path) -> None:
    volume: Array = RNG.integers(0, 255, (6, 20, 30), np.uint8)
    write(tmp_path / "images" / "a.zarr", volume)
    write(tmp_path / "masks" / "a.zarr", (volume > 99).astype(np.uint8))
    (pair,) = volume_pairs(tmp_path)
    np.testing.assert_array_equal(read_volume(pair.image).values[..., 0], volume)
    np.testing.assert_array_equal(read_mask_for_training(pair.mask, pair.image), volume > 99)  # type: ignore[arg-type]
    planes = folder_pairs(tmp_path, stacks=True)
    assert len(planes) == 6
    np.testing.assert_array_equal(read_image(planes[4].image), volume[4])
    np.testing.assert_array_equal(read_mask(planes[4], (20, 30), MaskEncoding()), volume[4] > 99)


def test_ome_zarr_says_axes_and_spacing(tmp_path: Path) -> None:
    values: Array = RNG.integers(0, 255, (1, 2, 6, 20, 30), np.uint8)
    volume = read_volume(FileRef(write_ome(tmp_path / "a.zarr", values, "tczyx", [1, 1, 2.0, 0.5, 0.25])))
    np.testing.assert_array_equal(volume.values, np.moveaxis(values[0], 0, -1))
    assert volume.spacing == pytest.approx((2e-3, 5e-4, 2.5e-4))
    picture = FileRef(write_ome(tmp_path / "b.zarr", values[0, :, 0], "cyx", [1, 0.5, 0.5]))
    np.testing.assert_array_equal(read_image(picture), np.moveaxis(values[0, :, 0], 0, -1))
    films = write_ome(tmp_path / "c.zarr", values.swapaxes(0, 1), "tczyx", [1, 1, 1, 1, 1])
    with pytest.raises(
        UserError, match=r"has the axes t, c, z, y, x of sizes \(2, 1, 6, 20, 30\); save one time alone"
    ):
        read_volume(FileRef(films))


def test_what_is_no_array_is_told_and_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    group.create_array("raw", data=np.zeros((3, 3)))
    with pytest.raises(UserError, match=r"a\.zarr is a group of arrays \(raw\); give one of them"):
        read_image(FileRef(tmp_path / "a.zarr"))
    (tmp_path / "b.zarr").mkdir()
    with pytest.raises(UserError, match=r"b\.zarr can't be read as an image"):
        read_image(FileRef(tmp_path / "b.zarr"))
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(UserError, match=r'is a Zarr array; pip install "unetkit\[zarr\]" to read it'):
        read_image(FileRef(tmp_path / "a.zarr"))


@pytest.mark.slow
def test_volumes_from_files_to_masks(tmp_path: Path, unetkit: Unetkit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(5):
        mask: Array = np.zeros((10, 20, 24), np.uint8)
        mask[3:8, 4:14, 3 + number : 12 + number] = 1
        write(
            tmp_path / "cubes" / "images" / f"{number}.zarr",
            (RNG.normal(0, 20, mask.shape) + 200.0 * mask).astype("f4"),
        )
        write(tmp_path / "cubes" / "masks" / f"{number}.zarr", mask)
    assert "data=volumes" in unetkit("doctor", "data.root=cubes").stdout
    small = ("model=unet_3d", "model.channels=[4,8]", "data.patch_size=[8,16,16]", "data.cache_dir=cache")
    quick = ("trainer.max_epochs=1", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false")
    trained = unetkit("train", "data=volumes", "data.root=cubes", *small, *quick, "hydra.run.dir=run")
    assert trained.status == 0, trained.stderr
    predicted = unetkit("predict", "checkpoint=run", "input=cubes", "device=cpu")
    assert "wrote 5 masks" in predicted.stdout, predicted.stderr
    assert np.load("predictions/masks/3.npy").shape == (10, 20, 24)
