from pathlib import Path

import cv2
import numpy as np

from unetkit.plots.images import (
    CELL,
    CLASS_COLOURS,
    GAP,
    GREY,
    LINE,
    class_colours,
    heatmap,
    overlay,
    sheet,
    to_rgb,
    visible,
    write_png,
)


def test_an_overlay_tints_only_the_foreground() -> None:
    image = np.full((20, 20), 100, np.uint8)
    mask = np.zeros((20, 20), np.uint8)
    mask[5:15, 5:15] = 1
    mask[0, 0] = 255  # void
    picture = overlay(image, mask)
    assert (picture[mask != 1] == 100).all()
    assert (picture[5, 5] == CLASS_COLOURS[0]).all()  # the outline
    assert (picture[10, 10] == (0.65 * 100 + 0.35 * CLASS_COLOURS[0]).astype(np.uint8)).all()


def test_a_class_0_that_is_no_background_is_tinted_and_named() -> None:
    image, mask = np.full((20, 20), 100, np.uint8), np.repeat([[0, 1]], 10, 1).repeat(20, 0).astype(np.uint8)
    assert (overlay(image, mask)[10, 5] == 100).all()
    assert (overlay(image, mask, has_background=False)[10, 5] == (0.65 * 100 + 0.35 * np.array(GREY)).astype(int)).all()
    names = ["road", "car", "tree"]
    assert list(class_colours(names)) == names[1:]
    assert class_colours(names, has_background=False)["road"] == GREY


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


def test_a_row_of_a_sheet_is_as_high_as_its_highest_picture() -> None:
    flat, square = np.zeros((40, 160), np.uint8), np.zeros((160, 160), np.uint8)
    heights = [sheet([row], ["a", "b"], ["c"]).shape[0] for row in ([flat, flat], [flat, square], [square, square])]
    assert heights[0] + 120 == heights[1] == heights[2]


def test_a_legend_shows_the_colour_and_name_of_each_class_that_is_tinted() -> None:
    names = ["rock", *(f"a class with the name {i}" for i in range(1, 11))]
    rows = [[np.zeros((9, 9), np.uint8)] * 4]
    plain, with_legend = (sheet(rows, ["a"], ["b"], class_colours(some)) for some in (names[:2], names))
    np.testing.assert_array_equal(plain, sheet(rows, ["a"], ["b"]))  # of one class there is nothing to tell apart
    np.testing.assert_array_equal(with_legend[-len(plain) :], plain)
    above = with_legend[: -len(plain)]
    assert above.shape[0] > 2 * LINE  # ten names need several lines
    shown = [(above == colour).all(2).sum() for colour in CLASS_COLOURS[:11]]
    assert shown == [(LINE - GAP) ** 2] * 10 + [0]


def test_every_class_has_a_colour_of_its_own() -> None:
    assert len(CLASS_COLOURS) == 254
    assert len(np.unique(CLASS_COLOURS, axis=0)) == 254
    of_voc = CLASS_COLOURS[:20].astype(int)
    assert np.abs(of_voc[:, None] - of_voc).max(2)[np.triu_indices(20, 1)].min() > 30


def test_a_png_has_the_colours_of_its_picture(tmp_path: Path) -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[..., 0] = 200
    write_png(tmp_path / "new" / "a.png", picture)
    read = cv2.imread(str(tmp_path / "new" / "a.png"))
    assert read is not None
    assert read[0, 0].tolist() == [0, 0, 200]  # OpenCV reads blue first


def test_a_caption_stands_above_its_row() -> None:
    white = np.full((40, 40), 255, np.uint8)
    picture = sheet([[white]], ["a"], ["a caption"])
    ink = np.flatnonzero((picture < 128).any((1, 2)))
    headings, caption = ink[ink < LINE + GAP], ink[ink >= LINE + GAP]
    assert headings.size
    assert caption.size
    assert caption.max() < LINE + GAP + LINE  # before the row begins
    black = sheet([[np.zeros_like(white)]], ["a"], ["a caption"])
    rows = np.flatnonzero((black == 0).all(2).sum(1) >= CELL)
    assert (rows.min(), len(rows)) == (LINE + GAP + LINE, CELL)


def test_dark_images_are_made_visible_and_others_stay() -> None:
    rng = np.random.default_rng(0)
    dark = rng.integers(0, 16, (50, 60), np.uint8)  # as 12 bits of 16
    assert visible(dark).max() == 255
    assert visible(dark).min() == 0
    assert np.corrcoef(dark.ravel(), visible(dark)[..., 0].ravel())[0, 1] > 0.99
    bright = rng.integers(0, 256, (50, 60, 3), np.uint8)
    np.testing.assert_array_equal(visible(bright), bright)
    flat = np.full((50, 60), 7, np.uint8)
    np.testing.assert_array_equal(visible(flat)[..., 0], flat)  # there is nothing to see
    dark[:5] = 60  # of which a part, drawn like the whole, keeps its greys
    np.testing.assert_array_equal(visible(dark[10:20], like=dark), visible(dark)[10:20])
    mask = np.zeros((50, 60), np.uint8)
    mask[10:20, 10:20] = 1
    assert visible(dark)[:5].min() == 255
    np.testing.assert_array_equal(overlay(dark, mask)[30:], visible(dark)[30:])
