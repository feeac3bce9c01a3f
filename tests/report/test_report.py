"""The report of two models: its figures, and a page that loads nothing from elsewhere."""

import shutil
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from unetkit.checkpoints.checkpoint import build_network, save_weights
from unetkit.checkpoints.metadata import Metadata
from unetkit.data import Preprocessing
from unetkit.evaluation import images_of_folder, open_models
from unetkit.report import evaluate_models

NETWORK = {"_target_": "unetkit.models.UNet", "in_channels": 1, "num_classes": 1, "channels": [4, 8]}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of evaluating two untrained networks on nine images, of which three are empty."""
    folder, rng = tmp_path_factory.mktemp("report"), np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / "data" / name).mkdir(parents=True)
    for i in range(9):
        image = rng.integers(0, 256, (24, 20)).astype(np.uint8)
        cv2.imwrite(str(folder / "data" / "images" / f"{i}.png"), image)
        cv2.imwrite(str(folder / "data" / "masks" / f"{i}.png"), np.where(image > 100, 255, 0) * (i % 3 > 0))
    for seed, name in enumerate(("first", "second")):
        torch.manual_seed(seed)
        metadata = Metadata(NETWORK, Preprocessing(1, None, (0.5,), (0.25,)), 0.5, {"name": "test"})
        save_weights(folder / f"{name}.ckpt", metadata, build_network(NETWORK, name).state_dict())
    models = open_models([str(folder / "first.ckpt"), str(folder / "second.ckpt")], None, "cpu")
    images = images_of_folder(folder / "data", folder / "cache", models[0])
    evaluate_models(models, images, folder / "out", 100, 0)
    return folder / "out"


def test_figures_are_written_as_svg_and_png(report: Path) -> None:
    figures = {path.name for path in (report / "figures").iterdir()}
    stems = ("differences", "threshold", "precision_recall", "reliability", "coverage", "confusion")
    assert figures == {f"{stem}.{kind}" for stem in stems for kind in ("svg", "png")}
    assert cv2.imread(str(report / "figures" / "threshold.png")) is not None


class References(HTMLParser):
    """Collects what a page could load, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        self.text += " ".join(value or "" for name, value in attrs if name == "style")

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_report_needs_nothing_from_outside(report: Path) -> None:
    page = References()
    page.feed((report / "report.html").read_text())
    assert not page.tags & {"script", "link", "iframe", "object", "base"}
    assert all(reference.startswith(("data:image/", "#")) for reference in page.loaded)
    assert "url(" not in page.text
    assert "@import" not in page.text
    for said in ("first against second", "Kaggle's score", "tuning on the test images", "ECE", "Worst", "Empty images"):
        assert said in page.text


@pytest.mark.slow
def test_the_report_opens_in_a_browser_without_a_complaint(report: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium here")
    said, asked = [], []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 400, "height": 800})
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((report / "report.html").as_uri())
        broken = page.evaluate("[...document.images].filter(i => !i.complete || i.naturalWidth === 0).length")
        sideways = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        browser.close()
    assert said == []
    assert all(url.startswith(("file:", "data:")) for url in asked)
    assert (broken, sideways) == (0, 0)
