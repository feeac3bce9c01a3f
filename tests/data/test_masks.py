"""Mask files of every kind become class indices and void; what does not fit is shown with the key to type."""

import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from conftest import Array, WriteImage
from PIL import Image

from unetkit.data import VOID
from unetkit.data.files import FileRef
from unetkit.data.mask_encoding import MaskEncoding
from unetkit.data.masks import read_mask
from unetkit.data.pair import Pair
from unetkit.errors import UserError

RNG = np.random.default_rng(0)
SHAPE = (6, 5)
BINARY = {"mixed": RNG.random(SHAPE) < 0.5, "empty": np.zeros(SHAPE, bool), "full": np.ones(SHAPE, bool)}
VOC_PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]


def read(path: Path, *others: Path, **keys: Any) -> Array:
    """The mask of an image of 6 x 5 pixels, read as the keys say."""
    pairs = [Pair(other.stem, FileRef(other), FileRef(other)) for other in (path, *others)]
    return read_mask(pairs[0], SHAPE, MaskEncoding.of_keys(**keys), pairs)


def filled(*values: Any) -> Array:
    """The values in turn over all pixels."""
    return np.resize(np.array(values, np.uint8), (*SHAPE, *np.shape(values)[1:]))


def write_palette(path: Path, indices: Array, palette: list[int]) -> Path:
    image = Image.fromarray(indices.astype(np.uint8))
    image.putpalette(palette)
    image.save(path)
    return path


class TestBinary:
    @pytest.mark.parametrize(
        ("name", "foreground", "dtype"),
        [
            ("m.png", 1, np.uint8),
            ("m.png", 255, np.uint8),
            ("m.png", 1, np.uint16),
            ("m.png", 255, np.uint16),
            ("m.png", 65535, np.uint16),
            ("m.tif", 1, np.float32),
            ("m.npy", 1, np.bool_),
            ("m.npy", 255, np.int64),
            ("m.bmp", 255, np.uint8),
            ("m.jpg", 255, np.uint8),
        ],
    )
    @pytest.mark.parametrize("kind", BINARY)
    def test_they_read_as_0_and_1(
        self, name: str, foreground: int, dtype: type, kind: str, write_image: WriteImage, tmp_path: Path
    ) -> None:
        mask = read(write_image(tmp_path / name, (BINARY[kind] * foreground).astype(dtype)))
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, BINARY[kind])

    @pytest.mark.parametrize("num_classes", [1, 2, "auto"])
    @pytest.mark.parametrize("values", [(0, 255, 128), (0, 1, 255), (0, 1, 2)])
    @pytest.mark.parametrize("name", ["m.png", "m.npy"])
    def test_a_value_may_be_void(
        self, num_classes: Any, values: tuple[int, ...], name: str, write_image: WriteImage, tmp_path: Path
    ) -> None:
        path = write_image(tmp_path / name, filled(*values))
        mask = read(path, num_classes=num_classes, ignore_index=values[-1])
        np.testing.assert_array_equal(mask, filled(0, 1, VOID))

    def test_void_in_a_jpeg(self, write_image: WriteImage, tmp_path: Path) -> None:
        stripes = np.repeat([[0], [0], [255], [255], [128], [128]], 5, 1).astype(np.uint8)
        mask = read(write_image(tmp_path / "m.jpg", stripes), ignore_index=128)
        np.testing.assert_array_equal(mask[:, 0], [0, 0, 1, 1, VOID, VOID])

    def test_equal_colours_count_as_one_channel(self, write_image: WriteImage, tmp_path: Path) -> None:
        mask = np.repeat(BINARY["mixed"][..., None] * np.uint8(255), 3, 2)
        np.testing.assert_array_equal(read(write_image(tmp_path / "m.png", mask)), BINARY["mixed"])


