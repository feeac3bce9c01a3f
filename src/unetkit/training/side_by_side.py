"""Train several runs at once in one process, and take their steps together: on a GPU, as branches of one CUDA graph.

A GPU that a small network leaves idle for most of the time takes the steps of two networks in the time of one. Each
run has a thread of its own, but only one thread runs at a time, with its own random numbers, so that a run ends where
it would end alone. A thread hands over at each whole step of its training, and when it is done.
"""

import logging
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unetkit.data import Batch
from unetkit.data.device_cache import IndexBatch
from unetkit.training.step import WARM_UP, StepGraph, TrainingStep
from unetkit.training.stopping import Stop

log = logging.getLogger(__name__)

SPARE = 2.0  # free memory that another run needs, as a multiple of what a run has taken
PATIENCE = 10.0  # seconds to wait for the runs to end after the second Ctrl+C


class Member:
    """One of several runs that are trained at once.

    Attributes:
        position: Number of the run among them, from 0.
        stop: What asks the run to stop.
        error: What ended the run before its end, or None.
    """

    def __init__(
        self, group: "SideBySide", position: int, name: str, job: "Callable[[Member], object]", stop: Stop
    ) -> None:
        self.position = position
        self.stop = stop
        self.error: BaseException | None = None
        self._group, self._job = group, job
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.is_done = False
        self.request: tuple[TrainingStep, IndexBatch | Batch, int] | None = None
        self.steps = 0  # taken so far
        self.loss: Tensor | None = None  # of a step that was taken together with others

    def take(self, step: TrainingStep, batch: IndexBatch | Batch, epoch: int) -> Tensor:
        """Take a step together with those of the other runs; arguments and result are those of `TrainingStep.take`."""
        self.request = step, batch, epoch
        self._group.hand_over(self)
        loss, self.loss = self.loss, None
        self.steps += 1
        return step.run(batch, epoch) if loss is None else loss

    def _run(self) -> None:
        try:
            self._group.wait(self)
            self._job(self)
        except BaseException as error:  # the other runs go on; who started them looks at it
            self.error = error
        finally:
            self.is_done, self.request = True, None
            self._group.leave()


class SideBySide:
    """Several runs that are trained at once.

    Args:
        jobs: Functions that train a run each, by its name; they pass what they are given to `train`.
        device: The device of all of them.
        max_time: As `trainer.max_time`, of each.
    """

    def __init__(
        self, jobs: Mapping[str, Callable[[Member], object]], device: torch.device, max_time: str | None = None
    ) -> None:
        self.program = Stop()
        self.members = [
            Member(self, position, name, job, Stop(max_time, self.program))
            for position, (name, job) in enumerate(jobs.items())
        ]
        self._device = device
        self._graph = StepGraph()
        self._turn = threading.Condition()
        self._current: Member | None = None
        self._waiting = [*self.members]  # those that have not begun
        self._is_full = False  # whether the device has no room for another one
        self._is_abandoned = False

    def run(self) -> dict[str, BaseException]:
        """Train all runs; returns what ended some of them before their end, by their names.

        Raises:
            SystemExit: If a signal stopped them.
        """
        with self.program.while_runs_train(), lines_with_names([member.thread.name for member in self.members]):
            for member in self.members:
                member.thread.start()
            with self._turn:
                self._choose()
            try:
                for member in self.members:
                    while member.thread.is_alive():
                        member.thread.join(0.2)  # signals are handled in between
            finally:
                self._abandon()
        return {member.thread.name: member.error for member in self.members if member.error is not None}

    def wait(self, member: Member) -> None:
        """Wait for the turn of a run."""
        with self._turn:
            self._turn.wait_for(lambda: self._current is member or self._is_abandoned)
        if self._is_abandoned:
            raise SystemExit("stopped")

    def hand_over(self, member: Member) -> None:
        """Let the other runs come to their next steps, and wait until all are taken, or have to run as they are."""
        with random_numbers_of_this_run():
            with self._turn:
                self._choose()
            self.wait(member)
        if member.request is not None:
            self._take_together()

    def leave(self) -> None:
        """Let the other runs go on without one that is done."""
        with self._turn:
            self._graph = StepGraph()  # the old one holds memory of that run
            self._is_full = False
            self._choose()

    def _choose(self) -> None:
        """Give the turn to a run that is not at a step; if there is none, to the first one, which takes the steps."""
        alive = [member for member in self.members if not member.is_done and member not in self._waiting]
        if self._waiting and all(member.steps >= WARM_UP for member in alive) and self._has_room(len(alive)):
            alive.append(self._waiting.pop(0))
        self._current = next((m for m in alive if m.request is None), alive[0] if alive else None)
        self._turn.notify_all()

    def _has_room(self, running: int) -> bool:
        """Return whether another run fits into the memory of the GPU beside those that are running."""
        if self._device.type != "cuda" or running == 0:
            return True
        if not self._is_full:
            free, _ = torch.cuda.mem_get_info(self._device)
            self._is_full = free < SPARE * torch.cuda.max_memory_reserved(self._device) / running
            if self._is_full:
                log.info("the memory of the GPU has room for %d at once; the others are trained after them", running)
        return not self._is_full

    def _take_together(self) -> None:
        """Take the steps that all runs have come to, or leave each to its own thread."""
        asking = [member for member in self.members if member.request is not None]
        requests = [member.request for member in asking if member.request is not None]
        for member in asking:
            member.request = None
        are_staged = [step.stage(batch, epoch) for step, batch, epoch in requests]
        losses = self._graph.take([step for step, _, _ in requests]) if all(are_staged) else None
        for member, loss in zip(asking, losses or (), strict=losses is not None):
            member.loss = loss

    def _abandon(self) -> None:
        """End the runs that are left at their next step."""
        with self._turn:
            self._is_abandoned = True
            self._turn.notify_all()
        for member in self.members:
            member.thread.join(PATIENCE)


@contextmanager
def lines_with_names(names: list[str]) -> Iterator[None]:
    """Begin the log lines of threads with these names by the name, in this block."""
    plain = logging.getLogRecordFactory()

    def named(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = plain(*args, **kwargs)
        if record.threadName in names:
            record.msg = f"{record.threadName}: {record.msg}"
        return record

    logging.setLogRecordFactory(named)
    try:
        yield
    finally:
        logging.setLogRecordFactory(plain)


@contextmanager
def random_numbers_of_this_run() -> Iterator[None]:
    """Restore after this block, in which other runs draw random numbers, the state of the generators before it."""
    states: tuple[Any, Any, Tensor] = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
