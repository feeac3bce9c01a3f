"""The demo's parts, and the page itself: served by the script, used in Chromium."""

import base64
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from conftest import WriteImage
from numpy.typing import NDArray

import unetkit
from unetkit.checkpoints.checkpoint import save_weights
from unetkit.checkpoints.metadata import Metadata
from unetkit.data import Preprocessing
from unetkit.data.files import FileRef
from unetkit.demo import Model, folder_examples, is_loopback, served, synthetic_examples
from unetkit.demo.images import read_limited
from unetkit.demo.results import predict, respond, show
from unetkit.errors import UserError
from unetkit.models import UNet
from unetkit.prediction.predictor import Predictor

ROOT = Path(__file__).parents[2]
EIGHT_BIT = Preprocessing(1, None, (0.5,), (0.25,))
SIXTEEN_BIT = Preprocessing(3, (100.0, 4000.0), (0.5,) * 3, (0.25,) * 3)
PIXELS = 40_000
SECTION = np.random.default_rng(0).integers(0, 256, (30, 50)).astype(np.uint8)


def network(classes: int = 1, channels: int = 1) -> UNet:
    torch.manual_seed(0)
    return UNet(channels, classes, [4, 8])


def model(classes: int = 1, preprocessing: Preprocessing = EIGHT_BIT) -> Model:
    return Model("a.ckpt", Predictor(network(classes, preprocessing.channels), preprocessing, 0.5), 100)


def saved(path: Path, classes: int) -> Path:
    config = {"_target_": "unetkit.models.UNet", "in_channels": 1, "num_classes": classes, "channels": [4, 8]}
    save_weights(path, Metadata(config, EIGHT_BIT, 0.6, {"name": "test"}), network(classes).state_dict())
    return path


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


@pytest.mark.parametrize(("host", "loopback"), [("127.0.0.1", True), ("localhost", True), ("0.0.0.0", False)])
def test_loopback_is_told_from_the_rest(host: str, loopback: bool) -> None:
    assert is_loopback(host) == loopback


def test_without_gradio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")  # put back at the end
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(UserError, match=r'pip install -e "\.\[demo\]"'), served([], [], 1, 1, "127.0.0.1", 1):
        pass


def test_a_port_in_use_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gradio")
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        examples = synthetic_examples(EIGHT_BIT)
        with (
            pytest.raises(UserError, match=f"port={port} can't be listened at"),
            served([model()], examples, PIXELS, 1, "127.0.0.1", port),
        ):
            pass


