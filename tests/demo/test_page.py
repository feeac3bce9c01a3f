"""The page is served in this process: its address, its limits, what it does not serve."""

import json
import logging
import os
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from conftest import free_port
from demo_models import EIGHT_BIT, PIXELS, model
from hydra import compose, initialize_config_dir
from malformed_requests import malformed_requests, odd_headers

from faults.exchange import exchange, request
from unetkit.cli.demo import check_keys
from unetkit.demo import served, synthetic_examples
from unetkit.errors import UserError
from unetkit.paths import config_dir


def test_without_gradio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")  # put back at the end
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(UserError, match=r'pip install "unetkit\[demo\]"'), served([], [], 1, 1, "127.0.0.1", 1):
        pass


def test_the_page_is_served_and_no_other_file(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gradio")
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    port = free_port()
    with served([model(), model(3)], synthetic_examples(EIGHT_BIT), PIXELS, 1, "127.0.0.1", port) as url:
        assert url == f"http://127.0.0.1:{port}/"
        page = urllib.request.urlopen(url).read().decode()
        assert page.count("UNet, 100 parameters") == 2
        with pytest.raises(urllib.error.HTTPError, match=r"40[034]"):
            urllib.request.urlopen(f"{url}gradio_api/file=/etc/passwd")
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Serves the page with one model."""
    pytest.importorskip("gradio")
    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", "")  # put back at the end
        with served([model()], synthetic_examples(EIGHT_BIT), PIXELS, 1, "127.0.0.1", port) as url:
            yield url


def upload(url: str, name: str, content: bytes) -> str:
    """Uploads a file as the page does; gives its address."""
    head = f'--B\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\nContent-Type: text/html\r\n\r\n'
    form = urllib.request.Request(f"{url}gradio_api/upload", head.encode() + content + b"\r\n--B--\r\n")
    form.add_header("Content-Type", "multipart/form-data; boundary=B")
    path = json.loads(urllib.request.urlopen(form).read())[0]
    return f"{url}gradio_api/file={path}"


def test_what_was_uploaded_is_handed_out_as_a_download_that_runs_nothing(url: str) -> None:
    script = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    for name in ("x.html", "x.svg", "x.xhtml", "x.xml", "x.pdf", "x.js", "x.png", "x.txt", "x"):
        address = upload(url, name, script)
        for headers in ({}, {"Range": "bytes=0-5", "Content-Type": "text/html"}):
            with urllib.request.urlopen(urllib.request.Request(address, headers=headers)) as answer:
                assert answer.read() == script
                assert answer.headers["Content-Disposition"] == "attachment", name
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert "sandbox" in answer.headers["Content-Security-Policy"]
                kind = "image/png" if name == "x.png" else "application/octet-stream"
                assert answer.headers.get_all("Content-Type") == [kind]


def send(url: str, content: bytes, limit: int = 1) -> bytes:
    """Sends a request; gives the answer, which must be none of an error of the server."""
    host, _, port = url.removeprefix("http://").strip("/").partition(":")
    answer = exchange((host, int(port)), content, seconds=20, limit=limit, pause=20)
    assert answer is not None, content[:300]
    assert not answer.startswith(b"HTTP/1.1 5"), content[:300]
    return answer


@pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.slow)])
def test_malformed_requests_get_a_line_each_and_no_stack_trace(
    url: str, every: int, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    requests = list(malformed_requests(os.environ["GRADIO_TEMP_DIR"]))
    assert len(requests) > 500
    for content in requests[::every]:
        send(url, content)
    upload(url, "still.png", b"served")
    deadline, seen = time.monotonic() + 10, -1
    while seen != len(caplog.records) and time.monotonic() < deadline:  # predictions are refused in the background
        seen = len(caplog.records)
        time.sleep(0.3)
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(requests[::every]) / 2 < len(lines) <= len(requests[::every])
    assert not [line for line in lines if "\n" in line or "\x1b" in line or len(line) > 1000]
    assert not [record for record in caplog.records if record.exc_info]
    assert not [line for line in capfd.readouterr().err.splitlines() if "Traceback" in line or line.startswith("  ")]


def test_odd_headers_get_a_line_each_and_no_error_of_the_server(url: str, caplog: pytest.LogCaptureFixture) -> None:
    for content in odd_headers():
        send(url, content)
    lines = [record.getMessage() for record in caplog.records]
    assert "refused GET /config: 400, KeyError: 'Host'" in lines  # raised around `Guard`, as the answer was sent
    answered = [line for line in lines if not line.startswith("refused a prediction")]
    assert len(answered) <= len(list(odd_headers()))
    assert not [record for record in caplog.records if record.exc_info or "\n" in record.getMessage()]


def test_a_large_request_that_is_refused_before_its_end_is_answered(url: str) -> None:
    answers = [send(url, request("POST", "/gradio_api/queue/join", b"x" * 20_000_000)) for _ in range(5)]
    assert not [answer for answer in answers if answer and not answer.startswith(b"HTTP/1.1 4")]


def test_predictions_go_on_after_calls_of_sessions_without_a_name(url: str) -> None:
    call = {"data": [0.5], "fn_index": 3, "trigger_id": None, "event_data": None}

    def join(session: str) -> bytes:
        body = json.dumps(call | {"session_hash": session}).encode()
        return send(url, request("POST", "/gradio_api/queue/join", body, "Content-Type: application/json"))

    for number in range(5):  # they wait for each other
        join(f"proper{number}")
        join("")
    assert join("last").startswith(b"HTTP/1.1 200")
    events = send(url, request("GET", "/gradio_api/queue/data?session_hash=last"), limit=10**7)
    assert b'"msg":"process_completed"' in events
    assert b'"success":true' in events


def test_a_port_in_use_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gradio")
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        examples = synthetic_examples(EIGHT_BIT)
        with (
            pytest.raises(UserError, match=f"port={port} can't be listened at"),
            served([model()], examples, PIXELS, 1, "127.0.0.1", port),
        ):
            pass


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "checkpoint= is missing; give checkpoint=FILE.ckpt"),
        (["checkpoint=x.ckpt", "port=99999"], "port=99999 must be a whole number from 1 to 65535"),
        (["checkpoint=x.ckpt", "max_pixels=0"], "max_pixels=0 must be a whole number above 0"),
        (["checkpoint=x.ckpt", "max_pixels=true"], "max_pixels=True must be a whole number above 0"),
    ],
)
def test_mistakes_of_the_command_are_named(options: list[str], said: str) -> None:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("demo", options)
    with pytest.raises(UserError, match=said):
        check_keys(cfg)
