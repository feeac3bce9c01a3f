"""Malformed and hostile requests to the page of `unetkit demo`."""

import atexit
import json
import random
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from faults.cases import Case, Fault, Lab, Result
from faults.data import trained_once
from faults.exchange import exchange, request
from faults.program import Running

PAGE = "malformed requests to the demo"
SECONDS = 20.0  # until a request is answered
FILES = ("/etc/passwd", "../../../../etc/passwd", "/proc/self/environ", "C:\\Windows\\win.ini", "~/.ssh/id_rsa")
PATHS = (
    "/", "/config", "/info", "/queue/join", "/queue/data", "/queue/status", "/upload", "/upload_progress",
    "/heartbeat/x", "/run/predict", "/call/0", "/call/uploaded", "/api/predict", "/reset", "/cancel", "/login",
    "/logout", "/theme.css", "/static/x", "/assets/x", "/file=x", "/proxy=http://127.0.0.1", "/stream/x/y/z",
    "/component_server", "/dev/reload", "/mcp/sse", "/robots.txt", "/favicon.ico", "/docs", "/openapi.json",
    "/vibe-code", "/deep_link", "/process_recording",
)  # fmt: skip
JUNK: tuple[Any, ...] = (
    None, True, -1, 10**40, 1e308, "", "x", "\u0000", "\ud800", "a" * 10_000, [], [[]], {}, {"path": "/etc/passwd"},
    {"path": None, "meta": {"_type": "gradio.FileData"}}, {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}},
    {"__type__": "update"}, ["NaN"], "../../x",
)  # fmt: skip


def random_bytes(chance: random.Random) -> bytes:
    """Return bytes, half of which end as a request does."""
    return chance.randbytes(chance.randrange(1, 2000)) + (b"\r\n\r\n" if chance.random() < 0.5 else b"")


def odd_lines(chance: random.Random) -> bytes:
    """Return a request with an odd first line or odd headers."""
    lines = [
        "GET / HTTP/1.0",
        "GET / HTTP/9.9", "GET /", "GET  /  HTTP/1.1", "get / http/1.1", "GET http://[::1 HTTP/1.1", "\x00 / HTTP/1.1",
        f"{'A' * chance.choice([10, 10_000])} / HTTP/1.1", f"GET /{'a' * 70_000} HTTP/1.1", "GET /%ff%00%zz HTTP/1.1",
        "GET /?a=%00&b[]=1&b[x]=2 HTTP/1.1", "CONNECT x:1 HTTP/1.1", "GET * HTTP/1.1", "GET /\u202e HTTP/1.1",
    ]  # fmt: skip
    headers = [
        "Host: a\r\nHost: b", "Host:", "Content-Length: -1", "Content-Length: 99999999999999999999",
        "Content-Length: x",
        "Content-Length: 1\r\nContent-Length: 2", "Transfer-Encoding: chunked\r\nContent-Length: 5", "Range: bytes=9-1",
        "Transfer-Encoding: gzip", "Cookie: " + "a=b; " * 5000, "X: \x00", ": x", " folded",
        "Accept-Encoding: \xff",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x",
        "Expect: 100-continue", "Origin: http://evil.example", "X-Forwarded-For: " + "1," * 9000,
        "If-Modified-Since: x",
    ]  # fmt: skip
    line = chance.choice([*lines, f"GET {chance.choice(PATHS)} HTTP/1.1"])
    return "\r\n".join([line, chance.choice(headers), "Connection: close", "", ""]).encode("utf-8", "replace")


def odd_paths(chance: random.Random) -> bytes:
    """Return a request for something that is not served, or for a file of the machine."""
    file = chance.choice(FILES)
    forms = [
        file,
        file.replace(".", "%2e").replace("/", "%2f"),
        file.replace("/", "%252f"),
        f"{file}%00.png",
        f"//{file}",
    ]
    path = chance.choice(["/gradio_api/file=", "/file=", "/static/", "/assets/", "/gradio_api/file/", "/stream/"])
    other = "/gradio_api" * chance.randrange(2) + chance.choice(PATHS)
    method = chance.choice(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "PROPFIND"])
    body = json.dumps(chance.choice(JUNK)).encode()
    return request(method, (path + chance.choice(forms)).replace("\\", "%5c") if chance.random() < 0.5 else other, body)


