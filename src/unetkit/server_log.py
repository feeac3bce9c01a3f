"""Log what a web server refuses and the errors that it meets, in one line each instead of as stack traces."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

log = logging.getLogger(__name__)

SHOWN = 200  # characters of an address or an error in the log


def log_refused(scope: Mapping[str, Any], reason: str) -> None:
    """Log a request that is refused, in one line.

    Args:
        scope: The request's scope, as ASGI has it.
        reason: Status and reason.
    """
    log.warning("refused %s: %s", printable(f"{scope['method']} {scope['path']}"), reason)


def described(error: BaseException) -> str:
    """Return the kind of an error and what it says, in one line."""
    return printable(f"{type(error).__name__}: {error}")


def printable(text: str, most: int = SHOWN) -> str:
    """Return the first characters of a text from a request in one line, without those that would steer a terminal."""
    return text[:most].encode("unicode_escape").decode()


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Log errors of uvicorn in one line each."""
    loggers = [logging.getLogger(name) for name in ("uvicorn.error", "asyncio")]
    for logger in loggers:
        logger.addFilter(_without_trace)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # a malformed upload has a line already
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(_without_trace)


def _without_trace(record: logging.LogRecord) -> bool:
    if record.getMessage().startswith("Exception in ASGI application"):  # who answers the request has logged it
        return False
    if record.exc_info and record.exc_info[1] is not None:
        record.msg, record.args = "%s: %s", (printable(record.getMessage()), described(record.exc_info[1]))
        record.exc_info = record.exc_text = None
    return True
