"""Where the time goes that a batch takes from its files to the training step."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import get_worker_info

PARTS = ("decode", "augment", "transfer")
ROWS = 65  # of this process, and of up to 64 that load


class LoadingTimes:
    """Seconds that loading took, by part, in this process and in those that load for it.

    `decode` is reading, cropping and stacking of pairs, `augment` their random changes, `transfer` the copy to the
    device. Each process adds to a row of its own in shared memory, so that none waits for another.
    """

    def __init__(self) -> None:
        self._shared = torch.zeros(ROWS, len(PARTS), dtype=torch.float64)
        self._shared.share_memory_()  # type: ignore[no-untyped-call]

    @contextmanager
    def measured(self, part: str) -> Iterator[None]:
        """Add the time of a block to a part."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(part, time.perf_counter() - began)

    def add(self, part: str, seconds: float) -> None:
        """Add seconds of this process to a part."""
        worker = get_worker_info()
        row = 0 if worker is None else 1 + worker.id % (ROWS - 1)
        self._rows[row, PARTS.index(part)] += seconds

    def shares(self, waited: float) -> dict[str, float]:
        """Divide the seconds that the training waited among the parts.

        What this process did, it did while the training waited. The rest of the time it waited for the processes that
        load, and is divided as the time of their work.
        """
        here, there = self._rows[0], self._rows[1:].sum(0)
        here = here * min(1.0, waited / max(here.sum(), 1e-9))
        rest = waited - here.sum()
        work = there if there.sum() > 0 else np.array([1.0, 0.0, 0.0])  # else it is the loader's own work
        return dict(zip(PARTS, (here + rest * work / work.sum()).tolist(), strict=True))

    @property
    def _rows(self) -> NDArray[np.float64]:
        rows: NDArray[np.float64] = self._shared.numpy()  # not kept, as a pickled array would be a copy
        return rows
