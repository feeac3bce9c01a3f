"""`report.html`: one file with all figures inside, that opens from disk without a network; `figures/` beside it."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import jinja2
import matplotlib as mpl
from matplotlib.figure import Figure
from torch import Tensor

from unetkit.evaluation import LOWER_IS_BETTER, LabelledImages, Measured, Model, Summary
from unetkit.plots.images import CLASS_COLOURS, Image, to_rgb
from unetkit.report import cases, figures

PAPER_DPI = 300
# What stands in the tables: the score, its name, and what it says.
SCORES = (
    ("per_image/iou", "IoU", "overlap of mask and truth, as a share of what either covers"),
    ("per_image/dice", "Dice (F1)", "twice the overlap, as a share of both sizes together"),
    ("per_image/kaggle", "Kaggle's score", "share of the thresholds 0.50, 0.55 ... 0.95 that the IoU exceeds"),
    ("per_image/precision", "precision", "share of the mask that is right"),
    ("per_image/recall", "recall", "share of the truth that is found"),
    ("per_image/specificity", "specificity", "share of the rest that is left alone"),
    ("per_image/accuracy", "accuracy", "share of all pixels that are right; high wherever foreground is rare"),
    ("per_image/mcc", "MCC", "correlation of mask and truth, from -1 to 1"),
    ("per_image/boundary_iou", "boundary IoU", "IoU of the bands within 2 % of the diagonal of the outlines"),
    (
        "per_image/hausdorff95",
        "Hausdorff-95, px",
        "95 % of each outline lies closer than this to the other; low is good",
    ),
    ("pooled/iou", "IoU", "large masks weigh more than small ones"),
    ("pooled/dice", "Dice (F1)", ""),
    ("pooled/precision", "precision", ""),
    ("pooled/recall", "recall", ""),
    ("pooled/specificity", "specificity", ""),
    ("pooled/accuracy", "accuracy", ""),
    ("pooled/mcc", "MCC", ""),
    ("pooled/average_precision", "average precision", "area under the precision-recall curve"),
    ("pooled/ece", "calibration error (ECE)", "mean gap of probability and share that is right; low is good"),
)
MAIN = ("per_image/iou", "per_image/dice", "per_image/kaggle", "pooled/iou")
COMPARED = (*MAIN, "per_image/precision", "per_image/recall", "per_image/boundary_iou", "pooled/average_precision")


def write_report(
    folder: Path,
    models: Sequence[Model],
    measured: Sequence[Measured],
    images: LabelledImages,
    summary: Summary,
    draws: Tensor,
) -> None:
    """Write `report.html` and `figures/*.svg` and `*.png` into a folder that exists.

    Args:
        folder: For the files.
        models: The checkpoints.
        measured: What was counted of each.
        images: That they were scored on.
        summary: The scores.
        draws: The resamples that the summary was made with.
    """
    with mpl.rc_context(figures.STYLE):
        drawn = {name: save(figure, folder / "figures" / name) for name, figure in _figures(measured, summary, draws)}
    shown = cases.draw(cases.choose(measured), models, measured, images)
    page = _environment().get_template("report.html.jinja").render(
        models=models,
        measured=measured,
        images=images,
        summary=summary,
        figures=drawn,
        cases=shown,
        scores=SCORES,
        colours=CLASS_COLOURS.tolist(),
        main=MAIN,
        date=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    )  # fmt: skip
    (folder / "report.html").write_text(page, encoding="utf-8")


def save(figure: Figure, path: Path) -> str:
    """Write a figure as SVG and PNG; gives the SVG as a data URI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    path.with_suffix(".svg").write_bytes(buffer.getvalue())
    figure.savefig(path.with_suffix(".png"), dpi=PAPER_DPI)
    return _data_uri("image/svg+xml", buffer.getvalue())


def _figures(measured: Sequence[Measured], summary: Summary, draws: Tensor) -> list[tuple[str, Figure]]:
    labels = {key: f"{label}, {key.split('/')[0].replace('_', ' ')}" for key, label, _ in SCORES if key in COMPARED}
    is_binary = len(measured[0].classes) == 1
    return [
        *([("differences", figures.differences(summary, labels))] if len(measured) > 1 else []),
        *([("threshold", figures.threshold_curve(measured, draws))] if is_binary else []),
        ("precision_recall", figures.precision_recall(measured)),
        ("reliability", figures.reliability(measured, summary)),
        ("coverage", figures.iou_by_coverage(measured, draws)),
        ("confusion", figures.confusion(measured)),
    ]


def _environment() -> jinja2.Environment:
    loader = jinja2.PackageLoader("unetkit.report", "")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {
        "png": _png,
        "number": _number,
        "interval": _interval,
        "signed": _signed,
        "verdict": _verdict,
    }
    return environment


def _png(picture: Image) -> str:
    bgr = cv2.cvtColor(to_rgb(picture), cv2.COLOR_RGB2BGR)
    ok, content = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert ok  # memory holds any array we make
    return _data_uri("image/png", content.tobytes())


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _number(score: Mapping[str, float]) -> str:
    """The value; a dash where it is not defined, as precision-recall's area is without foreground."""
    return "-" if math.isnan(score["value"]) else f"{score['value']:.{3 if score['value'] < 10 else 1}f}"


def _interval(score: Mapping[str, float]) -> str:
    digits = 3 if score["high"] < 10 else 1
    return "" if math.isnan(score["value"]) else f"{score['low']:.{digits}f} to {score['high']:.{digits}f}"


def _signed(score: Mapping[str, float]) -> str:
    digits = 3 if abs(score["value"]) < 10 else 1
    shown = f"{score['value']:+.{digits}f} ({score['low']:+.{digits}f} to {score['high']:+.{digits}f})"
    return "-" if math.isnan(score["value"]) else shown


def _verdict(score: Mapping[str, Any], name: str) -> str:
    sign = -1 if name.split("/")[1] in LOWER_IS_BETTER else 1
    low, high = sorted((sign * score["low"], sign * score["high"]))
    return "▲ better" if low > 0 else "▼ worse" if high < 0 else "no clear difference"
