"""`unetkit compare`: means, paired differences and wins of runs, from the scores.csv that they left."""

import csv
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from conftest import Unetkit
from hydra import compose, initialize_config_dir

from unetkit.cli import compare as command
from unetkit.errors import UserError
from unetkit.evaluation import Comparison, compare_runs, read_runs
from unetkit.evaluation.bootstrap import drawn_means, seed_resamples
from unetkit.training.cross_validation import cross_validate

ROOT = Path(__file__).parents[2]
Scores = Mapping[str, tuple[float, float, float]]  # Kaggle's, IoU, Dice, by image


def write(folder: Path, *, shares: float = 0.25, **models: Scores) -> Path:
    """A scores.csv of models."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "scores.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["model", "id", "true_share", "iou", "dice", "kaggle"])
        for model, scores in models.items():
            rows.writerows([model, id, shares, iou, dice, kaggle] for id, (kaggle, iou, dice) in scores.items())
    return folder


def compare(*overrides: str) -> Comparison:
    """Do what the command does, in this process."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return command.compare(compose("compare", ["bootstrap=200", *overrides]))


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Of five images, three in common: differences of Kaggle's score +0.2, 0 and -0.1."""
    base = {"a": (0.5, 0.6, 0.7), "b": (1.0, 1.0, 1.0), "c": (0.3, 0.2, 0.4), "d": (0.0, 0.0, 0.0)}
    other = {"c": (0.2, 0.1, 0.3), "b": (1.0, 1.0, 1.0), "a": (0.7, 0.9, 0.8), "e": (1.0, 1.0, 1.0)}
    return write(tmp_path / "base", model=base), write(tmp_path / "other", model=other)


def test_images_are_paired_by_name(two: tuple[Path, Path]) -> None:
    found = compare_runs(read_runs(list(map(str, two)), None), 500, 0)
    assert found.ids == ["a", "b", "c"]
    assert found.means["base"]["kaggle"].value == pytest.approx(0.6)
    assert found.means["other"]["kaggle"].value == pytest.approx(1.9 / 3)
    assert found.differences["other"]["kaggle"].value == pytest.approx(0.1 / 3)
    assert found.differences["other"]["iou"].value == pytest.approx(0.2 / 3)
    np.testing.assert_allclose(found.gaps["kaggle"]["other"], [0.2, 0, -0.1], atol=1e-12)
    assert found.wins("other", "kaggle") == (1, 1)
    low, high = found.differences["other"]["kaggle"][1:]
    assert -0.1 <= low < 0.1 / 3 < high <= 0.2  # between the least and the largest of the three


