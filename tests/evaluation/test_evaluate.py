"""`unetkit evaluate` on trained runs: its scores, its files, what it warns of, its mistakes."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import Unetkit, WritePairs
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from unetkit.cli.evaluate import chosen_images, described, evaluate
from unetkit.errors import UserError
from unetkit.evaluation import Summary, check_images, measure, open_models, resamples, summarise
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


def config(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("evaluate", ["bootstrap=100", "device=cpu", *overrides])


def score(*overrides: str) -> Summary:
    """Do what the command does, in this process and without its files, which take most of the time."""
    cfg = config(*overrides)
    models = open_models(cfg.checkpoint, cfg.names, cfg.device, cfg.tta)
    images = chosen_images(models[0], cfg)
    warnings = check_images(models, images)
    measured = [measure(model.name, model.predictor, images, images.classes) for model in models]
    return {**summarise(measured, resamples(len(measured[0].ids), 100, 0)), "warnings": warnings}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluate")


@pytest.fixture(scope="module")
def trained(place: Path) -> tuple[Path, RunSummary]:
    return place / "first", run(place / "first", *TINY)


@pytest.fixture(scope="module")
def second(place: Path) -> Path:
    """A run that was trained on other images of the same data."""
    run(place / "second", *TINY, "seed=1")
    return place / "second"


def test_scores_are_those_of_the_run(trained: tuple[Path, RunSummary]) -> None:
    folder, summary = trained
    found = score(f"checkpoint={folder / 'checkpoints' / 'last.ckpt'}")
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


def test_two_runs_are_compared_in_files(trained: tuple[Path, RunSummary], second: Path, tmp_path: Path) -> None:
    found = evaluate(config(f"checkpoint=[{trained[0]},{second}]", f"output={tmp_path}"))
    assert any(line.startswith("second minus first, per_image/iou: ") for line in described(found))
    (warning,) = found["warnings"]
    assert "images that second was trained on" in warning
    summary = json.loads((tmp_path / "summary.json").read_text())
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * summary["images"]
    for name in ("first", "second"):
        mean = np.mean([float(row["iou"]) for row in rows if row["model"] == name])
        assert summary["models"][name]["scores"]["per_image/iou"]["value"] == pytest.approx(mean, abs=1e-6)
    gap = summary["differences"]["second"]["per_image/iou"]
    ours, theirs = (summary["models"][name]["scores"]["per_image/iou"]["value"] for name in ("second", "first"))
    assert gap["value"] == pytest.approx(ours - theirs)
    assert "first against second" in (tmp_path / "report.html").read_text()


def test_the_difference_that_is_told_is_that_of_the_class_that_leads(
    trained: tuple[Path, RunSummary], second: Path, tmp_path: Path
) -> None:
    typed = f"checkpoint=[{trained[0]},{second}]", f"output={tmp_path}", "metrics.primary=dice/foreground"
    found = evaluate(config(*typed))
    (line,) = (line for line in described(found) if line.startswith("second minus first, per_image/dice/foreground: "))
    assert f"{found['differences']['second']['per_image/dice/foreground']['value']:+.4f}" in line
    page = (tmp_path / "report.html").read_text().partition('id="compared"')[2]
    assert page.index("Dice of foreground, per image") < page.index("IoU, per image")


@pytest.mark.slow
def test_the_command_tells_scores_and_files(trained: tuple[Path, RunSummary], second: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "scripts/evaluate.py", f"checkpoint=[{trained[0]},{second}]", f"output={tmp_path}"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "second minus first, per_image/iou: " in done.stdout
    assert f"wrote report.html, scores.csv, summary.json and figures/ to {tmp_path}" in done.stdout
    assert "images that second was trained on" in done.stderr
    assert "images that second was trained on" not in done.stdout


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
    found = evaluate(config(f"checkpoint={place / 'classes'}", f"output={tmp_path}"))
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
    others = score(f"checkpoint={place / 'classes'}", f"input={place / 'indices'}", f"cache_dir={tmp_path}")
    assert list(others["models"]["classes"]["classes"]) == ["sea", "rock"]


# By name: the value or colour of each class index (255: void), and what is typed for it.
CODES: dict[str, tuple[dict[int, list[int]], list[str]]] = {
    "two values, the brighter one the background": ({0: [200], 1: [100]}, ["data.mask_values=[200,100]"]),
    "values and void": ({0: [0], 1: [100], 255: [7]}, ["data.mask_values=[0,100]", "data.ignore_index=7"]),
    "colours": ({0: [0, 0, 0], 1: [0, 128, 0], 2: [9, 9, 9]}, ["data.mask_colours=[[0,0,0],[0,128,0],[9,9,9]]"]),
}


@pytest.mark.parametrize("name", [next(iter(CODES)), *(pytest.param(k, marks=pytest.mark.slow) for k in [*CODES][1:])])
def test_masks_of_other_images_are_read_as_those_of_the_run(name: str, tmp_path: Path, write_pairs: WritePairs) -> None:
    """As `data.mask_values=[0,100]` was typed in training, and `input=` ended in a stack trace."""
    code, typed = CODES[name]
    rng = np.random.default_rng(0)
    classes = {f"{i}": rng.choice([*code], (2, 2)).repeat(16, 0).repeat(16, 1) for i in range(8)}
    images = {id: np.uint8(indices % 250 * 60 + rng.integers(0, 50, (32, 32))) for id, indices in classes.items()}
    masks = {
        id: np.array([code[k] for k in x.flat], np.uint8).reshape(32, 32, -1).squeeze() for id, x in classes.items()
    }
    root = write_pairs(tmp_path / "data", images, masks)
    of_classes = ["data.class_names=[rock,salt,sand]", "model.num_classes=3"] if name == "colours" else []
    run(tmp_path / "run", "data=folder", f"data.root={root}", *typed, *of_classes, *QUIET)
    found = score(f"checkpoint={tmp_path / 'run'}", "part=all")["models"]["run"]
    alone = shutil.copy(tmp_path / "run" / "checkpoints" / "last.ckpt", tmp_path / "run.ckpt")
    cache = [f"cache_dir={tmp_path / 'c'}"]
    for way in ([f"input={root}"], ["data=folder", f"data.root={root}"], [f"input={root}", "data=folder", *typed]):
        same = score(f"checkpoint={alone}", *cache, *way)["models"]["run"]
        assert same["scores"].keys() == found["scores"].keys()
        for score_name, values in same["scores"].items():
            assert values == pytest.approx(found["scores"][score_name], rel=1e-6), score_name
        assert same["empty_masks"] == found["empty_masks"]  # by names of classes


def test_keys_of_data_may_be_typed_beside_input(
    trained: tuple[Path, RunSummary], tmp_path: Path, write_pairs: WritePairs, unetkit: Unetkit
) -> None:
    image = {"a": np.zeros((16, 16), np.uint8), "b": np.full((16, 16), 9, np.uint8)}
    root = write_pairs(tmp_path / "data", image, {name: np.eye(16, dtype=np.uint8) * 7 for name in image})
    typed = ["evaluate", f"checkpoint={trained[0]}", f"input={root}", f"output={tmp_path / 'out'}", "bootstrap=100"]
    done = unetkit(*typed, "device=cpu")
    assert done.status == 1
    assert "data.mask_values=[0,7]" in done.stderr  # the advice, which is typed next
    done = unetkit(*typed, "device=cpu", "data.mask_values=[0,7]")
    assert (done.status, done.stdout.splitlines()[-1][:8]) == (0, "2 images"), done.stderr


def test_a_folder_is_scored_whole_and_names_of_training_images_are_noticed(
    place: Path, trained: tuple[Path, RunSummary], tmp_path: Path
) -> None:
    (source,) = (place / "cache").glob("synthetic-*")
    everything = score(f"checkpoint={trained[0]}", f"input={source}", f"cache_dir={tmp_path}")
    assert everything["images"] == 24
    assert f"{trained[1]['data']['train']} of the 24 images" in everything["warnings"][0]
    by_name = ["data=folder", f"data.root={source}", f"data.cache_dir={tmp_path}", "data.num_classes=1"]
    same = score(f"checkpoint={trained[0]}", *by_name)
    assert same["models"] == everything["models"]


def test_a_checkpoint_without_its_run_may_know_the_images(trained: tuple[Path, RunSummary], tmp_path: Path) -> None:
    alone = shutil.copy(trained[0] / "checkpoints" / "last.ckpt", tmp_path / "alone.ckpt")
    data = ["data=synthetic", *TINY[:2], f"data.cache_dir={trained[0].parent / 'cache'}"]
    (warning,) = score(f"checkpoint={alone}", *data)["warnings"]
    assert "alone was trained on images of synthetic, but its run's records are not beside it" in warning
    ensemble = tmp_path / "cv" / "ensemble"  # as a cross-validation leaves it
    ensemble.mkdir(parents=True)
    shutil.move(alone, ensemble / "fold-0.ckpt")
    for record in ("config.yaml", "split.csv"):
        (tmp_path / "cv" / "fold-0").mkdir(exist_ok=True)
        shutil.copy(trained[0] / record, tmp_path / "cv" / "fold-0" / record)
    (warning,) = score(f"checkpoint={tmp_path / 'cv'}", *data)["warnings"]
    assert f"{trained[1]['data']['train']} of the 24 images have the names" in warning


def test_a_run_that_scored_only_the_centre_is_named(trained: tuple[Path, RunSummary], tmp_path: Path) -> None:
    shutil.copytree(trained[0], tmp_path / "centre")
    config = tmp_path / "centre" / "config.yaml"
    config.write_text(config.read_text().replace("mirror_border: true", "mirror_border: false"))
    found = score(f"checkpoint={tmp_path / 'centre'}")
    assert "centre was trained with mirror_border=false" in found["warnings"][0]


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
        (["checkpoint={run}", "input={taken}"], "taken holds no image"),
        (
            ["checkpoint={run}", "input=x", "data=folder", "data.root=y"],
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
    written = (strange / "config.yaml").read_text()
    (strange / "config.yaml").write_text(written.replace("unetkit.data.synthetic_pairs", "os.system"))
    taken = tmp_path / "taken"
    (taken / "report.html").mkdir(parents=True)  # where the file should go
    places = {"run": trained[0], "loose": loose, "strange": strange, "taken": taken, "single": single}
    filled = [option.format(**places) for option in options]
    with pytest.raises(UserError) as error:
        evaluate(config(f"cache_dir={tmp_path}", *filled))
    assert said in str(error.value)
    assert "\n" not in str(error.value)
