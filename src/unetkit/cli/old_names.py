"""Accept keys of the configuration by their earlier names."""

import re
import sys
from collections.abc import Sequence

from unetkit.training.renamed import KEYS

KEY = re.compile(r"(?P<sign>\+{0,2}|~)(?P<key>[\w.]+)(?P<rest>(@|=|$).*)", re.DOTALL)


def with_new_keys(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with the present names of keys that were renamed; say so on stderr, once for each."""
    return [with_new_key(argument) for argument in arguments]


def with_new_key(argument: str) -> str:
    """Return one argument with the present name of its key."""
    typed = KEY.fullmatch(argument)
    if typed is None or typed["key"] not in KEYS:
        return argument
    print(f"{typed['key']} is now called {KEYS[typed['key']]}", file=sys.stderr)
    return f"{typed['sign']}{KEYS[typed['key']]}{typed['rest']}"