def test_what_is_common_drops_out_of_the_interval(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    base = {str(i): (v := float(rng.random()), v, v) for i in range(200)}
    shifted = {id: (k + 0.01, i + 0.01, d + 0.01) for id, (k, i, d) in base.items()}
    folders = [str(write(tmp_path / name, x=scores)) for name, scores in (("base", base), ("shifted", shifted))]
    found = compare_runs(read_runs(folders, None), 500, 0)
    assert found.differences["shifted"]["kaggle"] == pytest.approx((0.01, 0.01, 0.01))
    assert found.means["base"]["kaggle"].high - found.means["base"]["kaggle"].low > 0.05


def test_seeds_of_one_recipe_are_taken_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    hardness = rng.random(300)
    folders = []
    for recipe, gain, spread in (("a", 0.0, 0.0), ("b", 0.02, 0.03)):
        for seed, luck in enumerate((-spread, 0.0, spread)):
            scores = {str(i): (v := hard + gain + luck, v, v) for i, hard in enumerate(hardness)}
            folder = write(tmp_path / f"{recipe}-{seed}", model=scores)
            (folder / "summary.json").write_text(json.dumps({"epochs": 12, "seed": seed}))
            folders.append(str(folder))
    a, b = read_runs(folders, ["a"] * 3 + ["b"] * 3)
    assert (a.name, len(a.seeds), a.facts) == ("a", 3, {"epochs": 12, "seed": "0, 1, 2"})
    value, low, high = compare_runs([a, b], 2000, 0).differences["b"]["kaggle"]
    assert value == pytest.approx(0.02)
    # both draws of the unlucky seed: one resample in 9, so more than 2.5 %; images drop out
    assert (low, high) == pytest.approx((0.02 - 0.03, 0.02 + 0.03), abs=1e-4)
    lucky = compare_runs(read_runs([folders[0], folders[5]], None), 2000, 0).differences["b-2"]["kaggle"]
    assert lucky == pytest.approx((0.05, 0.05, 0.05))  # one seed each: the interval knows nothing of seeds


def test_the_spread_of_few_seeds_is_not_too_small() -> None:
    for values in ([0.0, 1.0], [0.0, 1.0, 5.0]):
        scores = torch.tensor(values, dtype=torch.float64)[:, None]  # of one image
        drawn = drawn_means(scores, torch.ones(20_000, 1), seed_resamples(len(values), 20_000, 0))
        assert drawn.std() == pytest.approx(scores.std().item() / len(values) ** 0.5, rel=0.02)  # the standard error
        assert drawn.mean() == pytest.approx(scores.mean().item(), rel=0.02)


@pytest.mark.slow
def test_the_command_tells_what_it_found(two: tuple[Path, Path], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "scripts/compare.py", f"runs=[{two[0]},{two[1]}]", f"output={tmp_path}", "bootstrap=200"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "better on 1 images, worse on 1" in done.stdout
    assert done.stdout.splitlines()[-1].endswith(f"differences.png to {tmp_path}")


def test_folders_may_be_typed_without_the_key(two: tuple[Path, Path], tmp_path: Path, unetkit: Unetkit) -> None:
    done = unetkit("compare", *map(str, two), f"output={tmp_path / 'out'}", "bootstrap=200")
    assert done.status == 0, done.stderr
    assert "better on 1 images, worse on 1" in done.stdout


def test_a_comparison_is_told_and_written(two: tuple[Path, Path], tmp_path: Path) -> None:
    (two[1] / "fold-0").mkdir()
    facts = {"parameters": 114_886, "epochs": 120, "seed": 47, "seconds": 1.5}
    (two[1] / "fold-0" / "summary.json").write_text(json.dumps(facts))
    (two[1] / "summary.json").write_text(json.dumps({"tta": "flip", "seed": 47}))
    output = tmp_path / "out"
    told = command.described(compare(f"runs=[{two[0]},{two[1]}]", f"output={output}", "metrics.primary=kaggle"))
    assert told[0] == "base (without 1 images that not all runs were scored on), the baseline"
    assert told[1].split()[:2] == ["kaggle", "0.6000"]
    assert told[-1].endswith("better on 1 images, worse on 1")
    header, _, first, second = (output / "comparison.md").read_text().splitlines()
    assert header.startswith("| run | parameters | epochs | seed | images | Kaggle's score | difference")
    assert first.startswith("| base | - | - | - | 3 | 0.6000 | - | - |")
    assert second.startswith("| other | 114,886 | 120 | 47 | 3 | 0.6333 | +0.0333 (")
    base, other = csv.DictReader((output / "comparison.csv").open())
    assert (base["kaggle_difference"], other["kaggle_difference"]) == ("", "0.033333")
    written = json.loads((output / "comparison.json").read_text())
    assert (written["baseline"], written["images"], written["resamples"]) == ("base", 3, 200)
    assert [row["run"] for row in written["runs"]] == ["base", "other"]
    assert written["runs"][1]["kaggle_difference"] == float(other["kaggle_difference"])
    picture = cv2.imread(str(output / "differences.png"))
    assert picture is not None
    assert len(np.unique(picture)) > 10


def test_what_else_changes_the_scores_is_told(two: tuple[Path, Path], tmp_path: Path) -> None:
    summaries: list[dict[str, Any]] = [
        {"tta": "none", "folds": {}, "data": {"folds": 5}, "warnings": []},
        {"tta": "flip", "folds": {}, "data": {"folds": 2}, "warnings": ["3 images were trained on."]},
    ]
    for folder, summary in zip(two, summaries, strict=True):
        (folder / "summary.json").write_text(json.dumps(summary))
    runs = f"runs=[{two[0]},{two[1]}]"
    told = command.described(compare(runs, f"output={tmp_path / 'out'}"))[-3:]
    assert told == [
        "tta differs (base: none, other: flip), which alone changes scores; score all with the same tta",
        "the number of folds differs (base: 5, other: 2), so that networks learnt from different shares of the images; "
        "cross-validate all with the same data.folds",
        "other: 3 images were trained on.",
    ]
    assert (tmp_path / "out" / "comparison.md").read_text().split("\n\n")[1:] == [*told[:2], f"{told[2]}\n"]
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["caveats"] == told
    (two[1] / "summary.json").write_text(json.dumps(summaries[0]))
    assert compare(runs, f"output={tmp_path / 'out'}").caveats == []


@pytest.mark.slow
def test_cross_validations_that_were_run(tmp_path: Path) -> None:
    tiny = ["data.count=24", "data.size=36", "data.folds=2", "model=plain_small", "model.channels=[4,8]"]
    quick = ["trainer.accelerator=cpu", "trainer.max_epochs=1", "trainer.enable_progress_bar=false"]
    for seed in (0, 1):
        places = [f"run_dir={tmp_path / f'seed{seed}'}", f"data.cache_dir={tmp_path / 'cache'}"]
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            options = [*tiny, *quick, *places, "cross_validation.bootstrap=100", f"seed={seed}"]
            cross_validate(compose("cross_validate", options))
    found = compare(f"runs={tmp_path}/seed*", "names=[first,second]", f"output={tmp_path / 'out'}")
    assert [run.name for run in found.runs] == ["first", "second"]
    assert [run.facts["seed"] for run in found.runs] == [0, 1]
    summaries = [json.loads((tmp_path / f"seed{seed}" / "summary.json").read_text()) for seed in (0, 1)]
    theirs = [s["models"]["out of fold"]["scores"]["per_image/kaggle"]["value"] for s in summaries]
    ours = [found.means[run]["kaggle"].value for run in ("first", "second")]
    assert ours == pytest.approx(theirs, abs=1e-5)
    assert found.differences["second"]["kaggle"].value == pytest.approx(theirs[1] - theirs[0], abs=1e-5)


def test_an_evaluation_of_two_models_is_two_runs(two: tuple[Path, Path], tmp_path: Path) -> None:
    scores = {"a": (0.5, 0.6, 0.7)}
    write(tmp_path / "run" / "evaluation", old=scores, new=scores)
    write(tmp_path / "single" / "evaluation", best=scores)
    assert [run.name for run in read_runs(str(tmp_path / "run"), None)] == ["old", "new"]
    assert [run.name for run in read_runs([str(tmp_path / "single"), str(two[0])], None)] == ["single", "base"]
    assert [run.name for run in read_runs(str(two[0] / "scores.csv"), None)] == ["base"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([], "runs= is missing; give"),
        (["runs=[{base}]"], r"runs= names one run \(base has 4\); name at least two"),
        (["runs=[{base},{apart}]"], r"runs= have 0 images in common \(base has 4, apart has 1\)"),
        (["runs=[{base},{masks}]"], "1 of the 1 images that masks and base have in common, such as a, have another"),
        (["runs=[{base},{empty}]"], r"runs=.*empty holds no scores.csv; write it with .*unetkit evaluate checkpoint="),
        (["runs=[{base},{wrong}]"], r"runs=.*wrong.scores.csv can't be read as the scores.csv of an evaluation"),
        (["runs=[{base},{again}]"], r"with equal names \(base,base\); give names="),
        (["runs=[{base},{base}/scores.csv]", "names=[x,x]"], "runs= names .*base/scores.csv twice; name each"),
        (["runs=[{base},{other}]", "names=5"], "names=5 must be 2 names, one for each run"),
        (["runs=[{base},{other}]", "names=[x]"], "names=x must be 2 names, one for each run"),
        (["runs=[{base},{other}]", "names=[x,x]"], r"runs= names one run \(x has 3\)"),
        (["runs=[{base},{other}]", "bootstrap=3"], "bootstrap=3 must be a whole number of at least 100"),
        (["runs=[{base},{other}]", "output=/proc/none"], "output=/proc/none can't be written"),
    ],
)  # fmt: skip
def test_mistakes_are_named(overrides: list[str], said: str, two: tuple[Path, Path], tmp_path: Path) -> None:
    places = {"base": two[0], "other": two[1], "empty": tmp_path / "empty", "wrong": tmp_path / "wrong"}
    places["apart"] = write(tmp_path / "apart", model={"z": (1.0, 1.0, 1.0)})
    places["masks"] = write(tmp_path / "masks", model={"a": (1.0, 1.0, 1.0)}, shares=0.3)
    places["again"] = write(tmp_path / "again" / "base", model={"a": (1.0, 1.0, 1.0)})
    places["empty"].mkdir()
    places["wrong"].mkdir()
    (places["wrong"] / "scores.csv").write_text("id,iou\na,1\n")
    with pytest.raises(UserError, match=said):
        compare(*(override.format(**places) for override in overrides))
