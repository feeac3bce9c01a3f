"""Complete `unetkit COMMAND ...` in a shell: the command here, what follows it by Hydra."""

import os
import sys
from collections.abc import Sequence

OPTIONS = ("-sc", "--shell-completion")


def is_completion(typed: Sequence[str]) -> bool:
    """Tell whether a shell asks, as in `unetkit -sc install=bash` and, at each Tab, `unetkit -sc query=bash`."""
    return bool(typed) and typed[0] in OPTIONS


def typed_so_far(asked: list[str], commands: Sequence[str]) -> list[str]:
    """Return the command that a shell's question is for, with the question as its arguments.

    Hydra expects a program without commands, so the command is taken out of the line that is being completed. Where
    the command itself is being completed, those that fit are printed, and the program ends.
    """
    if "COMP_LINE" not in os.environ:  # install= or uninstall=, which are the same for all
        return ["train", *asked]
    program, _, rest = os.environ["COMP_LINE"].lstrip().partition(" ")
    command, space, arguments = rest.lstrip().partition(" ")
    if not space:
        print(" ".join(name for name in commands if name.startswith(command)))
    if command not in commands or not space:
        sys.exit()
    os.environ["COMP_LINE"] = f"{program} {arguments}"
    return [command, *asked]
