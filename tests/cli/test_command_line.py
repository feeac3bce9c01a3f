"""Paths with signs that mean something to Hydra come through as typed."""

import ntpath
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from unetkit.cli.quoting import quoted_paths
from unetkit.errors import UserError
from unetkit.paths import names_of, path_of, short_path

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "name",
    [
        "epoch=3-step=120.ckpt",
        "scans (2)",
        "a,b",
        "it's",
        "[x]",
        "a b",
        "{y}",
        "50%",
        r"a\b c",
        r"\\a b",
        r"a\'b",
        "a b\\",
    ],
)
def test_a_path_is_read_as_typed(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    (argument,) = quoted_paths([f"checkpoint={tmp_path / name}"])
    (override,) = OverridesParser.create().parse_overrides([argument])
    assert override.value() == str(tmp_path / name)


@pytest.mark.parametrize("name", ["out=2", "Ergebnisse/für uns (neu)", "a (b", "it's"])
def test_a_path_that_is_not_there_yet_is_read_as_typed(name: str, tmp_path: Path) -> None:
    (argument,) = quoted_paths([f"output={tmp_path / name}"])
    (override,) = OverridesParser.create().parse_overrides([argument])
    assert override.value() == str(tmp_path / name)


def test_all_else_stays(tmp_path: Path) -> None:
    arguments = ["-m", "model=unet_small,dumbnet", "a=[1,2]", f"b={tmp_path}", "checkpoint=runs/*/last.ckpt", "--help"]
    arguments += [
        "~loss.switch",
        "+a.b={c: 1, d: [x, 'y']}",
        "lr=range(1,3)",
        "--config-dir=a (b",
        "weights=${x}",
        "((",
    ]
    no_name = ",".join(f"runs/ablations-200/name-{i}" for i in range(300))  # of a file: it is too long for one
    arguments.append(f"runs=[{no_name}]")
    assert quoted_paths(arguments) == arguments


def test_a_number_is_a_name() -> None:
    """Hydra reads the name of a folder `2026` as a number."""
    (override,) = OverridesParser.create().parse_overrides(["input=2026"])
    assert path_of("input", override.value()) == Path("2026")


@pytest.mark.parametrize(("given", "names"), [("a", ["a"]), (2026, ["2026"]), (1.5, ["1.5"]), (["a", 2], ["a", "2"])])
def test_one_name_needs_no_list(given: object, names: list[str]) -> None:
    assert names_of(given) == names  # type: ignore[arg-type]


def test_a_path_on_another_drive_is_shown_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    assert short_path(Path.cwd() / "runs" / "a") == str(Path("runs", "a"))
    monkeypatch.setattr("os.path.relpath", lambda path: ntpath.relpath(path, "C:\\"))  # as on Windows
    assert short_path("D:\\runs\\a") == "D:\\runs\\a"


@pytest.mark.parametrize("typed", ["null", "[a,b]", "true", "''"])
def test_what_is_no_path_is_named(typed: str) -> None:
    (override,) = OverridesParser.create().parse_overrides([f"output={typed}"])
    with pytest.raises(UserError, match=r"output=.* must be one path"):
        path_of("output", override.value())


@pytest.mark.parametrize(
    "name", ["predict", "evaluate", "compare", "export", "doctor", "draw", "demo", "import_checkpoint"]
)
def test_help_says_what_a_script_does_and_what_its_keys_mean(name: str) -> None:
    script = ROOT / "scripts" / f"{name}.py"
    done = subprocess.run([sys.executable, str(script), "--help"], capture_output=True, text=True, check=True)
    assert f"`unetkit {name.removesuffix('_checkpoint')} " in done.stdout.splitlines()[0]
    assert "override" not in done.stdout
    assert "  # " in done.stdout
    assert ": null" in done.stdout or ": 127.0.0.1" in done.stdout or ": 1" in done.stdout


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (
            "trainer.max_epoch=3",
            "trainer.max_epoch is not a key of the configuration; did you mean trainer.max_",
        ),
        ("lr=0.1", "lr is not a key of the configuration; did you mean optimizer.lr?"),
        (
            "epochs=3",
            "not a key of the configuration; did you mean trainer.min_epochs or trainer.max_epochs?",
        ),
        ("xyzzy=1", "xyzzy is not a key of the configuration; --help lists the keys."),
        ("model=unet_smal", "model=unet_smal does not exist; it may be unet_small, "),
        ("callbacks=[ema,erly]", "callbacks=erly does not exist; --help lists what exists"),
        ("hydra.sweep.dirr=x", "hydra.sweep.dirr is not a key of the configuration; did you mean hydra.sweep.dir or "),
        ("trainer.precision", "trainer.precision can't be read; write KEY=VALUE"),
        ("~foo", "'foo' does not exist"),
        ("hydra.run.dir=train.py/run", "hydra.run.dir can't be written"),
    ],
)
def test_a_mistake_in_what_is_typed_is_one_line(typed: str, told: str) -> None:
    done = subprocess.run([sys.executable, "train.py", typed], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout
