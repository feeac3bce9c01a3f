"""Paths and commands as they are typed."""

import ntpath
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from unetkit.errors import UserError
from unetkit.paths import (
    command_line,
    config_dir,
    expanded,
    names_of,
    new_folder,
    path_of,
    remove_parts,
    short_path,
    typed_here,
    whole_file,
)

ROOT = Path(__file__).parents[1]


def test_the_folder_of_a_user_who_does_not_exist_is_a_name_like_any_other() -> None:
    assert expanded("~nobody-here/x") == Path("~nobody-here/x")
    assert expanded("~/x") == Path.home() / "x"


def test_a_number_is_a_name() -> None:
    """Hydra reads the name of a folder `2026` as a number."""
    (override,) = OverridesParser.create().parse_overrides(["input=2026"])
    assert path_of("input", override.value()) == Path("2026")


@pytest.mark.parametrize("typed", ["null", "[a,b]", "true", "''"])
def test_what_is_not_a_path_is_named(typed: str) -> None:
    (override,) = OverridesParser.create().parse_overrides([f"output={typed}"])
    with pytest.raises(UserError, match=r"output=.* must be one path"):
        path_of("output", override.value())


@pytest.mark.parametrize(("given", "names"), [("a", ["a"]), (2026, ["2026"]), (1.5, ["1.5"]), (["a", 2], ["a", "2"])])
def test_one_name_needs_no_list(given: object, names: list[str]) -> None:
    assert names_of(given) == names  # type: ignore[arg-type]


def test_a_path_on_another_drive_is_shown_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    assert short_path(Path.cwd() / "runs" / "a") == str(Path("runs", "a"))
    monkeypatch.setattr("os.path.relpath", lambda path, _: ntpath.relpath(path, "C:\\"))  # as on Windows
    assert short_path("D:\\runs\\a") == "D:\\runs\\a"


def test_in_the_clone_the_configuration_is_the_clones() -> None:
    assert config_dir() == ROOT / "conf"


def test_a_command_is_shown_as_it_can_be_typed_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in (ROOT, tmp_path):
        monkeypatch.chdir(folder)
        shown = command_line("predict", "input=my scans", "--help")
        assert shown.endswith(" predict 'input=my scans' --help")
        done = subprocess.run(shown, shell=True, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "checkpoint: null" in done.stdout


def test_the_name_is_enough_where_the_shell_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("python", "unetkit"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).touch(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.chdir(tmp_path)
    assert shlex.split(command_line("train"))[0] == str(Path("bin", "unetkit"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    assert command_line("train") == "unetkit train"


@pytest.mark.parametrize("sync", [False, True])
def test_a_file_that_is_broken_off_leaves_the_one_before(tmp_path: Path, sync: bool) -> None:
    file = tmp_path / "a.txt"
    with whole_file(file, sync=sync) as part:
        part.write_text("before")
    with pytest.raises(UnicodeEncodeError), whole_file(file, sync=sync) as part:
        part.write_text("half of " + "\udc80", encoding="utf-8")
    assert file.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_parts_that_killed_programs_left_are_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = [tmp_path / "last.ckpt", tmp_path / ".partly", tmp_path / "checkpoints" / "a.part1"]
    parts = [tmp_path / ".metrics.json.part12", tmp_path / "checkpoints" / ".last.ckpt.part345"]
    (tmp_path / "checkpoints").mkdir()
    for file in kept + parts:
        file.touch()
    remove_parts(tmp_path)
    assert [file.exists() for file in kept + parts] == [True] * 3 + [False] * 2


def test_a_new_folder_is_given_to_one_alone(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: new_folder(tmp_path / "runs" / "12-00-00-net"), range(8)))
    assert len(set(folders)) == 8
    assert all(folder.is_dir() for folder in folders)
    assert tmp_path / "runs" / "12-00-00-net-8" in folders


def test_relative_paths_stay_those_of_the_folder_where_they_were_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with typed_here():
        assert path_of("data.root", "mine") == Path("mine")
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert path_of("data.root", "mine") == tmp_path / "mine"
        assert path_of("data.root", "/mine") == Path("/mine")
        assert short_path(tmp_path / "mine") == "mine"
    assert path_of("data.root", "mine") == Path("mine")
