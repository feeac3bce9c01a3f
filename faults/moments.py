"""Chosen moments of a run: something happens to the process just before or after a call of a function."""

import functools
import importlib
import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Place:
    """A call of a run.

    Attributes:
        about: What the run does then.
        owner: Module, or module and class, that has the function, as in `os` or `torch.optim:AdamW`.
        function: Name of the function.
        is_after: Whether the moment is after the call instead of before it.
    """

    about: str
    owner: str
    function: str
    is_after: bool = False

    @property
    def key(self) -> str:
        """Name of the call."""
        return f"{self.owner}.{self.function}"

    def wrap(self, wrapped: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Replace the function."""
        module, _, name = self.owner.partition(":")
        owner = importlib.import_module(module)
        owner = getattr(owner, name) if name else owner
        setattr(owner, self.function, wrapped(getattr(owner, self.function)))


RUN, MODULE = "unetkit.training.run", "unetkit.training.module:SegmentationModule"
PLACES = [
    Place("at the start, before files are read", RUN, "prepare_data"),
    Place("before the first record is written", RUN, "write_records"),
    Place("after the records are written", RUN, "write_records", is_after=True),
    Place("within an epoch, before a step", MODULE, "training_step"),
    Place("within an epoch, after the weights have changed", "torch.optim:AdamW", "step", is_after=True),
    Place("in validation", MODULE, "validation_step"),
    Place("within a save", "torch._C:PyTorchFileWriter", "write_record"),
    Place("in a save, before the disk holds it", "os", "fsync"),
    Place("between sync and rename", "os", "replace"),
    Place("between rename and sync of the folder", "os", "replace", is_after=True),
    Place("while metrics are logged", "lightning.pytorch.loggers:CSVLogger", "save"),
    Place("after the last epoch", RUN, "score"),
    Place("while pictures are drawn", RUN, "draw"),
    Place("before the summary is written", RUN, "write_json"),
]


def kill() -> None:
    """End this process at once, as a power cut does."""
    os.kill(os.getpid(), signal.SIGKILL)


def terminate() -> None:
    """Send this process SIGTERM, as `kill` and schedulers do."""
    os.kill(os.getpid(), signal.SIGTERM)


def warn() -> None:
    """Send this process SIGUSR1, as a scheduler can some time before it ends a job."""
    os.kill(os.getpid(), signal.SIGUSR1)


@dataclass(frozen=True)
class Moment:
    """When something happens to a process.

    Attributes:
        place: The call.
        number: The how manyth call, from 1.
        action: What happens.
    """

    place: Place
    number: int
    action: Callable[[], object] = kill

    def arm(self) -> None:
        """Do it at that call of this process."""
        calls = 0

        def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(function)
            def call(*arguments: Any, **keywords: Any) -> Any:
                nonlocal calls
                calls += 1
                is_now = calls == self.number
                if is_now and not self.place.is_after:
                    self.action()
                result = function(*arguments, **keywords)
                if is_now and self.place.is_after:
                    self.action()
                return result

            return call

        self.place.wrap(wrapped)


@dataclass(frozen=True)
class Count:
    """Counts the calls of all places in a process, and writes them where it would end.

    Attributes:
        file: The JSON file to write, with the calls by key of the place.
    """

    file: Path

    def arm(self) -> None:
        """Count from now on."""
        calls: Counter[str] = Counter()

        def counted(key: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
            def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
                @functools.wraps(function)
                def call(*arguments: Any, **keywords: Any) -> Any:
                    calls[key] += 1
                    result = function(*arguments, **keywords)
                    self.file.write_text(json.dumps(calls), encoding="utf-8")
                    return result

                return call

            return wrapped

        for place in {place.key: place for place in PLACES}.values():
            place.wrap(counted(place.key))
