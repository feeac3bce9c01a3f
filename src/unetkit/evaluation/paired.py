"""Compare runs image by image: paired differences with intervals, and counts of images that are better or worse."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unetkit.errors import UserError
from unetkit.evaluation.bootstrap import Interval, drawn_means, interval, resamples, seed_resamples
from unetkit.evaluation.runs import COMPARED, ScoredRun
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
    """

    runs: list[ScoredRun]
    ids: list[str]
    means: dict[str, dict[str, Interval]]
    gaps: dict[str, dict[str, NDArray[np.float64]]]
    differences: dict[str, dict[str, Interval]]
    resamples: int

    def wins(self, run: str, score: str) -> tuple[int, int]:
        """Return on how many images a run is better and worse than the baseline."""
        gap = self.gaps[score][run]
        return int((gap > SAME).sum()), int((gap < -SAME).sum())


def compare_runs(runs: Sequence[ScoredRun], times: int, seed: int) -> Comparison:
    """Subtract the first run from the others, paired by image, with 95 % intervals over images and seeds.

    Args:
        runs: At least two runs.
        times: Number of resamples of the bootstrap.
        seed: Seed of the resamples.

    Raises:
        UserError: If the runs have no image in common, or the masks of one differ.
    """
    ids = common_images(runs)
    images = resamples(len(ids), times, seed)
    scores = {run.name: {name: _scores(run, ids, name) for name in COMPARED} for run in runs}
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
        {run: {name: interval(own[name].mean(), drawn[run][name]) for name in COMPARED} for run, own in scores.items()},
        {name: {run: (scores[run][name].mean(0) - scores[first][name].mean(0)).numpy() for run in others}
         for name in COMPARED},
        {run: {name: to_first(run, name) for name in COMPARED} for run in others},
        times,
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
    """Collect a score (S, N) of S seeds and N images."""
    return torch.tensor([[rows[id][name] for id in ids] for rows in run.seeds], dtype=torch.float64)