class TestClasses:
    @pytest.mark.parametrize("values", [[0, 100, 200], [200, 0, 100], [0, 1, 2], [0, 255]])
    @pytest.mark.parametrize("name", ["m.png", "m.npy"])
    def test_stated_values_become_indices(
        self, name: str, values: list[int], write_image: WriteImage, tmp_path: Path
    ) -> None:
        indices = RNG.integers(0, len(values), SHAPE)
        path = write_image(tmp_path / name, np.array(values, np.uint8)[indices])
        np.testing.assert_array_equal(read(path, mask_values=values), indices)

    def test_their_number_is_enough_where_masks_hold_indices(self, write_image: WriteImage, tmp_path: Path) -> None:
        path = write_image(tmp_path / "m.png", filled(0, 3, 1, 255))
        np.testing.assert_array_equal(read(path, num_classes=4, ignore_index=255), filled(0, 3, 1, VOID))
        assert MaskEncoding.of_keys(num_classes=4).num_classes == 4

    def test_void_may_be_0(self, write_image: WriteImage, tmp_path: Path) -> None:
        path = write_image(tmp_path / "m.png", filled(0, 1, 2, 3))
        mask = read(path, mask_values=[1, 2, 3], ignore_index=0)
        np.testing.assert_array_equal(mask, filled(VOID, 0, 1, 2))

    def test_blurred_classes_of_a_jpeg_go_to_the_nearest_value(self, write_image: WriteImage, tmp_path: Path) -> None:
        indices = np.repeat([[0], [0], [1], [1], [2], [2]], 5, 1)
        path = write_image(tmp_path / "m.jpg", np.array([0, 100, 200], np.uint8)[indices])
        np.testing.assert_array_equal(read(path, mask_values=[0, 100, 200]), indices)


