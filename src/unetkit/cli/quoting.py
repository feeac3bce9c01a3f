"""Quote and order what was typed for Hydra, so that it is read as it was meant."""

import glob
import re
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from unetkit.paths import expanded, quoted_for_hydra

SPECIAL = re.compile(r"[=,(){}\[\]:'\"\\#$%&*?!|<> ]")  # characters that mean something to Hydra
LIST = re.compile(r"\[.*\]")
MEMBER = re.compile(r"""\s*'(?:\\.|[^'\\])*'|\s*"(?:\\.|[^"\\])*"|[^,]+""")  # of a list, in quotes or not
QUOTES = ("'", '"')
# Options of Hydra that a value follows.
WITH_VALUE = re.compile(r"--(cfg|config-dir|config-name|config-path|package|info)|-(c|cd|cn|cp|p|i)")


def quoted_paths(arguments: Sequence[str]) -> list[str]:
    """Return the arguments, with a value quoted if it is a path with special characters or can't be parsed.

    So `checkpoint=runs/epoch=3-step=120.ckpt`, as Lightning calls its files, and `input=scans (2)` are read as typed,
    and so is `output=Ergebnisse/für uns (neu)` before the folder exists.
    """
    return [quoted(argument) for argument in arguments]


def gathered(arguments: Sequence[str], keys: Sequence[str], bare: str = "") -> list[str]:
    """Return the arguments with a key that is typed several times as a list, of which Hydra would take the last value.

    A shell makes `input=a.png input=b.png` of `input={a,b}.png`, and `input=a.png b.png` of some patterns.

    Args:
        arguments: The program, and what was typed.
        keys: The keys that may be lists.
        bare: The key of them that existing paths, and patterns, without a key belong to.
    """
    program, *typed = arguments
    values: dict[str, list[str]] = {key: [] for key in keys}
    others: list[str] = []
    for before, text in zip(["", *typed], typed, strict=False):
        is_word = "=" not in text and not text.startswith("-") and not WITH_VALUE.fullmatch(before)
        is_path = is_word and (exists(text) or glob.has_magic(text))
        key, sign, value = (bare, "=", text) if bare and is_path else text.partition("=")
        if sign and key in values:
            values[key].append(value)
        else:
            others.append(text)
    lists = [f"{key}={found[0] if len(found) == 1 else as_list(found)}" for key, found in values.items() if found]
    return [program, *others, *lists]


def as_list(values: Sequence[str]) -> str:
    """Return values, some of which may be lists, as one list with all members in quotes."""
    members: list[str] = []
    for value in values:
        is_list = LIST.fullmatch(value) and not exists(value)
        members += (part.strip() for part in MEMBER.findall(value[1:-1])) if is_list else [value]
    return f"[{','.join(part if part[:1] in QUOTES else quoted_for_hydra(part) for part in members if part)}]"


def quoted(argument: str) -> str:
    """Return one argument, with its value quoted if it has to be."""
    key, sign, value = argument.partition("=")
    is_path = SPECIAL.search(value) and exists(value)
    if not is_path and (not sign or argument.startswith("-") or is_parsed(argument)):
        return argument
    as_typed = as_list([value]) if LIST.fullmatch(value) and not is_path else quoted_for_hydra(value)
    return f"{key}={as_typed}"


def is_parsed(argument: str) -> bool:
    """Tell whether Hydra can parse an argument as it is."""
    try:
        OverridesParser.create().parse_overrides([argument])
    except HydraException:
        return False
    return True


def exists(value: str) -> bool:
    """Tell whether a value is an existing path."""
    try:
        return expanded(value).exists()
    except OSError:  # a list may be longer than any name of a file
        return False


def options_first(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with options, such as `-m` or `--config-dir DIR`, before the settings.

    Hydra takes no settings before and behind an option, and calls those behind it unknown.

    Args:
        arguments: The program, and what was typed.
    """
    program, *typed = arguments
    options: list[str] = []
    settings: list[str] = []
    for text in typed:
        is_value = bool(options) and WITH_VALUE.fullmatch(options[-1]) is not None
        (options if is_value or text.startswith("-") else settings).append(text)
    return [program, *options, *settings]
