"""Files of every kind, loose and zipped, decode to what was written; broken ones are named."""

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pillow_heif
import pytest
import tifffile
from conftest import Array, WriteImage, zipped
from PIL import Image, ImageOps

from unetkit.data.decode import NpyImage, open_image, read_image
from unetkit.data.files import FileRef
from unetkit.data.masks import file_values
from unetkit.errors import UserError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 5), np.uint8)
RGB = RNG.integers(0, 256, (6, 5, 3), np.uint8)
GREY16 = RNG.integers(0, 65536, (6, 5), np.uint16)
FLOATS = RNG.normal(0, 100, (6, 5)).astype(np.float32)
LOSSLESS = {
    "grey png": ("a.png", GREY),
    "16-bit png": ("a.png", GREY16),
    "rgb png": ("a.png", RGB),
    "16-bit rgb png": ("a.PNG", RGB.astype(np.uint16) * 257),
    "grey tiff": ("a.tif", GREY),
    "rgb tiff": ("a.tif", RGB),
    "16-bit tiff": ("a.tiff", GREY16),
    "float tiff": ("a.tif", FLOATS),
    "float rgb tiff": ("a.tif", RGB.astype(np.float32) / 7),
    "double rgb tiff": ("a.tif", RGB.astype(np.float64) / 7),
    "grey bmp": ("a.bmp", GREY),
    "rgb bmp": ("a.bmp", RGB),
    "grey npy": ("a.npy", GREY),
    "float npy": ("a.npy", FLOATS),
    "signed npy": ("a.npy", GREY.astype(np.int32) - 100),
    "five-channel npy": ("a.npy", RNG.integers(0, 256, (6, 5, 5), np.uint8)),
}


@pytest.mark.parametrize(("name", "image"), LOSSLESS.values(), ids=LOSSLESS)
def test_lossless_files_read_as_written(name: str, image: Array, write_image: WriteImage, tmp_path: Path) -> None:
    path = write_image(tmp_path / name, image)
    archive = zipped(tmp_path / "a.zip", (f"images/{name}", path.read_bytes()))
    for ref in (FileRef(path), FileRef(archive, f"images/{name}")):
        read = read_image(ref)
        assert read.dtype == image.dtype
        np.testing.assert_array_equal(read, image)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg"])
def test_jpegs_read_nearly_as_written(suffix: str, write_image: WriteImage, tmp_path: Path) -> None:
    rows, columns = np.mgrid[:40, :30]
    image = np.stack([rows * 4, columns * 4, 200 - rows - columns], -1).astype(np.uint8)
    for written in (image, image[..., 0]):
        read = read_image(FileRef(write_image(tmp_path / f"a{suffix}", written)))
        assert read.shape == written.shape
        assert np.abs(read.astype(int) - written).mean() < 3


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_alpha_channel_is_dropped(dtype: type, write_image: WriteImage, tmp_path: Path) -> None:
    image: Array = RNG.integers(0, 256, (6, 5, 4)).astype(dtype)
    read = read_image(FileRef(write_image(tmp_path / "a.png", image)))
    np.testing.assert_array_equal(read, image[..., :3])


def test_a_single_channel_and_booleans_read_as_grey_numbers(tmp_path: Path, write_image: WriteImage) -> None:
    read = read_image(FileRef(write_image(tmp_path / "a.npy", (GREY > 99)[..., None])))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, GREY > 99)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".npy"])
