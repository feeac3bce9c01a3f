"""Question `step`: time and memory of training steps, each contender in a process of its own."""

import gc
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from benchmarks.answers import Answer, Row
from benchmarks.contenders import CASES, Case, Training, half_of, kept_bytes, random_batch
from benchmarks.measuring import elapsed, new_process, paired, peak_bytes
from unetkit.errors import UserError

SIDE = 128  # side of the images for which the batch size is given
WARM_UP = 5  # steps until the memory allocator is steady


def step(
    rounds: int,
    device: torch.device,
    sizes: list[int],
    small_batch: int,
    large_batch: int,
    cases: list[str],
    milesial: Path | None,
) -> Answer:
    """Measure training steps of the same network on the same tensors, by unetkit and by other projects.

    Raises:
        UserError: If no case can run.
    """
    rows: list[Row] = []
    left_out: dict[str, None] = {}  # used as an ordered set
    limits = measured_limits(device)
    for case in cases:  # imports, which the first peak must not include
        with suppress(UserError):
            [network(milesial) for network, _ in CASES[case].contenders.values()]
    for size, case in tqdm(list(product(sizes, cases)), unit="case", leave=False):
        pixels = (large_batch if CASES[case].is_large else small_batch) * SIDE**2
        batch = max(pixels // size**2, 1)
        rows += steps_of_case(case, batch, size, rounds, device, milesial, limits, left_out)
    if not rows:
        raise UserError("--cases", f"can't run: {'; '.join(left_out)}", "install what is missing, or choose others")
    said = (
        f"limits measured here: {limits.flops / 1e12:.3g} TFLOP/s in a {half_of(device)} matrix product, "
        f"{limits.bytes / 1e9:.3g} GB/s in a copy; of bytes/s: if activations are written once and read once"
    )
    return rows, [said, *left_out]


def steps_of_case(
    case: str,
    batch: int,
    size: int,
    rounds: int,
    device: torch.device,
    milesial: Path | None,
    limits: "Limits",
    left_out: dict[str, None],
) -> list[Row]:
    """Measure the contenders of a case; adds a sentence to `left_out` for each one that can't run."""
    trainings: dict[str, RemoteTraining] = {}
    with ExitStack() as processes:
        for name in CASES[case].contenders:
            pool = processes.enter_context(new_process(keeps=name == "unetkit"))
            try:
                trainings[name] = RemoteTraining(pool, device, case, name, batch, size, milesial)
            except UserError as error:
                left_out[f"left out: {error}"] = None
        if not trainings:
            return []
        check_alike({n: t.shape for n, t in trainings.items()}, batch, CASES[case].classes)
        timed = paired(trainings, rounds, device, work=batch, clock=lambda run, _: run())
    facts = {"network": case, "pixels": size, "batch": batch}
    return [
        {**facts, "way": n, "peak MiB": trainings[n].peak, **row, **trainings[n].shares(row["seconds"], limits)}
        for n, row in timed.items()
    ]


class Limits(NamedTuple):
    """Limits of a device: operations per second of a 16-bit matrix product, and bytes per second, read and written."""

    flops: float
    bytes: float


def measured_limits(device: torch.device) -> Limits:
    """Measure the limits of a device, the best of ten runs."""
    side, size = (8192, 2**31) if device.type == "cuda" else (2048, 2**28)
    a = torch.rand(side, side, device=device).to(half_of(device))
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    product = min(elapsed(lambda: a @ a, device) for _ in range(10))
    copy = min(elapsed(lambda: target.copy_(source), device) for _ in range(10))
    return Limits(2 * side**3 / product, 2 * size / copy)


def training_of(case: Case, contender: str, device: torch.device, clone: Path | None) -> Training:
    """Build the training of a contender."""
    network, way = case.contenders[contender]
    torch.manual_seed(0)
    return way(network(clone), device, clone)


class RemoteTraining:
    """A contender in a process of its own. Calling it makes a training step.

    Attributes:
        shape: Shape of the logits.
        peak: Peak memory of two steps in MiB; the second step includes the optimiser's state.
        flops: Operations of a step.
        kept: Bytes that the forward pass keeps for the backward pass.
    """

    here: "tuple[Training, Tensor, Tensor]"  # set in that process

    def __init__(self, pool: ProcessPoolExecutor, device: torch.device, *facts: Any) -> None:
        """Prepare the training in the only process of a pool; `facts` are the other arguments of `_prepare`."""
        self.pool = pool
        self.device = device
        prepared = pool.submit(self._prepare, torch.get_num_threads(), device, *facts)
        self.shape, self.peak, self.flops, self.kept = prepared.result()

    def __call__(self) -> float:
        """Make a step, and return its seconds."""
        return self.pool.submit(self._step, self.device).result()

    def shares(self, seconds: float, limits: Limits) -> Row:
        """Return the shares of the device's limits that a step of so many seconds reaches."""
        return {
            "of FLOP/s": self.flops / seconds / limits.flops,
            "of bytes/s": 2 * self.kept / seconds / limits.bytes,
        }

    @classmethod
    def _prepare(
        cls, threads: int, device: torch.device, case: str, contender: str, batch: int, size: int, clone: Path | None
    ) -> tuple[tuple[int, ...], float, int, int]:
        torch.set_num_threads(threads)
        before = peak_bytes(device)
        training = training_of(CASES[case], contender, device, clone)
        cls.here = (training, *random_batch(CASES[case], batch, size, device))
        for _ in range(2):
            cls._step(device)
        growth = (peak_bytes(device) - before) / 2**20
        with torch.no_grad():
            shape = tuple(training.logits(cls.here[1]).shape)
        with FlopCounterMode(display=False) as counter:
            cls._step(device)
        kept = kept_bytes(training, cls.here[1])
        for _ in range(WARM_UP):
            cls._step(device)
        return shape, growth, counter.get_total_flops(), kept

    @classmethod
    def _step(cls, device: torch.device) -> float:
        training, images, target = cls.here
        gc.collect()
        return elapsed(partial(training, images, target), device)


def check_alike(shapes: dict[str, tuple[int, ...]], batch: int, classes: int) -> None:
    """Check that contenders compute logits of the same shape.

    Raises:
        UserError: If the shapes differ, or are not (batch, classes, ...).
    """
    if len(set(shapes.values())) != 1 or next(iter(shapes.values()))[:2] != (batch, classes):
        raise UserError("--cases", f"can't be compared, since the shapes of logits differ: {shapes}", "choose others")
