"""Write `scores.csv`: a row for each image and model."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from unetkit.evaluation.measure import Measured
from unetkit.evaluation.primary import Primary
from unetkit.evaluation.registry import BY_NAME
from unetkit.evaluation.statistics import per_image
from unetkit.paths import whole_file


def write_scores(path: Path, models: Sequence[Measured], primary: Primary) -> None:
    """Write the rows of all models as CSV."""
    rows = [row for model in models for row in score_rows(model, primary)]
    with whole_file(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def score_rows(model: Measured, primary: Primary) -> list[dict[str, Any]]:
    """Return for each image its shares of foreground and its scores.

    Of several classes, also IoU and Dice of each, and the leading score of each; of one class, where its name is typed.
    """
    columns = {
        "pixels": model.pixels,
        "true_share": torch.from_numpy(model.coverage),
        "predicted_share": torch.from_numpy(model.predicted_share),
    }
    scores = per_image(model)
    for name, values in scores.items():
        of_all = None if model.is_multilabel else BY_NAME[name].of_all_classes
        columns[name] = of_all(model.measures.confusion) if of_all else values.mean(1)
    for index, label in enumerate(model.classes if len(model.classes) > 1 or primary.class_name else ()):
        columns |= {
            f"{name}_{label}": scores[name][:, index] for name in dict.fromkeys(("iou", "dice", primary.entry.name))
        }
    return [
        {"model": model.name, "id": id, **{name: round(values[i].item(), 6) for name, values in columns.items()}}
        for i, id in enumerate(model.ids)
    ]
