"""Question `epoch`: seconds of an epoch of train.py and of milesial's train.py."""

import itertools
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from benchmarks.answers import Answer
from benchmarks.measuring import statistics_of
from benchmarks.processes import accelerator, run_process, run_train
from unetkit.data import folder_pairs, tgs_salt_pairs
from unetkit.data.decode import read_image
from unetkit.data.masks import mask_values
from unetkit.data.synthetic import write as write_synthetic
from unetkit.errors import UserError


def epoch(
    rounds: int,
    device: torch.device,
    data: Path | None,
    images: int,
    epochs: int,
    batch: int,
    ours: list[str],
    milesial: Path | None,
) -> Answer:
    """Measure epochs of train.py and of milesial's train.py, each in a process, on the same PNG files.

    Raises:
        UserError: If there are fewer than two epochs, or a process fails.
    """
    if epochs < 2:
        raise UserError(f"--epochs {epochs}", "must be at least 2, since the first is not measured")
    seconds: dict[str, list[float]] = {}
    waits: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        files = write_pairs(Path(folder) / "data", data, images)
        loops: dict[str, Callable[[Path], list[float]]] = {
            f"unetkit {' '.join(ours)}, batch {batch}": partial(our_loop, files, epochs, batch, device, ours, waits)
        }
        if milesial is not None:
            theirs = partial(their_loop, milesial, files, epochs)
            loops["milesial, batch 1 (its default)"] = partial(theirs, [])
            loops[f"milesial --amp, batch {batch}"] = partial(theirs, ["--amp", "--batch-size", str(batch)])
        for number in range(rounds):
            for place, (name, loop) in enumerate(tqdm(loops.items(), f"round {number + 1}", unit="run", leave=False)):
                work = Path(folder) / f"{place}-{number}"
                work.mkdir()
                seconds[name] = seconds.get(name, []) + loop(work)
    rows = [
        {"loop": name, "images": images, **statistics_of(values, next(iter(seconds.values())), images)}
        for name, values in seconds.items()
    ]
    sentences = [] if milesial else ["left out: milesial's loop; give --milesial DIR, a clone of milesial/Pytorch-UNet"]
    if waits:
        sentences.append(f"unetkit's network waits for data in {statistics.median(waits):.1%} of the time")
    return rows, sentences


def write_pairs(root: Path, data: Path | None, count: int) -> Path:
    """Write the first pairs of a data set as PNG files: RGB `images/`, and `masks/` of 0 and 255.

    Raises:
        UserError: If the data set has fewer pairs, or masks that are not files.
    """
    source = write_synthetic(root / "synthetic", count=count, size=101, seed=0) if data is None else data
    is_tgs = (source / "train.csv").exists() or (source / "train.zip").exists()
    pairs = (tgs_salt_pairs if is_tgs else folder_pairs)(source)[:count]
    if len(pairs) < count:
        raise UserError(f"--images {count}", f"is more than the {len(pairs)} of {source}", "give fewer")
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    for number, pair in enumerate(pairs):
        if pair.mask is None:
            problem = "has its mask as run lengths, but milesial's train.py reads files"
            raise UserError(str(pair.image), problem, "unpack masks/")
        image = read_image(pair.image)
        image = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
        cv2.imwrite(str(root / "images" / f"{number:05}.png"), image)
        cv2.imwrite(
            str(root / "masks" / f"{number:05}.png"),
            (mask_values(pair.mask, False, image.shape[:2])[0] > 0).astype(np.uint8) * 255,
        )
    return root


def our_loop(
    files: Path, epochs: int, batch: int, device: torch.device, ours: list[str], waits: list[float], work: Path
) -> list[float]:
    """Return the seconds of the epochs of train.py without the first; appends the share of waiting to `waits`."""
    options = ["data=folder", f"data.root={files}", f"data.cache_dir={work / 'cache'}", "data.val_fraction=0.1"]
    options += [f"data.batch_size={batch}", "trainer.precision=16", f"trainer.max_epochs={epochs}"]
    times, run_dir = run_train(work, [*options, f"trainer.accelerator={accelerator(device)}", *ours])
    wait = json.loads((run_dir / "summary.json").read_text(encoding="utf-8")).get("data_wait")
    waits += [] if wait is None else [wait]
    return [end - start for start, end in itertools.pairwise(times[1:])]


def their_loop(clone: Path, files: Path, epochs: int, options: list[str], work: Path) -> list[float]:
    """Return the seconds of the epochs of milesial's train.py without the first, by the times of its checkpoints."""
    (work / "data").mkdir()
    (work / "data" / "imgs").symlink_to(files / "images")
    (work / "data" / "masks").symlink_to(files / "masks")
    command = [sys.executable, str((clone / "train.py").absolute()), "--scale", "1", "--epochs", str(epochs), *options]
    run_process(command, cwd=work)
    ends = [(work / "checkpoints" / f"checkpoint_epoch{n + 1}.pth").stat().st_mtime for n in range(epochs)]
    return [end - start for start, end in itertools.pairwise(ends)]
