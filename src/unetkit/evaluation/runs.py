"""Read the scores that evaluations and cross-validations left, as runs to compare."""

import csv
import io
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unetkit.errors import UserError
from unetkit.evaluation.primary import DEFAULT, Primary, read_primary
from unetkit.paths import check_each_once, command_line, matching, names_of, path_of
from unetkit.run_files import read_json, read_text

COMPARED = ("iou", "dice", "kaggle")  # names of the scores of images that are compared, behind the leading one
FACTS = ("parameters", "epochs", "seed")  # keys of `summary.json` for the table
CONDITIONS = ("tta", "folds")  # what else changes scores: averaged views, and the number of folds of a cross-validation
MAX_BYTES = 2**28  # of a scores.csv: a million images

Rows = dict[str, dict[str, float]]
"""By image: the numbers in its columns of `scores.csv`, by name."""


@dataclass(frozen=True)
class ScoredRun:
    """The scores of a run, or of several runs of one recipe, each with a seed of its own.

    Attributes:
        name: Name for tables and figures.
        seeds: The images of each run.
        facts: The known values of `FACTS` and `CONDITIONS`; several different ones as text, as in `47, 48`.
        primary: The score that leads the first of the runs.
        warnings: What their evaluations warned of.
    """

    name: str
    seeds: list[Rows]
    facts: dict[str, Any]
    primary: Primary
    warnings: tuple[str, ...] = ()

    @property
    def ids(self) -> set[str]:
        """The images that all seeds were scored on."""
        return set.intersection(*(set(rows) for rows in self.seeds))


def read_runs(given: object, names: Sequence[str] | None) -> list[ScoredRun]:
    """Read the `scores.csv` of folders, each of a run, a cross-validation or an evaluation.

    Args:
        given: One folder or several, a `scores.csv`, or a pattern of these.
        names: Names for tables and figures; None for those of the folders. Runs of equal names are seeds of one recipe.

    Raises:
        UserError: If one holds no scores or comes twice, the names are too few or too many, or folders share a name.
    """
    places = [given] if isinstance(given, str | int) else given if isinstance(given, Sequence) else []
    files = [scores_of(path) for place in places for path in matching(str(path_of("runs", place)))]
    check_each_once("runs", files)
    runs = [run for file in files for run in _read(file)]
    if names is None:
        names = [run.name for run in runs]
        if len(set(names)) != len(names):
            raise UserError(
                "runs=",
                f"are of folders with equal names ({','.join(names)})",
                "give names=, different ones, or equal ones for the seeds of one recipe",
            )
    names = names_of(names)
    if len(names) != len(runs):
        raise UserError(f"names={','.join(names)}", f"must be {len(runs)} names, one for each run")
    recipes: dict[str, list[ScoredRun]] = {}
    for name, run in zip(names, runs, strict=True):
        recipes.setdefault(name, []).append(run)
    return [_as_one(name, seeds) for name, seeds in recipes.items()]


def scores_of(path: Path) -> Path:
    """Find the `scores.csv` of a folder, or of the `evaluation` in it.

    Raises:
        UserError: If there is none.
    """
    places = (path, path / "scores.csv", path / "evaluation" / "scores.csv")
    found = next((file for file in places if file.is_file()), None)
    if found is None:
        command = command_line("evaluate", f"checkpoint={path}", f"output={path / 'evaluation'}")
        raise UserError(f"runs={path}", "holds no scores.csv", f"write it with `{command}`")
    return found


def _as_one(name: str, runs: Sequence[ScoredRun]) -> ScoredRun:
    """Join the runs of one recipe."""
    facts: dict[str, Any] = {}
    for key in (*FACTS, *CONDITIONS):
        known = list(dict.fromkeys(run.facts[key] for run in runs if key in run.facts))
        if known:
            facts[key] = known[0] if len(known) == 1 else ", ".join(map(str, known))
    warnings = tuple(dict.fromkeys(line for run in runs for line in run.warnings))
    return ScoredRun(name, [rows for run in runs for rows in run.seeds], facts, runs[0].primary, warnings)


def _read(file: Path) -> list[ScoredRun]:
    """Read a run for each model in the file."""
    models: dict[str, Rows] = {}
    fix = "write it anew with `unetkit evaluate`"
    text = read_text(file, fix, MAX_BYTES)
    try:
        for row in csv.DictReader(io.StringIO(text, newline="")):
            columns = {name: float(row[name]) for name in (*COMPARED, "true_share")}
            if not all(map(math.isfinite, columns.values())):
                raise ValueError(f"a score of {row['id']} is not finite")
            models.setdefault(row["model"], {})[row["id"]] = _numbers(row) | columns
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise UserError(f"runs={file}", f"can't be read as the scores.csv of an evaluation ({error})", fix) from error
    if not models:
        raise UserError(f"runs={file}", "holds no image")
    folder = file.absolute().parent
    folder = folder.parent if folder.name == "evaluation" else folder
    summary = _summary(file.parent, folder)
    facts: dict[str, Any] = {key: summary[key] for key in FACTS if type(summary.get(key)) is int} | _conditions(summary)
    primary = _primary(summary)
    names = list(models) if len(models) > 1 else [folder.name]
    given = summary.get("warnings")
    warnings = tuple(line for line in given if isinstance(line, str)) if isinstance(given, list) else ()
    return [
        ScoredRun(name, [rows], facts, primary, warnings) for name, rows in zip(names, models.values(), strict=True)
    ]


def _numbers(row: dict[str, str]) -> dict[str, float]:
    """Return the cells of a row that hold a number."""
    found: dict[str, float] = {}
    for name, text in row.items():
        with suppress(ValueError, TypeError):
            found[name] = float(text)
    return found


def _conditions(summary: dict[str, Any]) -> dict[str, Any]:
    """Return those of `CONDITIONS` that the summary of an evaluation or a cross-validation tells."""
    data, tta = summary.get("data"), summary.get("tta")
    folds = data.get("folds") if isinstance(data, dict) and "folds" in summary else None
    return {key: value for key, value in (("tta", tta), ("folds", folds)) if isinstance(value, str | int)}


def _primary(summary: dict[str, Any]) -> Primary:
    """Return the score that leads; in summaries that are older than the key, that of their data."""
    data = summary.get("data")
    is_salt = isinstance(data, dict) and data.get("name") == "tgs_salt"
    return read_primary(summary.get("primary", "kaggle" if is_salt else DEFAULT))


def _summary(beside: Path, folder: Path) -> dict[str, Any]:
    """Read what is known of a run from the `summary.json` beside its scores, and of the run or its first fold."""
    known: dict[str, Any] = {}
    for file in (beside / "summary.json", folder / "summary.json", *sorted(folder.glob("fold-*/summary.json"))):
        try:
            summary = read_json(file)
        except UserError:  # the table shows a dash then
            continue
        known = summary | known
        if "epochs" in known:
            break
    return known
