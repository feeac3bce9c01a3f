"""Question `quick_step`: time of training steps, all ways in this process, for a short loan of a GPU."""

import gc
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.answers import Answer
from benchmarks.contenders import CASES, Case, Network, Training, Way, in_amp, in_fp32, in_one_graph, random_batch
from benchmarks.measuring import paired, synchronize
from benchmarks.step import check_alike, training_of
from unetkit.errors import UserError

WARM_UP = 10  # steps until cuDNN has chosen its algorithms and the memory allocator is steady


def quick_step(
    rounds: int, device: torch.device, cases: list[str], size: int, batch: int, seconds: float, milesial: Path | None
) -> Answer:
    """Measure training steps in blocks that take `seconds` each, by CUDA events on a GPU.

    One process for all ways saves the start of a process for each. That is fair on a GPU, where the ways share nothing
    but cuDNN's choice of algorithms; on a CPU they share the memory allocator, too, for which `step` has processes.
    """
    rows = []
    left_out: dict[str, None] = {}  # used as an ordered set
    for name in cases:
        case = with_more_ways(name)
        trainings: dict[str, Training] = {}
        for way in case.contenders:
            try:
                trainings[way] = warmed_up(training_of(case, way, device, milesial), case, batch, size, device)
            except UserError as error:
                left_out[f"left out: {error}"] = None
        batched = random_batch(case, batch, size, device)
        with torch.no_grad():
            shapes = {way: tuple(training.logits(batched[0]).shape) for way, training in trainings.items()}
        check_alike(shapes, batch, case.classes)
        for way, row in timed(trainings, batched, device, rounds, seconds).items():
            rows.append({"network": name, "pixels": size, "batch": batch, "way": way, **row})
    return rows, [*left_out]


def with_more_ways(name: str) -> Case:
    """Return a case with unetkit's whole steps added, and SMP's ways to train: channels first, in float32 or mixed."""
    case = CASES[name]
    ours: Network = case.contenders["unetkit"][0]
    added: dict[str, Way] = {"SMP's way: NCHW fp32": in_fp32, "SMP's way: NCHW amp": in_amp}
    kept = {way: contender for way, contender in case.contenders.items() if not way.startswith("NCHW")}
    ways: dict[str, tuple[Network, Way]] = {
        "unetkit": kept.pop("unetkit"),
        "unetkit, one graph": (ours, in_one_graph),
        **kept,
    }
    return Case(ways | {way: (ours, train) for way, train in added.items()}, case.is_large, case.channels, case.classes)


def warmed_up(training: Training, case: Case, batch: int, size: int, device: torch.device) -> Training:
    """Make the first steps of a training, which are slower.

    Raises:
        UserError: If whole steps can't be captured.
    """
    images, target = random_batch(case, batch, size, device)
    for _ in range(WARM_UP if device.type == "cuda" else 1):
        training(images, target)
    return training


def timed(
    trainings: dict[str, Training], batch: tuple[Tensor, Tensor], device: torch.device, rounds: int, seconds: float
) -> dict[str, dict[str, Any]]:
    """Return the time of a step of each way: the median of rounds in which each makes a block of steps."""
    images = len(batch[0])
    blocks: dict[str, Callable[[], float]] = {}
    for way, training in trainings.items():
        step = partial(training, *batch)
        steps = max(round(seconds / seconds_of(step, 3 if device.type == "cuda" else 1, device)), 1)
        blocks[way] = partial(seconds_of, step, steps, device)
    measured = paired(blocks, rounds, device, images, warm_up=False, clock=lambda block, _: block())
    return {way: {"ms/step": 1000 * row["seconds"], **row} for way, row in measured.items()}


def seconds_of(step: Callable[[], object], steps: int, device: torch.device) -> float:
    """Return the seconds of a step, the mean of several in a row; on a GPU measured there."""
    gc.collect()
    synchronize(device)
    if device.type != "cuda":
        started = time.perf_counter()
        for _ in range(steps):
            step()
        return (time.perf_counter() - started) / steps
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    start.record()
    for _ in range(steps):
        step()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000 / steps