@dataclass
class Demo:
    """The script's process, and the page in a browser."""

    url: str
    checkpoints: list[Path]
    page: Any
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def reload(self) -> None:
        """Begin anew, with the results of the first example."""
        self.page.reload()
        self.page.locator("img.overlay").nth(1).wait_for()

    def upload(self, path: Path) -> None:
        self.page.locator("input[type=file]").set_input_files(path)

    def wait_for(self, text: str) -> None:
        self.page.get_by_text(text).first.wait_for()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The page with a binary checkpoint and one of three classes; Ctrl-C at the end must leave nothing."""
    pytest.importorskip("gradio")
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium")
    folder = tmp_path_factory.mktemp("demo")
    checkpoints = [saved(folder / f"{classes}.ckpt", classes) for classes in (1, 3)]
    (folder / "tmp").mkdir()
    process, url = start(folder, f"checkpoint=[{checkpoints[0]},{checkpoints[1]}]")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(180_000)  # ms; a machine may be busy
        it = Demo(url, checkpoints, page)
        page.on("request", lambda request: it.requests.append(request.url))
        page.on("pageerror", lambda error: it.errors.append(str(error)))
        page.on("console", lambda said: it.errors.append(said.text) if said.type == "error" else None)
        page.goto(url)
        page.locator("img.overlay").nth(1).wait_for()
        yield it
        browser.close()
    process.send_signal(signal.SIGINT)
    said, complaints = process.communicate(timeout=30)
    assert (process.returncode, complaints) == (0, "")
    assert "stopped" in said
    assert not list((folder / "tmp").glob("unetkit-demo-*"))


def start(folder: Path, *options: str) -> tuple[subprocess.Popen[str], str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "scripts/demo.py", f"port={port}", f"max_pixels={PIXELS}", "max_upload_mib=1", *options]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder / "tmp")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith(f"open http://127.0.0.1:{port}"), process.communicate()[1]
    return process, line.split()[1]


def test_the_page_opens_with_a_result_of_each_checkpoint(demo: Demo) -> None:
    demo.reload()
    assert demo.page.locator("img.mask").count() == 2
    assert demo.page.locator("input[type=range]:visible").count() == 1  # classes have no threshold
    assert demo.page.locator("input[type=number]:visible").input_value() == "0.6"
    assert "class " in demo.page.locator(".facts").nth(1).inner_text()


def test_an_example_and_the_threshold(demo: Demo) -> None:
    demo.page.locator("button.thumbnail-item").nth(2).click()
    demo.wait_for("section_4")
    for threshold, share in (("0.99", "0.0%"), ("0.01", "100.0%")):
        demo.page.locator("input[type=number]:visible").fill(threshold)
        demo.page.locator("input[type=number]:visible").press("Enter")
        demo.wait_for(f"foreground {share}")


def test_the_downloaded_masks_are_those_of_the_predictors(demo: Demo, tmp_path: Path, write_image: WriteImage) -> None:
    demo.reload()
    demo.upload(write_image(tmp_path / "mine.png", SECTION))
    demo.page.get_by_text("mine.png").nth(1).wait_for()
    for index, scale in ((0, 255), (1, 1)):
        with demo.page.expect_download() as download:
            demo.page.locator("a.download").nth(index).click()
        assert download.value.suggested_filename == "mine_mask.png"
        mask = cv2.imread(str(download.value.path()), cv2.IMREAD_UNCHANGED)
        assert mask is not None
        assert np.array_equal(mask, scale * unetkit.load(demo.checkpoints[index])(SECTION).mask)


def test_images_that_are_not_taken_get_a_line(demo: Demo, tmp_path: Path, write_image: WriteImage) -> None:
    demo.upload(write_image(tmp_path / "large.png", np.zeros((300, 200), np.uint8)))
    demo.wait_for("large.png has 200 x 300 pixels, but this page takes 40,000 at most")
    demo.upload(write_image(tmp_path / "deep.png", SECTION.astype(np.uint16)))
    demo.wait_for("deep.png is uint16, but the training images are 8-bit")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no more")
    demo.upload(tmp_path / "broken.png")
    demo.wait_for("broken.png can't be read as an image")
    demo.upload(write_image(tmp_path / "heavy.npy", np.zeros(2**20 + 1, np.uint8)))
    demo.wait_for("exceed the maximum allowed size of 1.0 Mb")


def test_the_page_asks_no_other_host_and_has_no_errors(demo: Demo) -> None:
    demo.errors.clear()
    demo.reload()
    demo.page.locator("button.thumbnail-item").nth(1).click()
    demo.wait_for("section_6")
    assert demo.errors == []
    assert len(demo.requests) > 10
    assert [url for url in demo.requests if not url.startswith((demo.url, "data:", "blob:"))] == []


@pytest.mark.parametrize("route", ["gradio_api/file=", "file=", "gradio_api/proxy="])
@pytest.mark.parametrize("file", ["/etc/passwd", "CHECKPOINT", "README.md", "../README.md"])
def test_no_other_file_is_served(demo: Demo, route: str, file: str) -> None:
    path = file.replace("CHECKPOINT", str(demo.checkpoints[0]))
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{demo.url}{route}{path}")
    assert refused.value.code in (400, 403, 404)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "error: checkpoint= is missing"),
        (["checkpoint=x.ckpt", "port=99999"], "error: port=99999 must be a whole number above 0 and below 65536"),
    ],
)
def test_mistakes_end_in_one_line(options: list[str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "scripts/demo.py", *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) == 1
