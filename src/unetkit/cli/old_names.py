"""Accept keys of the configuration by their earlier names, and name what replaces a choice that was removed."""

import re
import sys
from collections.abc import Sequence

from unetkit.errors import UserError
from unetkit.training.renamed import KEYS, REMOVED, with_smooth_added

TYPED = re.compile(r"(?P<sign>\+{0,2}|~)(?P<key>[\w.]+)(?P<value>(=.*)?)", re.DOTALL)


def with_new_names(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with the present names of keys that were renamed; say so on stderr, once for each.

    Raises:
        UserError: If a choice was removed.
    """
    return [with_new_name(argument) for argument in arguments]


def with_new_name(argument: str) -> str:
    """Return one argument with the present name of its key.

    `+A.B=VALUE` becomes `++A.B=VALUE`, since a key that had to be added may be in the configuration by now.
    """
    typed = TYPED.fullmatch(argument)
    if typed is None:
        return argument
    sign, key, value = typed["sign"], typed["key"], typed["value"]
    if f"{key}{value}" in REMOVED:
        raise UserError(f"{key}{value}", "was removed", f"use {REMOVED[f'{key}{value}']}")
    if sign == "+" and "." in key:
        sign = "++"
    if key not in KEYS:
        return with_smooth_added(f"{sign}{key}{value}")
    print(f"{key} is now called {KEYS[key]}", file=sys.stderr)
    return f"{sign}{KEYS[key]}{value}"
