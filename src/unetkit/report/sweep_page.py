"""Write `sweep.html`: one file that opens from disk without a network, with the table and figures of a sweep."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import jinja2
import matplotlib as mpl
from matplotlib.figure import Figure

from unetkit.paths import write_text
from unetkit.report import sweep_figures
from unetkit.report.figures import STYLE
from unetkit.report.html import data_uri, svg
from unetkit.report.sweep import COSTS, Sweep, cells

PAGE = "sweep.html"


def write_page(sweep: Sweep, command: str, more: Mapping[str, Figure] | None = None) -> Path:
    """Write `sweep.html` into the sweep's directory, and return it.

    Args:
        sweep: The runs.
        command: What to type next with the best run; empty if no run has a score.
        more: More figures by title, such as those of a search; they come first.
    """
    with mpl.rc_context(STYLE):
        drawn = {
            **(more or {}),
            f"{sweep.monitor} and the number of parameters": sweep_figures.scores_by(sweep, "parameters", "parameters"),
            f"{sweep.monitor} and the time of the run": sweep_figures.scores_by(sweep, "seconds", "seconds"),
            "Parallel coordinates: a line for each run": sweep_figures.parallel_coordinates(sweep),
            "Learning curves": sweep_figures.learning_curves(sweep),
        }
        figures = {title: data_uri("image/svg+xml", svg(figure)) for title, figure in drawn.items() if figure}
    loader = jinja2.PackageLoader("unetkit.report", "")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.get_template("sweep.html.jinja").render(
        sweep=sweep,
        command=command,
        headings=["run", *sweep.keys, sweep.monitor, *COSTS.values(), "status"],
        rows=[(run, cells(sweep, run)) for run in sweep.runs],
        first_number=1 + len(sweep.keys),
        figures=figures,
        date=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    )
    write_text(sweep.folder / PAGE, page)
    return sweep.folder / PAGE
