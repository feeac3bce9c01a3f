"""Figures of differences: the scores of models minus those of the first, and of runs minus those of the baseline."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from unetkit.evaluation import Comparison, Summary
from unetkit.report.figures import COLOURS, MARKERS, WIDTH


def of_scores(summary: Summary, labels: Mapping[str, str]) -> Figure:
    """Draw the differences of models to the first model, with 95 % intervals.

    Args:
        summary: The scores.
        labels: By key, the labels of the scores to draw; higher must be better in all.
    """
    figure = Figure(figsize=(WIDTH, 0.8 + (0.15 + 0.15 * len(summary["differences"])) * len(labels)))
    axes = figure.subplots()
    axes.axvline(0, color="0.5", linewidth=0.8)
    for index, (model, scores) in enumerate(summary["differences"].items(), start=1):
        shift = (index - (len(summary["differences"]) + 1) / 2) * 0.22
        intervals = [[scores[key][part] for part in ("value", "low", "high")] for key in labels]
        style: dict[str, Any] = {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % 6]}
        _draw_intervals(axes, intervals, np.arange(len(labels)) + shift, label=model, **style)
    axes.set_yticks(range(len(labels)), list(labels.values()))
    axes.invert_yaxis()
    axes.set_xlabel(f"difference to\n{next(iter(summary['models']))}\n(right is better)")
    if len(summary["differences"]) > 1:
        axes.legend()
    return figure


def of_runs(comparison: Comparison, score: str) -> Figure:
    """Draw the difference of each run to the baseline with its 95 % interval, and the images better and worse."""
    runs = list(comparison.differences)
    figure = Figure(figsize=(WIDTH, 1.0 + 0.24 * len(runs)))
    axes = figure.subplots()
    axes.axvline(0, color="0.5", linewidth=0.8)
    rows = np.arange(len(runs))
    _draw_intervals(axes, [comparison.differences[run][score] for run in runs], rows, color="k", marker="o")
    axes.set_yticks(rows, runs)
    counts = [f"{better:,} / {worse:,}" for better, worse in (comparison.wins(run, score) for run in runs)]
    axes.secondary_yaxis("right").set_yticks(rows, counts, fontsize=7)
    axes.set_title("images better / worse", loc="right", fontsize=7)
    axes.locator_params(axis="x", nbins=5)
    axes.set_ylim(len(runs) - 0.5, -0.5)
    axes.set_xlabel(f"{comparison.label(score)} minus that of\n{comparison.runs[0].name}")
    return figure


def _draw_intervals(axes: Axes, intervals: Sequence[Sequence[float]], rows: NDArray[Any], **style: Any) -> None:
    """Draw values with their bounds (value, low, high), each in its row."""
    values, lows, highs = np.array(intervals).T
    error = np.maximum([values - lows, highs - values], 0)  # rounding can put equal ones a little outside
    axes.errorbar(values, rows, xerr=error, linestyle="none", markersize=5, capsize=3, **style)
