"""What is typed, made safe for Hydra."""

import re
from collections.abc import Sequence
from pathlib import Path


def quoted_paths(arguments: Sequence[str]) -> list[str]:
    """The arguments, where a value that is a path is quoted if it has signs that mean something to Hydra.

    So `checkpoint=runs/epoch=3-step=120.ckpt`, as Lightning calls its files, and `input=scans (2)` are read as typed.
    """
    return [_quoted(argument) for argument in arguments]


def _quoted(argument: str) -> str:
    key, _, value = argument.partition("=")
    if not re.search(r"[=,(){}\[\]:'\"\\#$%&*?!|<> ]", value) or not Path(value).expanduser().exists():
        return argument
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{key}='{escaped}'"
