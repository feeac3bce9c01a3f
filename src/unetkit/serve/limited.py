"""Limit the size of requests and the time that they may take to arrive."""

import asyncio
import time

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = 60  # after which a request that has not arrived whole is refused
# Up to so many times the limit, what is too large is read: most clients read no answer before they have sent all.
READ = 4
OVERHEAD = 4096  # bytes that a form may have around its file


class Limited:
    """An ASGI application around another one, which never gets more of a request than the limit.

    Args:
        app: The application.
        most: Largest content of a request, in bytes.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http":
            receive = _Arriving(receive, self.most).receive
        await self.app(scope, receive, send)


class _Arriving:
    """A request that is arriving."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._most, self._count = receive, most + OVERHEAD, 0
        self._end = time.monotonic() + SECONDS

    async def receive(self) -> Message:
        """Return the next part of the request.

        Raises:
            HTTPException: If it is too large or too slow.
        """
        message = await self._next()
        if self._count <= self._most:
            return message
        while message.get("more_body") and self._count <= READ * self._most:
            message = await self._next()
        raise HTTPException(413, f"the upload has more than max_upload_mib={self._most // 2**20}; send a smaller image")

    async def _next(self) -> Message:
        try:
            async with asyncio.timeout(self._end - time.monotonic()):
                message = await self._receive()
        except TimeoutError as error:
            raise HTTPException(408, f"the upload took more than {SECONDS} seconds; send a smaller image") from error
        self._count += len(message.get("body", b""))
        return message