def odd_json(chance: random.Random) -> bytes:
    """Return a call of a function of the page with odd values."""
    junk = partial(chance.choice, JUNK)
    content = {
        "data": [junk() for _ in range(chance.randrange(6))] if chance.random() < 0.8 else junk(),
        "fn_index": chance.choice([0, 1, 2, 3, 4, 5, -1, 99, "x", None, 1.5]),
        "session_hash": chance.choice(["abc", "", None, 7, "../x", "a" * 5000]),
        "trigger_id": junk(), "event_data": junk(), "simple_format": junk(),
    }  # fmt: skip
    for key in chance.sample(sorted(content), chance.randrange(3)):
        del content[key]
    body = json.dumps(content).encode()
    if chance.random() < 0.2:
        body = chance.choice(
            [body[: len(body) // 2], b"[" * 50_000, b'{"data":' * 5000, b"\xff\xfe", b"NaN", b"", body * 2]
        )
    path = "/gradio_api" + chance.choice(
        ["/queue/join", "/queue/join", "/run/predict", "/call/uploaded", "/api/predict", "/reset"]
    )
    return request("POST", path, body, f"Content-Type: {chance.choice(['application/json', 'text/plain', 'x', ''])}")


def odd_uploads(chance: random.Random) -> bytes:
    """Return an upload that is malformed, or of a file with an odd name."""
    name = chance.choice(
        [
            "x.html",
            "../../x.png",
            "/etc/x.png",
            "x\x00.png",
            "a" * 5000 + ".png",
            "",
            ".",
            "..",
            "<b>.png",
            "C:\\x.png",
            "塩.png",
        ]
    )
    field = chance.choice(["files", "files[]", "", "x", "file"])
    begin, end = chance.choice(
        [("--B", "--B--"), ("--B", ""), ("--C", "--C--"), ("", ""), ("--B", "--B"), ("--B" * 999, "--B--")]
    )
    head = f'{begin}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
    body = head.encode() + chance.randbytes(chance.randrange(300)) + f"\r\n{end}\r\n".encode()
    kinds = [
        "multipart/form-data; boundary=B",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/mixed; boundary=B",
        "text/plain",
    ]
    query = chance.choice(["", "?upload_id=x", "?upload_id=../x", "?upload_id=" + "a" * 3000])
    return request("POST", f"/gradio_api/upload{query}", body, f"Content-Type: {chance.choice(kinds)}")


def broken_off(chance: random.Random) -> bytes:
    """Return the first part of a request."""
    whole = chance.choice([odd_json, odd_uploads, odd_paths])(chance)
    return whole[: chance.randrange(1, len(whole))]


KINDS: dict[Callable[[random.Random], bytes], str] = {
    random_bytes: "random bytes",
    odd_lines: "odd first lines and headers",
    odd_paths: "paths that are not served, and files of the machine",
    odd_json: "calls with odd values, and JSON that is none",
    odd_uploads: "malformed uploads, and odd names of files",
    broken_off: "requests that are broken off",
}
FAULTS = {make: Fault(PAGE, about) for make, about in KINDS.items()}
UPLOADED = Fault(
    "a file that is code for a browser is uploaded to the demo", "`x.html`, `x.svg`, ... are asked for again"
)
WHOLE = (odd_paths, odd_json, odd_uploads)  # are whole requests
COUNT = 90  # requests of each kind


@dataclass
class Server:
    """The page, served once for all cases.

    Attributes:
        running: The command.
        port: The port that it listens at.
        seen: The length of its log that has been judged.
    """

    running: Running | None = None
    port: int = 0
    seen: int = 0
    lock: Lock = field(default_factory=Lock)

    def start(self, lab: Lab) -> None:
        """Start it, unless that has been done."""
        if self.running is not None:
            return
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        place = lab.folder.parent / "served"
        typed = ["demo", f"checkpoint={trained_once(lab)}", f"port={self.port}", "max_upload_mib=1"]
        self.running = lab.program.start(*typed, cwd=place, environment={"TMPDIR": str(place)})
        atexit.register(self.running.kill_all)
        deadline = time.monotonic() + 120
        while "in a browser" not in self.log() and time.monotonic() < deadline and self.running.process.is_alive():
            time.sleep(0.2)

    def log(self) -> str:
        """Return what it has said."""
        file = self.running.output if self.running else Path("nowhere")
        return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""

    def send(self, content: bytes, is_whole: bool = True) -> bytes:
        """Send bytes, and return the answer; where the request is not whole, the server may wait for the rest.

        Raises:
            TimeoutError: If a whole request is not answered.
        """
        answer = exchange(("127.0.0.1", self.port), content, SECONDS if is_whole else 0.3)
        if answer is None and is_whole:
            raise TimeoutError
        return answer or b""

    def judge(self, answer: bytes) -> Result | None:
        """Judge what it has answered and said since the last request; None if all is well."""
        said = self.log()
        new, self.seen = said[self.seen :], len(said)
        if self.running is None or not self.running.process.is_alive():
            return Result(False, "the page has ended", said[-300:])
        if "Traceback" in new:
            return Result(False, "stack trace in its log", new.strip().splitlines()[-1][:300])
        if b"root:x:" in answer or b"PATH=" in answer:
            return Result(False, "told a file of the machine", answer[:300].decode(errors="replace"))
        if re.match(rb"HTTP/1.1 5\d\d", answer):
            return Result(False, "an error of the server", answer[:300].decode(errors="replace"))
        return None


SERVER = Server()


def sent(make: Callable[[random.Random], bytes], seed: str, lab: Lab) -> Result:
    """Send a malformed request; the page must still be served afterwards."""
    with SERVER.lock:
        SERVER.start(lab)
        try:
            answer = SERVER.send(make(random.Random(seed)), make in WHOLE)
            wrong = SERVER.judge(answer)
            if wrong is not None:
                return wrong
            served = SERVER.send(request("GET", "/"))
        except TimeoutError:
            return Result(False, f"no answer within {SECONDS:.0f} s")
        except ConnectionRefusedError:
            return Result(False, "the page is not served", SERVER.log()[-300:])
    is_served = served.startswith(b"HTTP/1.1 200") and b"gradio" in served
    return Result(is_served, "answered or refused, and still served" if is_served else "not served any more")


def uploaded(name: str, lab: Lab) -> Result:
    """Upload a file that is code for a browser, and ask for it."""
    code = b"<html><svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg></html>"
    head = f'--B\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\nContent-Type: text/html\r\n\r\n'
    body = head.encode() + code + b"\r\n--B--\r\n"
    with SERVER.lock:
        SERVER.start(lab)
        answer = SERVER.send(
            request("POST", "/gradio_api/upload", body, "Content-Type: multipart/form-data; boundary=B")
        )
        found = re.search(rb'\["(.*)"\]', answer)
        if found is None:
            return Result(b" 200 " not in answer[:20], "refused", answer[:200].decode(errors="replace"))
        answer = SERVER.send(request("GET", "/gradio_api/file=" + found[1].decode()))
        wrong = SERVER.judge(answer)
    head_lines = answer.partition(b"\r\n\r\n")[0].decode(errors="replace").lower()
    is_download = "content-disposition: attachment" in head_lines or not head_lines.startswith("http/1.1 200")
    return wrong or Result(
        is_download, "handed out as a download" if is_download else "shown on its own page", head_lines[:300]
    )


def cases(seed: int) -> Iterator[Case]:
    """Yield the cases."""
    for make, fault in FAULTS.items():
        for number in range(COUNT):
            name = f"{fault.how} {number}"
            yield Case(fault, name, partial(sent, make, f"{seed} {name}"), number < 5)
    for name in ("x.html", "x.svg", "x.xhtml", "x.xml", "x.js", "x.pdf", "x.png", "x"):
        yield Case(UPLOADED, name, partial(uploaded, name), name == "x.html")