def things(*values: int, size: int = 101, radius: int = 8) -> Array:
    """A disc of each value on 0, side by side."""
    mask = np.zeros((size, size), np.uint8)
    for i, value in enumerate(values):
        cv2.circle(mask, (size * (2 * i + 1) // (2 * len(values)), size // 2 + i), radius, value, -1)
    return mask


def as_jpeg(path: Path, mask: Array, quality: int) -> Pair:
    assert cv2.imwrite(str(path), mask, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return Pair(path.stem, FileRef(path), FileRef(path))


class TestJpegs:
    @pytest.mark.parametrize("quality", [50, 65, 80, 95])
    @pytest.mark.parametrize(("values", "keys"), [((100, 200), {}), ((127, 255), {}), ((100, 200), {"num_classes": 3})])
    def test_flat_areas_of_other_values_are_refused(
        self, quality: int, values: tuple[int, ...], keys: dict[str, Any], tmp_path: Path
    ) -> None:
        mask = things(*values, radius=15)
        pair = as_jpeg(tmp_path / "m.jpg", mask, quality)
        with pytest.raises(UserError, match=r"m\.jpg is a JPEG with flat areas of .* save masks as PNG, or") as caught:
            read_mask(pair, mask.shape, MaskEncoding.of_keys(**keys), [pair])
        (typed,) = re.findall(r"data\.mask_values=(\S+\]) to read", str(caught.value))
        assert json.loads(typed) == pytest.approx([0, *values], abs=1)  # JPEG rounds flat areas, too
        found = read_mask(pair, mask.shape, MaskEncoding.of_keys(mask_values=json.loads(typed)), [pair])
        assert np.mean(found == np.searchsorted([0, *values], mask)) > 0.95

    def test_the_values_of_all_masks_are_to_be_typed(self, tmp_path: Path) -> None:
        pairs = [as_jpeg(tmp_path / f"{value}.jpg", things(value, 200), 90) for value in (150, 60)]
        with pytest.raises(UserError, match=r"150\.jpg .* set data\.mask_values=\[0,60,150,200\]"):
            read_mask(pairs[0], (101, 101), MaskEncoding(), pairs)

    @pytest.mark.parametrize("radius", [1, 2, 3, 5, 8, 20])
    @pytest.mark.parametrize(("quality", "blur"), [(50, 0), (60, 1), (75, 0), (85, 1), (95, 0)])
    def test_blurred_outlines_are_no_classes(self, quality: int, radius: int, blur: float, tmp_path: Path) -> None:
        mask = things(255, 255, 255, radius=radius)
        blurred = cv2.GaussianBlur(mask, (0, 0), blur) if blur else mask
        mask = np.asarray(blurred > 127)
        found = read_mask(as_jpeg(tmp_path / "m.jpg", blurred, quality), mask.shape, MaskEncoding())
        assert np.mean(found != mask) < 0.01

    def test_a_lossy_webp_is_blurred_and_another_is_exact(self, tmp_path: Path) -> None:
        mask = np.zeros((60, 80), np.uint8)
        mask[12:41, 20:61] = 255
        path = tmp_path / "m.webp"
        for quality in (70, 95):
            Image.fromarray(mask).save(path, quality=quality)
            found = read_mask(Pair("a", FileRef("a.png"), FileRef(path)), mask.shape, MaskEncoding())
            assert np.mean(found != mask // 255) < 0.01
        Image.fromarray(mask // 85).save(path, quality=95)
        with pytest.raises(UserError, match=r"m\.webp is a lossy WebP whose values end at [0-9]+, not 255; save masks"):
            read_mask(Pair("a", FileRef("a.png"), FileRef(path)), mask.shape, MaskEncoding())
        Image.fromarray(mask // 255).save(path, lossless=True)
        found = read_mask(Pair("a", FileRef("a.png"), FileRef(path)), mask.shape, MaskEncoding.of_keys(3))
        np.testing.assert_array_equal(found, mask // 255)


class TestPalettes:
    def test_their_indices_count(self, tmp_path: Path) -> None:
        path = write_palette(tmp_path / "m.png", filled(0, 2, 3, 255), VOC_PALETTE * 64)
        np.testing.assert_array_equal(read(path, num_classes=4, ignore_index=255), filled(0, 2, 3, VOID))

    def test_indices_of_other_formats_count(self, tmp_path: Path) -> None:
        for name in ("m.tif", "m.bmp", "m.gif"):
            path = write_palette(tmp_path / name, filled(0, 1, 2, 2), VOC_PALETTE)
            np.testing.assert_array_equal(read(path, num_classes=3), filled(0, 1, 2, 2), name)

    def test_a_map_of_land_cover_is_read_by_its_classes(self, tmp_path: Path) -> None:
        path, size = tmp_path / "m.tif", dict(zip(("height", "width"), SHAPE, strict=True))
        with rasterio.open(path, "w", driver="GTiff", count=1, dtype="uint8", compress="lzw", **size) as file:
            file.write(filled(0, 1, 2, 2), 1)
            file.write_colormap(1, {number: (number, 99, 255 - number) for number in range(256)})
        np.testing.assert_array_equal(read(path, num_classes=3), filled(0, 1, 2, 2))

    def test_two_indices_are_binary(self, tmp_path: Path) -> None:
        path = write_palette(tmp_path / "m.png", BINARY["mixed"], VOC_PALETTE[:6])
        np.testing.assert_array_equal(read(path), BINARY["mixed"])

    def test_of_grey_ones_the_levels_count(self, tmp_path: Path) -> None:
        path = write_palette(tmp_path / "m.png", ~BINARY["mixed"], [255, 255, 255, 0, 0, 0])  # 0 is white
        np.testing.assert_array_equal(read(path), BINARY["mixed"])

    def test_with_stated_colours_their_colours_count(self, tmp_path: Path) -> None:
        path = write_palette(tmp_path / "m.png", filled(0, 1, 2), VOC_PALETTE)
        mask = read(path, mask_colours=[[0, 128, 0], [128, 0, 0], [0, 0, 0]])
        np.testing.assert_array_equal(mask, filled(2, 1, 0))

    def test_broken_ones_are_named(self, tmp_path: Path) -> None:
        path = write_palette(tmp_path / "m.png", np.tile(filled(0, 1, 2), (20, 20)), VOC_PALETTE)
        path.write_bytes(path.read_bytes()[:-30])
        with pytest.raises(UserError, match=r"m\.png can't be read as an image"):
            read(path, num_classes=3)


class TestColours:
    COLOURS = ((0, 0, 0), (255, 0, 0), (0, 0, 255), (224, 224, 192))

    def test_stated_ones_become_indices_and_void(self, write_image: WriteImage, tmp_path: Path) -> None:
        path = write_image(tmp_path / "m.png", filled(*self.COLOURS))
        mask = read(path, mask_colours=self.COLOURS[:3], ignore_index=self.COLOURS[3])
        np.testing.assert_array_equal(mask, filled(0, 1, 2, VOID))

    def test_a_grey_file_among_them_has_grey_colours(self, write_image: WriteImage, tmp_path: Path) -> None:
        path = write_image(tmp_path / "m.png", filled(0, 255))
        mask = read(path, mask_colours=[[0, 0, 0], [255, 0, 0], [255, 255, 255]])
        np.testing.assert_array_equal(mask, filled(0, 2))

    def test_jpegs_of_neighbouring_values_are_refused(self, tmp_path: Path) -> None:
        pair = as_jpeg(tmp_path / "m.jpg", things(1, 2), 95)
        with pytest.raises(UserError, match=r"m\.jpg is a JPEG, which blurs values as close as 0,1,2; save"):
            read_mask(pair, (101, 101), MaskEncoding.of_keys(3, None, None, None))

    def test_jpegs_and_other_channels_are_refused(self, write_image: WriteImage, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"m\.jpg is a JPEG, which blurs colours; save masks as PNG"):
            read(write_image(tmp_path / "m.jpg", filled(*self.COLOURS)), mask_colours=self.COLOURS)
        with pytest.raises(UserError, match=r"m\.npy holds 2 channels of uint8; save masks as"):
            read(write_image(tmp_path / "m.npy", filled((0, 1), (1, 0))))


class TestAdvice:
    @pytest.mark.parametrize(
        ("present", "keys", "typed"),
        [
            ([0, 7], {}, "data.mask_values=[0,7]"),
            ([0, 1, 2], {}, "data.num_classes=3"),
            ([0, 100, 200], {}, "data.mask_values=[0,100,200]"),
            ([1, 255], {}, "data.mask_values=[1,255]"),
            ([0, 1, 255], {}, "data.ignore_index=255"),
            ([0, 1, 2, 255], {}, "data.num_classes=3 data.ignore_index=255"),
            ([0, 2, 255], {}, "data.mask_values=[0,2] data.ignore_index=255"),
            ([0, 50, 100], {"mask_values": [0, 100]}, "data.mask_values=[0,50,100]"),
            ([0, 3], {"num_classes": 3}, "data.mask_values=[0,3]"),
            ([0, 1, 2, 3], {"num_classes": 3}, "data.num_classes=4"),
            ([0, 1, 2, 9], {"ignore_index": 9}, "data.num_classes=3 data.ignore_index=9"),
            ([[0, 0, 0], [255, 0, 0]], {}, "data.mask_colours=[[0,0,0],[255,0,0]]"),
            ([[0, 0, 0], [0, 0, 255]], {"ignore_index": 255}, "data.mask_colours=[[0,0,0],[0,0,255]]"),
            (
                [[0, 0, 0], [0, 0, 9], [9, 0, 0]],
                {"mask_colours": [[0, 0, 0], [9, 0, 0]], "ignore_index": [0, 0, 9]},
                None,
            ),
            (
                [[0, 0, 0], [0, 0, 9], [9, 0, 0]],
                {"mask_colours": [[0, 0, 0], [8, 0, 0]], "ignore_index": [0, 0, 9]},
                "data.mask_colours=[[0,0,0],[9,0,0]] data.ignore_index=[0,0,9]",
            ),
        ],
    )
    def test_what_it_says_to_type_works(
        self,
        present: list[Any],
        keys: dict[str, Any],
        typed: str | None,
        write_image: WriteImage,
        tmp_path: Path,
    ) -> None:
        path = write_image(tmp_path / "m.png", filled(*present))
        if typed is not None:
            with pytest.raises(UserError, match=re.escape(f"for these, set {typed}")) as caught:
                read(path, **keys)
            assert "\n" not in str(caught.value)
            keys = {key: json.loads(value) for key, value in re.findall(r"data\.(\w+)=(\S+)", typed)}
        read(path, **keys)

    def test_255_may_be_a_class_too(self, write_image: WriteImage, tmp_path: Path) -> None:
        path = write_image(tmp_path / "m.png", filled(0, 7, 255))
        with pytest.raises(UserError, match=r"void pixels, data\.mask_values=\[0,7,255\] if it is a class$"):
            read(path)
        read(path, mask_values=[0, 7, 255])

    def test_it_lists_what_all_masks_hold(self, write_image: WriteImage, tmp_path: Path) -> None:
        paths = [write_image(tmp_path / f"{i}.png", filled(0, i)) for i in (2, 1, 3)]
        with pytest.raises(UserError, match=r"2\.png holds the values 0, 2, but .* set data\.num_classes=4$"):
            read(*paths)
        (tmp_path / "3.png").write_bytes(b"broken")
        with pytest.raises(UserError, match=r"2\.png holds the values 0, 2, but .* set data\.num_classes=3$"):
            read(*paths)

    def test_a_value_of_a_single_mask_and_of_few_pixels_is_to_be_mended(
        self, write_image: WriteImage, tmp_path: Path
    ) -> None:
        masks = [things(255) for _ in range(4)]
        masks[0][3, 4] = 77
        paths = [write_image(tmp_path / f"{i}.png", mask) for i, mask in enumerate(masks)]
        pairs = [Pair(path.stem, FileRef(path), FileRef(path)) for path in paths]
        with pytest.raises(
            UserError, match=r"0\.png holds 77 in 1 of its pixels, .* of 4 masks does; correct it"
        ) as caught:
            read_mask(pairs[0], (101, 101), MaskEncoding(), pairs)
        assert "ignore_index" not in str(caught.value)

    @pytest.mark.parametrize("shape", [(50, 50), (50, 50, 3)])
    def test_smooth_edges_are_no_classes(self, shape: tuple[int, ...], write_image: WriteImage, tmp_path: Path) -> None:
        path = write_image(tmp_path / "m.png", 2 * RNG.integers(1, 99, shape).astype(np.uint8))
        pair = Pair("a", FileRef(path), FileRef(path))
        with pytest.raises(UserError, match="a mask has one for each class; was it resized smoothly"):
            read_mask(pair, (50, 50), MaskEncoding())

    def test_another_size_than_the_image_is_refused(self, write_image: WriteImage, tmp_path: Path) -> None:
        path = write_image(tmp_path / "m.png", np.zeros((5, 6), np.uint8))
        with pytest.raises(UserError, match=r"m\.png is 5x6, its image 6x5"):
            read(path)

    @pytest.mark.parametrize(
        ("keys", "said"),
        [
            ({"num_classes": 0}, r"data\.num_classes=0 must be auto, or from 1"),
            ({"num_classes": 300}, r"data\.num_classes=300 must be auto, or from 1 \(binary\) to 255"),
            ({"mask_values": [0]}, r"data\.mask_values=\[0\] must be 2 to 255 different numbers"),
            ({"mask_values": [0, "a"]}, r"data\.mask_values=\[0, 'a'\] must be"),
            ({"mask_colours": [[0, 0, 0], [0, 0, 0]]}, r"data\.mask_colours=.* must be 2 to 255 different colours"),
            ({"mask_colours": [[0, 0, 0], [0, 0, 256]]}, r"data\.mask_colours=.* must be 2 to 255 different colours"),
            ({"mask_colours": [0, 1]}, r"data\.mask_colours=\[0, 1\] must be 2 to 255 different colours"),
            ({"mask_values": [0, 1], "mask_colours": [[0, 0, 0], [1, 0, 0]]}, "are both set; keep the one"),
            ({"mask_values": [0, 9], "ignore_index": 9}, r"data\.ignore_index=9 is the value of a class too"),
            ({"num_classes": 9, "ignore_index": 3}, r"data\.ignore_index=3 is the value of a class too"),
            ({"ignore_index": 0}, r"data\.ignore_index=0 is the value of a class too"),
            ({"ignore_index": [1, 2, 3]}, r"data\.ignore_index=\[1, 2, 3\] must be a whole number"),
            ({"ignore_index": 9, "mask_colours": [[0, 0, 0], [1, 0, 0]]}, "must be a colour, as in"),
        ],
    )
    def test_mistakes_in_the_keys_are_named(self, keys: dict[str, Any], said: str) -> None:
        with pytest.raises(UserError, match=said):
            MaskEncoding.of_keys(**keys)


def advice_on(masks: list[Array], folder: Path) -> str:
    """Write masks as .npy and return what the error about them advises."""
    pairs = []
    for index, mask in enumerate(masks):
        np.save(folder / f"{index}.npy", mask)
        pairs.append(Pair(str(index), FileRef(folder / "image.png"), FileRef(folder / f"{index}.npy")))
    with pytest.raises(UserError) as caught:
        read_mask(pairs[0], masks[0].shape[:2], MaskEncoding(), pairs)
    assert len(str(caught.value)) < 400
    return caught.value.fix


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_minus_one_beside_classes_is_taken_for_void_and_the_advice_reads_it(dtype: Any, tmp_path: Path) -> None:
    mask = np.tile(np.array([-1, 0, 1], dtype), (6, 2))
    advice = advice_on([mask, mask], tmp_path)
    assert (
        advice
        == "for these, set data.ignore_index=-1 if -1 marks void pixels, data.mask_values=[-1,0,1] if it is a class"
    )
    pair = Pair("0", FileRef(tmp_path / "image.png"), FileRef(tmp_path / "0.npy"))
    read = read_mask(pair, mask.shape, MaskEncoding.of_keys(ignore_index=-1))
    np.testing.assert_array_equal(read, np.tile([VOID, 0, 1], (6, 2)))
    read = read_mask(pair, mask.shape, MaskEncoding.of_keys(mask_values=[-1, 0, 1]))
    np.testing.assert_array_equal(read, np.tile([0, 1, 2], (6, 2)))


def test_the_advice_on_masks_of_two_fractions_makes_a_mask_that_is_read(tmp_path: Path) -> None:
    mask = np.tile(np.array([0, 0.5], np.float32), (6, 3))
    command = advice_on([mask, mask], tmp_path).partition("in Python: ")[2]
    exec(command.replace('"mask.png"', repr(str(tmp_path / "mask.png"))), {"cv2": cv2, "np": np, "mask": mask})
    pair = Pair("0", FileRef(tmp_path / "image.png"), FileRef(tmp_path / "mask.png"))
    np.testing.assert_array_equal(read_mask(pair, mask.shape, MaskEncoding()), mask > 0)


def test_many_values_are_not_all_listed(tmp_path: Path) -> None:
    mask = np.arange(160, dtype=np.uint8).reshape(10, 16)
    assert advice_on([mask, mask], tmp_path).endswith("; if they are classes, set data.num_classes=160")
