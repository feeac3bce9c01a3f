"""The page as the command serves it, used in Chromium."""

import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import WriteImage, free_port
from demo_models import PIXELS, SECTION, saved

import unetkit

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


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
    assert process.returncode == 0
    assert [line for line in complaints.splitlines() if not line.startswith("warning: refused GET ")] == []
    assert "stopped" in said
    assert not list((folder / "tmp").glob("unetkit-demo-*"))


def start(folder: Path, *options: str) -> tuple[subprocess.Popen[str], str]:
    port = free_port()
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