def test_broken_files_are_named(suffix: str, write_image: WriteImage, tmp_path: Path) -> None:
    whole = write_image(tmp_path / f"whole{suffix}", RNG.integers(0, 256, (40, 50), np.uint8)).read_bytes()
    for kept in (0, 10, len(whole) // 2, len(whole) * 9 // 10):
        path = tmp_path / f"broken{suffix}"
        path.write_bytes(whole[:kept])
        archive = zipped(tmp_path / f"{kept}.zip", (path.name, whole[:kept]))
        for ref in (FileRef(path), FileRef(archive, path.name)):
            with pytest.raises(UserError, match=rf"broken\{suffix} (can't be read as an image|is empty)"):
                read_image(ref)


@pytest.mark.parametrize("suffix", [".png", ".npy"])
def test_other_content_under_an_image_s_name_is_refused(suffix: str, tmp_path: Path) -> None:
    path = zipped(tmp_path / f"archive{suffix}", ("a.txt", b"text"))
    with pytest.raises(UserError, match=f"archive{suffix} can't be read as an image"):
        read_image(FileRef(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.png can't be read"):
        read_image(FileRef(tmp_path / "gone.png"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["a.tif", "a.npy"])
def test_values_that_are_no_numbers_are_refused(
    name: str, value: float, write_image: WriteImage, tmp_path: Path
) -> None:
    image: Array = FLOATS.copy()
    image[2, 3] = value
    with pytest.raises(UserError, match=rf"{name} holds NaN or infinite values; replace"):
        read_image(FileRef(write_image(tmp_path / name, image)))


@pytest.mark.parametrize("array", [np.zeros(5), np.zeros((1, 2, 3, 4)), np.zeros((0, 3)), np.array([["a"]])])
def test_arrays_that_are_no_images_are_refused(array: Array, write_image: WriteImage, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.npy holds .*; save it as numbers"):
        read_image(FileRef(write_image(tmp_path / "a.npy", array)))


@pytest.mark.parametrize("image", [GREY, GREY > 99, FLOATS, RGB, np.asfortranarray(FLOATS)])
def test_windows_of_a_npy_are_read_as_asked_for(image: Array, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", image)
    opened = open_image(FileRef(tmp_path / "a.npy"))
    assert isinstance(opened, NpyImage)
    assert opened.shape == image.shape
    for window in ((slice(2, 5), slice(1, 4)), (slice(None), slice(None)), (slice(1, 6, 2), slice(None))):
        part = opened[window]
        assert part.dtype == opened.dtype == (np.uint8 if image.dtype == np.bool_ else image.dtype)
        np.testing.assert_array_equal(part, image[window])


def test_a_stack_is_not_read_as_its_first_page(tmp_path: Path) -> None:
    pages = [np.full((5, 6), value, np.uint8) for value in (1, 2, 3)]
    assert cv2.imwritemulti(str(tmp_path / "a.tif"), pages)
    with pytest.raises(UserError, match=r"a\.tif is a stack of several images; .*save each as a file of its own$"):
        read_image(FileRef(tmp_path / "a.tif"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_read_upright(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    grey = np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40, np.ones((16, 16), np.uint8))
    Image.fromarray(grey).save(tmp_path / "a.jpg", exif=exif, quality=100)
    with Image.open(tmp_path / "a.jpg") as file:
        upright = np.array(ImageOps.exif_transpose(file))
    image = read_image(FileRef(tmp_path / "a.jpg"))
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, upright)


@pytest.mark.parametrize(
    "content", [b"II*\0", b"MM\0*\0\0", b"II+\0\x08\0\0\0", b"II*\0\xff\xff\xff\xff", b"\xff\xd8\xff\xe1\0"]
)
def test_headers_that_are_cut_short_are_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.tif can't be read as an image"):
        read_image(FileRef(tmp_path / "a.tif"))


def test_a_photograph_whose_note_is_broken_is_read_as_it_is(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(GREY).save(tmp_path / "a.jpg", exif=exif, quality=100)
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(
        content.replace(b"Exif\0\0MM", b"Exif\0\0??").replace(b"Exif\0\0II", b"Exif\0\0??")
    )
    assert read_image(FileRef(tmp_path / "a.jpg")).shape == GREY.shape


def test_a_tiff_whose_zero_is_white_is_never_read_inverted(tmp_path: Path) -> None:
    for name, pixels in (("deep.tif", GREY16), ("a.tif", GREY), ("bits.tif", GREY > 99)):
        Image.fromarray(pixels).save(tmp_path / name, tiffinfo={262: 0})
    np.testing.assert_array_equal(read_image(FileRef(tmp_path / "a.tif")), GREY)
    np.testing.assert_array_equal(read_image(FileRef(tmp_path / "deep.tif")), 65535 - GREY16)  # Pillow stores it as is
    np.testing.assert_array_equal(file_values(FileRef(tmp_path / "bits.tif"), False)[0], 255 * (GREY > 99))
    Image.fromarray(GREY).convert("F").save(tmp_path / "float.tif", tiffinfo={262: 0})
    with pytest.raises(UserError, match=r"float\.tif is a TIFF of 32 bits whose 0 is white; save it"):
        read_image(FileRef(tmp_path / "float.tif"))


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}, {"photometric": "minisblack"}])
def test_booleans_that_tifffile_writes_are_read_as_tifffile_reads_them(options: dict[str, Any], tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "m.tif", GREY > 99, **options)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "m.tif"), GREY > 99)
    np.testing.assert_array_equal(read_image(FileRef(tmp_path / "m.tif")), 255 * (GREY > 99))
    np.testing.assert_array_equal(file_values(FileRef(tmp_path / "m.tif"), False)[0], 255 * (GREY > 99))


def test_a_tiff_of_grey_and_alpha_is_grey(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([GREY, GREY]), "LA").save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(FileRef(tmp_path / "a.tif")), GREY)


class TestFilesThatPillowReads:
    @pytest.mark.parametrize("suffix", [".gif", ".webp", ".avif", ".heic"])
    def test_they_read_nearly_as_written(self, suffix: str, tmp_path: Path) -> None:
        pillow_heif.register_heif_opener()
        rows, columns = np.mgrid[:48, :64]
        image = np.stack([rows * 4, columns * 3, 200 - rows - columns], -1).astype(np.uint8)
        Image.fromarray(image).save(tmp_path / f"a{suffix}", quality=95)
        read = read_image(FileRef(tmp_path / f"a{suffix}"))
        assert read.shape == image.shape
        assert np.abs(read.astype(int) - image).mean() < 8

    def test_a_gif_mask_is_read_as_its_indices_unless_they_are_grey(self, tmp_path: Path) -> None:
        indices = RNG.integers(0, 3, (6, 5), np.uint8)
        for name, palette in (("grey", [0, 0, 0, 9, 9, 9, 255, 255, 255]), ("colour", [0, 0, 0, 255, 0, 0, 0, 255, 0])):
            file = Image.fromarray(indices, mode="P")
            file.putpalette(palette)
            file.save(tmp_path / f"{name}.gif", optimize=False)
        np.testing.assert_array_equal(file_values(FileRef(tmp_path / "colour.gif"), False)[0], indices)
        grey = np.array([0, 9, 255])[indices]
        np.testing.assert_array_equal(file_values(FileRef(tmp_path / "grey.gif"), False)[0], grey)

    def test_broken_animated_and_unreadable_ones_are_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
        frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
        with pytest.raises(UserError, match=r"film\.gif is a stack of several images"):
            read_image(FileRef(tmp_path / "film.gif"))
        whole = (tmp_path / "film.gif").read_bytes()
        (tmp_path / "cut.gif").write_bytes(whole[: len(whole) // 3])
        with pytest.raises(UserError, match=r"cut\.gif can't be read as an image"):
            read_image(FileRef(tmp_path / "cut.gif"))
        (tmp_path / "a.heic").write_bytes(b"\0\0\0\x1cftypheic" + bytes(50))
        monkeypatch.setitem(sys.modules, "pillow_heif", None)
        with pytest.raises(UserError, match=r"a\.heic is a HEIC file; pip install 'unetkit\[heic\]' to read it"):
            read_image(FileRef(tmp_path / "a.heic"))
