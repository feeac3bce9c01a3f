"""Write `report.html`, one file with all figures inside that opens from disk without a network, and `figures/`."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
from matplotlib.figure import Figure
from torch import Tensor

from unetkit.evaluation import MAIN, LabelledImages, Measured, Model, Summary, all_keys, kind_of, score_of
from unetkit.evaluation.primary import Primary, shown_first
from unetkit.paths import whole_file, write_text
from unetkit.plots.images import Image, colour_of, encode_png
from unetkit.report import cases, differences, figures

PAPER_DPI = 300
IN_FIGURE = (*MAIN, "per_image/precision", "per_image/recall", "per_image/boundary_iou", "pooled/average_precision")
OF_EACH_CLASS = (
    *("per_image/iou", "pooled/iou", "pooled/dice", "pooled/precision", "pooled/recall"),
    *("per_image/boundary_iou", "per_image/hausdorff95"),
)


def write_report(
    folder: Path,
    models: Sequence[Model],
    measured: Sequence[Measured],
    images: LabelledImages,
    summary: Summary,
    draws: Tensor,
    primary: Primary,
) -> None:
    """Write `report.html` and `figures/*.svg` and `*.png` into a folder that exists.

    Args:
        folder: Folder for the files.
        models: The checkpoints.
        measured: Counts of each.
        images: The images that they were scored on.
        summary: The scores.
        draws: The resamples that the summary was made with.
        primary: The score that leads.
    """
    with mpl.rc_context(figures.STYLE):
        drawn = {
            name: save(figure, folder / "figures" / name)
            for name, figure in _figures(measured, summary, draws, primary)
        }
    shown = cases.draw(cases.choose(measured), models, measured, images)
    page = _environment().get_template("report.html.jinja").render(
        models=models,
        measured=measured,
        images=images,
        summary=summary,
        figures=drawn,
        cases=shown,
        keys=all_keys(primary.key, measured[0].optional),
        leading=primary,
        score_of=score_of,
        kind_of=kind_of,
        of_each_class=OF_EACH_CLASS,
        colours={
            name: colour_of(label)
            for label, name in enumerate(
                measured[0].classes, measured[0].has_background or measured[0].is_multilabel
            )
        },
        is_multilabel=measured[0].is_multilabel,
        tiles={model.name: shown_first(summary["models"][model.name], primary) for model in models},
        date=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    )  # fmt: skip
    write_text(folder / "report.html", page)


def save(figure: Figure, path: Path) -> str:
    """Write a figure as SVG and PNG, and return the SVG as a data URI."""
    content = svg(figure)
    with whole_file(path.with_suffix(".svg")) as part:
        part.write_bytes(content)
    with whole_file(path.with_suffix(".png")) as part:
        figure.savefig(part, format="png", dpi=PAPER_DPI)
    return data_uri("image/svg+xml", content)


def svg(figure: Figure) -> bytes:
    """Return a figure as SVG, the same for the same numbers."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _figures(
    measured: Sequence[Measured], summary: Summary, draws: Tensor, primary: Primary
) -> list[tuple[str, Figure]]:
    """Draw the figures that fit: differences need several models, and the threshold matters for one class."""
    labels = {key: f"{score_of(key).label}, {kind_of(key)}" for key in all_keys(primary.key) if key in IN_FIGURE}
    is_binary = len(measured[0].classes) == 1  # for two scored classes the threshold has no one curve
    return [
        *([("differences", differences.of_scores(summary, labels))] if len(measured) > 1 else []),
        *([("threshold", figures.threshold_curve(measured, draws))] if is_binary else []),
        ("precision_recall", figures.precision_recall(measured)),
        ("reliability", figures.reliability(measured, summary)),
        *([("coverage", figures.iou_by_coverage(measured, draws))] if measured[0].has_background else []),
        *([] if measured[0].is_multilabel else [("confusion", figures.confusion(measured))]),
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
    return data_uri("image/png", encode_png(picture))


def data_uri(kind: str, content: bytes) -> str:
    """Return content as an address that holds it, such as `data:image/png;base64,...`."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _number(score: Mapping[str, float]) -> str:
    """Format the value; a dash if it is not defined, as average precision without foreground."""
    return "-" if math.isnan(score["value"]) else f"{score['value']:.{3 if score['value'] < 10 else 1}f}"


def _interval(score: Mapping[str, float]) -> str:
    digits = 3 if score["high"] < 10 else 1
    return "" if math.isnan(score["value"]) else f"{score['low']:.{digits}f} to {score['high']:.{digits}f}"


def _signed(score: Mapping[str, float]) -> str:
    digits = 3 if abs(score["value"]) < 10 else 1
    shown = f"{score['value']:+.{digits}f} ({score['low']:+.{digits}f} to {score['high']:+.{digits}f})"
    return "-" if math.isnan(score["value"]) else shown


def _verdict(difference: Mapping[str, Any], key: str) -> str:
    """Say whether the interval of a difference lies on the better or the worse side of 0."""
    sign = -1 if score_of(key).lower_is_better else 1
    low, high = sorted((sign * difference["low"], sign * difference["high"]))
    return "▲ better" if low > 0 else "▼ worse" if high < 0 else "no clear difference"
