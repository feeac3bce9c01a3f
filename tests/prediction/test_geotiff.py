"""Large GeoTIFFs are read and their masks written window by window; what a file's own mask leaves out is void."""

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from conftest import Array, Unetkit
from PIL import Image

from unetkit.checkpoints.checkpoint import save_weights
from unetkit.checkpoints.metadata import Metadata
from unetkit.data import VOID, Preprocessing, SegmentationDataModule, folder_pairs
from unetkit.data.decode import open_image, read_image, read_layers
from unetkit.data.files import FileRef
from unetkit.data.windows import TiffImage
from unetkit.models import UNet

PLACE = {"crs": "EPSG:32633", "transform": rasterio.transform.from_origin(5e5, 5.2e6, 10, 10)}
RNG = np.random.default_rng(0)


def write(path: Path, bands: Array, valid: Array | None = None, **options: Any) -> Path:
    """Writes (H, W, C) as a GeoTIFF, with a mask of its own if pixels (H, W) are valid or not."""
    shape = {"count": bands.shape[2], "height": bands.shape[0], "width": bands.shape[1], "dtype": bands.dtype}
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", driver="GTiff", **shape, **PLACE, **options) as file,
    ):
        file.write(np.moveaxis(bands, 2, 0))
        if valid is not None:
            file.write_mask(valid)
    return path


def scene(channels: int, dtype: type = np.uint8) -> tuple[Array, Array]:
    """An image of low noise with bright squares, and where it has data."""
    pixels: Array = RNG.integers(0, 60, (150, 170, channels))
    pixels[20:70, 30:90] += 150
    valid = np.ones(pixels.shape[:2], np.bool_)
    valid[:, 120:] = False
    return pixels.astype(dtype), valid


def checkpoint(path: Path, channels: int, outputs: int = 1, value_range: tuple[float, float] | None = None) -> Path:
    """A network that marks bright pixels, of a random shape otherwise."""
    torch.manual_seed(0)
    model = {"_target_": "unetkit.models.UNet", "in_channels": channels, "num_classes": outputs, "channels": [4, 8]}
    metadata = Metadata(model, Preprocessing(channels, value_range))
    save_weights(path, metadata, UNet(channels, outputs, [4, 8]).state_dict())
    return path


TILED: dict[str, Any] = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}


