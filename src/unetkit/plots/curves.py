"""Draw the learning curves of a run from its metrics.csv."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from unetkit.errors import UserError
from unetkit.paths import whole_file
from unetkit.run_files import FIX, read_text

END = (math.inf, math.inf)  # after all rows
MAX_BYTES = 2**28  # of a metrics.csv; one of a million epochs is smaller
LOSSES = {"train/loss_epoch": "training", "val/loss": "validation"}
SCORES = {"val/iou_per_image": "IoU, per image", "val/iou": "IoU, pooled"}


def draw_curves(metrics: Sequence[Path], picture: Path, leading: Mapping[str, str] | None = None) -> None:
    """Draw losses beside scores, by epoch; write nothing if there is nothing to draw.

    Args:
        metrics: Files of Lightning's CSVLogger, in order; a resumed run has one for each start, and rows of epochs
            that a later file repeats are left out.
        picture: The PNG.
        leading: Labels of more scores by column, which are drawn first.
    """
    rows = read_rows(metrics)
    with mpl.rc_context({"font.size": 9}):
        figure = Figure(figsize=(9, 3.2), layout="constrained")
        losses, scores = figure.subplots(1, 2)
        _draw(losses, "loss", LOSSES, rows)
        _draw(scores, "validation score", {**(leading or {}), **SCORES}, rows)
        scores.set_ylim(0, max(1, scores.get_ylim()[1]) if scores.lines else 1)
        if losses.lines or scores.lines:
            with whole_file(picture) as part:
                figure.savefig(part, format="png", dpi=110)


def read_rows(metrics: Sequence[Path]) -> list[dict[str, str]]:
    """Return the rows of all files that have an epoch, without those that a later file repeats.

    Raises:
        UserError: If one can't be read.
    """
    parts = [_rows_of(file) for file in metrics if file.exists()]
    ends = [min((place_of(row) for row in part), default=END) for part in [*parts, []][1:]]
    return [row for part, end in zip(parts, ends, strict=True) for row in part if place_of(row) < end]


def _rows_of(file: Path) -> list[dict[str, str]]:
    text = read_text(file, limit=MAX_BYTES)
    try:
        rows = [row for row in csv.DictReader(io.StringIO(text, newline="")) if row["epoch"]]
        for row in rows:
            _ = epoch_of(row), [float(row[name] or 0) for name in row if name.startswith(("train/loss", "val/"))]
    except (KeyError, ValueError, TypeError, OverflowError, AttributeError, csv.Error) as error:
        raise UserError(str(file), f"can't be read as the metrics of a run ({error})", FIX) from error
    return rows


def _draw(axes: Axes, title: str, names: Mapping[str, str], rows: list[dict[str, str]]) -> None:
    for column, label in names.items():
        points = [(epoch_of(row) + 1, float(row[column])) for row in rows if row.get(column)]
        if points:
            axes.plot(*zip(*points, strict=True), marker="." if len(points) < 30 else None, label=label)
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()


def place_of(row: dict[str, str]) -> tuple[float, float]:
    """Return epoch and step of a row; a run may be interrupted within an epoch, and go on from there."""
    return epoch_of(row), int(row.get("step") or 0)


def epoch_of(row: dict[str, str]) -> int:
    """Return the epoch of a row, from 0; the CSVLogger writes 2.0 for what a module has logged."""
    return int(float(row["epoch"]))
