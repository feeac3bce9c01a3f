"""Read the small text files of a run directory, which may be a stranger's, as plain data.

Nothing in them is followed: no alias and no tag of YAML, no `${...}` of OmegaConf, which could name an environment
variable, another file or a function. Files that are large or deeply nested are refused before they are parsed.
"""

import json
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unetkit.errors import UserError

MAX_BYTES = 2**20  # of a file; those of training have some thousand
MAX_DEPTH = 50  # of containers in containers
FIX = "restore it, or move it away"
OVERRIDES = Path(".hydra") / "overrides.yaml"  # in a run directory: what was typed, as Hydra keeps it
OUTCOME = "outcome.json"  # in a run directory of a sweep or search: status and reason, if there is no result
STOPPED_BY = "stopped_by"  # key of a summary.json whose run is not at its end
KEPT = re.compile(r"metrics\.(\d+)\.csv")  # names that training gives to the metrics of earlier starts


def read_config(file: Path, fix: str = FIX) -> dict[str, Any]:
    """Read the `config.yaml` of a run.

    Raises:
        UserError: If it is not as training writes it: one mapping, with all references resolved.
    """
    content = read_yaml(file, fix)
    if not isinstance(content, dict):
        raise UserError(str(file), "is no configuration of train.py", fix)
    if "${" in str(content):
        raise UserError(str(file), "holds '${', which train.py never writes", fix)
    return {str(key): value for key, value in content.items()}


def read_yaml(file: Path, fix: str = FIX) -> Any:
    """Read a YAML file without aliases.

    Raises:
        UserError: If it can't be read, is too large or too deep, or has an alias.
    """
    import yaml  # here, as predicting needs no YAML

    text = read_text(file, fix)
    # The faster loader refuses what stands for a byte that is no UTF-8, as in the name of a folder.
    loader = yaml.SafeLoader if "\\uDC" in text else getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with _in_one_line(file, fix):
        depth = 0
        for event in yaml.parse(text, loader):  # unlike loading, parsing keeps nothing in memory
            if isinstance(event, yaml.AliasEvent):
                raise UserError(str(file), "holds a YAML alias, which train.py never writes", fix)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise UserError(str(file), f"nests more than {MAX_DEPTH} containers", fix)
        return yaml.load(text, loader)


def read_json(file: Path, fix: str = FIX) -> dict[str, Any]:
    """Read the object of a JSON file; numbers that are not finite are read as None, as `write_json` writes them.

    Raises:
        UserError: If it can't be read, is too large or too deep, or is no object.
    """
    text = read_text(file, fix)
    with _in_one_line(file, fix):
        content = json.loads(text, parse_constant=lambda _: None)
    if not isinstance(content, dict):
        raise UserError(str(file), "is no record of a run", fix)
    return content


def read_text(file: Path, fix: str = FIX, limit: int = MAX_BYTES) -> str:
    """Read a regular file of UTF-8.

    Args:
        file: The file.
        fix: What to do about a file that can't be read.
        limit: Largest size, in bytes.

    Raises:
        UserError: If it is none, or is too large.
    """
    with _in_one_line(file, fix):
        facts = file.stat()
        if not stat.S_ISREG(facts.st_mode):  # reading a pipe or a device may never end
            raise UserError(str(file), "is not a regular file", fix)
        if facts.st_size > limit:
            raise UserError(str(file), f"has {facts.st_size:,} bytes, more than {limit:,}", fix)
        return file.read_text(encoding="utf-8")


def kept_metrics(run_dir: Path) -> list[Path]:
    """Return the metrics of the earlier starts of a run, oldest first."""
    numbers = {int(found[1]): file for file in run_dir.iterdir() if (found := KEPT.fullmatch(file.name))}
    return [numbers[number] for number in sorted(numbers)]


@contextmanager
def _in_one_line(file: Path, fix: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # damaged text makes parsers raise many kinds
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(str(file), f"can't be read ({reason[:200]})", fix) from error
