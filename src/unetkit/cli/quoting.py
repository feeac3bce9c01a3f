"""Quote and order what was typed for Hydra, so that it is read as it was meant."""

import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from unetkit.paths import quoted_for_hydra

SPECIAL = re.compile(r"[=,(){}\[\]:'\"\\#$%&*?!|<> ]")  # characters that mean something to Hydra
# Options of Hydra that a value follows.
WITH_VALUE = re.compile(r"--(cfg|config-dir|config-name|config-path|package|info)|-(c|cd|cn|cp|p|i)")


def quoted_paths(arguments: Sequence[str]) -> list[str]:
    """Return the arguments, with a value quoted if it is a path with special characters or can't be parsed.

    So `checkpoint=runs/epoch=3-step=120.ckpt`, as Lightning calls its files, and `input=scans (2)` are read as typed,
    and so is `output=Ergebnisse/für uns (neu)` before the folder exists.
    """
    return [quoted(argument) for argument in arguments]


def quoted(argument: str) -> str:
    """Return one argument, with its value quoted if it has to be."""
    key, sign, value = argument.partition("=")
    is_path = SPECIAL.search(value) and exists(value)
    if not is_path and (not sign or argument.startswith("-") or is_parsed(argument)):
        return argument
    return f"{key}={quoted_for_hydra(value)}"


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
        return Path(value).expanduser().exists()
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
