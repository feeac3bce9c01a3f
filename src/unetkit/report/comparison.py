"""Write a comparison of runs as JSON, CSV and Markdown, a row for each run, and as a picture of the differences."""

import csv
from pathlib import Path
from typing import Any

import matplotlib as mpl

from unetkit.evaluation import Comparison
from unetkit.evaluation.runs import FACTS
from unetkit.paths import whole_file, write_json, write_text
from unetkit.report import differences, figures
from unetkit.report.html import PAPER_DPI


def write_comparison(folder: Path, comparison: Comparison) -> None:
    """Write `comparison.json`, `.csv` and `.md`, and `differences.png`, into a folder that exists."""
    rows = [_row(comparison, index) for index in range(len(comparison.runs))]
    facts = {"images": len(comparison.ids), "resamples": comparison.resamples, "baseline": comparison.runs[0].name}
    more = {"primary": comparison.primary.name, "caveats": comparison.caveats}
    write_json(folder / "comparison.json", {**facts, **more, "runs": rows})
    with whole_file(folder / "comparison.csv") as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[-1]), restval="")
        writer.writeheader()
        writer.writerows(rows)
    write_text(folder / "comparison.md", markdown(comparison))
    with mpl.rc_context(figures.STYLE), whole_file(folder / "differences.png") as part:
        picture = differences.of_runs(comparison, comparison.scores[0])
        picture.savefig(part, format="png", dpi=PAPER_DPI)


def markdown(comparison: Comparison) -> str:
    """Return a table with a row for each run, and the caveats; differences to the first run have 95 % intervals."""
    scores = [
        cell
        for name in comparison.scores
        for cell in (comparison.label(name), "difference (95 % interval)", "better / worse")
    ]
    header = ["run", *FACTS, "images", *scores]
    lines = [header, ["---"] * len(header)]
    for run in comparison.runs:
        cells = [run.name, *(_fact(run.facts.get(key)) for key in FACTS), f"{len(comparison.ids):,}"]
        for name in comparison.scores:
            cells += [f"{comparison.means[run.name][name].value:.4f}", *_against_first(comparison, run.name, name)]
        lines.append(cells)
    table = "".join(f"| {' | '.join(map(one_cell, cells))} |\n" for cells in lines)
    return table + "".join(f"\n{one_cell(caveat)}\n" for caveat in comparison.caveats)


def one_cell(text: str) -> str:
    """Return a text from a file as it stands in one cell of a Markdown table: no line break, HTML or other cell."""
    return " ".join(text.splitlines()).replace("<", "&lt;").replace("|", "&#124;").replace("`", "&#96;")


def _against_first(comparison: Comparison, run: str, score: str) -> tuple[str, str]:
    """Format the difference to the first run, and the images better and worse; dashes for the first run itself."""
    if run not in comparison.differences:
        return "-", "-"
    value, low, high = comparison.differences[run][score]
    better, worse = comparison.wins(run, score)
    return f"{value:+.4f} ({low:+.4f} to {high:+.4f})", f"{better:,} / {worse:,}"


def _fact(value: object) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _row(comparison: Comparison, index: int) -> dict[str, Any]:
    """Collect all numbers of a run under the names of columns."""
    run = comparison.runs[index]
    row: dict[str, Any] = {"run": run.name, **{key: run.facts.get(key) for key in FACTS}}
    row["images"] = len(comparison.ids)
    for name in comparison.scores:
        mean = comparison.means[run.name][name]
        row |= {name: mean.value, f"{name}_low": mean.low, f"{name}_high": mean.high}
    for name in comparison.scores if index else ():
        value, low, high = comparison.differences[run.name][name]
        better, worse = comparison.wins(run.name, name)
        column = f"{name}_difference"
        row |= {column: value, f"{column}_low": low, f"{column}_high": high}
        row |= {f"{name}_better": better, f"{name}_worse": worse}
    return {key: round(value, 6) if isinstance(value, float) else value for key, value in row.items()}
