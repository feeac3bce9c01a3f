"""The learning curves of a run, drawn from its metrics.csv."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

LOSSES = {"train/loss_epoch": "training", "val/loss": "validation"}
SCORES = {"val/iou": "IoU, pooled", "val/iou_per_image": "IoU, per image", "val/kaggle": "Kaggle's score"}


def draw_curves(metrics: Sequence[Path], picture: Path) -> None:
    """Draw losses beside scores, by epoch; without a file, or a row to draw, do nothing.

    Args:
        metrics: As Lightning's CSVLogger writes them; those of a run that was interrupted, each where the last stopped.
        picture: A PNG, in a folder that is there.
    """
    texts = [file.read_text(encoding="utf-8") if file.exists() else "" for file in metrics]
    parts = [[row for row in csv.DictReader(text.splitlines()) if row["epoch"]] for text in texts]
    ends = [min((epoch_of(row) for row in part), default=math.inf) for part in parts[1:]]
    rows = [row for part, end in zip(parts, [*ends, math.inf], strict=True) for row in part if epoch_of(row) < end]
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    for axes, title, names in ((losses, "loss", LOSSES), (scores, "validation score", SCORES)):
        for column, label in names.items():
            points = [(epoch_of(row) + 1, float(row[column])) for row in rows if row.get(column)]
            if points:
                axes.plot(*zip(*points, strict=True), marker="." if len(points) < 30 else None, label=label)
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    scores.set_ylim(0, 1)
    if losses.lines or scores.lines:
        with mpl.rc_context({"font.size": 9}):
            figure.savefig(picture, dpi=110)


def epoch_of(row: dict[str, str]) -> int:
    """From 0; the CSVLogger writes 2.0 for one that a module has logged."""
    return int(float(row["epoch"]))
