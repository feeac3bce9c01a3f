"""Requests that no page sends: of wrong types, too large, without end, to other files and other parts of Gradio."""

import itertools
import json
import random
from collections.abc import Iterator
from typing import Any

ODD: list[Any] = [
    None,
    True,
    -1,
    10**30,
    1e308,
    "",
    "x" * 5000,
    "\x00",
    "\x1b[31m\nTraceback",
    [],
    {},
    [[[]]],
    {"a": 1},
]
FILES = (
    *("/etc/passwd", "../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "..%5c..%5cx", "/proc/self/environ", "", "%00"),
    *("http://127.0.0.1:1/x", "https://localhost/", "file:///etc/passwd", "C:/x", "//host/share", "a" * 3000),
)
ROUTES = (
    *("run/predict", "api/predict", "call/predict", "call/v2/x", "component_server", "process_recording", "vibe-edit"),
    *("queue/join", "queue/data", "queue/status", "reset", "cancel", "upload", "upload_progress", "heartbeat/x"),
    *(
        "stream/x",
        "info",
        "openapi.json",
        "deep_link",
        "login_check",
        "custom_component/a/b/c/d",
        "file/x",
        "dev/reload",
    ),
    *("run-history/records", "monitoring", "profiling/traces", "token", "user"),
)


def malformed_requests(folder: str) -> Iterator[bytes]:
    """Yield requests as they are sent, in an order that mixes their kinds.

    Args:
        folder: Folder of the uploads, to try paths that lead out of it.
    """
    requests = [*_files(folder), *_routes(), *_predictions(), *_uploads(folder), *_protocol()]
    random.Random(0).shuffle(requests)
    yield from requests


def odd_headers() -> Iterator[bytes]:
    """Yield requests whose headers are odd or missing, of versions of HTTP that need none."""
    origins = ("http://other.example", "null", "http://[::1", "\xff", "x" * 5000)
    hosts = ("", "[", "a:b:c", "http://[::1", "\xff\xfe", "x" * 5000)
    lines = ("GET /config", "GET /", "POST /gradio_api/queue/join", "HEAD /gradio_api/info")
    for line, version, origin in itertools.product(lines, ("1.0", "9.9"), origins):
        yield f"{line} HTTP/{version}\r\nOrigin: {origin}\r\n\r\n".encode("latin-1")
    for line, host in itertools.product(lines, hosts):
        yield f"{line} HTTP/1.1\r\nHost: {host}\r\nOrigin: null\r\nConnection: close\r\n\r\n".encode("latin-1")


def _request(line: str, body: bytes = b"", *headers: str) -> bytes:
    head = [f"{line} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def _files(folder: str) -> Iterator[bytes]:
    """Other files than uploads, also through the folder of the uploads."""
    for path, route in itertools.product(FILES, ("gradio_api/file=", "gradio_api/file/", "gradio_api/proxy=", "file=")):
        yield _request(f"GET /{route}{path}")
        yield _request(f"POST /{route}{path}")
    for path in ("/../../../../etc/passwd", "/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "", "/none.png", "x/y"):
        yield _request(f"GET /gradio_api/file={folder}{path}")
        yield _request(f"HEAD /gradio_api/file={folder}{path}")
        yield _request(f"GET /gradio_api/file={folder}{path}", b"", "Range: bytes=9-5-1")
    for page in ("assets", "static", "svelte", "theme.css", "custom_component"):
        yield _request(f"GET /{page}/../../../../../etc/passwd")
        yield _request(f"GET /{page}/%2e%2e/%2e%2e/%2e%2e/etc/passwd")


def _routes() -> Iterator[bytes]:
    """Parts of Gradio's interface that the page does not need, or with content that it does not send."""
    for route, method in itertools.product(ROUTES, ("GET", "POST", "PUT", "DELETE")):
        yield _request(f"{method} /gradio_api/{route}", b"{", "Content-Type: application/json")
    for route in ("queue/join", "reset", "cancel"):
        for odd in (b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"data": NaN}', b'"' + b"x" * 2_000_000):
            yield _request(f"POST /gradio_api/{route}", odd, "Content-Type: application/json")


def _predictions() -> Iterator[bytes]:
    """Calls of the page's functions with sessions, numbers and values that are wrong."""
    proper = {"data": [None, 0.5], "fn_index": 0, "session_hash": "s", "trigger_id": 1, "event_data": None}
    for key, odd in itertools.product(proper, ODD):
        yield _join(proper | {key: odd})
    for index, odd in itertools.product(range(3), ODD):
        yield _join(proper | {"fn_index": index, "data": [odd, odd]})
        yield _join(proper | {"fn_index": index, "data": [{"path": odd}, odd], "session_hash": odd})
        yield _join({"fn_index": index, "data": [None, 0.5], "session_hash": "s", str(odd)[:9]: odd})
        yield _join(proper | {"fn_index": index, "data": [odd], "event_data": {"index": odd}})
    for path in ("/etc/passwd", "x", "", "http://127.0.0.1:1/"):
        yield _join(proper | {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, 0.5]})


def _join(content: dict[str, Any]) -> bytes:
    return _request("POST /gradio_api/queue/join", json.dumps(content).encode(), "Content-Type: application/json")


def _uploads(folder: str) -> Iterator[bytes]:
    """Uploads that are no form, that have no end, or whose names lead elsewhere."""
    kinds = (
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "b" * 5000,
        "x",
    )
    bodies = (b"", b"--B\r\n", b"--B--", b"\x00" * 100, b"--B\r\nContent-Disposition: form-data\r\n\r\n", b"--B" * 1000)
    for kind, body in itertools.product((*kinds, "multipart/form-data; boundary=B"), bodies):
        yield _request("POST /gradio_api/upload", body, f"Content-Type: {kind}")
    for name in (
        "../../x.html",
        "/etc/x",
        f"{folder}/../x",
        "",
        "a" * 4000,
        "%00",
        "\\\\host\\x",
        "..",
        "x\x1b[31m.png",
    ):
        body = f'--B\r\nContent-Disposition: form-data; name="no"; filename="{name}"\r\n\r\nx\r\n--B'.encode()
        yield _request("POST /gradio_api/upload?upload_id=../x", body, "Content-Type: multipart/form-data; boundary=B")
    yield _request("POST /gradio_api/upload", b"x" * 4_000_000, "Content-Type: multipart/form-data; boundary=B")


def _protocol() -> Iterator[bytes]:
    """What is no HTTP, or HTTP of another kind."""
    yield from (b"\x16\x03\x01\x02\x00" * 20, b"GET\r\n\r\n", b"\x00" * 500, b"GET / HTTP/9.9\r\n\r\n")
    yield b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\nConnection: close\r\n\r\n"
    yield b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n"
    yield b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000 + b"\r\n\r\n"
    yield _request("GET /gradio_api/queue/data")
    yield _request("GET /gradio_api/queue/data?session_hash=../../x")
    yield _request("GET /", b"", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA==")
    for method in ("TRACE", "OPTIONS", "CONNECT", "PATCH", "PROPFIND"):
        yield _request(f"{method} /")
