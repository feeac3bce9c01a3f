"""Question `speed`: images per second of the whole train.py, and seconds from its start to its end."""

import json
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import torch
from omegaconf import OmegaConf

from benchmarks.answers import Answer
from benchmarks.processes import accelerator, run_train


def speed(rounds: int, device: torch.device, data: Path, ours: list[str]) -> Answer:
    """Run train.py with these overrides on fold 0 of TGS Salt, files decoded anew each time.

    `images/s` is that of the steps, `with the rest` that of whole epochs but the first: validations, pictures and
    checkpoints included.
    """
    rows = []
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            options = [f"data.root={data.absolute()}", f"data.cache_dir={folder}/cache"]
            options += [
                "data.split=kfold",
                f"trainer.accelerator={accelerator(device)}",
                "trainer.devices=1",
                f"seed={47 + number}",
            ]
            started = time.time()
            times, run_dir = run_train(Path(folder), [*ours, *options])
            seconds = time.time() - started
            summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
            batch = OmegaConf.load(run_dir / "config.yaml").data.batch_size
        images = min(summary["data"]["train"], batch * summary["steps"] // summary["epochs"])
        epochs = [end - start for start, end in pairwise(times)][1:]
        rows.append(
            {
                "overrides": " ".join(ours),
                "images/s": summary["images_per_second"],
                "with the rest": images / statistics.mean(epochs) if epochs else None,
                "waits for data": summary["data_wait"],
                "peak MiB": summary["peak_memory_mib"],
                "until the first epoch, s": times[0] - started,
                "process, s": seconds,
                "epochs": summary["epochs"],
                "kaggle": summary["val/kaggle"],
            }
        )
    return rows, []
