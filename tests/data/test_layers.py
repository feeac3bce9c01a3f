"""What files hold besides colours is read as the file means it: bands, opacity, orientation, missing data."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from PIL import Image
from tiff_files import write_tiff

from unetkit.data.decode import read_image, read_layers
from unetkit.data.files import FileRef
from unetkit.data.masks import file_values
from unetkit.errors import UserError

Array = NDArray[Any]
RNG = np.random.default_rng(0)


def bands(count: int, dtype: Any = np.uint8, size: tuple[int, int] = (37, 53)) -> Array:
    """Noise (H, W, count)."""
    noise = (
        RNG.integers(-99, 99, (*size, count)) if np.dtype(dtype).kind != "u" else RNG.integers(0, 199, (*size, count))
    )
    return noise.astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
@pytest.mark.parametrize(
    ("count", "options"),
    [
        (4, {"extra": (0,)}),  # RGB and near infrared
        (4, {"extra": (0, 0, 0), "rgb": False, "planar": True}),
        (4, {"extra": (0,), "predictor": 2, "order": ">"}),
        (2, {"extra": (0,), "rgb": False, "tile": 16}),
        (2, {"rgb": False, "tile": 32, "predictor": 2}),
        (7, {"extra": (0,) * 4, "order": ">", "planar": True, "tile": 16}),
        (3, {"rgb": False}),
        (1, {"rgb": False, "tile": 16}),
    ],
)
def test_every_band_of_a_tiff_is_read(count: int, options: dict[str, Any], dtype: Any, tmp_path: Path) -> None:
    image = bands(count, dtype)
    read = read_image(FileRef(write_tiff(tmp_path / "a.tif", image, **options)))
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, image if count > 1 else image[..., 0])


@pytest.mark.parametrize(
    "options",
    [
        {"tiled": True, "blockxsize": 16, "blockysize": 16},  # 256 bytes, which 1,024 does not divide
        {"tiled": True, "blockxsize": 48, "blockysize": 16, "interleave": "band"},
        {"ENDIANNESS": "BIG", "BIGTIFF": "YES", "compress": "lzw", "predictor": 2},
        {"ENDIANNESS": "BIG", "tiled": True, "blockxsize": 16, "blockysize": 16, "interleave": "band"},
        {"compress": "zstd", "predictor": 2, "tiled": True, "blockxsize": 32, "blockysize": 32},
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint32", "int64", "uint64", "float32", "float64"])
def test_what_rasterio_writes_is_read_as_written(options: dict[str, Any], dtype: str, tmp_path: Path) -> None:
    image = bands(5, dtype)
    options = options | ({"predictor": 3} if dtype[:1] == "f" and "predictor" in options else {})
    is_old = [int(part) for part in rasterio.__gdal_version__.split(".")[:2]] < [3, 10]
    if is_old and (dtype in ("int64", "uint64") or "ENDIANNESS" in options):
        options.pop("predictor", None)  # GDAL before 3.10 doesn't write these, or wrongly
    size = {"height": image.shape[0], "width": image.shape[1], "count": 5, "dtype": dtype}
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", nodata=7, **size, **options) as file:
        file.write(np.moveaxis(image, 2, 0))
    layers = read_layers(FileRef(tmp_path / "a.tif"))
    assert (str(layers.pixels.dtype), layers.nodata) == (dtype, 7)
    np.testing.assert_array_equal(layers.pixels, image)


@pytest.mark.parametrize("bits", [1, 2, 4, 12])
def test_grey_levels_of_odd_bits_are_read(bits: int, tmp_path: Path) -> None:
    image = RNG.integers(0, 2**bits, (37, 53)).astype(np.uint16 if bits > 8 else np.uint8)
    size = {"height": 37, "width": 53, "count": 1, "dtype": image.dtype, "nbits": bits}
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", compress="deflate", **size) as file:
        file.write(image, 1)
    scale = 255 // (2**bits - 1) if bits < 8 else 1  # as viewers show them
    np.testing.assert_array_equal(read_image(FileRef(tmp_path / "a.tif")), image * scale)


def test_complex_numbers_are_refused_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    size = {"height": 9, "width": 8, "count": 1, "dtype": "complex64"}
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", **size) as file:
        file.write(np.ones((9, 8), np.complex64), 1)
    with pytest.raises(UserError, match=r"a\.tif holds complex numbers; save their amplitudes"):
        read_image(FileRef(tmp_path / "a.tif"))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("extra", [1, 2])
@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_is_neither_read_nor_multiplied_unless_it_is_asked_for(
    count: int, extra: int, dtype: Any, tmp_path: Path
) -> None:
    image = bands(count, dtype)
    ref = FileRef(write_tiff(tmp_path / "a.tif", image, extra=(extra,), rgb=count == 4))
    np.testing.assert_array_equal(np.atleast_3d(read_image(ref)), image[..., :-1])
    np.testing.assert_array_equal(read_image(ref, channels=count), image)


def test_alpha_of_pngs_and_pillow_s_tiffs_is_the_fourth_channel_if_it_is_asked_for(tmp_path: Path) -> None:
    for mode, name in (("RGBA", "a.png"), ("LA", "b.png"), ("RGBA", "c.tif"), ("LA", "d.tif")):
        image = bands(len(mode))
        Image.fromarray(image, mode).save(tmp_path / name)
        ref = FileRef(tmp_path / name)
        np.testing.assert_array_equal(np.atleast_3d(read_image(ref)), image[..., :-1])
        np.testing.assert_array_equal(read_image(ref, channels=len(mode)), image)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd"])
@pytest.mark.parametrize("predictor", [1, 2, 3])
def test_compressed_tiffs_of_pillow_read_back(compression: str, predictor: int, tmp_path: Path) -> None:
    predictor = predictor if compression in ("tiff_lzw", "tiff_adobe_deflate", "zstd") else 1
    tags = {317: predictor} if predictor > 1 else {}
    image = bands(1, np.float32)[..., 0] / 7
    Image.fromarray(image).save(tmp_path / "a.tif", compression=compression, tiffinfo=tags)
    np.testing.assert_array_equal(read_image(FileRef(tmp_path / "a.tif")), image)
    if predictor < 3:
        image = bands(4)
        Image.fromarray(image, "RGBX").save(tmp_path / "a.tif", compression=compression, tiffinfo=tags)
        np.testing.assert_array_equal(read_image(FileRef(tmp_path / "a.tif")), image)


def test_a_tiff_with_its_overview_is_one_image(tmp_path: Path) -> None:
    pages = [Image.fromarray(bands(1, size=size)[..., 0]) for size in ((32, 48), (16, 24))]
    pages[1].encoderinfo = {"tiffinfo": {254: 1}}
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    np.testing.assert_array_equal(read_image(FileRef(tmp_path / "a.tif")), np.array(pages[0]))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_means_the_same_in_every_format_and_for_masks(orientation: int, tmp_path: Path) -> None:
    pixels = np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40, np.ones((16, 16), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    grey, palette = Image.fromarray(pixels), Image.fromarray(pixels // 40, "P")
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 0, 0, 9, 9])
    grey.save(tmp_path / "a.jpg", exif=exif, quality=100)
    grey.save(tmp_path / "a.png", exif=exif)
    grey.convert("RGB").save(tmp_path / "a.webp", exif=exif, lossless=True)
    palette.save(tmp_path / "palette.png", exif=exif)
    for name, dtype in (("a.tif", np.uint8), ("deep.tif", np.uint16), ("float.tif", np.float32)):
        write_tiff(tmp_path / name, pixels[..., None].astype(dtype), rgb=False, orientation=orientation)
    write_tiff(tmp_path / "four.tif", np.dstack([pixels] * 4), extra=(0,), orientation=orientation)
    upright = read_image(FileRef(tmp_path / "a.jpg"))
    for name in ("a.png", "a.tif", "deep.tif", "float.tif"):
        np.testing.assert_array_equal(read_image(FileRef(tmp_path / name)), upright, err_msg=name)
    for name in ("four.tif", "a.webp"):
        np.testing.assert_array_equal(read_image(FileRef(tmp_path / name))[..., -1], upright, err_msg=name)
    palette.save(tmp_path / "palette.tif", tiffinfo={274: orientation})
    for name in ("palette.png", "palette.tif"):
        np.testing.assert_array_equal(file_values(FileRef(tmp_path / name), False)[0], upright // 40, err_msg=name)


def test_a_mask_whose_class_is_its_opacity_is_read_from_it(tmp_path: Path) -> None:
    opacity = np.zeros((8, 9), np.uint8)
    opacity[2:5, 3:6] = 255
    for colour in (0, 255):
        flat = np.full((8, 9, 3), colour, np.uint8)
        for name, alpha in (("a.png", opacity), ("none.png", np.zeros_like(opacity)), ("b.tif", opacity)):
            Image.fromarray(np.dstack([flat, alpha]), "RGBA").save(tmp_path / name)
            values, is_colour = file_values(FileRef(tmp_path / name), False)
            np.testing.assert_array_equal(values, alpha)
            assert not is_colour


def test_a_mask_whose_colours_tell_all_pixels_apart_is_read_by_colour(tmp_path: Path) -> None:
    classes = np.zeros((8, 9), np.uint8)
    classes[2:5, 3:6] = 255
    for alpha in (classes, np.full_like(classes, 255), np.full_like(classes, 7)):
        Image.fromarray(np.dstack([classes] * 3 + [alpha]), "RGBA").save(tmp_path / "a.png")
        np.testing.assert_array_equal(file_values(FileRef(tmp_path / "a.png"), False)[0], classes)


def test_a_mask_that_needs_colour_and_opacity_is_refused(tmp_path: Path) -> None:
    mask = np.zeros((8, 9, 4), np.uint8)
    mask[2:5, 3:6] = 255, 255, 255, 255
    mask[6:] = 0, 0, 0, 255
    Image.fromarray(mask, "RGBA").save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.png has a colour that is transparent in some pixels .*without alpha"):
        file_values(FileRef(tmp_path / "a.png"), False)


def test_a_jpeg_that_is_cut_is_named(tmp_path: Path) -> None:
    picture = cv2.resize(RNG.integers(0, 256, (9, 9, 3), np.uint8), (640, 480))
    for options in ({}, {"progressive": True}, {"restart_marker_rows": 2}):
        Image.fromarray(picture).save(tmp_path / "whole.jpg", **options)
        content = (tmp_path / "whole.jpg").read_bytes()
        (tmp_path / "more.jpg").write_bytes(content + b"notes of a camera")
        whole, more = (read_image(FileRef(tmp_path / f"{name}.jpg")) for name in ("whole", "more"))
        np.testing.assert_array_equal(whole, more)
        for kept in (len(content) // 2, len(content) - 2):
            (tmp_path / "cut.jpg").write_bytes(content[:kept])
            with pytest.raises(UserError, match=r"cut\.jpg can't be read as an image"):
                read_image(FileRef(tmp_path / "cut.jpg"))


def test_the_number_for_missing_data_is_read_from_gdal_s_tag(tmp_path: Path) -> None:
    image = bands(1, np.float32)
    assert read_layers(FileRef(write_tiff(tmp_path / "a.tif", image, rgb=False, nodata="-9999"))).nodata == -9999
    assert read_layers(FileRef(write_tiff(tmp_path / "a.tif", image, rgb=False))).nodata is None
    image[3, 4] = np.nan
    path = write_tiff(tmp_path / "a.tif", image, rgb=False, nodata="nan")
    assert np.isnan(read_layers(FileRef(path)).pixels[3, 4])
