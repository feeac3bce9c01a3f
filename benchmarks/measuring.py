"""Measure the time of contenders in paired rounds, and memory in separate processes."""

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
    """Time contenders in turn: median, interquartile range, and ratio to the first one, which is unetkit's.

    Args:
        contenders: Functions to time, by name.
        rounds: Number of rounds; each contender runs once in each.
        device: Device on which they run.
        work: Images that a run processes, for images per second.
        warm_up: Whether to begin with a round that is not measured.
        clock: Function that returns the seconds of a run on a device; `elapsed` by default.
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
    """Return the seconds of a call, until the GPU has finished."""
    synchronize(device)
    started = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - started


def cpu_seconds(run: Callable[[], object], _: torch.device) -> float:
    """Return the seconds that all threads of this process spend on a call."""
    started = time.process_time()
    run()
    return time.process_time() - started


def synchronize(device: torch.device) -> None:
    """Wait until the GPU has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def statistics_of(seconds: Sequence[float], ours: Sequence[float], work: float = 1) -> Row:
    """Summarise the seconds of paired rounds."""
    quartiles = statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else [seconds[0]] * 3
    return {
        "seconds": quartiles[1],
        "IQR": quartiles[2] - quartiles[0],
        "images/s": work / quartiles[1],
        "time / unetkit's": statistics.median(a / b for a, b in zip(seconds, ours, strict=True)),
        "rounds": list(seconds),
    }


def peak_mib(device: torch.device, work: Callable[..., object], *arguments: Any) -> float:
    """Measure the peak memory of work in MiB.

    On a GPU, the memory of the tensors that it makes; on a CPU, the growth of a process of its own beyond its imports.
    """
    if device.type == "cuda":
        gc.collect()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work(*arguments)
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    with forked_process() as pool:
        return pool.submit(_growth, device, torch.get_num_threads(), work, *arguments).result()


def forked_process() -> ProcessPoolExecutor:
    """Return a pool of one process, forked from one that has only imported the libraries."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["torch._dynamo", "unetkit.training.run", *(name for name in PEERS if name in sys.modules)]
    )
    return ProcessPoolExecutor(1, mp_context=context)


def new_process(keeps: bool) -> ProcessPoolExecutor:
    """Return a pool of one new process; if `keeps`, with huge pages, as train.py sets before it imports torch."""
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    before = os.environ.pop(HUGE_PAGES, None)
    os.environ |= {HUGE_PAGES: "1"} if keeps else {}
    pool.submit(os.getpid).result()  # after this, the process has its environment
    os.environ.pop(HUGE_PAGES, None)
    os.environ |= {HUGE_PAGES: before} if before is not None else {}
    return pool


def _growth(device: torch.device, threads: int, work: Callable[..., object], *arguments: Any) -> float:
    torch.set_num_threads(threads)
    before = peak_bytes(device)
    work(*arguments)
    return (peak_bytes(device) - before) / 2**20


def peak_bytes(device: torch.device) -> int:
    """Return the peak memory of this process so far, in bytes; on a GPU, that of tensors."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():  # since getrusage includes the program that started this process
        (line,) = (x for x in status.read_text(encoding="utf-8").splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS
