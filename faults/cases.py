"""What is tried: faults, each with its cases, and what came of a case."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from faults.program import Done, Program


@dataclass(frozen=True)
class Fault:
    """A row of the table.

    Attributes:
        name: The fault.
        how: How it is tried.
    """

    name: str
    how: str


@dataclass(frozen=True)
class Result:
    """What came of a case.

    Attributes:
        is_good: Whether it is what was promised.
        what: What happened, in a few words, for the counts of the table.
        said: What the program said, or what is wrong.
    """

    is_good: bool
    what: str
    said: str = ""


@dataclass(frozen=True)
class Lab:
    """Where a case is tried.

    Attributes:
        folder: An empty folder of the case.
        program: How commands of unetkit are started.
    """

    folder: Path
    program: Program


@dataclass(frozen=True)
class Case:
    """One try of a fault.

    Attributes:
        fault: The row of the table it counts in.
        name: Name of the case.
        attempt: Tries it.
        is_short: Whether it belongs to the short version.
    """

    fault: Fault
    name: str
    attempt: Callable[[Lab], Result]
    is_short: bool = False


def judge(done: Done, must: str, names: tuple[str, ...], written: Path | None = None) -> Result:
    """Judge a command that got an odd file: one clear line, or the work is done; no trace, hang or large memory.

    Args:
        done: The command that has ended.
        must: `refuse`, `accept`, or `either`.
        names: What the line may name: the file or the key; one of these must be in it.
        written: A file that is there if the work is done.
    """
    lines = [line for line in done.said.splitlines() if line.startswith("error: ")]
    said = lines[0] if lines else done.said.strip()[-300:]
    if done.exceeded:
        return Result(False, f"exceeded the limit of {done.exceeded}", said)
    if "Traceback (most recent call last)" in done.said:
        return Result(False, "stack trace", done.said.strip().splitlines()[-1])
    if done.status == 0:
        is_done = written is None or written.exists()
        return Result(is_done and must != "refuse", "accepted" if is_done else "nothing written, status 0", said)
    if done.status != 1:
        return Result(False, f"ended with status {done.status}", said)
    if len(lines) != 1:
        return Result(False, f"{len(lines)} lines of error", said)
    if not any(name in lines[0] for name in names):
        return Result(False, "a line that names neither file nor key", said)
    return Result(must != "accept", "refused in one line", said)
