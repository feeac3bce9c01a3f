from pathlib import Path

import cv2
import numpy as np

from unetkit.pictures import CELL, CLASS_COLOURS, heatmap, overlay, sheet, to_rgb, write_png


def test_an_overlay_tints_the_foreground_alone() -> None:
    image = np.full((20, 20), 100, np.uint8)
    mask = np.zeros((20, 20), np.uint8)
    mask[5:15, 5:15] = 1
    mask[0, 0] = 255  # void
    picture = overlay(image, mask)
    assert (picture[mask != 1] == 100).all()
    assert (picture[5, 5] == CLASS_COLOURS[0]).all()  # the outline
    assert (picture[10, 10] == (0.65 * 100 + 0.35 * CLASS_COLOURS[0]).astype(np.uint8)).all()


def test_grey_and_colour_become_colour() -> None:
    assert to_rgb(np.zeros((3, 4), np.uint8)).shape == (3, 4, 3)
    assert to_rgb(np.zeros((3, 4, 1), np.uint8)).shape == (3, 4, 3)
    assert to_rgb(np.zeros((3, 4, 3), np.uint8)).shape == (3, 4, 3)


def test_a_heatmap_goes_from_dark_to_bright() -> None:
    low, high = heatmap(np.array([[0.0, 1.0]], np.float32))[0].astype(int)
    assert low.sum() < high.sum()


def test_a_sheet_holds_pictures_of_any_size() -> None:
    rows = [[np.zeros((10, 40), np.uint8), np.zeros((300, 200, 3), np.uint8)]] * 2
    picture = sheet(rows, ["a", "b"], ["first", "second"])
    assert picture.shape[1] >= 2 * CELL
    assert sheet([], ["a"], []).ndim == 3  # nothing to show is no error


def test_pngs_keep_colours(tmp_path: Path) -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[..., 0] = 200
    write_png(tmp_path / "new" / "a.png", picture)
    read = cv2.imread(str(tmp_path / "new" / "a.png"))
    assert read is not None
    assert read[0, 0].tolist() == [0, 0, 200]  # OpenCV reads blue first
