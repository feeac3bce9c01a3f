"""What is typed: made safe for Hydra, and read as paths."""

import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from unetkit.errors import UserError


def help_wanted(arguments: Sequence[str], about: str | None, keys: Path) -> None:
    """Where `--help` or `-h` was typed to a script, print what it does and its keys as its YAML explains them, and end.

    Args:
        arguments: What was typed.
        about: The script's docstring.
        keys: The YAML; its first lines, up to an empty one, are for Hydra.
    """
    if {"--help", "-h"} & set(arguments):
        _, _, explained = keys.read_text(encoding="utf-8").partition("\n\n")
        sys.stdout.write(f"{about}\n\n{explained}")
        sys.exit()


def quoted_paths(arguments: Sequence[str]) -> list[str]:
    """The arguments, where a value with signs that mean something to Hydra is quoted, if it is a path or means nothing.

    So `checkpoint=runs/epoch=3-step=120.ckpt`, as Lightning calls its files, and `input=scans (2)` are read as typed,
    and `output=Ergebnisse/für uns (neu)` before it is there.
    """
    return [_quoted(argument) for argument in arguments]


def path_of(key: str, value: object) -> Path:
    """The path that was typed for a key; a number is a name too, as of a folder `2026`.

    Raises:
        UserError: If it is not one path.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | Path) or value == "":
        raise UserError(f"{key}={'null' if value is None else value} must be one path")
    return Path(str(value)).expanduser()


def short_path(path: str | Path) -> str:
    """A path as short as it can be typed here: relative, but for one on another drive of Windows."""
    try:
        return os.path.relpath(path)
    except ValueError:
        return str(path)


def _quoted(argument: str) -> str:
    key, sign, value = argument.partition("=")
    is_path = re.search(r"[=,(){}\[\]:'\"\\#$%&*?!|<> ]", value) and _is_there(value)
    if not is_path and (not sign or argument.startswith("-") or _is_understood(argument)):
        return argument
    # Hydra reads a backslash as such, but for those right before a quote.
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + found[2].replace("'", "\\'"), value)
    return f"{key}='{escaped}'"


def _is_understood(argument: str) -> bool:
    try:
        OverridesParser.create().parse_overrides([argument])
    except HydraException:
        return False
    return True


def _is_there(value: str) -> bool:
    try:
        return Path(value).expanduser().exists()
    except OSError:  # a list may be longer than any name of a file
        return False


def names_of(given: Sequence[object] | float) -> list[str]:
    """The names of `names=`, which may be a single one; Hydra reads digits as a number."""
    return [str(given)] if isinstance(given, str | int | float) else list(map(str, given))


def check_each_once(key: str, files: Sequence[Path]) -> None:
    """Raise a `UserError` that names the key, if a file comes twice."""
    twice = [file for file, count in Counter(file.resolve() for file in files).items() if count > 1]
    if twice:
        raise UserError(f"{key}= names {twice[0]} twice; name each once")
