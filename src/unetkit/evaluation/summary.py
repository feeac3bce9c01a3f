"""What an evaluation leaves for other programs: `scores.csv` and `summary.json`."""

import csv
import json
import math
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unetkit.evaluation.bootstrap import bootstrap, difference
from unetkit.evaluation.measure import Measured
from unetkit.evaluation.scores import LOWER_IS_BETTER, per_image, statistics
from unetkit.metrics import Counts, pixel_accuracy
from unetkit.paths import whole_file

Summary = dict[str, Any]


def summarise(models: Sequence[Measured], draws: Tensor) -> Summary:
    """Scores with 95 % intervals, of each model, of each of several classes, and less those of the first model.

    Args:
        models: Measured on the same images.
        draws: See `resamples`.
    """
    return {
        "images": len(models[0].ids),
        "resamples": len(draws),
        "models": {model.name: _of_model(model, draws) for model in models},
        "differences": {model.name: compare(model, models[0], draws) for model in models[1:]},
    }


def compare(model: Measured, reference: Measured, draws: Tensor) -> dict[str, Any]:
    """Scores of a model less those of another, paired by image, and on how many images it is better or worse."""
    ours, theirs = statistics(model), statistics(reference)
    found: dict[str, Any] = {
        name: difference(statistic, theirs[name], draws)._asdict() for name, statistic in ours.items()
    }
    other = per_image(reference)
    for name, scores in per_image(model).items():
        gap = (scores.mean(1) - other[name].mean(1)) * (-1 if name in LOWER_IS_BETTER else 1)
        found[f"per_image/{name}"] |= {
            "better": int((gap > 1e-9).sum()),
            "worse": int((gap < -1e-9).sum()),
        }
    return found


def empty_masks(model: Measured, label: int) -> dict[str, float | None]:
    """Images without a class: how many got some, and how large; images with it: how many got none. Sizes in pixels."""
    counts = Counts(*(column[:, label] for column in Counts.of_matrix(model.measures.confusion)))
    size, predicted = counts.tp + counts.fn, counts.tp + counts.fp
    invented, missed = predicted[(size == 0) & (predicted > 0)], size[(size > 0) & (predicted == 0)]
    return {
        "empty": int((size == 0).sum()),
        "empty_that_got_a_mask": len(invented),
        "median_size_of_these_masks": _median(invented),
        "largest_of_these_masks": int(invented.max()) if len(invented) else None,
        "not_empty": int((size > 0).sum()),
        "not_empty_that_got_none": len(missed),
        "median_size_of_what_was_missed": _median(missed),
        "largest_that_was_missed": int(missed.max()) if len(missed) else None,
    }


def score_rows(model: Measured) -> list[dict[str, Any]]:
    """A row for each image: shares of foreground, scores, and IoU and Dice of each of several classes."""
    scores = per_image(model)
    columns = {name: values.mean(1) for name, values in scores.items()}
    columns["accuracy"] = pixel_accuracy(model.measures.confusion)
    if len(model.classes) > 1:
        for index, label in enumerate(model.classes):
            columns |= {f"{name}_{label}": scores[name][:, index] for name in ("iou", "dice")}
    pixels = model.measures.confusion.sum((1, 2))
    predicted = 1 - model.measures.confusion.sum(1)[:, 0] / pixels
    shown = {"pixels": pixels, "true_share": torch.from_numpy(model.coverage), "predicted_share": predicted, **columns}
    return [
        {"model": model.name, "id": id, **{name: round(values[i].item(), 6) for name, values in shown.items()}}
        for i, id in enumerate(model.ids)
    ]


def write_scores(path: Path, models: Sequence[Measured]) -> None:
    """Write the rows of all models as CSV."""
    rows = [row for model in models for row in score_rows(model)]
    with whole_file(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_summary(path: Path, summary: Summary) -> None:
    """Write JSON; what is not defined (nan) becomes null."""
    with whole_file(path) as part:
        part.write_text(json.dumps(_without_nan(summary), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _of_model(model: Measured, draws: Tensor) -> dict[str, Any]:
    several = model.classes if len(model.classes) > 1 else ()
    return {
        "scores": {name: bootstrap(s, draws)._asdict() for name, s in statistics(model).items()},
        "classes": {
            name: {key: bootstrap(s, draws)._asdict() for key, s in statistics(model, label).items()}
            for label, name in enumerate(several)
        },
        "empty_masks": {name: empty_masks(model, label) for label, name in enumerate(model.classes)},
        "confusion": model.measures.confusion.sum(0).tolist(),
    }


def _median(sizes: Tensor) -> float | None:
    return sizes.double().quantile(0.5).item() if len(sizes) else None


def _without_nan(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_nan(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_without_nan(value) for value in node]
    return None if isinstance(node, float) and not math.isfinite(node) else node


def git_commit() -> str | None:
    """The commit of the code, with `+` where files differ from it; None outside a clone."""
    command = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--dirty=+",
        "--abbrev=40",
        "--exclude=*",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
