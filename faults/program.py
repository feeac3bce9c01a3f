"""Start commands of unetkit in processes of their own, with limits of time and memory."""

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from faults.moments import Count, Moment

SECONDS = 90.0  # that a command may take, besides its wait for a core; it needs 1 to 8
MEBIBYTES = 2048  # of memory that a command may take; torch and Lightning alone take about 500
PRELOADED = [f"unetkit.cli.{name}" for name in ("train", "predict", "doctor", "evaluate", "export")]
PRELOADED += ["unetkit.training.run", "unetkit.prediction.files", "unetkit.doctor", "albumentations"]
POLL = 0.02  # seconds between two looks at a process


@dataclass(frozen=True)
class Done:
    """A command that has ended.

    Attributes:
        status: Its exit status; negative: the signal that ended it.
        said: What it wrote to stdout and stderr.
        seconds: The time it took.
        mebibytes: The most memory that it took, in MiB; 0 where the system does not tell it.
        exceeded: `time` or `memory` if it was ended because it took too much; else empty.
    """

    status: int
    said: str
    seconds: float
    mebibytes: float
    exceeded: str


@dataclass
class Program:
    """Starts `unetkit ...`, each time in a new process.

    Attributes:
        is_fresh: Whether each command begins with a new interpreter. If not, it begins as a copy (fork) of a process
            that has imported torch and Lightning, which saves 4 seconds of each command.
    """

    is_fresh: bool
    _context: ForkServerContext | SpawnContext = field(init=False)

    def __post_init__(self) -> None:
        if self.is_fresh:
            self._context = get_context("spawn")
        else:
            self._context = get_context("forkserver")
            self._context.set_forkserver_preload(PRELOADED)

    def run(self, *typed: str, cwd: Path, environment: Mapping[str, str] | None = None) -> Done:
        """Run a command until it ends."""
        return self.start(*typed, cwd=cwd, environment=environment).end()

    def start(
        self,
        *typed: str,
        cwd: Path,
        environment: Mapping[str, str] | None = None,
        moment: Moment | Count | None = None,
        before: Callable[[], None] | None = None,
    ) -> "Running":
        """Start a command.

        Args:
            typed: What a person types after `unetkit`.
            cwd: The folder to work in.
            environment: Variables to set.
            moment: When the process sends itself a signal.
            before: Called in the process first; a function of a module.
        """
        cwd.mkdir(parents=True, exist_ok=True)
        output = cwd / f"{typed[0]}-{time.monotonic_ns()}.log"
        arguments = (typed, str(cwd), str(output), dict(environment or {}), moment, before)
        process = self._context.Process(target=_in_process, args=arguments)
        process.start()
        return Running(process, output)


@dataclass
class Running:
    """A command that has been started."""

    process: BaseProcess
    output: Path
    began: float = field(default_factory=time.monotonic)
    mebibytes: float = 0.0

    def end(self, watch: Callable[["Running"], None] | None = None) -> Done:
        """Wait until it ends, or end it where it takes too long or too much memory.

        Args:
            watch: Called often meanwhile.
        """
        exceeded = ""
        while self.process.is_alive():
            self.mebibytes = max(self.mebibytes, peak_memory(self.process.pid))
            if self.mebibytes > MEBIBYTES:
                exceeded = "memory"
            elif time.monotonic() - self.began - waited_for_core(self.process.pid) > SECONDS:
                exceeded = "time"
            if exceeded:
                self.kill_all()
                break
            if watch is not None:
                watch(self)
            self.process.join(POLL)
        self.process.join()
        with contextlib.suppress(ProcessLookupError):  # data workers, which outlive it as children of a fork server
            os.killpg(self.pid, signal.SIGKILL)
        seconds = time.monotonic() - self.began
        status = self.process.exitcode
        assert status is not None  # narrows the type for mypy
        said = self.output.read_text(encoding="utf-8", errors="replace") if self.output.exists() else ""
        return Done(status, said, seconds, self.mebibytes, exceeded)

    def send(self, number: signal.Signals) -> None:
        """Send the process a signal, and none to its data workers."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill_all(self) -> None:
        """Kill the process and what it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.send(signal.SIGKILL)

    @property
    def pid(self) -> int:
        """Number of the process."""
        assert self.process.pid is not None  # narrows the type for mypy
        return self.process.pid


def peak_memory(pid: int | None) -> float:
    """Return the most memory that a process has had, in MiB; 0 where the system does not tell it."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def waited_for_core(pid: int | None) -> float:
    """Return the seconds that a process, or a child it waits for, could have run and had to wait for a core.

    0 where the system does not tell it.
    """
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
        return _own_wait(str(pid)) + max(map(_own_wait, children), default=0.0)
    return 0.0


def _own_wait(pid: str) -> float:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="utf-8").split()[1]) / 1e9
    return 0.0


def _in_process(
    typed: tuple[str, ...],
    cwd: str,
    output: str,
    environment: dict[str, str],
    moment: Moment | Count | None,
    before: Callable[[], None] | None,
) -> None:
    """Do what the program `unetkit` does, in a folder, with the output in a file."""
    os.setsid()  # so that it can be killed with its data workers
    os.chdir(cwd)
    os.environ.update(environment)
    file = os.open(output, os.O_WRONLY | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    from unetkit.cli.main import main

    if before is not None:
        before()
    if moment is not None:
        moment.arm()
    sys.argv = ["unetkit", *typed]
    main()


def second_device() -> Path | None:
    """Return a folder on another device than that of files; None if there is none."""
    place = Path("/dev/shm")
    return place if place.is_dir() and shutil.disk_usage(place).free > 2**30 else None
