"""A request of HTTP as bytes, sent as it is, and its answer."""

import socket
from contextlib import suppress


def request(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    """Return a request of HTTP 1.1."""
    head = [
        f"{method} {path} HTTP/1.1",
        "Host: localhost",
        "Connection: close",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join([*head, "", ""]).encode("utf-8", "surrogatepass") + body


def exchange(
    address: tuple[str, int], content: bytes, seconds: float, limit: int = 10**7, pause: float = 1
) -> bytes | None:
    """Send bytes to a server, and return its answer.

    Args:
        address: Host and port.
        content: The request; the server need not read all of what is malformed or too large.
        seconds: Time that the server has to begin its answer.
        limit: Bytes after which the rest of the answer is not read.
        pause: Seconds without a byte after which a begun answer is taken as a stream without an end.

    Returns:
        The answer, empty if the server closed the connection without one; None if it did neither in time.
    """
    with socket.create_connection(address, timeout=max(seconds, 10)) as connection:
        answer = b""
        with suppress(ConnectionResetError, BrokenPipeError):  # the server may have answered before it closed
            connection.sendall(content)
        connection.settimeout(seconds)
        try:
            while len(answer) < limit and (part := connection.recv(65536)):
                answer += part
                connection.settimeout(pause)
        except ConnectionResetError:
            pass
        except TimeoutError:
            return answer or None
        return answer
