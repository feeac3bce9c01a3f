"""Question `quality`: training until the score of U_net_recreation on TGS Salt is exceeded."""

import csv
import json
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.answers import Answer, Row
from benchmarks.processes import accelerator, run_train

RECREATION_SCORE = 0.549  # Kaggle's score of U_net_recreation's small network on whole images of 101x101
RECREATION_IMAGES = 960_000  # images that it was trained on: 24,000 steps of 40


def quality(rounds: int, device: torch.device, data: Path, ours: list[str]) -> Answer:
    """Measure Kaggle's score on the validation fold after each epoch, and when it exceeds U_net_recreation's."""
    rows: list[Row] = []
    sentences = []
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            started = time.time()
            options = [*ours, f"data.root={data.absolute()}", f"data.cache_dir={folder}/cache"]
            options += [f"trainer.accelerator={accelerator(device)}"]
            times, run_dir = run_train(Path(folder), [*options, f"seed={47 + number}"])
            summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
            with (run_dir / "metrics.csv").open(encoding="utf-8", newline="") as file:
                scores = [float(row["val/kaggle"]) for row in csv.DictReader(file) if row.get("val/kaggle")]
        curve = [
            {"seed": 47 + number, "images": summary["data"]["train"] * n, "seconds": end - started, "kaggle": score}
            for n, (end, score) in enumerate(zip(times[1:], scores, strict=True), start=1)
        ]
        rows += curve
        first = next((row for row in curve if row["kaggle"] > RECREATION_SCORE), None)
        sentences.append(
            f"seed {47 + number}: "
            + (
                f"{RECREATION_SCORE} is exceeded after {first['images']:,} images and {first['seconds']:.0f} s, "
                f"1/{RECREATION_IMAGES / first['images']:.0f} of U_net_recreation's images"
                if first
                else f"{RECREATION_SCORE} is not exceeded"
            )
        )
    return rows, sentences
