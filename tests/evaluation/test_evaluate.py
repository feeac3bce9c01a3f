"""scripts/evaluate.py on trained runs: its scores, its files, its report in a browser."""

import csv
import importlib.util
import json
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import WritePairs
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from unetkit.errors import UserError
from unetkit.evaluation import Summary
from unetkit.training.records import Summary as RunSummary
from unetkit.training.run import train

ROOT = Path(__file__).parents[2]
QUIET = [
    "trainer.enable_progress_bar=false",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=1",
    "model=plain_small",
    "model.channels=[4,8]",
]
TINY = ["data.count=24", "data.size=36", "data.batch_size=8", *QUIET]


def run(folder: Path, *overrides: str) -> RunSummary:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("train", [*overrides, f"run_dir={folder}", f"data.cache_dir={folder.parent / 'cache'}"])
    return train(cfg)


def evaluate(*overrides: str) -> Summary:
    """What the script does, in this process, as starting one takes seconds."""
    spec = importlib.util.spec_from_file_location("evaluate", ROOT / "scripts" / "evaluate.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("evaluate", ["bootstrap=100", "device=cpu", *overrides])
    summary: Summary = script.evaluate(cfg)
    return summary


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluate")


@pytest.fixture(scope="module")
def trained(place: Path) -> tuple[Path, RunSummary]:
    return place / "first", run(place / "first", *TINY)


@pytest.fixture(scope="module")
def compared(place: Path, trained: tuple[Path, RunSummary]) -> Path:
    """The output of evaluating two runs, the second of which was trained on other images."""
    run(place / "second", *TINY, "seed=1")
    output = place / "compared"
    done = subprocess.run(
        [sys.executable, "scripts/evaluate.py", f"checkpoint=[{trained[0]},{place / 'second'}]", f"output={output}"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "second less first, per_image/iou: " in done.stdout
    assert "images were trained on" not in done.stdout
    assert f"wrote report.html, scores.csv, summary.json and figures/ to {output}" in done.stdout
    assert "images that second was trained on" in done.stderr
    return output


def test_scores_are_those_of_the_run(trained: tuple[Path, RunSummary], tmp_path: Path) -> None:
    folder, summary = trained
    found = evaluate(f"checkpoint={folder / 'checkpoints' / 'last.ckpt'}", f"output={tmp_path}")
    scores = found["models"]["first"]["scores"]
    names = {
        "pooled/iou": "iou",
        "per_image/iou": "iou_per_image",
        "per_image/dice": "dice",
        "per_image/kaggle": "kaggle",
    }
    for ours, theirs in names.items():
        assert scores[ours]["value"] == pytest.approx(summary[f"val/{theirs}"], abs=1e-4)
        assert scores[ours]["low"] <= scores[ours]["value"] <= scores[ours]["high"]
    assert found["images"] == summary["data"]["val"]
    assert found["warnings"] == []


def test_the_files_that_are_promised(compared: Path) -> None:
    summary = json.loads((compared / "summary.json").read_text())
    with (compared / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * summary["images"]
    for name in ("first", "second"):
        mean = np.mean([float(row["iou"]) for row in rows if row["model"] == name])
        assert summary["models"][name]["scores"]["per_image/iou"]["value"] == pytest.approx(mean, abs=1e-6)
    gap = summary["differences"]["second"]["per_image/iou"]
    ours, theirs = (summary["models"][name]["scores"]["per_image/iou"]["value"] for name in ("second", "first"))
    assert gap["value"] == pytest.approx(ours - theirs)
    figures = {path.name for path in (compared / "figures").iterdir()}
    stems = ("differences", "threshold", "precision_recall", "reliability", "coverage", "confusion")
    assert figures == {f"{stem}.{kind}" for stem in stems for kind in ("svg", "png")}
    assert cv2.imread(str(compared / "figures" / "threshold.png")) is not None


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


def test_the_report_needs_nothing_from_outside(compared: Path) -> None:
    page = References()
    page.feed((compared / "report.html").read_text())
    assert not page.tags & {"script", "link", "iframe", "object", "base"}
    assert all(reference.startswith(("data:image/", "#")) for reference in page.loaded)
    assert "url(" not in page.text
    assert "@import" not in page.text
    for said in ("first against second", "Kaggle's score", "tuning on the test images", "ECE", "Worst", "Empty images"):
        assert said in page.text


def test_the_report_opens_in_a_browser_without_a_complaint(compared: Path) -> None:
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
        page.goto((compared / "report.html").as_uri())
        broken = page.evaluate("[...document.images].filter(i => !i.complete || i.naturalWidth === 0).length")
        sideways = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        browser.close()
    assert said == []
    assert all(url.startswith(("file:", "data:")) for url in asked)
    assert (broken, sideways) == (0, 0)


def test_several_classes(place: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = place / "layers"
    for folder in ("images", "masks"):
        (data / folder).mkdir(parents=True)
    for i in range(12):
        classes = np.sort(rng.integers(0, 3, (32, 1)), axis=0).repeat(24, 1)
        cv2.imwrite(str(data / "images" / f"{i}.png"), classes * 80 + rng.integers(0, 60, classes.shape))
        cv2.imwrite(str(data / "masks" / f"{i}.png"), classes * 100)
        (place / "indices" / "masks").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place / "indices" / "masks" / f"{i}.png"), classes)
    shutil.copytree(data / "images", place / "indices" / "images")
    options = [
        "data=folder",
        f"data.root={data}",
        "data.mask_values=[0,100,200]",
        "data.class_names=[air,sea,rock]",
        "model.num_classes=3",
        "monitor=val/iou",
    ]
    summary = run(place / "classes", *options, *QUIET)
    found = evaluate(f"checkpoint={place / 'classes'}", f"output={tmp_path}")
    scores = found["models"]["classes"]["scores"]
    assert scores["pooled/iou"]["value"] == pytest.approx(summary["val/iou"], abs=1e-4)
    assert scores["per_image/dice"]["value"] == pytest.approx(summary["val/dice"], abs=1e-4)
    by_class = found["models"]["classes"]["classes"]
    assert list(by_class) == ["sea", "rock"]
    mean = np.mean([by_class[name]["pooled/iou"]["value"] for name in by_class])
    assert scores["pooled/iou"]["value"] == pytest.approx(mean)
    assert "Scores of each class" in (tmp_path / "report.html").read_text()
    with (tmp_path / "scores.csv").open(newline="") as file:
        assert "iou_rock" in next(csv.DictReader(file))
    others = evaluate(f"checkpoint={place / 'classes'}", f"input={place / 'indices'}", f"output={tmp_path}")
    assert list(others["models"]["classes"]["classes"]) == ["sea", "rock"]


def test_other_images(place: Path, trained: tuple[Path, RunSummary], tmp_path: Path) -> None:
    """A folder is scored whole, and names of training images are noticed."""
    (source,) = (place / "cache").glob("synthetic-*")
    everything = evaluate(f"checkpoint={trained[0]}", f"input={source}", f"output={tmp_path}", f"cache_dir={tmp_path}")
    assert everything["images"] == 24
    assert f"{trained[1]['data']['train']} of the 24 images" in everything["warnings"][0]
    by_name = ["data=folder", f"data.root={source}", f"data.cache_dir={tmp_path}", "data.num_classes=1"]
    same = evaluate(f"checkpoint={trained[0]}", *by_name, f"output={tmp_path}")
    assert same["models"] == everything["models"]


def test_a_checkpoint_without_its_run_may_know_the_images(trained: tuple[Path, RunSummary], tmp_path: Path) -> None:
    alone = shutil.copy(trained[0] / "checkpoints" / "last.ckpt", tmp_path / "alone.ckpt")
    data = ["data=synthetic", *TINY[:2], f"data.cache_dir={trained[0].parent / 'cache'}"]
    (warning,) = evaluate(f"checkpoint={alone}", *data, f"output={tmp_path / 'a'}")["warnings"]
    assert "alone was trained on images of synthetic, but its run's records are not beside it" in warning
    ensemble = tmp_path / "cv" / "ensemble"  # as scripts/cross_validate.py leaves it
    ensemble.mkdir(parents=True)
    shutil.move(alone, ensemble / "fold-0.ckpt")
    for record in ("config.yaml", "split.csv"):
        (tmp_path / "cv" / "fold-0").mkdir(exist_ok=True)
        shutil.copy(trained[0] / record, tmp_path / "cv" / "fold-0" / record)
    (warning,) = evaluate(f"checkpoint={tmp_path / 'cv'}", *data, f"output={tmp_path / 'b'}")["warnings"]
    assert f"{trained[1]['data']['train']} of the 24 images have the names" in warning


def test_a_run_that_scored_only_the_centre_is_named(trained: tuple[Path, RunSummary], tmp_path: Path) -> None:
    shutil.copytree(trained[0], tmp_path / "centre")
    config = tmp_path / "centre" / "config.yaml"
    config.write_text(config.read_text().replace("mirror_border: true", "mirror_border: false"))
    found = evaluate(f"checkpoint={tmp_path / 'centre'}", f"output={tmp_path}")
    assert "centre was trained with mirror_border=false" in found["warnings"][0]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        # What is called is written elsewhere in the file and only referred to.
        ({"data.pairs": "${evil}", "evil": {"_target_": "pandas.read_pickle"}}, "asks for pandas.read_pickle"),
        ({"data._target_": "${evil}", "evil": "pandas.read_pickle"}, "asks for pandas.read_pickle"),
        ({"data.pairs": r"\${oc.create:{_target_:pandas.read_pickle}}"}, "which train.py never writes"),
        ({"data.pairs": "${oc.create:{_target_:pandas.read_pickle}}"}, "asks for pandas.read_pickle"),
        ({"data.root": "${nowhere}"}, "can't be read"),
        ({"data": None}, "does not say which data"),
    ],
)
def test_a_strangers_run_directory_runs_no_code(
    trained: tuple[Path, RunSummary], tmp_path: Path, wrong: dict[str, object], said: str
) -> None:
    shutil.copytree(trained[0], tmp_path / "strange")
    cfg = OmegaConf.load(tmp_path / "strange" / "config.yaml")
    for key, value in wrong.items():
        OmegaConf.update(cfg, key, value, merge=False)
    OmegaConf.save(cfg, tmp_path / "strange" / "config.yaml")
    with pytest.raises(UserError, match=said):
        evaluate(f"checkpoint={tmp_path / 'strange'}", f"output={tmp_path / 'out'}")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "checkpoint= is missing"),
        (["checkpoint=nowhere.ckpt"], "checkpoint=nowhere.ckpt does not exist"),
        (["checkpoint=[{run},{run}]", "names=[a,b]"], "last.ckpt twice; name each once"),
        (["checkpoint=[]"], "checkpoint=[] names no file"),
        (["checkpoint={run}", "seed=-1"], "seed=-1 must be a whole number of at least 0"),
        (["checkpoint={run}", "names=[1,2]"], "names=1,2 must be 1 different names"),
        (["checkpoint={run}", "output=null"], "output=null must be one path"),
        (["checkpoint={run}", "part=half"], "part=half must be one of train, val, test, all"),
        (
            ["checkpoint={run}", "part=test"],
            "part=test names a part that the data does not have",
        ),
        (["checkpoint={run}", "input=/nowhere"], "input=/nowhere does not exist"),
        (["checkpoint={run}", "input={single}"], "single holds fewer than two labelled images"),
        (["checkpoint={run}", "input={taken}"], "taken must hold images/ and masks/, or train/"),
        (
            ["checkpoint={run}", "input=x", "data=folder"],
            "input=x and data=folder both say which images to score",
        ),
        (["checkpoint={run}", "data=folder"], "data.root is not set"),
        (["checkpoint={run}", "data=folder", "data.folds=0"], "data.folds=0 must be a whole number of at least 1"),
        (["checkpoint={run}", "bootstrap=3"], "bootstrap=3 must be a whole number of at least 100"),
        (["checkpoint={run}", "device=abacus"], "device=abacus must be auto"),
        (["checkpoint={run}", "output=/proc/none"], "output=/proc/none can't be written"),
        (["checkpoint={run}", "output={taken}"], "/taken can't be written"),
        (["checkpoint={loose}"], "lies in no run directory"),
        (["checkpoint={strange}"], "asks for os.system; if you trust it, give data= and data.root="),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_mistakes_are_named(
    trained: tuple[Path, RunSummary], write_pairs: WritePairs, tmp_path: Path, options: list[str], said: str
) -> None:
    pixels = {"a": np.zeros((9, 9), np.uint8)}
    single = write_pairs(tmp_path / "single", pixels, pixels)
    loose, strange = tmp_path / "a.ckpt", tmp_path / "strange"
    shutil.copy(trained[0] / "checkpoints" / "last.ckpt", loose)
    shutil.copytree(trained[0], strange)
    config = (strange / "config.yaml").read_text()
    (strange / "config.yaml").write_text(config.replace("unetkit.data.synthetic_pairs", "os.system"))
    taken = tmp_path / "taken"
    (taken / "report.html").mkdir(parents=True)  # where the file should go
    places = {"run": trained[0], "loose": loose, "strange": strange, "taken": taken, "single": single}
    filled = [option.format(**places) for option in options]
    with pytest.raises(UserError) as error:
        evaluate(f"cache_dir={tmp_path}", *filled)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
