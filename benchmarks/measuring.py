"""Seconds of contenders that run in turn, and the memory of one in a process of its own."""

import gc
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from benchmarks.answers import Row
from unetkit.cli.memory import HUGE_PAGES

PEERS = ("segmentation_models_pytorch", "monai.networks.nets", "monai.inferers")


def paired(
    contenders: Mapping[str, Callable[[], object]],
    rounds: int,
    device: torch.device,
    work: float = 1,
    *,
    warm_up: bool = True,
    clock: Callable[[Callable[[], Any], torch.device], float] | None = None,
) -> dict[str, Row]:
    """Seconds of each contender, of which the first is ours: median, interquartile range, and ratio to ours.

    Args:
        contenders: What to time, by name.
        rounds: In which each of them runs once.
        device: On which they work.
        work: Images that each run does, for images per second.
        warm_up: Whether to begin with a round that does not count.
        clock: What gives the seconds of a run on a device; `elapsed` unless said.
    """
    for run in contenders.values() if warm_up else ():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            gc.collect()
            seconds[name].append((clock or elapsed)(run, device))
    return {name: statistics_of(values, next(iter(seconds.values())), work) for name, values in seconds.items()}


def elapsed(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of a call, what it left to the GPU included."""
    work_ends(device)
    started = time.perf_counter()
    run()
    work_ends(device)
    return time.perf_counter() - started


def work_ends(device: torch.device) -> None:
    """Wait for what a GPU has still to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def statistics_of(seconds: Sequence[float], ours: Sequence[float], work: float = 1) -> Row:
    """Of paired rounds."""
    quartiles = statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else [seconds[0]] * 3
    return {
        "seconds": quartiles[1],
        "IQR": quartiles[2] - quartiles[0],
        "images/s": work / quartiles[1],
        "time / unetkit's": statistics.median(a / b for a, b in zip(seconds, ours, strict=True)),
        "rounds": list(seconds),
    }


def peak_mib(device: torch.device, work: Callable[..., object], *arguments: Any) -> float:
    """Most memory that work takes beyond what is imported: on a CPU all that the process holds, on a GPU its tensors.

    It is done in a process of its own.
    """
    with apart() as pool:
        return pool.submit(_growth, device, torch.get_num_threads(), work, *arguments).result()


def apart() -> ProcessPoolExecutor:
    """A process of its own, forked from one that has only imported what is needed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["torch._dynamo", "unetkit.training.run", *(name for name in PEERS if name in sys.modules)]
    )
    return ProcessPoolExecutor(1, mp_context=context)


def started_anew(keeps: bool) -> ProcessPoolExecutor:
    """A process that begins as train.py does, which asks for huge pages before it imports torch, or as any other."""
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    before = os.environ.pop(HUGE_PAGES, None)
    os.environ |= {HUGE_PAGES: "1"} if keeps else {}
    pool.submit(os.getpid).result()  # it has its environment now
    os.environ.pop(HUGE_PAGES, None)
    os.environ |= {HUGE_PAGES: before} if before is not None else {}
    return pool


def _growth(device: torch.device, threads: int, work: Callable[..., object], *arguments: Any) -> float:
    torch.set_num_threads(threads)
    before = peak_bytes(device)
    work(*arguments)
    return (peak_bytes(device) - before) / 2**20


def peak_bytes(device: torch.device) -> int:
    """Most bytes that this process has held so far: on a GPU of tensors."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():  # as getrusage tells of the program that a process was started from, too
        (line,) = (x for x in status.read_text(encoding="utf-8").splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource  # which Windows lacks

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS
