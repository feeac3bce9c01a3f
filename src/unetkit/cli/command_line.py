"""What is typed: made safe for Hydra, its mistakes told, and read as paths."""

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from inspect import unwrap
from pathlib import Path
from traceback import walk_tb

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError


def start(main: Callable[[], object], about: str | None = None, keys: Path | None = None) -> None:
    """Run a Hydra program on what was typed, and tell a mistake in it in a line that names the key and what it may be.

    Args:
        main: What `hydra.main` made.
        about: The program's docstring.
        keys: Its YAML, whose first lines, up to an empty one, are for Hydra: for `--help` or `-h` what the program does
            and these keys are shown; if left out, what Hydra shows.
    """
    if keys and {"--help", "-h"} & set(sys.argv):
        _, _, explained = keys.read_text(encoding="utf-8").partition("\n\n")
        sys.stdout.write(f"{about}\n\n{explained}")
        return
    sys.argv = quoted_paths(sys.argv)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra writes what it finds itself, and ends
    try:
        main()
    except InstantiationException:  # ours to mend
        raise
    except HydraException as error:
        sys.exit(f"error: {_in_one_line(error)}")
    except OSError as error:
        if unwrap(main).__code__ in {frame.f_code for frame, _ in walk_tb(error.__traceback__)}:
            raise
        sys.exit(f"error: hydra.run.dir can't be written ({error}); give another")


def quoted_paths(arguments: Sequence[str]) -> list[str]:
    """The arguments, where a value with signs that mean something to Hydra is quoted, if it is a path or means nothing.

    So `checkpoint=runs/epoch=3-step=120.ckpt`, as Lightning calls its files, and `input=scans (2)` are read as typed,
    and `output=Ergebnisse/für uns (neu)` before it is there.
    """
    return [_quoted(argument) for argument in arguments]


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


def _in_one_line(error: HydraException) -> str:
    reason = error.__cause__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        options = list(error.options or [])
        options = list(dict.fromkeys(get_close_matches(name, options) + options))
        known = f"it may be {', '.join(options)}" if options else "--help lists what is"  # as of one in a list
        return f"{group or '--config-name'}={name} is not there; {known}"
    if isinstance(reason, ConfigAttributeError | ConfigKeyError) and reason.full_key and reason.parent_node is not None:
        keys = _dotted(OmegaConf.to_container(reason.parent_node._get_root(), resolve=False))
        is_hydras = reason.full_key.startswith("hydra.")
        closest = _closest(reason.full_key, [key for key in keys if key.startswith("hydra.") == is_hydras])
        meant = f"did you mean {' or '.join(closest)}?" if closest else "--help lists them."
        return f"{reason.full_key} is no key; {meant} A new one takes a + before it"
    if isinstance(error, OverrideParseException):
        return f"{error.override} can't be read; write KEY=VALUE, and 'KEY=A B' where there is a space"
    return str(error)


def _dotted(node: object, before: str = "") -> Iterator[str]:
    """The keys of nested mappings, as they are typed."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield f"{before}{name}"
            yield from _dotted(value, f"{before}{name}.")


def _closest(key: str, known: Sequence[str]) -> list[str]:
    """Up to two keys that are alike as a whole, or else in what follows the last dot."""
    ends = get_close_matches(key.rpartition(".")[2], [name.rpartition(".")[2] for name in known], 2)
    return (
        get_close_matches(key, known, 2)
        or list(dict.fromkeys(name for end in ends for name in known if name.rpartition(".")[2] == end))[:2]
    )
