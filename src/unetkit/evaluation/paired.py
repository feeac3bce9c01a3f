"""Compare runs image by image: paired differences with intervals, and counts of images that are better or worse."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unetkit.errors import UserError
from unetkit.evaluation.bootstrap import Interval, drawn_means, interval, resamples, seed_resamples
from unetkit.evaluation.primary import DEFAULT, Primary, read_primary
from unetkit.evaluation.registry import BY_NAME, ScoreEntry
from unetkit.evaluation.runs import COMPARED, CONDITIONS, ScoredRun
from unetkit.evaluation.summarise import SAME

ROUNDING = 1e-5  # by which the shares of foreground of one mask may differ, as they are rounded in the file


@dataclass(frozen=True)
class Comparison:
    """Runs on the N images that all of them were scored on.

    Attributes:
        runs: The runs; the first is the baseline.
        ids: Names of the images.
        means: By run and score, the mean over images and seeds.
        gaps: By score and run except the baseline, the paired differences (N,), above 0 where the run is better; of
            several seeds, the differences of their means.
        differences: By run except the baseline and score, the means of the gaps.
        resamples: Number of resamples of the intervals.
        primary: The score that leads.
    """

    runs: list[ScoredRun]
    ids: list[str]
    means: dict[str, dict[str, Interval]]
    gaps: dict[str, dict[str, NDArray[np.float64]]]
    differences: dict[str, dict[str, Interval]]
    resamples: int
    primary: Primary

    @property
    def scores(self) -> list[str]:
        """The names of the scores, as columns of `scores.csv`, the leading one first."""
        return compared(self.primary)

    @property
    def caveats(self) -> list[str]:
        """What else than the recipes changes the scores, a line for each: other views, other folds, warnings."""
        meanings = {
            "tta": "tta differs ({}), which alone changes scores; score all with the same tta",
            "folds": "the number of folds differs ({}), so that networks learnt from different shares of the images; "
            "cross-validate all with the same data.folds",
        }
        found = []
        for key in CONDITIONS:
            known = {run.name: run.facts[key] for run in self.runs if key in run.facts}
            if len(set(known.values())) > 1:
                found.append(meanings[key].format(", ".join(f"{run}: {value}" for run, value in known.items())))
        return found + [f"{run.name}: {line}" for run in self.runs for line in run.warnings]

    def wins(self, run: str, score: str) -> tuple[int, int]:
        """Return on how many images a run is better and worse than the baseline."""
        gap = self.gaps[score][run] * (-1 if self._entry(score).lower_is_better else 1)
        return int((gap > SAME).sum()), int((gap < -SAME).sum())

    def label(self, score: str) -> str:
        """Return the name of a score for tables and figures."""
        of_class = f" of {self.primary.class_name}" if score not in BY_NAME else ""
        return f"{self._entry(score).label}{of_class}"

    def _entry(self, score: str) -> ScoreEntry:
        return BY_NAME.get(score, self.primary.entry)


def compared(primary: Primary) -> list[str]:
    """Return the columns of `scores.csv` that are compared, that of the leading score first."""
    return list(dict.fromkeys((primary.column, *COMPARED)))


def compare_runs(runs: Sequence[ScoredRun], times: int, seed: int, primary: Primary | None = None) -> Comparison:
    """Subtract the first run from the others, paired by image, with 95 % intervals over images and seeds.

    Args:
        runs: At least two runs.
        times: Number of resamples of the bootstrap.
        seed: Seed of the resamples.
        primary: The score that leads; None for that of the first run.

    Raises:
        UserError: If the runs have no image in common, or the masks of one differ, or one lacks the leading score.
    """
    primary = primary or (runs[0].primary if runs else read_primary(DEFAULT))
    columns = compared(primary)
    ids = common_images(runs)
    images = resamples(len(ids), times, seed)
    scores = {run.name: {name: _scores(run, ids, name) for name in columns} for run in runs}
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
        {run: {name: interval(own[name].mean(), drawn[run][name]) for name in columns} for run, own in scores.items()},
        {name: {run: (scores[run][name].mean(0) - scores[first][name].mean(0)).numpy() for run in others}
         for name in columns},
        {run: {name: to_first(run, name) for name in columns} for run in others},
        times,
        primary,
    )  # fmt: skip


def common_images(runs: Sequence[ScoredRun]) -> list[str]:
    """Return the sorted ids of the images that all runs were scored on.

    Raises:
        UserError: If there are none, or they are other images of equal names.
    """
    counts = ", ".join(f"{run.name} has {len(run.ids)}" for run in runs)
    if len(runs) < 2:
        raise UserError("runs=", f"names one run ({counts})", "name at least two: runs=[BASELINE,OTHER]")
    ids = sorted(set.intersection(*(run.ids for run in runs)))
    if not ids:
        raise UserError("runs=", f"have 0 images in common ({counts})", "compare runs scored on the same images")
    first = runs[0].seeds[0]
    for name, rows in ((run.name, rows) for run in runs for rows in run.seeds):
        other = [id for id in ids if abs(rows[id]["true_share"] - first[id]["true_share"]) > ROUNDING]
        if other:
            raise UserError(
                f"{len(other)} of the {len(ids)} images that {name} and {runs[0].name} have in common,",
                f"such as {other[0]}, have another mask in one than in the other",
                "compare runs on the same data",
            )
    return ids


def _scores(run: ScoredRun, ids: Sequence[str], name: str) -> Tensor:
    """Collect a score (S, N) of S seeds and N images.

    Raises:
        UserError: If the run has no such score.
    """
    if any(name not in rows[id] for rows in run.seeds for id in ids):
        fix = "score it again with this metrics.primary, or give another"
        raise UserError(f"{run.name}'s scores.csv", f"has no column {name}, which metrics.primary asks for", fix)
    return torch.tensor([[rows[id][name] for id in ids] for rows in run.seeds], dtype=torch.float64)
