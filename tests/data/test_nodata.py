"""Numbers that stand for missing data are kept out of the range of values and the statistics, and are void."""

from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tiff_files import write_tiff

from unetkit.data import VOID, SegmentationDataModule, folder_pairs
from unetkit.data.nodata import nodata_values
from unetkit.errors import UserError

FLOAT32 = float(np.finfo(np.float32).min)


def test_an_image_of_huge_numbers_has_data() -> None:
    assert nodata_values(np.linspace(-1e200, 1e200, 900).reshape(30, 30)) == []
    assert nodata_values(np.full((3, 3), -1.7e308)) == [-1.7e308]


def pairs_with_a_gap(root: Path, value: float, dtype: Any, tag: str = "") -> NDArray[np.bool_]:
    """Write four images of 10 to 210 whose first 20 % are missing, with masks; gives where they are missing."""
    rng = np.random.default_rng(0)
    missing = np.zeros((30, 40), np.bool_)
    missing[:6] = True
    for i in range(4):
        image = rng.integers(10, 211, (30, 40, 1)).astype(dtype)
        image[missing] = value
        write_tiff(root / "images" / f"p{i}.tif", image, rgb=False, nodata=tag)
        mask = rng.integers(0, 2, (30, 40)).astype(np.uint8)
        (root / "masks").mkdir(exist_ok=True)
        assert cv2.imwrite(str(root / "masks" / f"p{i}.png"), mask * 255)
    return missing


def data_in(root: Path, **keys: Any) -> SegmentationDataModule:
    """Serve a folder."""
    keys = {"pairs": partial(folder_pairs, root), "augmentation": None, "cache_dir": root / "cache", **keys}
    return SegmentationDataModule(name="folder", **keys)


@pytest.mark.parametrize(
    ("value", "dtype", "tag"),
    [
        (-9999, np.float32, ""),
        (-9999, np.int16, ""),
        (-32768, np.int16, ""),
        (-2147483648, np.int32, ""),
        (FLOAT32, np.float32, ""),
        (-1.7976931348623157e308, np.float64, ""),
        (3.4e38, np.float32, ""),
        (-9999, np.float32, "-9999"),
        (FLOAT32, np.float32, "-3.4028234663852886e+38"),
        (65535, np.uint16, "65535"),
        (0, np.uint16, "0"),
        (300, np.int32, "300"),
        (np.nan, np.float32, "nan"),
    ],
)
def test_missing_data_is_void_and_moves_neither_range_nor_mean(
    value: float, dtype: Any, tag: str, tmp_path: Path
) -> None:
    missing = pairs_with_a_gap(tmp_path, value, dtype, tag)
    data = data_in(tmp_path)
    served = data.prepare(1)
    assert served.preprocessing.value_range == pytest.approx((10, 210), abs=1)
    for mask in served.whole.masks:
        assert (mask[missing] == VOID).all()
        assert (mask[~missing] < 2).all()
    train = [served.whole.images[i][~missing] / 255 for i in data.split.indices("train")]
    assert served.preprocessing.mean[0] == pytest.approx(np.mean(train), abs=1e-6)
    assert served.preprocessing.std[0] == pytest.approx(np.std(train), abs=1e-6)


def test_a_number_between_others_is_data() -> None:
    ramp = np.arange(-32768, 32767, dtype=np.int16).reshape(1, -1, 1)
    assert nodata_values(ramp) == []
    assert nodata_values(ramp.astype(np.float32)) == []
    assert nodata_values(np.arange(-9999, 9000, 100).astype(np.float32)) == []
    assert nodata_values(np.array([0, 255, 65535], np.uint16)) == []  # white is common


def test_a_range_that_is_given_rules(tmp_path: Path) -> None:
    pairs_with_a_gap(tmp_path, -9999, np.float32)
    served = data_in(tmp_path, value_range=[0, 300]).prepare(1)
    assert served.preprocessing.value_range == (0, 300)
    assert (served.whole.masks[0][:6] == VOID).all()
    around = data_in(tmp_path, value_range=[-10000, 300]).prepare(1)  # as train and doctor advise
    assert not (around.whole.masks[0] == VOID).any()


@pytest.mark.parametrize(
    ("wrong", "dtype", "said"),
    [
        ([5], np.float32, r"data\.value_range=\[5\] must be null or two rising numbers, as in \[0,4095\]"),
        ([5, 1], np.float32, "must be null or two rising numbers"),
        ("auto", np.float32, "must be null or two rising numbers"),
        ([0, 255], np.uint8, r"data\.value_range=\[0,255\] has no use: the images are 8-bit"),
    ],
)
def test_a_wrong_range_is_named(wrong: Any, dtype: Any, said: str, tmp_path: Path) -> None:
    pairs_with_a_gap(tmp_path, 9, dtype)
    with pytest.raises(UserError, match=said):
        data_in(tmp_path, value_range=wrong).prepare(1)
