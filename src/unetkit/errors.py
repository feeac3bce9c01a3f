"""Errors that the user can correct, each shown in one line."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Torch, NumPy, OpenCV and C++ say it in words of their own.
OUT_OF_MEMORY = re.compile(r"out of memory|allocate|insufficient memory|bad.alloc", re.IGNORECASE)


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


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error that a library raised says that memory ran out, on a CPU or a GPU."""
    is_plain = isinstance(error, OSError | ValueError)  # these name files, which may be called anything
    return isinstance(error, MemoryError) or (not is_plain and bool(OUT_OF_MEMORY.search(str(error))))


@contextmanager
def writable(key: str, place: object) -> Iterator[None]:
    """Turn an `OSError` into a `UserError` that names the key and the place that can't be written."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{key}={place}", f"can't be written ({error.strerror or error})", "give another") from error


@contextmanager
def readable(place: object) -> Iterator[None]:
    """Turn an `OSError` into a `UserError` that names the place that can't be read."""
    try:
        yield
    except OSError as error:
        problem = f"can't be read ({error.strerror or error})"
        raise UserError(str(place), problem, "allow it, or give another place") from error


@contextmanager
def mistakes_in_one_line(stopped: str = "stopped") -> Iterator[None]:
    """End the program with one line instead of a stack trace, on a `UserError` (status 1) and on Ctrl-C."""
    try:
        yield
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(stopped)
