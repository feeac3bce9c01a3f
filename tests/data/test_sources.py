"""Pairs are found in every documented layout, and masks become class indices; contradictions are named."""

import csv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import Array, WriteImage, WritePairs

from unetkit.data.decode import read_image
from unetkit.data.mask_encoding import MaskEncoding
from unetkit.data.masks import read_mask
from unetkit.data.pair import Pair
from unetkit.data.rle import encode_rle
from unetkit.data.sources import folder_pairs, synthetic_multiclass_pairs, synthetic_pairs, tgs_salt_pairs
from unetkit.errors import UserError

RNG = np.random.default_rng(0)
NAMES = ("a", "b", "c")
IMAGES = {name: np.repeat(RNG.integers(0, 256, (6, 5, 1), np.uint8), 3, 2) for name in NAMES}
BINARY = {"a": RNG.random((6, 5)) < 0.5, "b": np.zeros((6, 5), bool), "c": np.ones((6, 5), bool)}
MASKS = {name: mask.astype(np.uint16) * 65535 for name, mask in BINARY.items()}


def write_codes(root: Path, codes: dict[str, str], header: str = "id,rle_mask") -> Path:
    with (root / "train.csv").open("w", newline="") as file:
        file.write(f"{header}\n")
        csv.writer(file).writerows(codes.items())
    return root


def zip_folder(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*.*")):
            file.write(path, path.relative_to(folder))
    return archive


def mask_of(pair: Pair) -> Array:
    height, width = read_image(pair.image).shape[:2]
    return read_mask(pair, (height, width), MaskEncoding())


def ids(pairs: list[Pair]) -> list[str]:
    return [pair.id for pair in pairs]


class TestTgsSalt:
    @pytest.mark.parametrize("layout", ["train.zip", "train", "."])
    @pytest.mark.parametrize("with_codes", [True, False])
    def test_every_layout_gives_the_same_pairs(
        self, layout: str, with_codes: bool, write_pairs: WritePairs, tmp_path: Path
    ) -> None:
        root = tmp_path / "tgs"
        write_pairs(root / layout.removesuffix(".zip"), IMAGES, MASKS)
        if layout == "train.zip":
            (root / "train").rename(tmp_path / "unzipped")
            zip_folder(tmp_path / "unzipped", root / layout)
        if with_codes:
            write_codes(root, {name: encode_rle(mask) for name, mask in BINARY.items()})
        pairs = tgs_salt_pairs(str(root))
        assert ids(pairs) == list(NAMES)
        for pair in pairs:
            np.testing.assert_array_equal(read_image(pair.image), IMAGES[pair.id])
            np.testing.assert_array_equal(mask_of(pair), BINARY[pair.id])
            assert pair.split is None

    def test_codes_stand_in_for_missing_masks(self, write_pairs: WritePairs, tmp_path: Path) -> None:
        root = write_pairs(tmp_path, IMAGES, {"a": MASKS["a"]})
        write_codes(root, {name: encode_rle(mask) for name, mask in BINARY.items()})
        for pair in tgs_salt_pairs(root):
            np.testing.assert_array_equal(mask_of(pair), BINARY[pair.id])

    def test_an_image_with_neither_is_named(self, write_pairs: WritePairs, tmp_path: Path) -> None:
        root = write_codes(write_pairs(tmp_path, IMAGES, {"a": MASKS["a"]}), {"b": ""})
        with pytest.raises(UserError, match=r"1 images of .* neither a mask file nor a line in .*train\.csv.*as c"):
            tgs_salt_pairs(root)

    def test_a_mask_and_a_code_that_differ_are_named(self, write_pairs: WritePairs, tmp_path: Path) -> None:
        root = write_codes(write_pairs(tmp_path, IMAGES, MASKS), {"b": "3 1"})
        with pytest.raises(UserError, match=r"b\.png and the run-length code of b in train\.csv differ"):
            mask_of(tgs_salt_pairs(root)[1])

    @pytest.mark.parametrize("code", ["1 2 3", "x 1", "1 31"])
    @pytest.mark.parametrize("masks", [{}, MASKS])
    def test_a_wrong_code_is_named(
        self, code: str, masks: dict[str, Array], write_pairs: WritePairs, tmp_path: Path
    ) -> None:
        root = write_codes(write_pairs(tmp_path, IMAGES, masks), {"a": "", "b": code, "c": ""})
        with pytest.raises(UserError, match=r"the run-length code of b in train\.csv (is|has)"):
            mask_of(tgs_salt_pairs(root)[1])

    def test_a_csv_with_other_columns_is_refused(self, write_pairs: WritePairs, tmp_path: Path) -> None:
        root = write_codes(write_pairs(tmp_path, IMAGES, MASKS), {}, header="name,code")
        with pytest.raises(UserError, match=r"train\.csv must have the columns id,rle_mask, not name,code"):
            tgs_salt_pairs(root)

    def test_a_root_without_images_says_what_to_do(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"holds none of train\.zip, train/images/ and images/; .*prepare-tgs"):
            tgs_salt_pairs(tmp_path)
        with pytest.raises(UserError, match=r"data\.root is not set; .*prepare-tgs"):
            tgs_salt_pairs(None)
        with pytest.raises(UserError, match=r"gone does not exist; .*prepare-tgs"):
            tgs_salt_pairs(tmp_path / "gone")

    def test_a_broken_download_is_named(self, write_pairs: WritePairs, tmp_path: Path) -> None:
        archive = zip_folder(write_pairs(tmp_path / "x", IMAGES, MASKS), tmp_path / "train.zip")
        archive.write_bytes(archive.read_bytes()[:-40])
        with pytest.raises(UserError, match=r"train\.zip is not a complete zip"):
            tgs_salt_pairs(tmp_path)


class TestFolder:
    def test_pairs_of_equal_names_whatever_their_kind_and_size(self, write_image: WriteImage, tmp_path: Path) -> None:
        sizes = {"a.png": (6, 5), "b.jpg": (9, 7), "c.tif": (4, 4)}
        for name, size in sizes.items():
            write_image(tmp_path / "images" / name, RNG.integers(0, 256, size, np.uint8))
            write_image(tmp_path / "masks" / f"{name[0]}.png", np.ones(size, np.uint8))
        pairs = folder_pairs(tmp_path)
        assert ids(pairs) == ["a", "b", "c"]
        assert [pair.split for pair in pairs] == [None] * 3
        assert [mask_of(pair).shape for pair in pairs] == list(sizes.values())

    @pytest.mark.parametrize("suffix", ["_mask", "-gt", 1])
    def test_masks_may_have_a_suffix(self, suffix: str | int, write_pairs: WritePairs, tmp_path: Path) -> None:
        pairs = folder_pairs(write_pairs(tmp_path, IMAGES, MASKS, mask_suffix=str(suffix)), mask_suffix=suffix)
        for pair in pairs:
            np.testing.assert_array_equal(mask_of(pair), BINARY[pair.id])

    def test_a_suffix_that_is_no_text_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"data\.mask_suffix=None must be what a mask's name has"):
            folder_pairs(tmp_path, mask_suffix=None)  # type: ignore[arg-type]

    @pytest.mark.parametrize("zipped", [True, False])
    def test_given_parts_are_kept(self, zipped: bool, write_pairs: WritePairs, tmp_path: Path) -> None:
        for part in ("train", "val", "test"):
            folder = write_pairs(tmp_path / ("loose" if zipped else "root") / part, IMAGES, MASKS)
            if zipped:
                (tmp_path / "root").mkdir(exist_ok=True)
                zip_folder(folder, tmp_path / "root" / f"{part}.zip")
        pairs = folder_pairs(tmp_path / "root")
        assert [(pair.id, pair.split) for pair in pairs] == [
            (f"{part}/{name}", part) for part in ("train", "val", "test") for name in NAMES
        ]

    def test_without_val_only_the_test_part_is_given(self, write_pairs: WritePairs, tmp_path: Path) -> None:
        for part in ("train", "test"):
            write_pairs(tmp_path / part, IMAGES, MASKS)
        assert [pair.split for pair in folder_pairs(tmp_path)] == [None] * 3 + ["test"] * 3

    def test_a_zip_is_a_root(self, write_pairs: WritePairs, tmp_path: Path) -> None:
        pairs = folder_pairs(zip_folder(write_pairs(tmp_path / "x", IMAGES, MASKS), tmp_path / "mine.zip"))
        assert ids(pairs) == list(NAMES)

    def test_images_without_masks_are_named(self, write_pairs: WritePairs, tmp_path: Path) -> None:
        root = write_pairs(tmp_path, IMAGES, {"a": MASKS["a"]}, suffix=".jpg")
        with pytest.raises(UserError, match=r"2 images have no mask \(images/b\.jpg, images/c\.jpg\); add masks"):
            folder_pairs(root)

    def test_masks_without_an_image_are_named(self, write_pairs: WritePairs, tmp_path: Path) -> None:
        root = write_pairs(tmp_path, {"a": IMAGES["a"]}, MASKS)
        with pytest.raises(UserError, match=r"2 masks have no image \(masks/b\.png, masks/c\.png\); add the images"):
            folder_pairs(root)

    def test_two_files_of_one_name_are_named(self, write_pairs: WritePairs, tmp_path: Path) -> None:
        write_pairs(tmp_path, IMAGES, MASKS)
        write_pairs(tmp_path, {"a": IMAGES["a"]}, {}, suffix=".bmp")
        with pytest.raises(UserError, match=r"1 file has the same name .* \(images/a\.png\); keep one of each"):
            folder_pairs(tmp_path)

    def test_an_archive_beside_its_unpacked_folder_is_refused(self, write_pairs: WritePairs, tmp_path: Path) -> None:
        zip_folder(write_pairs(tmp_path / "train", IMAGES, MASKS), tmp_path / "train.zip")
        with pytest.raises(UserError, match=r"train and .*train\.zip are a folder and a zip of one name; keep one"):
            folder_pairs(tmp_path)

    def test_a_root_without_training_pairs_is_refused(self, write_pairs: WritePairs, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"holds no image .*: nothing is there"):
            folder_pairs(tmp_path)
        write_pairs(tmp_path / "val", IMAGES, MASKS)
        with pytest.raises(UserError, match="there are masks for val, but no train/"):
            folder_pairs(tmp_path)
        with pytest.raises(UserError, match=r"data\.root is not set; give the folder"):
            folder_pairs(None)

    @pytest.mark.parametrize(("name", "right"), [("valid", "val"), ("Validation", "val"), ("testing", "test")])
    def test_parts_of_another_name_are_read(
        self, name: str, right: str, write_pairs: WritePairs, tmp_path: Path
    ) -> None:
        write_pairs(tmp_path / "train", IMAGES, MASKS)
        write_pairs(tmp_path / name, IMAGES, MASKS)
        assert ids(folder_pairs(tmp_path)) == [f"{part}/{name}" for part in ("train", right) for name in NAMES]

    def test_accents_may_be_written_apart(self, write_pairs: WritePairs, tmp_path: Path) -> None:
        together, apart = "\u00e9", "e\u0301"
        write_pairs(tmp_path, {apart: IMAGES["a"]}, {together: MASKS["a"]})
        assert ids(folder_pairs(tmp_path)) == [together]

    def test_empty_folders_are_refused(self, tmp_path: Path) -> None:
        for name in ("images", "masks"):
            (tmp_path / name).mkdir()
        with pytest.raises(UserError, match=r"holds no image .*: only images/, masks/ is there"):
            folder_pairs(tmp_path)


def test_synthetic_pairs_are_written_once_and_read_like_tgs(tmp_path: Path) -> None:
    pairs = synthetic_pairs(tmp_path, count=3, size=32, seed=1)
    assert len(pairs) == 3
    assert {mask_of(pair).shape for pair in pairs} == {(32, 32)}
    assert synthetic_pairs(tmp_path, count=3, size=32, seed=1) == pairs
    assert synthetic_pairs(tmp_path, count=3, size=32, seed=2)[0].image.path.parent != pairs[0].image.path.parent


def test_synthetic_pairs_of_four_classes_are_written_once(tmp_path: Path) -> None:
    pairs = synthetic_multiclass_pairs(tmp_path, count=3, size=32, seed=1)
    assert ids(pairs) == ["00000", "00001", "00002"]
    assert {read_mask(pair, (32, 32), MaskEncoding.of_keys(4)).shape for pair in pairs} == {(32, 32)}
    assert synthetic_multiclass_pairs(tmp_path, count=3, size=32, seed=1) == pairs
