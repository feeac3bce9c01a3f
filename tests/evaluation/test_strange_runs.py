"""Run directories of strangers, as evaluate, compare, export and resuming read them: one line for what is wrong."""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from unetkit.cli.evaluate import evaluate
from unetkit.data.splits import read_split
from unetkit.errors import UserError
from unetkit.evaluation import compare_runs, read_runs
from unetkit.paths import config_dir, quoted_for_hydra
from unetkit.plots.curves import draw_curves
from unetkit.report import model_card
from unetkit.report.comparison import markdown
from unetkit.training.run import train
from unetkit.training.run_data import data_of_run

OLD_RUN = Path(__file__).parents[1] / "training" / "old_run"
LAUGHS = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in zip("abcdefghi", "bcdefghij"))  # noqa: B905
Write = Callable[[Path], object]


def text(content: str | bytes) -> Write:
    return lambda file: file.write_bytes(content if isinstance(content, bytes) else content.encode())


def changed(old: str, new: str) -> Write:
    return lambda file: file.write_text(file.read_text().replace(old, new, 1))


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def device(file: Path) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


STRANGE: dict[str, tuple[Write, str]] = {
    "alias bomb": (text(LAUGHS), "holds a YAML alias"),
    "alias": (changed("cache_dir: cache", "x: &x [1]\n  y: *x"), "holds a YAML alias"),
    "deep": (text("[" * 60), "nests more than 50 containers"),
    "deep as can be": (text("[" * 100_000), "config.yaml "),
    "deep in blocks": (text("".join(" " * i + "a:\n" for i in range(500))), "nests more than 50 containers"),
    "large": (text("a: " + "b" * 2**21), "has 2,097,155 bytes, more than 1,048,576"),
    "code": (text("data: !!python/object/apply:os.system ['touch touched']"), "can't be read (ConstructorError"),
    "environment": (changed("name: synthetic", "name: ${oc.env:HOME}"), "holds '${', which train.py never writes"),
    "escaped": (changed("name: synthetic", r"name: \${oc.env:HOME}"), "holds '${', which train.py never writes"),
    "in a key": (changed("name: synthetic", '"${oc.env:HOME}": 1'), "holds '${', which train.py never writes"),
    "target": (changed("unetkit.data.synthetic_pairs", "os.system"), "asks for os.system; if you trust it"),
    "deeper target": (changed("border_weight:", "border_weight:\n    _target_: os.system"), "asks for os.system"),
    "target of another part": (changed("unetkit.data.synthetic_pairs", "unetkit.data.found.find_data"), "asks for"),
    "no data": (changed("data:", "other:"), "does not say which data"),
    "binary": (text(bytes(range(256)) * 20), "can't be read (UnicodeDecodeError"),
    "list": (text("- 1"), "is no configuration of train.py"),
    "empty": (text(""), "is no configuration of train.py"),
    "number": (text("1" * 9000), "can't be read (ValueError"),
    "key": (text("? [a]\n: 1"), "can't be read (ConstructorError"),
    "pipe": (pipe, "is not a regular file"),
    "device": (device, "is not a regular file"),
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was interrupted."""
    monkeypatch.chdir(tmp_path)  # its cache is a relative path
    return shutil.copytree(OLD_RUN, tmp_path / "run")


def evaluated(run: Path) -> None:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        place, output = quoted_for_hydra(str(run)), quoted_for_hydra(str(run / "evaluation"))
        options = ["cache_dir=mine", "bootstrap=100", "device=cpu"]
        evaluate(compose("evaluate", [f"checkpoint={place}", f"output={output}", *options]))


def resumed(run: Path) -> None:
    options = ["model=plain_small", "model.channels=[2,4]", "data.count=12", "data.size=24", "data.batch_size=4"]
    rest = ["callbacks=ema", "trainer.accelerator=cpu", "trainer.max_epochs=3", "data.cache_dir=mine"]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        train(compose("train", [*options, *rest, f"run_dir={run}", f"checkpoint={run}"]))


def check_said(error: UserError, said: str) -> None:
    assert said in str(error)
    assert len(str(error)) < 700
    assert "\n" not in str(error)
    assert not Path("touched").exists()


@pytest.mark.parametrize("kind", STRANGE)
def test_a_strange_configuration_is_told_and_nothing_in_it_is_followed(kind: str, run: Path) -> None:
    write, said = STRANGE[kind]
    write(run / "config.yaml")
    with pytest.raises(UserError) as error:
        data_of_run(run, "mine")
    check_said(error.value, said)


@pytest.mark.slow
@pytest.mark.parametrize("kind", STRANGE)
def test_commands_tell_a_strange_configuration(kind: str, run: Path) -> None:
    write, said = STRANGE[kind]
    write(run / "config.yaml")
    with pytest.raises(UserError) as error:
        evaluated(run)
    check_said(error.value, "lies in no run directory" if kind in ("pipe", "device") else said)
    if "target" not in kind and kind not in ("no data", "pipe", "device"):  # resuming builds nothing of it
        with pytest.raises(UserError) as error:
            resumed(run)
        check_said(error.value, said)


@pytest.mark.slow
def test_a_foreign_place_in_a_configuration_is_not_written_to(run: Path) -> None:
    (run / "config.yaml").write_text((run / "config.yaml").read_text().replace(": cache", f": {run.parent}/foreign"))
    evaluated(run)
    assert not (run.parent / "foreign").exists()
    assert list((run.parent / "mine").glob("synthetic-*"))
    assert (run / "evaluation" / "report.html").exists()


@pytest.mark.slow
def test_names_in_a_configuration_are_text_in_the_report(run: Path) -> None:
    evil = "<script>alert(1)</script>$\\frac$"
    changed("name: synthetic", f"name: '{evil}'")(run / "config.yaml")
    place = run.rename(run.with_name("a<b>$c$_{"))
    evaluated(place)
    report = (place / "evaluation" / "report.html").read_text()
    assert "<script>" not in report
    assert "<b>" not in report.partition("<h1>")[2].partition("</h1>")[0]
    assert "&lt;script&gt;alert(1)" in report


@pytest.mark.parametrize(
    "content", ["id,split\n" + "a" * 10**6 + ",val", "id\n1", "", "\x00", "id,split\na,val\na,train", b"\xff\xfe,"]
)
def test_a_strange_split_is_told(run: Path, content: str | bytes) -> None:
    text(content)(run / "split.csv")
    with pytest.raises(UserError) as error:
        read_split(run / "split.csv")
    check_said(error.value, str(run / "split.csv"))


@pytest.mark.parametrize("score", ["nan", "inf", "x", ""])
def test_scores_that_are_no_numbers_are_not_compared(run: Path, score: str) -> None:
    (run / "scores.csv").write_text(
        f"model,id,true_share,iou,dice,kaggle\nm,a,0.1,0.5,0.5,0.5\nm,b,0.1,0.5,0.5,{score}"
    )
    with pytest.raises(UserError, match=r"can't be read as the scores.csv") as error:
        read_runs(str(run), None)
    check_said(error.value, "write it anew")


@pytest.mark.parametrize(
    "summary",
    [
        '{"epochs": "<script>alert(1)</script>", "seed": "| x |", "parameters": [1]}',
        '{"epochs": NaN, "seed": 1e999, "parameters": Infinity}',
        '{"a": ' * 100_000,
        "[" * 100_000,
        '{"epochs": ' + "9" * 10_000 + "}",
        "[1]",
        "{" + " " * 2**21 + "}",
    ],
    ids=range(7),
)
def test_a_strange_summary_lands_in_no_table(run: Path, summary: str) -> None:
    scores = "model,id,true_share,iou,dice,kaggle\n<b>|`x`,a,0.1,0.5,0.5,0.5\n<b>|`x`,b,0.1,0.5,0.5,0.5\n"
    places = [run, shutil.copytree(run, run.with_name("<i>other|"))]
    for place in places:
        (place / "scores.csv").write_text(scores)
        (place / "summary.json").write_text(summary)
    table = markdown(compare_runs(read_runs([str(place) for place in places], None), 100, 0))
    assert "<" not in table
    assert len({line.count("|") for line in table.splitlines()}) == 1
    assert "| - | - | - |" in table


@pytest.mark.parametrize(
    "content", ['{"folds": {"../../run": {}}}', '{"folds": 3}', '{"folds": {"fold-0": {}}}', "[", "{}"]
)
def test_a_strange_cross_validation_makes_no_card(run: Path, content: str) -> None:
    (run / "fold-0").mkdir()
    (run / "fold-0" / "summary.json").write_text(json.dumps({"data": 1}))
    (run / "summary.json").write_text(content)
    with pytest.raises(UserError) as error:
        model_card(run / "checkpoints" / "last.ckpt", run)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content", ["", "epoch\nx", "a,b\n1,2", "epoch,val/loss\n1,x", "epoch\ninf", "epoch\n1,2,3", "\x00"]
)
def test_strange_metrics_are_told_or_drawn_and_never_a_stack_trace(tmp_path: Path, content: str) -> None:
    (tmp_path / "metrics.csv").write_text(content)
    with suppress(UserError):
        draw_curves([tmp_path / "metrics.csv"], tmp_path / "curves.png")
