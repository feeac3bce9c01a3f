"""Paths with characters that mean something to Hydra are read as they were typed."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from unetkit.cli.quoting import gathered, options_first, quoted_paths


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
def test_a_path_that_does_not_exist_yet_is_read_as_typed(name: str, tmp_path: Path) -> None:
    (argument,) = quoted_paths([f"output={tmp_path / name}"])
    (override,) = OverridesParser.create().parse_overrides([argument])
    assert override.value() == str(tmp_path / name)


def test_other_arguments_stay_as_they_are(tmp_path: Path) -> None:
    arguments = ["-m", "model=unet_small,dumbnet", "a=[1,2]", f"b={tmp_path}", "checkpoint=runs/*/last.ckpt", "--help"]
    arguments += [
        "~loss.switch",
        "+a.b={c: 1, d: [x, 'y']}",
        "lr=range(1,3)",
        "--config-dir=a (b",
        "weights=${x}",
        "((",
    ]
    too_long_for_a_file = ",".join(f"runs/ablations-200/name-{i}" for i in range(300))
    arguments += ["((", f"runs=[{too_long_for_a_file}]"]
    assert quoted_paths(arguments) == arguments


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        (["input=a", "tta=flip", "input=b c"], {"tta": "flip", "input": ["a", "b c"]}),
        (["input=['a b',c]", "input=d,e"], {"input": ["a b", "c", "d,e"]}),
        (["here", "--config-dir", "here", "input=a"], {"input": ["here", "a"]}),
        (["here/*.png", "x=1"], {"x": 1, "input": "here/*.png"}),  # as shells of Windows leave it
        (["input=[für/a.png, b]"], {"input": ["für/a.png", "b"]}),
        (["tta=none", "tta=flip"], {"tta": "flip"}),
    ],
)
def test_a_key_that_is_typed_several_times_is_a_list_if_it_may_be_one(
    typed: list[str], read: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    _, *settings = quoted_paths(gathered(["unetkit", *typed], ["input"], "input"))
    overrides = OverridesParser.create().parse_overrides([word for word in settings if "=" in word])
    assert {override.key_or_group: override.value() for override in overrides} == read
    options = [word for word in settings if "=" not in word]
    assert options == (["--config-dir", "here"] if "--config-dir" in typed else [])


def test_quoting_twice_changes_nothing(tmp_path: Path) -> None:
    """DDP starts its other processes with arguments that are quoted already."""
    (tmp_path / "scans (2)").touch()
    once = quoted_paths([f"input={tmp_path / 'scans (2)'}", "output=für uns (neu)"])
    assert quoted_paths(once) == once


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("data=folder -m seed=1,2", "-m data=folder seed=1,2"),
        ("data=folder --config-dir mine experiment=cells", "--config-dir mine data=folder experiment=cells"),
        ("seed=1 --cfg=job", "--cfg=job seed=1"),
        ("--config-dir a=b seed=1 --cfg job", "--config-dir a=b --cfg job seed=1"),
        ("-m seed=1,2 model=unet", "-m seed=1,2 model=unet"),
        ("runs", "runs"),
    ],
)
def test_options_may_stand_behind_settings(typed: str, read: str) -> None:
    assert options_first(["unetkit", *typed.split()]) == ["unetkit", *read.split()]
