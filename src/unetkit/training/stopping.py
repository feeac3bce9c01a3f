"""Stop a run in order: on a signal, and at the end of `trainer.max_time`."""

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from lightning.pytorch.utilities import rank_zero_only

from unetkit.errors import UserError

SIGNALS = ("SIGTERM", "SIGUSR1", "SIGINT")  # Windows lacks the second
TIME = re.compile(r"(\d+):(\d\d):(\d\d):(\d\d)")


class Stop:
    """What asks a run to stop: a signal, or the end of its time.

    While the network is trained, a signal is only noted; `SaveWithinEpoch` saves and stops. At other times, and at the
    second Ctrl+C, the program ends immediately; the last checkpoint is whole then, too.

    Args:
        max_time: Longest time of this process, from now, as DAYS:HOURS:MINUTES:SECONDS; None for no limit.
        program: What asks the whole program to stop, if this run is one of several that it trains at once; the
            program's main thread handles the signals then.

    Attributes:
        was_early: Whether training was stopped before its end.

    Raises:
        UserError: If the time is not written so.
    """

    def __init__(self, max_time: str | None = None, program: "Stop | None" = None) -> None:
        self.ends_at = None if max_time is None else time.monotonic() + seconds_of(max_time)
        self.program = program
        self._received: signal.Signals | None = None
        self.was_early = False
        self._is_time_over = False
        self._is_training = False
        self._process = os.getpid()

    @property
    def received(self) -> signal.Signals | None:
        """The signal that came, or None."""
        return self._received if self.program is None else self.program.received

    @property
    def is_time_over(self) -> bool:
        """Whether the run has had its time, in this process or in another one that trains with it."""
        return self._is_time_over or (self.ends_at is not None and time.monotonic() >= self.ends_at)

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Handle the signals in this block, as far as Python can: in the program's main thread."""
        before = {number: signal.getsignal(number) for number in self._numbers()}
        self.handle_signals()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_signals(self) -> None:
        """Replace the handlers of the signals, as those that Lightning sets when training starts."""
        for number in self._numbers():
            signal.signal(number, self._note)

    @contextmanager
    def in_order(self, last: Path, is_found_again: bool = False) -> Iterator[None]:
        """Only note signals in this block, which trains; end the program after it if there was one.

        Args:
            last: The checkpoint to resume from; it need not exist.
            is_found_again: Whether the same command finds the checkpoint.
        """
        self._is_training = True
        try:
            yield
        except SystemExit:  # with which Lightning ends a training in order, and after Ctrl+C
            self.was_early = True
            if self.received is None and not self.is_time_over:
                self._received = signal.SIGINT
        except RuntimeError as error:
            if self.received is None or "DataLoader worker" not in str(error):  # the signal ended them too
                raise
        finally:
            self._is_training = False
        if self.received is not None:
            say(f"stopped; {how_to_resume(last, is_found_again) if last.exists() else 'nothing is saved yet'}")
            sys.exit(self._status())

    @contextmanager
    def while_runs_train(self) -> Iterator[None]:
        """Handle the signals of a program that trains several runs at once, and end it after them if there was one."""
        with self.on_signals():
            self._is_training = True
            try:
                yield
            finally:
                self._is_training = False
        if self.received is not None:
            sys.exit(self._status())

    def note(self, number: int, *, is_time_over: bool) -> None:
        """Note what another process of the run has met: a signal, or 0 for none; and whether its time is over."""
        self._is_time_over = self._is_time_over or is_time_over
        if number and self.received is None:
            self._received = signal.Signals(number)

    def _status(self) -> int:
        # Processes that Lightning started must not seem to have failed while the first one still writes.
        if self.received is None or rank_zero_only.rank != 0:  # type: ignore[attr-defined]
            return 0
        return 1 if self.received == signal.SIGINT else 128 + self.received

    def _numbers(self) -> list[signal.Signals]:
        if threading.current_thread() is not threading.main_thread():
            return []
        return [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a process that loads images: that of the run decides
            return
        is_first, self._received = self._received is None, signal.Signals(number)
        if number == signal.SIGINT and not (self._is_training and is_first):
            raise KeyboardInterrupt
        if not self._is_training:
            os.write(2, f"\n{self._received.name}: stopped\n".encode())  # print can't be interrupted
            sys.exit(self._status())
        if is_first:
            again = "; Ctrl+C again stops immediately" if number == signal.SIGINT else ""
            os.write(2, f"\n{self._received.name}: stops after this batch{again}\n".encode())


def how_to_resume(last: Path, is_found_again: bool) -> str:
    """Return what to type to resume from a checkpoint, which the same command may find by itself."""
    return "the same command resumes" if is_found_again else f"resume with checkpoint={last}"


@rank_zero_only
def say(line: str) -> None:
    """Print a line to stderr, once for all processes."""
    sys.stderr.write(f"{line}\n")


def seconds_of(max_time: str, key: str = "trainer.max_time") -> int:
    """Return the seconds of DAYS:HOURS:MINUTES:SECONDS.

    Raises:
        UserError: If it is not written so.
    """
    found = TIME.fullmatch(str(max_time).strip())
    if found is None:
        raise UserError(f"{key}={max_time}", "must be DAYS:HOURS:MINUTES:SECONDS, as 00:01:30:00")
    days, hours, minutes, seconds = map(int, found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
