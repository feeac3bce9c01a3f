"""Compare what two runs leave, to the last bit: checkpoints, metrics, scores."""

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

LEFT_OUT = {
    "RunFigures",  # seconds
    "seconds", "images_per_second", "data_wait", "data_wait_parts", "peak_memory_mib",
    "git_commit",  # somebody may commit meanwhile
    "current_score",  # of a ModelCheckpoint: Lightning does not restore it, and sets it before it reads it
}  # fmt: skip


def differences(run: Path, other: Path) -> list[str]:
    """Return what differs in two run directories, besides times, their paths, and rows of metrics that are lost."""
    found = []
    for name in ("last.ckpt", "best.ckpt"):
        mine, theirs = (folder / "checkpoints" / name for folder in (run, other))
        if mine.exists() != theirs.exists():
            found.append(f"only one has {name}")
        elif mine.exists():
            found += _differing(_plain(_read(mine), run), _plain(_read(theirs), other), name)
    logged, expected = _metrics(run), _metrics(other)
    for row, values in logged.items():
        # A run that ends within an epoch, or lacks only its records, is validated once more.
        if values != expected.get(row) and (row in expected or row[2] != "val"):
            found.append(f"metrics.csv{list(row)}")
    one, another = (_plain(json.loads((folder / "summary.json").read_text("utf-8")), folder) for folder in (run, other))
    if lost_rows(run, other):
        another = {key: value for key, value in another.items() if key in one or key != "train/loss_epoch"}
    return [*found, *_differing(one, another, "summary.json")]


def lost_rows(run: Path, other: Path) -> int:
    """Return the number of rows of metrics that are logged in the other run only."""
    return len(_metrics(other).keys() - _metrics(run).keys())


def unreadable(folder: Path) -> list[str]:
    """Return the checkpoints in a folder that are not whole."""
    found = []
    for file in folder.glob("*.ckpt"):
        try:
            _read(file)
        except Exception as error:
            found.append(f"{file.name}: {error}")
    return found


def leftovers(folder: Path) -> list[str]:
    """Return parts of files in a folder, and files of the size of a checkpoint that are no part of a run."""
    parts = [file for file in folder.rglob("*") if ".part" in file.name]
    return [str(file) for file in parts or folder.glob("tmp*/*.ckpt")]


def _read(file: Path) -> Any:
    return torch.load(file, map_location="cpu", weights_only=True)


def _plain(node: Any, run: Path) -> Any:
    """Return the same with the run's path left out, and without times."""
    if isinstance(node, dict):
        return {_plain(key, run): _plain(value, run) for key, value in node.items() if key not in LEFT_OUT}
    if isinstance(node, list | tuple):
        return [_plain(value, run) for value in node]
    return node.replace(str(run), "RUN") if isinstance(node, str) else node


def _differing(mine: Any, theirs: Any, where: str) -> Iterator[str]:
    """Yield where two trees of containers and tensors differ."""
    if isinstance(mine, torch.Tensor) and isinstance(theirs, torch.Tensor):
        is_same = mine.dtype == theirs.dtype and mine.shape == theirs.shape
        # As bytes, so that NaN equals NaN and 0.0 does not equal -0.0.
        if not (is_same and mine.numpy().tobytes() == theirs.numpy().tobytes()):
            yield where
    elif isinstance(mine, dict) and isinstance(theirs, dict):
        for key in sorted(mine.keys() | theirs.keys(), key=str):
            if key in mine and key in theirs:
                yield from _differing(mine[key], theirs[key], f"{where}[{key}]")
            else:
                yield f"{where}[{key}] is in one only"
    elif isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
        for number, (one, other) in enumerate(zip(mine, theirs, strict=True)):
            yield from _differing(one, other, f"{where}[{number}]")
    elif mine != theirs and not (_is_nan(mine) and _is_nan(theirs)):
        yield f"{where}: {mine!r}, not {theirs!r}"[:200]


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _metrics(run: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    """Return the rows of all `metrics*.csv`; of rows of the same step, those of the last part of the run."""
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    kept = sorted(run.glob("metrics.*.csv"), key=lambda file: int(file.suffixes[0][1:]))
    for file in [*kept, *run.glob("metrics.csv")]:
        for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines()):
            values = {key: value for key, value in row.items() if value and key is not None}
            epoch = str(float(row["epoch"] or "nan"))
            is_scored = any(key.startswith("val/") for key in values)
            kind = "val" if is_scored else ",".join(key for key in values if key != "epoch")
            scores = {key: value for key, value in values.items() if key not in ("epoch", "step")}
            rows[epoch, row["step"], kind] = scores
    return rows
