"""Question `quality`: images and seconds of training until scores on TGS Salt are exceeded."""

import json
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.answers import Answer, Row
from benchmarks.processes import accelerator, run_train

RECREATION_SCORE = 0.549  # Kaggle's score of U_net_recreation's small network on whole images of 101x101
RECREATION_IMAGES = 960_000  # images that it was trained on: 24,000 steps of 40


def quality(
    rounds: int, device: torch.device, data: Path, ours: list[str], targets: list[float], tta: str, seed: int
) -> Answer:
    """Measure Kaggle's score of the validation fold at each validation, and when it exceeds the targets.

    Seconds count from the start of the process to the moment at which the score is known.
    """
    rows: list[Row] = []
    sentences = []
    for number in range(seed, seed + rounds):
        with tempfile.TemporaryDirectory() as folder:
            curve_file = Path(folder) / "curve.json"
            options = [*ours, f"data.root={data.absolute()}", f"data.cache_dir={folder}/cache"]
            options += [
                f"trainer.accelerator={accelerator(device)}",
                "trainer.devices=1",
                f"seed={number}",
                "data.seed=47",
            ]
            options += ["+callbacks.curve._target_=benchmarks.processes.ScoreCurve"]
            options += [f"+callbacks.curve.file={curve_file}", f"+callbacks.curve.tta={tta}"]
            started = time.time()
            times, run_dir = run_train(Path(folder), options)
            curve = json.loads(curve_file.read_text(encoding="utf-8"))
            train = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))["data"]["train"]
        at = [
            {
                "seed": number,
                "epoch": point["epoch"],
                "images": train * point["epoch"],
                "seconds": point["time"] - started,
                "kaggle": point["kaggle"],
            }
            for point in curve
        ]
        rows += at
        sentences += [f"seed {number}: {when_exceeded(at, target)}" for target in targets]
        sentences += [f"seed {number}: training begins after {times[0] - started:.1f} s"]
    return rows, sentences


def when_exceeded(curve: list[Row], target: float) -> str:
    """Say after how many images and seconds a score was first exceeded."""
    first = next((row for row in curve if row["kaggle"] > target), None)
    if first is None:
        return f"{target} is not exceeded"
    said = f"{target} is exceeded after {first['images']:,} images and {first['seconds']:.1f} s"
    if target != RECREATION_SCORE:
        return said
    return f"{said}, 1/{RECREATION_IMAGES / first['images']:.0f} of U_net_recreation's images"
