import sys
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """A mistake in what was asked for: shown as one line that names the key or file, the value and the fix."""


@contextmanager
def mistakes_in_one_line() -> Iterator[None]:
    """End the program with status 1 and the error's line, instead of a stack trace, on a `UserError`."""
    try:
        yield
    except UserError as error:
        sys.exit(f"error: {error}")
