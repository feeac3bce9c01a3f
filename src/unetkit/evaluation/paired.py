"""Runs held against each other image by image, from the `scores.csv` that an evaluation or a cross-validation left."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unetkit.command_line import path_of
from unetkit.data.files import matching
from unetkit.errors import UserError
from unetkit.evaluation.bootstrap import Interval, bootstrap, difference, resamples
from unetkit.evaluation.scores import mean_over_images

SCORES = ("kaggle", "iou", "dice")
FACTS = ("parameters", "epochs", "seed")  # of `summary.json`, for the table
SAME = 1e-5  # by which the shares of foreground of one mask may differ, as they are rounded in the file


@dataclass(frozen=True)
class Run:
    """What a run left.

    Attributes:
        name: For tables and figures.
        rows: By image, its `SCORES` and `true_share`.
        facts: Those of `FACTS` that are known.
    """

    name: str
    rows: dict[str, dict[str, float]]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """Runs on the images that all of them were scored on.

    Attributes:
        runs: The first is the baseline.
        ids: Of these N images.
        means: By run and score.
        gaps: By score, of each run but the baseline: the paired differences (N,), above 0 where it is better.
        differences: By run but the baseline and score, the mean of these.
        resamples: That the intervals were made with.
    """

    runs: list[Run]
    ids: list[str]
    means: dict[str, dict[str, Interval]]
    gaps: dict[str, dict[str, NDArray[np.float64]]]
    differences: dict[str, dict[str, Interval]]
    resamples: int

    def wins(self, run: str, score: str) -> tuple[int, int]:
        """On how many images a run is better and worse than the baseline."""
        gap = self.gaps[score][run]
        return int((gap > 1e-9).sum()), int((gap < -1e-9).sum())


def compare_runs(runs: Sequence[Run], times: int, seed: int) -> Comparison:
    """The paired differences of runs to the first, with 95 % bootstrap intervals over images.

    Args:
        runs: At least two.
        times: Resamples of the bootstrap.
        seed: Of the resamples.

    Raises:
        UserError: If the runs have no image in common, or the masks of one differ.
    """
    ids = common_images(runs)
    draws = resamples(len(ids), times, seed)
    scores = {
        run.name: {name: torch.tensor([run.rows[id][name] for id in ids], dtype=torch.float64) for name in SCORES}
        for run in runs
    }
    statistics = {run: {name: mean_over_images(s) for name, s in own.items()} for run, own in scores.items()}
    first, *others = scores
    return Comparison(
        list(runs),
        ids,
        {run: {name: bootstrap(s, draws) for name, s in own.items()} for run, own in statistics.items()},
        {name: {run: (scores[run][name] - scores[first][name]).numpy() for run in others} for name in SCORES},
        {run: {name: difference(statistics[run][name], statistics[first][name], draws) for name in SCORES}
         for run in others},
        times,
    )  # fmt: skip


def common_images(runs: Sequence[Run]) -> list[str]:
    """The sorted ids of the images that all runs were scored on.

    Raises:
        UserError: If there are none, or they are other images of equal names.
    """
    counts = ", ".join(f"{run.name} has {len(run.rows)}" for run in runs)
    if len(runs) < 2:
        raise UserError(f"runs= names one run ({counts}); name at least two: runs=[BASELINE,OTHER]")
    ids = sorted(set(runs[0].rows).intersection(*(run.rows for run in runs[1:])))
    if not ids:
        raise UserError(f"runs= have 0 images in common ({counts}); compare runs that were scored on the same ones")
    for run in runs[1:]:
        other = [id for id in ids if abs(run.rows[id]["true_share"] - runs[0].rows[id]["true_share"]) > SAME]
        if other:
            raise UserError(
                f"{len(other)} of the {len(ids)} images that {run.name} and {runs[0].name} have in common, such as "
                f"{other[0]}, have another mask in one than in the other; compare runs on the same data"
            )
    return ids


def read_runs(given: object, names: Sequence[str] | None) -> list[Run]:
    """What lies in folders, each of a run, cross-validation or evaluation.

    Args:
        given: One folder or several, a `scores.csv`, or a pattern of these.
        names: For tables and figures; None for those of the folders.

    Raises:
        UserError: If one holds no scores, or the names are too few, too many or alike.
    """
    places = [given] if isinstance(given, str | int) else given if isinstance(given, Sequence) else []
    files = [scores_of(path) for place in places for path in matching(str(path_of("runs", place)))]
    runs = [run for file in files for run in _read(file)]
    names = [run.name for run in runs] if names is None else [names] if isinstance(names, str) else list(names)
    if len(names) != len(runs) or len(set(names)) != len(names):
        raise UserError(f"names={','.join(map(str, names))} must be {len(runs)} different names, one for each run")
    return [Run(str(name), run.rows, run.facts) for name, run in zip(names, runs, strict=True)]


def scores_of(path: Path) -> Path:
    """The `scores.csv` of a folder, or of the `evaluation` in it.

    Raises:
        UserError: If there is none.
    """
    places = (path, path / "scores.csv", path / "evaluation" / "scores.csv")
    found = next((file for file in places if file.is_file()), None)
    if found is None:
        raise UserError(
            f"runs={path} holds no scores.csv; write it with "
            f"`python scripts/evaluate.py checkpoint={path} output={path / 'evaluation'}`"
        )
    return found


def _read(file: Path) -> list[Run]:
    """A run for each model in the file."""
    models: dict[str, dict[str, dict[str, float]]] = {}
    try:
        with file.open(newline="") as stream:
            for row in csv.DictReader(stream):
                columns = {name: float(row[name]) for name in (*SCORES, "true_share")}
                models.setdefault(row["model"], {})[row["id"]] = columns
    except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
        raise UserError(f"runs={file} can't be read as the scores.csv of an evaluation ({error})") from error
    if not models:
        raise UserError(f"runs={file} holds no image")
    folder = file.absolute().parent
    folder = folder.parent if folder.name == "evaluation" else folder
    facts = _facts(folder)
    return [Run(model if len(models) > 1 else folder.name, rows, facts) for model, rows in models.items()]


def _facts(folder: Path) -> dict[str, Any]:
    """What the table says of a run, from its `summary.json` or that of its first fold."""
    for file in (folder / "summary.json", *sorted(folder.glob("fold-*/summary.json"))):
        if file.is_file() and "epochs" in (summary := json.loads(file.read_text())):
            return {key: summary[key] for key in FACTS if key in summary}
    return {}
