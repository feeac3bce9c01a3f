"""Examples, uploads and results of the demo, as the page shows them."""

import base64
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import WriteImage
from demo_models import EIGHT_BIT, PIXELS, SECTION, SIXTEEN_BIT, model
from numpy.typing import NDArray

from unetkit.data import Preprocessing
from unetkit.data.files import FileRef
from unetkit.demo import folder_examples, synthetic_examples
from unetkit.demo.result import predict, respond, show
from unetkit.demo.uploads import read_limited
from unetkit.errors import UserError


def downloaded(page: str) -> NDArray[np.uint8]:
    """The mask that the link of a result holds."""
    (content,) = re.findall(r'download="[^"]*" href="data:image/png;base64,([^"]+)"', page)
    mask = cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_UNCHANGED)
    assert mask is not None
    return mask.astype(np.uint8)


@pytest.mark.parametrize("preprocessing", [EIGHT_BIT, SIXTEEN_BIT])
def test_examples_are_of_the_kind_that_the_checkpoint_takes(preprocessing: Preprocessing) -> None:
    examples = synthetic_examples(preprocessing)
    pixels = [preprocessing.to_uint8(example.read()) for example in examples]
    assert all(example.thumbnail.shape[2] == 3 for example in examples)
    assert np.mean([image.std() for image in pixels]) > 20  # the whole range of values is used
    assert model(preprocessing=preprocessing).predictor(examples[0].read()).mask.shape == (101, 101)


def test_a_folder_gives_the_examples_that_can_be_shown(
    tmp_path: Path, write_image: WriteImage, caplog: pytest.LogCaptureFixture
) -> None:
    write_image(tmp_path / "good.png", SECTION)
    write_image(tmp_path / "deep.png", SECTION.astype(np.uint16))
    write_image(tmp_path / "large.tif", np.zeros((201, 200), np.uint8))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no more")
    (example,) = folder_examples(str(tmp_path), EIGHT_BIT, PIXELS)
    assert example.name == "good.png"
    assert (example.read() == SECTION).all()
    assert [record.getMessage().split()[2] for record in caplog.records] == ["broken.png", "deep.png", "large.tif"]


@pytest.mark.parametrize("folder", ["", "nowhere", 2026])
def test_a_folder_without_examples_is_a_mistake(
    tmp_path: Path, folder: str | int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"examples=.* is no folder with images"):
        folder_examples(folder or str(tmp_path), EIGHT_BIT, PIXELS)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
def test_uploads_keep_their_depth(tmp_path: Path, write_image: WriteImage, suffix: str) -> None:
    image = np.arange(5000, 5012, dtype=np.uint16).reshape(3, 4)
    read = read_limited(FileRef(write_image(tmp_path / f"a{suffix}", image)), PIXELS)
    assert read.dtype == np.uint16
    assert (read == image).all()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".npy"])
def test_too_many_pixels_are_refused_by_the_header(tmp_path: Path, write_image: WriteImage, suffix: str) -> None:
    path = write_image(tmp_path / f"a{suffix}", np.zeros((201, 200), np.uint8))
    if suffix == ".png":
        path.write_bytes(path.read_bytes()[:60])  # the pixels are not even there
    with pytest.raises(UserError, match=rf"^a\{suffix} has 200 x 201 pixels, but this page takes 40,000 at most"):
        read_limited(FileRef(path), PIXELS)


def test_a_result_at_the_threshold_of_the_checkpoint_is_its_prediction() -> None:
    chosen = model()
    expected = chosen.predictor(SECTION)
    result = predict(chosen, "a.png", SECTION)
    assert (result.mask_at(0.5) == expected.mask).all()
    strict = model()
    strict.predictor.min_area = int(expected.mask.sum()) + 1
    assert expected.mask.any()
    assert not predict(strict, "a.png", SECTION).mask_at(0.5).any()
    median = float(np.median(expected.probability))
    page = show(result, median)
    assert (downloaded(page) == 255 * (expected.probability > median)).all()
    assert "50 x 30 pixels" in page
    assert "foreground 50.0%" in page


def test_classes_have_colours_a_legend_and_indices() -> None:
    chosen = replace(model(4), class_names=("background", "salt", "<water>"))
    result = predict(chosen, "a.png", SECTION)
    page = show(result, 0.99)
    mask = chosen.predictor(SECTION).mask
    assert not chosen.is_binary
    assert (downloaded(page) == mask).all()
    labels = [label for label in (1, 2, 3) if (mask == label).any()]
    assert len(labels) > 1
    names = ["", "salt", "&lt;water&gt;", "class 3"]
    assert all(f"{names[label]} {(mask == label).mean():.1%}" in page for label in labels)
    assert len(set(re.findall(r"rgb\([\d, ]+\)", page))) == len(labels)


@pytest.mark.parametrize("shape", [(3, 2000), (900, 700, 3), (1, 1)])
def test_any_size_is_shown(shape: tuple[int, ...]) -> None:
    page = show(predict(model(), "a.png", np.full(shape, 7, np.uint8)), 0.5)
    assert downloaded(page).shape == shape[:2]
    assert page.count("<img") == 4


def test_a_name_is_text_and_no_markup() -> None:
    page = show(predict(model(), '<b>"{{x}}".png', SECTION), 0.5)
    assert "<b>" not in page
    assert "{{" not in page


def test_an_image_that_one_of_two_checkpoints_takes_is_shown_by_that_one() -> None:
    shown = respond([model(), model(preprocessing=SIXTEEN_BIT)], "a.png", lambda: SECTION, [0.5, 0.5])
    notice, first, pictures, second, line = shown
    assert (notice, second) == ("", None)
    assert first.name == "a.png"
    assert "<img" in pictures
    assert "a.png is uint8, but the training images are 16-bit or float" in line
