"""Draw a sweep: the score against what a run costs and was started with, and the learning curves of all runs."""

import math
from collections.abc import Sequence
from contextlib import suppress

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, NullLocator

from unetkit.errors import UserError
from unetkit.plots.curves import epoch_of, read_rows
from unetkit.report.figures import COLOURS, HEIGHT, LINES, MARKERS, WIDTH
from unetkit.report.sweep import Sweep, SweptRun
from unetkit.run_files import kept_metrics

DECADES = 20  # largest ratio of values that are drawn on a linear axis
NAMED = 12  # most runs whose names a legend shows
LONGEST = 28  # characters of a value or key in a figure


def scores_by(sweep: Sweep, cost: str, label: str) -> Figure | None:
    """Draw the score of each run against one of `COSTS`; None if no run has both."""
    points = [(run.costs[cost], run.score, run) for run in sweep.runs if run.score is not None and cost in run.costs]
    if not points:
        return None
    figure = Figure(figsize=(WIDTH, HEIGHT))
    axes = figure.subplots()
    for index, (x, y, run) in enumerate(points):
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index // len(COLOURS) % len(MARKERS)]
        axes.plot([x], [y], marker, color=colour, label=short(run.name))
    if max(x for x, *_ in points) > DECADES * min(x for x, *_ in points) > 0:
        axes.set_xscale("log")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 116.9k
    axes.set(xlabel=label, ylabel=sweep.monitor)
    axes.grid(alpha=0.3)
    if len(points) <= NAMED:
        figure.legend(loc="outside upper center", ncols=3)
    return figure


def parallel_coordinates(sweep: Sweep) -> Figure | None:
    """Draw each run with a score as a line through its values, one vertical axis a key; None if no key differs."""
    runs, keys = [run for run in sweep.runs if run.score is not None], sweep.keys
    if not runs or not keys:
        return None
    columns = [[run.overrides.get(key, "") for run in runs] for key in keys]
    heights = np.array([*(_heights(column) for column in columns), _heights([str(run.score) for run in runs])])
    figure = Figure(figsize=(max(1.5 * WIDTH, 1.7 * (len(keys) + 1)), HEIGHT))
    axes = figure.subplots()
    colours = mpl.colormaps["viridis"](heights[-1])
    for line, colour in reversed([*zip(heights.T, colours, strict=True)]):  # the best run on top
        axes.plot(range(len(keys) + 1), line, color=colour, linewidth=1.6, marker=".")
    for place, column in enumerate([*columns, [f"{run.score:.4f}" for run in runs]]):
        axes.axvline(place, color="0.3", linewidth=0.8, zorder=0)
        for text, height in _labels(column):
            axes.annotate(short(text), (place, height), (4, 0), "data", "offset points", fontsize=7, va="center")
    axes.set_xticks(range(len(keys) + 1), [short(key) for key in [*keys, sweep.monitor]])
    axes.set(xlim=(-0.1, len(keys) + 0.6), ylim=(-0.06, 1.06))
    axes.yaxis.set_major_locator(NullLocator())
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(axis="x", length=0)
    return figure


def learning_curves(sweep: Sweep) -> Figure | None:
    """Draw the monitored value and the training loss of all runs by epoch; None if nothing is logged."""
    figure = Figure(figsize=(2 * WIDTH, HEIGHT))
    scores, losses = figure.subplots(1, 2)
    for index, run in enumerate(sweep.runs):
        style = COLOURS[index % len(COLOURS)], LINES[index // len(COLOURS) % len(LINES)]
        rows = _rows(run)
        _draw(scores, rows, sweep.monitor, style, short(run.name))
        _draw(losses, rows, "train/loss_epoch", style, short(run.name))
    if not (scores.lines or losses.lines):
        return None
    for axes, name in ((scores, sweep.monitor), (losses, "training loss")):
        axes.set(xlabel="epoch", ylabel=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
    if len(sweep.runs) <= NAMED:
        handles, labels = (scores if scores.lines else losses).get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=4)
    return figure


def short(text: str) -> str:
    """Return a text whose middle is left out if it is long."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}...{text[-LONGEST // 2 + 3 :]}"


def _rows(run: SweptRun) -> list[dict[str, str]]:
    with suppress(UserError):  # a damaged file
        return read_rows([*kept_metrics(run.folder), run.folder / "metrics.csv"])
    return []


def _draw(axes: Axes, rows: Sequence[dict[str, str]], column: str, style: tuple[str, str], name: str) -> None:
    points = [(epoch_of(row) + 1, float(row[column])) for row in rows if row.get(column)]
    if points:
        colour, line = style
        axes.plot(*zip(*points, strict=True), color=colour, linestyle=line, label=name, marker="." * (len(points) < 30))


def _numbers(column: Sequence[str]) -> list[float] | None:
    """Return the values of a column as numbers, or their logarithms if they span decades; None if some are words."""
    try:
        values = [float(text) for text in column]
    except ValueError:
        return None
    if not all(map(math.isfinite, values)):
        return None
    return [math.log(x) for x in values] if min(values) > 0 and max(values) > DECADES * min(values) else values


def _heights(column: Sequence[str]) -> list[float]:
    """Return where the values of a column lie on a vertical axis, in [0, 1]; words are spread evenly."""
    values = _numbers(column)
    if values is None:
        words = sorted(set(column))
        values = [float(words.index(text)) for text in column]
    low, high = min(values), max(values)
    return [(x - low) / (high - low) if high > low else 0.5 for x in values]


def _labels(column: Sequence[str]) -> list[tuple[str, float]]:
    """Return the values to write beside an axis, with their heights: all words, but of many numbers the ends."""
    found = dict(zip(column, _heights(column), strict=True))
    ordered = sorted(found.items(), key=lambda label: label[1])
    return ordered if _numbers(column) is None or len(ordered) <= 4 else [ordered[0], ordered[-1]]
