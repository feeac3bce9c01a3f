"""Errors that the user can correct, each shown in one line."""

import errno
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeGuard

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no room: on the disk, for this user, in this file
# Torch, NumPy, OpenCV and C++ say it in words of their own.
OUT_OF_MEMORY = re.compile(
    r"out of memory|allocate|insufficient (shared )?memory|bad.alloc|killed by signal: (Killed|Bus)", re.IGNORECASE
)


class UserError(ValueError):
    """A mistake in what was asked for, shown as one line: "SUBJECT PROBLEM; FIX".

    Attributes:
        subject: What is wrong: a file, or a key with its value, as in `data.folds=1`.
        problem: What is wrong with it: a verb phrase, as in `must be at least 2`.
        fix: What to do about it; empty where the problem says so already.
    """

    def __init__(self, subject: str, problem: str, fix: str = "") -> None:
        super().__init__(subject, problem, fix)  # all three, so that it can be pickled
        self.subject = subject
        self.problem = problem
        self.fix = fix

    def __str__(self) -> str:
        line = f"{self.subject} {self.problem}".rstrip()
        return f"{line}; {self.fix}" if self.fix else line

    def about(self, subject: str) -> "UserError":
        """Return the same error about another subject, as where a key has another name for the user."""
        return type(self)(subject, self.problem, self.fix)


def check(key: str, value: object, holds: bool, wanted: str) -> None:
    """Raise a `UserError` that names the key, its value and what is wanted, unless `holds`."""
    if not holds:
        raise UserError(f"{key}={value}", f"must be {wanted}")


def is_whole(value: object, least: int) -> TypeGuard[int]:
    """Return whether a value is a whole number of at least `least`; `True` and `False` are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error that a library raised says that memory ran out, on a CPU or a GPU."""
    is_plain = isinstance(error, OSError | ValueError)  # these name files, which may be called anything
    return isinstance(error, MemoryError) or (not is_plain and bool(OUT_OF_MEMORY.search(str(error))))


@contextmanager
def enough_memory(subject: str, fix: str) -> Iterator[None]:
    """Turn an error that says that memory ran out into a `UserError` about what took it."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise UserError(subject, f"needs more memory than is free ({reason})", fix) from error


@contextmanager
def writable(key: str, place: object) -> Iterator[None]:
    """Turn an `OSError` into a `UserError` that names the key and the place that can't be written."""
    try:
        yield
    except OSError as error:
        fix = "make room, or give another" if error.errno in FULL else "give another"
        raise UserError(f"{key}={place}", f"can't be written ({error.strerror or error})", fix) from error


@contextmanager
def readable(place: object) -> Iterator[None]:
    """Turn an `OSError` into a `UserError` that names the place that can't be read."""
    try:
        yield
    except OSError as error:
        problem = f"can't be read ({error.strerror or error})"
        named = error.filename if isinstance(error.filename, str) else ""  # a folder in the place, perhaps
        subject = str(place) if str(place).endswith(named) else named
        raise UserError(subject, problem, "allow it, or give another place") from error


@contextmanager
def mistakes_in_one_line(stopped: str = "stopped") -> Iterator[None]:
    """End the program with one line, not a stack trace, on a `UserError`, without memory (status 1) and on Ctrl-C."""
    try:
        with enough_memory("this", "close other programs, or take smaller images or fewer at a time"):
            yield
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(stopped)
