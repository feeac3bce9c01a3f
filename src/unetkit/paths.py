"""Paths and commands as they are typed, patterns of paths, and files that are written as a whole or not at all."""

import glob
import json
import math
import os
import re
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from unetkit.errors import UserError

LONGEST = 230  # bytes of a name that `.part` and a number can follow: file systems take 255
_typed_in: Path | None = None  # the folder in which a command was typed
PART = re.compile(r"\..+\.part\d+")  # names that `whole_file` writes to
PLAIN = re.compile(r"[\w./+-]+")  # what Hydra reads as it is, in a list


def config_dir() -> Path:
    """Return the folder of the configuration: `unetkit/conf` of an installed wheel, or else `conf` of the clone."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.exists() else package.parents[1] / "conf"


def command_line(command: str, *arguments: str) -> str:
    """Return a command of `unetkit` as it can be typed here, such as `.venv/bin/unetkit predict input=scans`.

    The program is the one of this Python: its name is enough where the shell finds it, as in an activated environment.
    """
    program = shutil.which("unetkit", path=str(Path(sys.executable).parent))
    if program is None:  # not installed, but on PYTHONPATH
        start = [short_path(sys.executable), "-m", "unetkit"]
    else:
        start = ["unetkit" if shutil.which("unetkit") == program else short_path(program)]
    return shlex.join([*start, command, *arguments])


def expanded(path: str | Path) -> Path:
    """Return a path with the folder of a user for `~` or `~name`; `~name` stays where there is no such user."""
    return Path(os.path.expanduser(path))  # noqa: PTH111, as Path.expanduser raises a RuntimeError there


def path_of(key: str, value: object) -> Path:
    """Return the path that was typed for a key, from where the command was typed; a number is a name too, as `2026`.

    Raises:
        UserError: If the value is not one path.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | Path) or value == "":
        raise UserError(f"{key}={'null' if value is None else value}", "must be one path")
    path = expanded(str(value))
    return path if _typed_in is None or Path.cwd() == _typed_in else _typed_in / path


@contextmanager
def typed_here() -> Iterator[None]:
    """Let relative paths be those from the present folder, even if the program moves, as by `hydra.job.chdir=true`."""
    global _typed_in  # as the present folder itself is one for the whole process
    before, _typed_in = _typed_in, Path.cwd()
    try:
        yield
    finally:
        _typed_in = before


def new_folder(path: str | Path) -> Path:
    """Create a folder that nobody else has, and return its path: with -2, -3, ... at its end if it exists."""
    for number in count(1):
        folder = Path(path if number == 1 else f"{path}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise AssertionError  # numbers have no end


def printable(name: str) -> str:
    r"""Return the name of a file as text that can be written: a byte that is no UTF-8 becomes `\xNN`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def real_path(path: Path) -> Path:
    """Return the absolute path that links lead to; links that lead in a circle, which `resolve` refuses, stay."""
    return Path(os.path.realpath(path))


def quoted_for_hydra(value: str) -> str:
    """Return a value in quotes; Hydra reads a backslash as such, except those right before a quote."""
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + found[2].replace("'", "\\'"), value)
    return f"'{escaped}'"


def as_typed(value: object) -> str:
    """Return a value of the configuration as it is typed for Hydra; the members of a list in quotes if need be."""
    if not isinstance(value, list):
        return str(value)
    return f"[{','.join(_member_as_typed(str(member)) for member in value)}]"


def _member_as_typed(text: str) -> str:
    if PLAIN.fullmatch(text):
        return text
    return quoted_for_hydra(text) if set(text) & {'"', "\\"} else f'"{text}"'


def short_path(path: str | Path) -> str:
    """Return a path as it can be typed here: relative, except for one on another drive of Windows."""
    try:
        return os.path.relpath(path, _typed_in or os.curdir)
    except ValueError:
        return str(path)


def names_of(given: Sequence[object] | float) -> list[str]:
    """Return the names that were typed for `names=`: several, or a single one, which Hydra may read as a number."""
    return [str(given)] if isinstance(given, str | int | float) else list(map(str, given))


def check_each_once(key: str, files: Sequence[Path]) -> None:
    """Raise a `UserError` that names the key if a file is given twice."""
    twice = [file for file, count in Counter(real_path(file) for file in files).items() if count > 1]
    if twice:
        raise UserError(f"{key}=", f"names {twice[0]} twice", "name each once")


def matching(pattern: str) -> list[Path]:
    """Return the paths that a pattern with `*`, `?`, `[...]` or `**` matches, sorted; the pattern if it is a file."""
    if Path(pattern).exists() or not glob.has_magic(pattern):
        return [Path(pattern)]
    return sorted(map(Path, glob.glob(pattern, recursive=True)))  # noqa: PTH207  # Path.glob refuses absolute ones


@contextmanager
def whole_file(path: Path, *, sync: bool = False) -> Iterator[Path]:
    """Give a path to write to, which gets its name when all is written; nothing stays of a file that was broken off.

    Args:
        path: The file to write. Until the new one is whole, an earlier one stays as it is.
        sync: Wait until the disk holds the content and the name, so that the file survives a loss of power too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = os.fsdecode(os.fsencode(path.name)[:LONGEST])
    part = path.with_name(f".{name}.part{os.getpid()}")  # folds side by side may write the same file
    try:
        part.touch()  # or torch would say in words of its own that it can't be written
        yield part
        if sync:
            with part.open("r+b") as file:  # Windows syncs only what is open for writing
                os.fsync(file.fileno())
        part.replace(path)
        if sync:
            _sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def whole_files(path: Path) -> Iterator[Path]:
    """Do what `whole_file` does for a file and others that are written beside it, which get their places together."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".", suffix=".part", dir=path.parent) as folder:
        yield Path(folder) / path.name
        for part in sorted(Path(folder).iterdir()):
            part.replace(path.with_name(part.name))


def remove_parts(folder: Path) -> None:
    """Remove what killed programs left of files in a folder and the folders in it; nothing may be writing there."""
    for part in [*folder.glob(".*.part*"), *folder.glob("*/.*.part*")]:
        if PART.fullmatch(part.name):
            part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # which can't open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # some network file systems refuse it
        pass
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write text in UTF-8 as a whole file."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write JSON as a whole file; numbers that are not finite (NaN, infinity) become null."""
    with whole_file(path, sync=True) as part:
        part.write_text(json.dumps(_finite(content), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _finite(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _finite(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_finite(value) for value in node]
    return None if isinstance(node, float) and not math.isfinite(node) else node


def usable_cores() -> int:
    """Return the number of cores that this process may use, whatever OMP_NUM_THREADS says of torch's threads."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
