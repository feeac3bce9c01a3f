"""TIFF files in compressions that only GDAL reads are read through rasterio, which is named if it is missing."""

import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from conftest import Array

from unetkit.data.decode import read_image, read_layers
from unetkit.data.files import FileRef
from unetkit.data.nodata import nodata_values
from unetkit.errors import UserError


def write(path: Path, bands: Array, **options: object) -> Path:
    shape = {"count": bands.shape[2], "height": bands.shape[0], "width": bands.shape[1], "dtype": bands.dtype}
    with rasterio.open(path, "w", driver="GTiff", **shape, **options) as file:
        file.write(np.moveaxis(bands, 2, 0))
    return path


@pytest.mark.parametrize("compress", ["LERC", "LERC_ZSTD", "LERC_DEFLATE", "ZSTD"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_every_band_reads_as_written(compress: str, dtype: type, tmp_path: Path) -> None:
    bands: Array = np.random.default_rng(0).integers(0, 200, (40, 50, 5)).astype(dtype)
    bands[3, 4] = 9
    path = write(tmp_path / "a.tif", bands, compress=compress, nodata=9, tiled=True, blockxsize=32, blockysize=16)
    layers = read_layers(FileRef(path))
    assert layers.pixels.dtype == dtype
    np.testing.assert_array_equal(layers.pixels, bands)
    assert nodata_values(layers.pixels, layers.nodata) == [9]


@pytest.mark.parametrize(
    "options", [{"tiled": True, "blockxsize": 16, "blockysize": 16}, {"compress": "lzw", "blockysize": 16}]
)
def test_blocks_that_are_left_out_are_missing_data(options: dict[str, object], tmp_path: Path) -> None:
    path, image = tmp_path / "a.tif", np.full((64, 48), -5, np.int16)
    image[16:32, 16:32] = 7
    for nodata in (-5, None):
        size = {"count": 1, "height": 64, "width": 48, "dtype": "int16", "nodata": nodata, "SPARSE_OK": True}
        with rasterio.open(path, "w", driver="GTiff", **size, **options) as file:
            file.write(image[16:32, 16:32], 1, window=((16, 32), (16, 32)))
        if nodata is None:
            with pytest.raises(UserError, match=r"a\.tif is a TIFF without some of its blocks; if these are missing"):
                read_layers(FileRef(path))
        else:
            layers = read_layers(FileRef(path))
            np.testing.assert_array_equal(layers.pixels, image)
            assert layers.nodata == -5


def test_overviews_and_internal_masks_are_no_pages(tmp_path: Path) -> None:
    bands: Array = np.random.default_rng(0).integers(0, 200, (64, 64, 3), np.uint8)
    for compress in ("LERC", "DEFLATE"):
        path = write(tmp_path / f"{compress}.tif", bands, compress=compress, tiled=True, blockxsize=16, blockysize=16)
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
            file.write_mask(bands[..., 0] > 20)
            file.build_overviews([2, 4])
        np.testing.assert_array_equal(read_image(FileRef(path)), bands)


def test_the_extra_is_named_if_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.tif", np.zeros((8, 8, 1), np.uint8), compress="LERC")
    monkeypatch.setitem(sys.modules, "rasterio.enums", None)
    with pytest.raises(UserError, match=r"a\.tif is a TIFF with LERC; pip install 'unetkit\[geo\]' to read it"):
        read_image(FileRef(path))


def test_a_cut_file_is_named(tmp_path: Path) -> None:
    pixels: Array = np.random.default_rng(0).integers(0, 200, (64, 64, 1), np.uint8)
    path = write(tmp_path / "a.tif", pixels, compress="LERC")
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(UserError, match=r"a\.tif can't be read as an image"):
        read_image(FileRef(path))
