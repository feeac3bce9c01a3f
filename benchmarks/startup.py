"""Question `startup`: seconds of train.py until its help, its configuration and its first step."""

import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch

from benchmarks.answers import Answer
from benchmarks.composing import ROOT
from benchmarks.measuring import paired
from benchmarks.processes import accelerator, run_process


def startup(rounds: int, device: torch.device, ours: list[str]) -> Answer:
    """Measure the seconds of commands, relative to `import torch`."""
    python, script = sys.executable, str(ROOT / "train.py")
    with tempfile.TemporaryDirectory() as folder:
        one_step = ["trainer.max_steps=1", "trainer.limit_val_batches=1", f"trainer.accelerator={accelerator(device)}"]
        commands = {
            "python train.py --help": [python, script, "--help"],
            "python train.py --cfg job": [python, script, "--cfg", "job", *ours],
            "import torch": [python, "-c", "import torch"],
            "python train.py trainer.max_steps=1": [python, script, *one_step, f"hydra.run.dir={folder}/run", *ours],
        }
        runs = {name: partial(run_process, command, Path(folder)) for name, command in commands.items()}
        measured = paired(runs, rounds, device, warm_up=False)
    torchs = measured["import torch"]["rounds"]
    rows = []
    for name, row in measured.items():
        ratio = statistics.median(a / b for a, b in zip(row["rounds"], torchs, strict=True))
        chosen = {key: row[key] for key in ("seconds", "IQR")}
        rows.append({"command": name, **chosen, "time / import torch": ratio, "rounds": row["rounds"]})
    return rows, []
