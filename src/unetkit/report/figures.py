"""Draw the figures of a report so that a paper can use them: readable in grey, no title, no text below 7 points.

Models differ by colour (Okabe & Ito 2008, safe for colour-blind readers), by line style and by marker.
"""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from unetkit.evaluation import Measured, Summary, bootstrap, per_image
from unetkit.evaluation.bootstrap import BLOCK
from unetkit.evaluation.statistics import mean_over_images
from unetkit.metrics import THRESHOLDS, Counts, iou, precision, recall, threshold_counts

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINES = ("-", "--", "-.", ":")
MARKERS = "os^Dv*"
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.constrained_layout.use": True,
    "text.parse_math": False,  # names of classes and runs may hold dollars
    "svg.fonttype": "path",  # letters look the same wherever the file is opened
    "svg.hashsalt": "unetkit",  # same numbers, same file
}
WIDTH, HEIGHT = 4.6, 3.3  # inches of a panel
COVERAGE = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
COVERAGE_LABELS = ("empty", "to 1 %", "1-5 %", "5-10 %", "10-25 %", "25-50 %", "over 50 %")


def threshold_curve(models: Sequence[Measured], draws: Tensor) -> Figure:
    """Draw per-image IoU with its 95 % band, and pooled IoU, at every threshold; for one foreground class."""
    figure, axes = _panel()
    grid = THRESHOLDS.numpy()
    for index, model in enumerate(models):
        counts = threshold_counts(model.measures.curves[:, 0])
        scores = iou(counts).double()
        drawn = torch.cat([block.double() @ scores for block in torch.split(draws, BLOCK)]) / draws.shape[1]
        low, high = np.percentile(drawn.numpy(), [2.5, 97.5], axis=0)
        colour = COLOURS[index % len(COLOURS)]
        axes.fill_between(grid, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(grid, scores.mean(0), color=colour, label=f"{model.name}: per image")
        pooled = iou(Counts(*(column.sum(0) for column in counts)))
        axes.plot(grid, pooled, color=colour, linestyle=":", label=f"{model.name}: pooled")
        axes.axvline(model.threshold, color="0.45", linewidth=0.8, linestyle=(0, (6, 3)))
    axes.set(xlabel="threshold", ylabel="IoU", xlim=(0, 1), ylim=(0, 1))
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def precision_recall(models: Sequence[Measured]) -> Figure:
    """Draw precision against recall of all pixels, a panel for each class; a mark shows the masks as predicted."""
    classes = models[0].classes
    figure, panels = _panels(len(classes))
    for label, axes in enumerate(panels):
        for index, model in enumerate(models):
            curve = threshold_counts(model.measures.curves[:, label].sum(0))
            chosen_counts = model.counts_of(model.measures.confusion.sum(0))
            chosen = Counts(*(column[label] for column in chosen_counts))
            style = _style(index)
            some = curve.tp + curve.fp > 0  # precision is not defined where nothing is predicted
            axes.plot(recall(curve)[some], precision(curve)[some], label=model.name, **style)
            axes.plot(recall(chosen), precision(chosen), MARKERS[index % 6], color=style["color"], markeredgecolor="k")
        _equal_dice(axes)
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.01))
        axes.set_title(classes[label] if len(classes) > 1 else "")
    panels[0].legend(loc="lower left")
    return figure


def reliability(models: Sequence[Measured], summary: Summary) -> Figure:
    """Draw the share of right pixels against the mean probability of each bin; below, the pixels of each bin."""
    figure = Figure(figsize=(WIDTH, HEIGHT * 1.25))
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.4, 1))
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.8)
    for index, model in enumerate(models):
        pixels, confidence, hits = model.measures.calibration.sum(0).numpy().T
        filled = pixels > 0
        x, style = confidence[filled] / pixels[filled], _style(index)
        ece = summary["models"][model.name]["scores"]["pooled/ece"]["value"]
        label = f"{model.name}, ECE {ece:.3f}"
        axes.plot(x, hits[filled] / pixels[filled], marker=MARKERS[index % 6], markersize=4, label=label, **style)
        below.plot(x, pixels[filled] / pixels.sum(), marker=MARKERS[index % 6], markersize=3, **style)
    several = len(models[0].classes) > 1
    axes.set(ylabel="share that is right" if several else "share that is foreground", ylim=(0, 1), xlim=(0, 1))
    axes.legend(loc="upper left")
    lowest = min(line.get_ydata().min() for line in below.lines)
    below.set(
        ylim=(10 ** np.floor(np.log10(lowest)), 1),
        yscale="log",
        ylabel="share of\npixels",
        xlabel="predicted probability",
    )
    return figure


