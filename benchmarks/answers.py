"""The answer to a question: a table and sentences, printed and written as JSON."""

import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from unetkit.prediction.device import find_device

Row = dict[str, Any]
Answer = tuple[list[Row], list[str]]  # the rows of the table, and sentences to print below it


def publish(name: str, run: Callable[..., Answer], threads: int, device: str, output: Path, **options: Any) -> None:
    """Run a question, and print and write its answer.

    Args:
        name: Name of the question.
        run: The function that answers it.
        threads: CPU threads of torch.
        device: `auto`, `cpu` or `cuda`.
        output: JSON file to write.
        options: Arguments of `run` besides the device.
    """
    torch.set_num_threads(threads)
    place = find_device(device)
    rows, sentences = run(device=place, **options)
    command = shlex.join(["python", *sys.argv])
    about = machine(place)
    print("\n".join([table(rows), *sentences, f"{command}\n{about['device']}, {threads} threads, {about['date']}"]))
    output.parent.mkdir(parents=True, exist_ok=True)
    content = {"question": name, "command": command, "machine": about, "rows": rows, "said": sentences}
    output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {output}")


def machine(device: torch.device) -> dict[str, Any]:
    """Describe the machine and the versions of libraries."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    cpu = next((x.partition(": ")[2] for x in lines if x.startswith("model name")), platform.processor())
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu,
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "bf16 in hardware": any(" avx512_bf16" in x or " amx_bf16" in x for x in lines),
        "versions": {
            "python": platform.python_version(),
            **{name: installed(name) for name in ("torch", "lightning", "segmentation-models-pytorch", "monai")},
        },
        "date": time.strftime("%Y-%m-%d"),
    }


def installed(package: str) -> str | None:
    """Return the version of a package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def table(rows: list[Row]) -> str:
    """Format rows as aligned columns, without lists, such as single rounds, which are in the JSON file only."""
    columns = [key for key, value in rows[0].items() if not isinstance(value, list)]
    cells = [columns, *([shown(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    numeric = [not isinstance(rows[0][column], str) for column in columns]
    return "\n".join(
        "  ".join(cell.rjust(w) if n else cell.ljust(w) for cell, w, n in zip(line, widths, numeric, strict=True))
        for line in cells
    )


def shown(value: object) -> str:
    """Format a value; numbers with three significant digits."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return "-" if value is None else str(value)
