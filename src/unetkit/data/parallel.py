"""A function of many files, computed by all cores, whose results come in the order of the files."""

import multiprocessing
import pickle
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from unetkit.paths import usable_cores

Given = TypeVar("Given")
Result = TypeVar("Result")

FOR_PROCESSES = 1000  # files from which processes are started, which takes a fraction of a second
MOST_AT_ONCE = 32  # files that a process is given at once
BYTES_AT_ONCE = 2**21  # about so many of results that it sends at once
SAMPLED = 5  # files that are tried to know how large results are


def in_order(function: Callable[[Given], Result], items: Sequence[Given]) -> Iterator[Result]:
    """Yield the results of a function in the order of its arguments, computed by all cores.

    Few results are computed ahead, so that few are in memory at once. Threads share what they find, but wait for
    Python's lock, and OpenCV decodes one file at a time (see `opencv.py`); many files are left to processes.
    """
    can_fork = sys.platform == "linux" and not multiprocessing.current_process().daemon
    if can_fork and usable_cores() > 1 and len(items) >= FOR_PROCESSES:
        return _by_processes(function, items)
    return _by_threads(function, items)


def _by_threads(function: Callable[[Given], Result], items: Sequence[Given]) -> Iterator[Result]:
    workers = usable_cores()
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(copy_context().run, function, item))  # limits are kept in the context
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _by_processes(function: Callable[[Given], Result], items: Sequence[Given]) -> Iterator[Result]:
    every = _Results(function, items)
    largest = max(len(pickle.dumps(every[index])) for index in range(0, len(items), -(-len(items) // SAMPLED)))
    loader = DataLoader(
        every,
        batch_size=min(max(BYTES_AT_ONCE // largest, 1), MOST_AT_ONCE),
        num_workers=usable_cores(),
        collate_fn=list,
        multiprocessing_context="fork",  # the function and the context, which holds limits, need not be pickled
        generator=torch.Generator(),  # else it would take a number from that of the run
    )
    for results in loader:
        for result in results:
            if isinstance(result, Exception):
                raise result
            yield result


class _Results(Dataset[Result | Exception], Generic[Given, Result]):
    """The results of a function, or what it raised: a `DataLoader` would raise it with its traceback as text."""

    def __init__(self, function: Callable[[Given], Result], items: Sequence[Given]) -> None:
        self.function = function
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Result | Exception:
        try:
            return self.function(self.items[index])
        except Exception as error:
            return error