def iou_by_coverage(models: Sequence[Measured], draws: Tensor) -> Figure:
    """Draw the IoU of each image by its share of foreground: points, and their mean with a 95 % interval."""
    figure, axes = _panel()
    coverage = models[0].coverage
    place = np.where(coverage == 0, 0, np.searchsorted(COVERAGE, coverage) + 1)
    there = np.unique(place)
    rng = np.random.default_rng(0)
    for index, model in enumerate(models):
        scores = per_image(model)["iou"].mean(1)
        shift = (index - (len(models) - 1) / 2) * 0.8 / len(models)
        colour, width = COLOURS[index % len(COLOURS)], 0.3 / len(models)
        for x, chosen in enumerate(there):
            inside = torch.from_numpy(place == chosen)
            jitter = x + shift + rng.uniform(-width, width, int(inside.sum()))
            axes.scatter(jitter, scores[inside], s=5, color=colour, alpha=0.25, linewidths=0, rasterized=True)
            mean, low, high = bootstrap(mean_over_images(scores[inside]), draws[:, inside])
            error = [[max(mean - low, 0)], [max(high - mean, 0)]]  # rounding can put equal ones outside
            axes.errorbar(x + shift, mean, error, color="k", marker=MARKERS[index % 6], markersize=6, capsize=3,
                          markerfacecolor=colour, label=model.name if x == 0 else None)  # fmt: skip
    names = [f"{COVERAGE_LABELS[k]}\nn = {np.count_nonzero(place == k)}" for k in there]
    axes.set_xticks(range(len(there)), names, fontsize=7)
    axes.set(xlabel="share of the image that is foreground", ylabel="IoU of an image", ylim=(-0.03, 1.03))
    if len(models) > 1:
        figure.legend(loc="outside upper center", ncols=3)
    return figure


def confusion(models: Sequence[Measured]) -> Figure:
    """Draw confusion matrices in shares of each true class; a panel for each model."""
    labels = [*(["background"] if models[0].has_background else []), *models[0].classes]
    size = len(labels)
    figure, panels = _panels(len(models), width=max(3.6, 0.8 * size), height=max(2.6, 0.6 * size))
    for axes, model in zip(panels, models, strict=True):
        matrix = model.measures.confusion.sum(0).double()
        shares = (matrix / matrix.sum(1, keepdim=True).clamp(min=1)).numpy()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in product(range(size), repeat=2):
            text = f"{100 * shares[row, column]:.1f} %"
            colour = "white" if shares[row, column] > 0.6 else "black"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8 if size < 6 else 7)
        axes.set_xticks(range(size), labels, rotation=30 if size > 2 else 0, ha="right" if size > 2 else "center")
        axes.set_yticks(range(size), labels)
        axes.set(xlabel="predicted", ylabel="true", title=model.name if len(models) > 1 else "")
    return figure


def _panel() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, HEIGHT))
    return figure, figure.subplots()


def _panels(count: int, width: float = WIDTH, height: float = HEIGHT) -> tuple[Figure, list[Axes]]:
    columns = min(count, 3)
    rows = -(-count // columns)
    width = width if columns == 1 else width * 0.8
    figure = Figure(figsize=(width * columns, height * rows))
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for empty in panels[count:]:
        empty.set_axis_off()
    return figure, list(panels[:count])


def _style(index: int) -> dict[str, Any]:
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": LINES[index % len(LINES)]}


def _equal_dice(axes: Axes) -> None:
    """Draw faint lines of equal Dice."""
    for dice in (0.2, 0.4, 0.6, 0.8):
        x = np.linspace(dice / 2 + 1e-3, 1, 200)
        y = dice * x / (2 * x - dice)
        axes.plot(x[y <= 1], y[y <= 1], color="0.8", linewidth=0.7, zorder=0)
        axes.annotate(f"Dice {dice}", (1, y[-1]), color="0.5", fontsize=7, ha="right", va="bottom")
