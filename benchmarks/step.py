"""step: training steps of a network and images on one device."""

import gc
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from benchmarks.answers import Answer, Row
from benchmarks.contenders import CASES, Training, half_of, kept_bytes, random_batch
from benchmarks.measuring import elapsed, paired, peak_bytes, started_anew
from unetkit.errors import UserError

SIDE = 128  # of the images that a batch's number is stated for
WARM_UP = 5  # steps until an allocator has found its places


def step(
    rounds: int,
    device: torch.device,
    sizes: list[int],
    small_batch: int,
    large_batch: int,
    cases: list[str],
    milesial: Path | None,
) -> Answer:
    """Training steps of the same network on the same tensors, in our way and in the peers'.

    Raises:
        UserError: If no case can be run.
    """
    rows: list[Row] = []
    left_out: dict[str, None] = {}  # a set that keeps its order
    limits = measured_limits(device)
    for case in cases:  # before the first peak is measured, which must not count what is imported
        with suppress(UserError):
            [network(milesial) for network, _ in CASES[case].contenders.values()]
    for size in sizes:
        for name in tqdm(cases, f"{size} px", unit="case", leave=False):
            pixels = (large_batch if CASES[name].is_large else small_batch) * SIDE**2
            batch = max(pixels // size**2, 1)
            with ExitStack() as processes:
                trainings: dict[str, TrainingApart] = {}
                for contender in CASES[name].contenders:
                    pool = processes.enter_context(started_anew(keeps=contender == "unetkit"))
                    try:
                        trainings[contender] = TrainingApart(pool, device, name, contender, batch, size, milesial)
                    except UserError as error:
                        left_out[f"left out: {error}"] = None
                if not trainings:
                    continue
                check_alike({n: t.shape for n, t in trainings.items()}, batch, CASES[name].classes)
                timed = paired(trainings, rounds, device, work=batch, clock=lambda run, _: run())
            facts = {"network": name, "pixels": size, "batch": batch}
            for n, row in timed.items():
                shares = trainings[n].shares(row["seconds"], limits)
                rows.append({**facts, "way": n, "peak MiB": trainings[n].peak, **row, **shares})
    if not rows:
        raise UserError("; ".join(left_out))
    said = (
        f"limits measured here: {limits.flops / 1e12:.3g} TFLOP/s in a {half_of(device)} matrix product, "
        f"{limits.bytes / 1e9:.3g} GB/s in a copy; of bytes/s: were what the backward pass keeps written and read once"
    )
    return rows, [said, *left_out]


class Limits(NamedTuple):
    """Of a device: operations in a 16-bit matrix product and bytes in a copy, read and written, in a second."""

    flops: float
    bytes: float


def measured_limits(device: torch.device) -> Limits:
    """The best of ten."""
    side, size = (8192, 2**31) if device.type == "cuda" else (2048, 2**28)
    a = torch.rand(side, side, device=device).to(half_of(device))
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    product = min(elapsed(lambda: a @ a, device) for _ in range(10))
    copy = min(elapsed(lambda: target.copy_(source), device) for _ in range(10))
    return Limits(2 * side**3 / product, 2 * size / copy)


def training_of(case: str, contender: str, device: torch.device, clone: Path | None) -> Training:
    """A contender, ready."""
    network, way = CASES[case].contenders[contender]
    torch.manual_seed(0)
    return way(network(clone), device, clone)


class TrainingApart:
    """A contender in a process of its own, whose memory nobody else has used; called, it makes a step.

    Attributes:
        shape: Of its logits.
        peak: Most memory of two steps, of which the second has the optimiser's state, too, in MiB.
        flops: Operations of a step.
        kept: Bytes that the forward pass keeps for the backward pass.
    """

    here: "tuple[Training, Tensor, Tensor]"  # in that process

    def __init__(self, pool: ProcessPoolExecutor, device: torch.device, *facts: Any) -> None:
        """Make it ready in the only process of a pool; facts: what `_prepare` takes besides."""
        self.pool = pool
        self.device = device
        prepared = pool.submit(self._prepare, torch.get_num_threads(), device, *facts)
        self.shape, self.peak, self.flops, self.kept = prepared.result()

    def __call__(self) -> float:
        """Seconds of a step."""
        return self.pool.submit(self._step, self.device).result()

    def shares(self, seconds: float, limits: Limits) -> Row:
        """Of the limits, that a step of so many seconds reaches."""
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
        training = training_of(case, contender, device, clone)
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
    """Stop where contenders don't do the same thing.

    Raises:
        UserError: If the shapes of their logits differ, or are not those of logits.
    """
    if len(set(shapes.values())) != 1 or next(iter(shapes.values()))[:2] != (batch, classes):
        raise UserError(f"the contenders' logits differ in shape, so they are not compared: {shapes}")
