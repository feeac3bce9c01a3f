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
from torch import Tensor

from unetkit.errors import UserError
from unetkit.evaluation.bootstrap import Interval, drawn_means, interval, resamples, seed_resamples
from unetkit.paths import check_each_once, matching, names_of, path_of

SCORES = ("kaggle", "iou", "dice")
FACTS = ("parameters", "epochs", "seed")  # of `summary.json`, for the table
SAME = 1e-5  # by which the shares of foreground of one mask may differ, as they are rounded in the file

Rows = dict[str, dict[str, float]]
"""By image, its `SCORES` and `true_share`."""


@dataclass(frozen=True)
class Run:
    """What a run left, or several of one recipe, each with a seed of its own.

    Attributes:
        name: For tables and figures.
        seeds: The images of each.
        facts: Those of `FACTS` that are known; several as text, as in `47, 48`.
    """

    name: str
    seeds: list[Rows]
    facts: dict[str, Any]

    @property
    def ids(self) -> set[str]:
        """The images that all seeds were scored on."""
        return set.intersection(*(set(rows) for rows in self.seeds))


@dataclass(frozen=True)
class Comparison:
    """Runs on the images that all of them were scored on.

    Attributes:
        runs: The first is the baseline.
        ids: Of these N images.
        means: By run and score.
        gaps: By score, of each run but the baseline: the paired differences (N,), above 0 where it is better; where
            there are several seeds, of their means.
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
    """The paired differences of runs to the first, with 95 % bootstrap intervals over images, and seeds where several.

    Args:
        runs: At least two.
        times: Resamples of the bootstrap.
        seed: Of the resamples.

    Raises:
        UserError: If the runs have no image in common, or the masks of one differ.
    """
    ids = common_images(runs)
    images = resamples(len(ids), times, seed)
    scores = {run.name: {name: _scores(run, ids, name) for name in SCORES} for run in runs}
    drawn: dict[str, dict[str, Tensor]] = {}
    for index, run in enumerate(runs, start=1):
        seeds = seed_resamples(len(run.seeds), times, seed + index)
        drawn[run.name] = {name: drawn_means(own, images, seeds) for name, own in scores[run.name].items()}
    first, *others = scores

    def to_first(run: str, name: str) -> Interval:
        gap = scores[run][name].mean() - scores[first][name].mean()
        return interval(gap, drawn[run][name] - drawn[first][name])

    return Comparison(
        list(runs),
        ids,
        {run: {name: interval(own[name].mean(), drawn[run][name]) for name in SCORES} for run, own in scores.items()},
        {name: {run: (scores[run][name].mean(0) - scores[first][name].mean(0)).numpy() for run in others}
         for name in SCORES},
        {run: {name: to_first(run, name) for name in SCORES} for run in others},
        times,
    )  # fmt: skip


def _scores(run: Run, ids: Sequence[str], name: str) -> Tensor:
    """(S, N) of its seeds and these images."""
    return torch.tensor([[rows[id][name] for id in ids] for rows in run.seeds], dtype=torch.float64)


def common_images(runs: Sequence[Run]) -> list[str]:
    """The sorted ids of the images that all runs were scored on.

    Raises:
        UserError: If there are none, or they are other images of equal names.
    """
    counts = ", ".join(f"{run.name} has {len(run.ids)}" for run in runs)
    if len(runs) < 2:
        raise UserError(f"runs= names one run ({counts}); name at least two: runs=[BASELINE,OTHER]")
    ids = sorted(set.intersection(*(run.ids for run in runs)))
    if not ids:
        raise UserError(f"runs= have 0 images in common ({counts}); compare runs that were scored on the same ones")
    first = runs[0].seeds[0]
    for name, rows in ((run.name, rows) for run in runs for rows in run.seeds):
        other = [id for id in ids if abs(rows[id]["true_share"] - first[id]["true_share"]) > SAME]
        if other:
            raise UserError(
                f"{len(other)} of the {len(ids)} images that {name} and {runs[0].name} have in common, such as "
                f"{other[0]}, have another mask in one than in the other; compare runs on the same data"
            )
    return ids


def read_runs(given: object, names: Sequence[str] | None) -> list[Run]:
    """What lies in folders, each of a run, cross-validation or evaluation.

    Args:
        given: One folder or several, a `scores.csv`, or a pattern of these.
        names: For tables and figures; None for those of the folders. Runs of one name are seeds of one recipe.

    Raises:
        UserError: If one holds no scores or comes twice, the names are too few or too many, or folders are named alike.
    """
    places = [given] if isinstance(given, str | int) else given if isinstance(given, Sequence) else []
    files = [scores_of(path) for place in places for path in matching(str(path_of("runs", place)))]
    check_each_once("runs", files)
    runs = [run for file in files for run in _read(file)]
    if names is None:
        names = [run.name for run in runs]
        if len(set(names)) != len(names):
            raise UserError(
                f"runs= are of folders named alike ({','.join(names)}); give names=, different ones, or equal ones for "
                "the seeds of one recipe"
            )
    names = names_of(names)
    if len(names) != len(runs):
        raise UserError(f"names={','.join(names)} must be {len(runs)} names, one for each run")
    recipes: dict[str, list[Run]] = {}
    for name, run in zip(names, runs, strict=True):
        recipes.setdefault(name, []).append(run)
    return [_as_one(name, seeds) for name, seeds in recipes.items()]


def _as_one(name: str, runs: Sequence[Run]) -> Run:
    """Runs of one recipe."""
    facts: dict[str, Any] = {}
    for key in FACTS:
        known = list(dict.fromkeys(run.facts[key] for run in runs if key in run.facts))
        if known:
            facts[key] = known[0] if len(known) == 1 else ", ".join(map(str, known))
    return Run(name, [rows for run in runs for rows in run.seeds], facts)


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
    models: dict[str, Rows] = {}
    try:
        with file.open(encoding="utf-8", newline="") as stream:
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
    return [Run(model if len(models) > 1 else folder.name, [rows], facts) for model, rows in models.items()]


def _facts(folder: Path) -> dict[str, Any]:
    """What the table says of a run, from its `summary.json` or that of its first fold."""
    for file in (folder / "summary.json", *sorted(folder.glob("fold-*/summary.json"))):
        try:
            summary = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # the table has a gap then
            continue
        if "epochs" in summary:
            return {key: summary[key] for key in FACTS if key in summary}
    return {}
