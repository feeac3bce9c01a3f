"""Guard the page's server: it answers only what the page asks for, and logs one line for each request that it refuses.

`Guard` follows ASGI, the interface between the web server and Gradio's application.
"""

import logging
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unetkit.server_log import described, errors_in_one_line, log_refused

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

API, FILE = "/gradio_api/", "/gradio_api/file="
PROGRESS = "/gradio_api/upload_progress"  # has no answer where the page asks after a fast upload has ended
# What the page asks of Gradio's interface; the rest can call functions, fetch other addresses or decode videos.
READ = ("app_id", "heartbeat", "info", "queue", "startup-events", "upload_progress")
WRITTEN = ("cancel", "queue", "reset", "upload")
BODY_BYTES = 2**20  # limit of requests other than uploads; the page sends some hundred bytes
SNIFFS_NOT = (b"x-content-type-options", b"nosniff")
# A browser downloads a file, and runs nothing in it, whatever its name is: it was uploaded by somebody.
DOWNLOADED = [
    SNIFFS_NOT,
    (b"content-disposition", b"attachment"),
    (b"content-security-policy", b"sandbox; default-src 'none'"),
]
OF_A_FILE = (b"content-length", b"etag", b"last-modified")  # Gradio's headers that are kept
PICTURES = (b"image/jpeg", b"image/png", b"image/webp")  # types that a page can show and that hold no script


class RefusedError(Exception):
    """A request that the page never sends.

    Args:
        status: Status of the answer.
        reason: What is wrong with the request.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Guard:
    """An ASGI application around Gradio's: refuses what the page never asks for, and hands out files as downloads.

    Args:
        app: Gradio's application.
        folder: The folder of the uploads; no other file is handed out.
        max_upload: Limit of an upload, in bytes.
    """

    def __init__(self, app: App, folder: Path, max_upload: int) -> None:
        self.app, self.folder, self.max_upload = app, folder, max_upload

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request.

        Raises:
            RefusedError: If the page never sends such a request; `refuse` answers it.
        """
        if scope["type"] != "http":  # the server's start and end
            await self.app(scope, receive, send)
            return
        if not self._is_of_the_page(scope["method"], scope["path"]):
            raise RefusedError(404, "the page has no such request")
        exchange = _Exchange(scope, receive, send, self._limit(scope["path"]))
        await self.app(scope, exchange.receive, exchange.send)

    def _limit(self, path: str) -> int:
        return BODY_BYTES + (self.max_upload if path.startswith(f"{API}upload") else 0)

    def _is_of_the_page(self, method: str, path: str) -> bool:
        if method not in ("GET", "HEAD", "POST"):
            return False
        if path.startswith(FILE):
            return method != "POST" and Path(path.removeprefix(FILE)).is_relative_to(self.folder)
        if path.startswith(API):
            return path.removeprefix(API).split("/")[0] in (WRITTEN if method == "POST" else READ)
        return method != "POST"


class _Exchange:
    """A request whose size is limited, and its answer, whose headers are set."""

    def __init__(self, scope: Message, receive: Receive, send: Send, limit: int) -> None:
        self._scope, self._limit = scope, limit
        self._received, self._receive, self._send = 0, receive, send
        self._is_file = scope["path"].startswith(FILE)
        if self._is_file:  # Gradio answers a range with the request's own headers
            scope["headers"] = [(name, value) for name, value in scope["headers"] if name != b"range"]

    async def receive(self) -> Message:
        """Return the next part of the request.

        Raises:
            RefusedError: If it is larger than the limit.
        """
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if self._received > self._limit:
            raise RefusedError(413, f"it has more than {self._limit:,} bytes")
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            message["headers"] = self._headers(list(message["headers"]))
        await self._send(message)  # other parts of Gradio's server raise errors here
        if message.get("status", 0) >= 400 and self._scope["path"] != PROGRESS:
            log_refused(self._scope, str(message["status"]))

    def _headers(self, headers: Headers) -> Headers:
        if not self._is_file:
            return [*headers, SNIFFS_NOT]
        kept = [(name, value) for name, value in headers if name.lower() in OF_A_FILE]
        kind = dict(headers).get(b"content-type", b"")
        return [*kept, (b"content-type", kind if kind in PICTURES else b"application/octet-stream"), *DOWNLOADED]


async def refuse(request: Any, error: Exception) -> App:
    """Return the answer to a request that `Guard`, Gradio or a part of its server has raised an error for, and log it.

    Gradio raises almost anything for a malformed request.

    Args:
        request: Starlette's request.
        error: The error, raised anywhere on the way of the request.
    """
    status, reason = (error.status, error.reason) if isinstance(error, RefusedError) else (400, described(error))
    log_refused(request.scope, f"{status}, {reason}")

    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/plain"), SNIFFS_NOT]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"refused\n"})

    return answer


@contextmanager
def gradio_errors_in_one_line() -> Iterator[None]:
    """Log errors of Gradio and of its web server in one line each, instead of as stack traces."""
    printed = traceback.print_exc
    traceback.print_exc = _log_current_error  # Gradio prints the errors of its queue with it
    try:
        with errors_in_one_line():
            yield
    finally:
        traceback.print_exc = printed


def _log_current_error(*_: Any, **__: Any) -> None:
    error = sys.exception()
    if error is not None:
        log.warning("refused a prediction: %s", described(error))
