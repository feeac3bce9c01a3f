"""Read the runs of a sweep or search from their directories: what they were started with, scored and cost."""

import csv
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unetkit.data.splits import read_split
from unetkit.errors import UserError, readable
from unetkit.evaluation.primary import found_in, lower_is_better, read_primary
from unetkit.paths import short_path, whole_file
from unetkit.run_files import OUTCOME, OVERRIDES, STOPPED_BY, read_json, read_yaml

SPLIT = "split.csv"  # in a run directory
TABLE = "sweep.csv"  # written when the last run of a sweep has ended
FINISHED, INTERRUPTED = "finished", "interrupted"  # words of the column `status`, beside those of `outcome.json`
NOT_SWEPT = ("checkpoint", "run_dir")
DATA = ("data", "data.root")  # keys that choose other images, perhaps of equal names
# What a run costs: the key of its summary.json, and the heading of the column.
COSTS = {
    "parameters": "parameters",
    "epochs": "epochs",
    "images_per_second": "images/s",
    "peak_memory_mib": "MiB",
    "seconds": "seconds",
}


@dataclass(frozen=True)
class SweptRun:
    """One run of a sweep.

    Attributes:
        folder: Its run directory.
        name: The directory's name within the sweep, such as `0-unet_small`.
        overrides: What it was started with: values, as they were typed, by key.
        status: `finished`, `interrupted` (killed, or still going on), `stopped` (by `trainer.max_time`), `failed` or
            `pruned`.
        reason: Why it failed, in one line; else empty.
        monitor: The value that decided which epoch is the best one, such as `val/iou_per_image`.
        score: The best of it; None if the run has none.
        costs: The entries of `COSTS` that are known.
        validated_on: The names of the images that gave the score; empty if they are not known.
    """

    folder: Path
    name: str
    overrides: Mapping[str, str]
    status: str
    reason: str = ""
    monitor: str = ""
    score: float | None = None
    costs: Mapping[str, float] = field(default_factory=dict)
    validated_on: frozenset[str] = frozenset()

    @property
    def scored_by(self) -> str:
        """What the score is: the monitored value, and what was typed of the loss if it is one."""
        is_loss = self.monitor.endswith("loss")
        loss = [f"{key}={value}" for key, value in self.overrides.items() if key.partition(".")[0] == "loss"]
        return " ".join([self.monitor, *(loss if is_loss else ())])

    @property
    def checkpoint(self) -> Path:
        """The checkpoint of its best epoch, which need not exist; of a cross-validation, its folder."""
        return self.folder if (self.folder / "ensemble").is_dir() else self.folder / "checkpoints" / "best.ckpt"


@dataclass(frozen=True)
class Sweep:
    """The runs of a sweep or search.

    Attributes:
        folder: Its directory.
        runs: The runs, best first; those without a score last.
    """

    folder: Path
    runs: Sequence[SweptRun]

    @property
    def keys(self) -> list[str]:
        """The keys that differ between the runs."""
        keys = dict.fromkeys(key for run in self.runs for key in run.overrides)
        return [key for key in keys if len({run.overrides.get(key) for run in self.runs}) > 1]

    @property
    def monitor(self) -> str:
        """What the runs were scored by; `score`, if they differ in it."""
        names = {run.monitor for run in self.runs if run.monitor}
        return names.pop() if len(names) == 1 else "score"

    @property
    def caveats(self) -> list[str]:
        """Why scores of different runs can't be compared, a line for each reason."""
        scored = [run for run in self.runs if run.score is not None]
        kinds = sorted({run.scored_by for run in scored})
        known = [run for run in scored if run.validated_on]
        found = []
        if len(kinds) > 1:
            problem = f"the scores are of different kinds ({', '.join(kinds)}), so that their order means nothing"
            found.append(f"{problem}; give all the same monitor, as monitor=val/iou_per_image")
        if len({(run.validated_on, *(run.overrides.get(key) for key in DATA)) for run in known}) > 1:
            if "data.fold" in self.keys:
                fix = "unetkit cross-validate scores all folds as one"
            elif any(key in DATA for key in self.keys):
                fix = "unetkit evaluate scores several checkpoints on the same images"
            else:
                split = short_path(known[0].folder / SPLIT)
                fix = f"give all the same split: {shlex.quote(f'data.split={split}')}"
            found.append(f"the runs were validated on different images, which alone changes scores; {fix}")
        return found

    @property
    def best(self) -> SweptRun | None:
        """The finished run with the best score; None if no run has one."""
        return next((run for run in self.runs if run.status == FINISHED and run.score is not None), None)

    @property
    def is_done(self) -> bool:
        """Whether all runs that began have ended well."""
        return all(run.status in (FINISHED, "pruned", "stopped") for run in self.runs)

    def counted(self) -> str:
        """Return how many runs ended how, such as `3 finished, 1 failed`."""
        words = [run.status for run in sorted(self.runs, key=lambda run: run.status != FINISHED)]
        return ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))