@pytest.mark.parametrize("options", [TILED, {"compress": "lzw"}, {**TILED, "compress": "lerc_zstd"}])
@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (3, np.uint8), (4, np.uint16), (5, np.float32)])
def test_windows_hold_what_the_whole_file_holds(
    options: dict[str, Any], channels: int, dtype: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unetkit.data.windows.LARGE", 1000)
    pixels, valid = scene(channels, dtype)
    ref = FileRef(write(tmp_path / "a.tif", pixels, valid, nodata=None, **options))
    opened = open_image(ref, channels)
    assert isinstance(opened, TiffImage)
    whole = read_image(ref, channels)
    assert (opened.shape, opened.dtype) == (whole.shape, whole.dtype)
    for window in (slice(None), slice(None)), (slice(20, 90), slice(7, 160)), (slice(3, 140, 7), slice(None, None, 3)):
        np.testing.assert_array_equal(opened[window], whole[window])
    void = opened.void_rows(0, 150, 1.0, 0.0)
    np.testing.assert_array_equal(void, ~valid)
    opened.close()


@pytest.mark.parametrize("kind", ["deflate", "jpeg", "lerc", "packbits"])
def test_a_mask_within_the_file_is_read(kind: str, tmp_path: Path) -> None:
    pixels, valid = scene(3)
    options = {"compress": kind, **({"photometric": "ycbcr"} if kind == "jpeg" else {})}
    for name, blocks in (("strips", {}), ("tiles", {"tiled": True, "blockxsize": 64, "blockysize": 32})):
        path = write(tmp_path / f"{name}.tif", pixels, valid, **options, **blocks)
        with rasterio.open(path, "r+") as file:
            file.build_overviews([2, 4])
        layers = read_layers(FileRef(path))
        assert layers.pixels.shape == pixels.shape
        np.testing.assert_array_equal(layers.valid, valid)


def test_pixels_that_the_file_s_own_mask_leaves_out_are_void_in_training(tmp_path: Path, unetkit: Unetkit) -> None:
    for number in range(4):
        pixels, valid = scene(1, np.uint16)
        pixels[~valid] = 9000
        write(tmp_path / "images" / f"{number}.tif", pixels, valid if number else None)
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray((pixels[..., 0] > 100).astype(np.uint8)).save(tmp_path / "masks" / f"{number}.png")
    pairs = partial(folder_pairs, tmp_path)
    data = SegmentationDataModule(
        name="t", pairs=pairs, augmentation=None, cache_dir=tmp_path / "cache", split="contiguous", folds=4
    )
    assert data.found.masked == {1, 2, 3}
    assert [(mask == VOID).any() for mask in data.found.masks] == [False, True, True, True]
    np.testing.assert_array_equal(data.found.masks[2] == VOID, ~valid)
    assert [quantiles[1] < 1000 for quantiles in data.found.quantiles if quantiles] == [False, True, True, True]
    examined = unetkit("doctor", f"data.root={tmp_path}", f"output={tmp_path / 'doctor'}")
    assert "3 images have a mask within the file" in examined.stdout


@pytest.mark.parametrize("large", [10**9, 1000])
@pytest.mark.parametrize(("outputs", "void"), [(1, 0), (3, VOID)])
def test_pixels_without_data_are_marked_in_predictions(
    large: int, outputs: int, void: int, tmp_path: Path, unetkit: Unetkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unetkit.data.windows.LARGE", large)
    net = checkpoint(tmp_path / "net.ckpt", 1, outputs)
    pixels, valid = scene(1)
    write(tmp_path / "in" / "own.tif", pixels, valid)
    write(tmp_path / "in" / "number.tif", np.where(valid[..., None], pixels + 1, 0).astype(np.uint8), nodata=0)
    typed = (f"checkpoint={net}", f"input={tmp_path / 'in'}", "mask_format=tif", "tile=64", "overlap=16", "device=cpu")
    done = unetkit("predict", *typed, f"output={tmp_path / 'out'}", "threshold=0.0" if outputs == 1 else "tta=none")
    assert done.status == 0, done.stderr
    for name in ("own.tif", "number.tif"):
        mask = read_image(FileRef(tmp_path / "out" / "masks" / name))
        assert (mask[~valid] == void).all()
        assert (mask[valid] != VOID).all() if outputs > 1 else mask[valid].any()


@pytest.mark.parametrize("mask_format", ["tif", "cog"])
@pytest.mark.parametrize("min_area", [0, 10**6])
def test_masks_written_by_windows_are_those_of_the_whole_image(
    mask_format: str, min_area: int, tmp_path: Path, unetkit: Unetkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unetkit.prediction.geotiff.BLOCK", 64)
    net = checkpoint(tmp_path / "net.ckpt", 4, 1, (0.0, 255.0))
    path = write(tmp_path / "in" / "a.tif", scene(4, np.uint16)[0], **TILED)
    typed = (f"checkpoint={net}", f"input={path}", "tile=64", "overlap=16", "device=cpu", f"min_area={min_area}")
    assert unetkit("predict", *typed, f"output={tmp_path / 'whole'}").status == 0
    monkeypatch.setattr("unetkit.data.windows.LARGE", 1000)
    done = unetkit("predict", *typed, f"output={tmp_path / 'out'}", f"mask_format={mask_format}")
    assert done.status == 0, done.stderr
    whole = read_image(FileRef(tmp_path / "whole" / "masks" / "a.png"))
    assert bool(whole.any()) is not bool(min_area)
    assert [path.name for path in (tmp_path / "out" / "masks").iterdir()] == ["a.tif"]
    with rasterio.open(tmp_path / "out" / "masks" / "a.tif") as mask, rasterio.open(path) as image:
        np.testing.assert_array_equal(mask.read(1), whole)
        assert (mask.crs, mask.transform) == (image.crs, image.transform)
        assert (mask.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG") is (mask_format == "cog")
        assert bool(mask.overviews(1)) is (mask_format == "cog")


def test_a_cog_of_a_picture_lies_nowhere_and_the_extra_is_named_if_it_is_missing(
    tmp_path: Path, unetkit: Unetkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = checkpoint(tmp_path / "net.ckpt", 3)
    Image.fromarray(scene(3)[0]).save(tmp_path / "a.png")
    typed = (f"checkpoint={net}", f"input={tmp_path / 'a.png'}", f"output={tmp_path / 'a.tif'}", "mask_format=cog")
    done = unetkit("predict", *typed, "device=cpu")
    assert done.status == 0, done.stderr
    with rasterio.open(tmp_path / "a.tif") as mask:
        assert (mask.shape, mask.crs) == ((150, 170), None)
    monkeypatch.setitem(sys.modules, "rasterio", None)
    done = unetkit("predict", *typed, "device=cpu")
    assert 'mask_format=cog needs rasterio; pip install "unetkit[geo]"' in done.stderr


def test_files_that_gis_programs_put_beside_rasters_are_no_finding(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(2):
        path = write(tmp_path / "images" / f"{number}.tif", scene(3)[0])
        with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(path, "r+") as file:
            file.build_overviews([2])
        for end in (".aux.xml", ".ovr"):
            path.with_name(path.name + end).touch()
        path.with_suffix(".tfw").touch()
        write(tmp_path / "masks" / f"{number}.tif", scene(1)[0])
    assert len(folder_pairs(tmp_path)) == 2
    assert "of a kind that is not read" not in caplog.text


MEASURE = """
import resource, sys
from contextlib import ExitStack
from pathlib import Path
import numpy as np, torch, rasterio
from unetkit.data.decode import open_image
from unetkit.data.files import FileRef
from unetkit.prediction.geotiff import MaskGeoTiff

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

folder, before = Path(sys.argv[1]), peak()
image = open_image(FileRef(folder / "large.tif"))
with ExitStack() as files:
    writer = MaskGeoTiff(folder / "mask.tif", *image.shape, files, FileRef(folder / "large.tif"))
    for top in range(0, image.shape[0], 1024):
        tiles = [image[top : top + 1024, left : left + 1024] for left in range(0, image.shape[1], 1024)]
        writer.append(torch.zeros(1, 1, 1), np.hstack(tiles) > 100)
    writer.finish()
image.close()
print(peak() - before)
"""


@pytest.mark.slow
def test_memory_holds_neither_the_image_nor_the_mask(tmp_path: Path) -> None:
    side = 20_000
    shape = {"count": 1, "height": side, "width": side, "dtype": "uint8"}
    rows = np.zeros((1000, side), np.uint8)
    rows[:, ::2] = 200
    with rasterio.open(tmp_path / "large.tif", "w", driver="GTiff", **shape, **PLACE, compress="lzw") as file:
        for top in range(0, side, 1000):
            file.write(rows, 1, window=((top, top + 1000), (0, side)))
    done = subprocess.run([sys.executable, "-c", MEASURE, str(tmp_path)], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 200  # MiB; the image alone has 381
    with rasterio.open(tmp_path / "mask.tif") as mask:
        np.testing.assert_array_equal(mask.read(1, window=((5000, 5010), (0, side))), (rows[:10] > 100) * 255)
