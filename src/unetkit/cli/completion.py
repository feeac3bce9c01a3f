"""Complete `unetkit COMMAND ...` in a shell: the command here, what follows it by Hydra."""

import os
import sys
from collections.abc import Sequence

OPTIONS = ("-sc", "--shell-completion")


def is_completion(typed: Sequence[str]) -> bool:
    """Return whether a shell asks: `unetkit -sc install=bash` once, and `unetkit -sc query=bash` at each Tab."""
    return bool(typed) and typed[0] in OPTIONS


def command_to_ask(asked: list[str], commands: Sequence[str]) -> list[str]:
    """Return the command that answers a shell's question, followed by the question as its arguments.

    Hydra expects a program without commands, so the command is removed from the line that is being completed. While
    the command itself is being typed, the commands that fit are printed, and the program ends.
    """
    if "COMP_LINE" not in os.environ:  # install= or uninstall=, whose answer is the same for all commands
        return ["train", *asked]
    program, _, rest = os.environ["COMP_LINE"].lstrip().partition(" ")
    command, space, arguments = rest.lstrip().partition(" ")
    if not space:
        print(" ".join(name for name in commands if name.startswith(command)))
    if command not in commands or not space:
        sys.exit()
    os.environ["COMP_LINE"] = f"{program} {arguments}"
    return [command, *asked]