def read_sweep(folder: Path) -> Sweep:
    """Read all runs below a folder.

    Raises:
        UserError: If there is none.
    """
    with readable(folder):
        files = sorted(folder.rglob(str(OVERRIDES)))
    runs = [_read_run(folder, file.parent.parent) for file in files if file.parent.parent != folder]
    if not runs:
        problem = "holds no runs" if folder.is_dir() else "is no folder"
        raise UserError(str(folder), problem, "give the directory of a sweep or of a search")
    runs.sort(key=lambda run: _number_of(run.name))
    sign = 1 if lower_is_better(next((run.monitor for run in runs if run.monitor), "")) else -1
    runs.sort(key=lambda run: math.inf if run.score is None else sign * run.score)
    return Sweep(folder, runs)


def write_table(sweep: Sweep) -> Path:
    """Write `sweep.csv` into the sweep's directory, a row for each run, best first; return the file."""
    path = sweep.folder / TABLE
    with whole_file(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["run", "status", *sweep.keys, sweep.monitor, *COSTS, "reason"])
        for run in sweep.runs:
            swept = [run.overrides.get(key, "") for key in sweep.keys]
            costs = [run.costs.get(key, "") for key in COSTS]
            writer.writerow([run.name, run.status, *swept, "" if run.score is None else run.score, *costs, run.reason])
    return path


def described(sweep: Sweep) -> list[str]:
    """Return the lines of a table for the terminal, best run first, and a line for each run that failed."""
    rows = [["run", *sweep.keys, sweep.monitor, *COSTS.values(), "status"], *(cells(sweep, run) for run in sweep.runs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    is_text = [True, *(True for _ in sweep.keys), *(False for _ in range(len(COSTS) + 1)), True]
    lines = []
    for row in rows:
        aligned = [
            cell.ljust(width) if text else cell.rjust(width)
            for cell, width, text in zip(row, widths, is_text, strict=True)
        ]
        lines.append("  ".join(aligned).rstrip())
    failed = [run for run in sweep.runs if run.reason and run.status == "failed"]
    return lines + [f"failed: {run.name}: {run.reason}" for run in failed]


def cells(sweep: Sweep, run: SweptRun) -> list[str]:
    """Return the cells of a run in a table: its name, what was swept, score, costs and status."""
    swept = [run.overrides.get(key, "") for key in sweep.keys]
    score = "-" if run.score is None else f"{run.score:.4f}"
    return [run.name, *swept, score, *(_cost(run, key) for key in COSTS), run.status]


def _cost(run: SweptRun, key: str) -> str:
    value = run.costs.get(key)
    is_whole = key in ("parameters", "epochs") or (value or 0) >= 100
    return "-" if value is None else f"{value:,.{0 if is_whole else 1}f}"


def _number_of(name: str) -> tuple[int, str]:
    """Return what sorts `2-unet` before `10-unet`, and `trial-2` before `trial-10`."""
    found = re.search(r"\d+", name)
    return int(found[0]) if found else -1, name


def _read_run(sweep: Path, folder: Path) -> SweptRun:
    """Read what is known of a run; files that are damaged make it one without a score."""
    name = str(folder.relative_to(sweep))
    try:
        overrides = _overrides(folder)
        if (file := folder / OUTCOME).exists():
            outcome = read_json(file)
            return SweptRun(folder, name, overrides, str(outcome.get("status")), _line(outcome.get("reason", "")))
        if not (file := folder / "summary.json").exists():
            return SweptRun(folder, name, overrides, INTERRUPTED)
        return _scored(SweptRun(folder, name, overrides, FINISHED), read_json(file))
    except UserError as error:
        return SweptRun(folder, name, {}, "failed", str(error))


def _scored(run: SweptRun, summary: Mapping[str, Any]) -> SweptRun:
    best = summary.get("best")
    monitor = str(best.get("monitor", "")) if isinstance(best, dict) else ""
    found = best.get("score") if isinstance(best, dict) else None
    if monitor == "":  # a cross-validation
        monitor, found = str(summary.get("primary", "")), _of_folds(summary)
    score = _number(summary.get(monitor) if found is None else found)
    costs = {key: value for key in COSTS if (value := _number(summary.get(key))) is not None}
    status = "stopped" if STOPPED_BY in summary else FINISHED
    split = run.folder / SPLIT
    images = frozenset(id for id, side in read_split(split).items() if side == "val") if split.exists() else frozenset()
    return SweptRun(run.folder, run.name, run.overrides, status, "", monitor, score, costs, images)


def _of_folds(summary: Mapping[str, Any]) -> object:
    """Return the leading score of all folds of a cross-validation; None if the summary is of something else."""
    try:
        return found_in(summary["models"]["out of fold"], read_primary(summary["primary"]))["value"]
    except (KeyError, TypeError, UserError):
        return None


def _overrides(folder: Path) -> dict[str, str]:
    """Return what a run was started with, by key."""
    stored = read_yaml(folder / OVERRIDES)
    texts = [text for text in stored if isinstance(text, str)] if isinstance(stored, list) else []
    split = [text.lstrip("+").partition("=") for text in texts]
    return {key: _line(value) for key, _, value in split if key not in NOT_SWEPT}


def _number(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None  # type: ignore[arg-type]  # mypy does not follow the flag


def _line(text: object) -> str:
    return " ".join(str(text).split())
