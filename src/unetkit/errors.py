import sys
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """A mistake in what was asked for: shown as one line that names the key or file, the value and the fix."""


def check(key: str, value: object, holds: bool, wanted: str) -> None:
    """Raise a `UserError` that names the key, its value and what is wanted, unless it holds."""
    if not holds:
        raise UserError(f"{key}={value} must be {wanted}")


@contextmanager
def writable(key: str, place: object) -> Iterator[None]:
    """Turn what the system says of a file or folder that can't be written into a `UserError` that names its key."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{key}={place} can't be written ({error.strerror or error}); give another") from error


@contextmanager
def mistakes_in_one_line(stopped: str = "stopped") -> Iterator[None]:
    """End the program with status 1 and a line instead of a stack trace, on a `UserError` and on Ctrl-C."""
    try:
        yield
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(stopped)
