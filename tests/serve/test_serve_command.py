"""`unetkit serve` as it is typed: mistakes in one line, and a process that ends in order."""

import http.client
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import Done, Unetkit
from exported_files import PLAIN, exported, trained

import unetkit as package
from unetkit.errors import UserError
from unetkit.plots.images import encode_png
from unetkit.prediction.predictor import Predictor
from unetkit.serve import listen


@pytest.fixture
def serve(unetkit: Unetkit, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Done]]:
    """Runs `unetkit serve ...`; what it sets for its process is taken back."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setenv("OPENCV_IO_MAX_IMAGE_PIXELS", "")  # put back at the end
    yield partial(unetkit, "serve")
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ([], "file= is missing; give file=FILE.onnx, which unetkit export checkpoint=RUN output=FILE.onnx writes"),
        (["file=none.onnx"], "file=none.onnx does not exist or is not a file"),
        (["file=x.onnx", "port=70000"], "port=70000 must be a whole number from 0 to 65535"),
        (["file=x.onnx", "batch_size=0"], "batch_size=0 must be a whole number above 0"),
        (["file=x.onnx", "threads=0"], "threads=0 must be null or a whole number above 0"),
    ],
)
def test_mistakes_are_named_in_one_line(
    typed: list[str], said: str, serve: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    done = serve(*typed)
    assert done.status == 1
    assert done.stderr.startswith(f"error: {said}")
    assert done.stderr.count("\n") == 1


def test_other_files_and_a_missing_extra_are_named(
    serve: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, checkpoint: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    node = onnx.helper.make_node("Identity", ["images"], ["probabilities"])
    values = [onnx.helper.make_tensor_value_info(name, 1, ["n"]) for name in (*node.input, *node.output)]
    graph = onnx.helper.make_graph([node], "strange", values[:1], values[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, "strange.onnx")
    for name in ("strange.onnx", checkpoint.name):
        done = serve(f"file={name}")
        advice = "write one: unetkit export checkpoint=RUN output=model.onnx"
        assert done.stderr == f"error: file={name} is not an ONNX file of `unetkit export`; {advice}\n"
    monkeypatch.setitem(sys.modules, "fastapi", None)
    monkeypatch.delattr(package, "serve", raising=False)
    for name in [name for name in sys.modules if name.startswith("unetkit.serve")]:
        monkeypatch.delitem(sys.modules, name)
    done = serve("file=strange.onnx")
    assert done.stderr == 'error: the service needs fastapi; pip install "unetkit[serve]"\n'


@pytest.mark.slow
def test_a_process_answers_and_ends_in_order_on_sigterm(tmp_path: Path) -> None:
    """A request whose upload is half sent when the signal comes is still answered."""
    file = exported(tmp_path, Predictor(trained(), PLAIN))
    command = [sys.executable, "-m", "unetkit", "serve", f"file={file}", "port=0", "threads=1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().partition("/predict")[0].rpartition(":")[2])
        content = encode_png(np.zeros((20, 30), np.uint8))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/health")  # until this is answered, the server may not have begun
        assert connection.getresponse().read().startswith(b'{"status":"ok"')
        connection.putrequest("POST", "/predict")
        connection.putheader("Content-Length", str(len(content)))
        connection.endheaders(content[:50])
        other = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while b'"requests":1' not in _health(other):
            pass
        process.send_signal(signal.SIGTERM)
        while _is_open(port):
            pass
        connection.send(content[50:])
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("content-type")) == (200, "image/png")
        answer.read()
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, stdout, stderr) == (0, "", "stopped\n")


def _health(connection: http.client.HTTPConnection) -> bytes:
    connection.request("GET", "/health")
    return connection.getresponse().read()


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"host=127.0.0.1 port={port} can't be listened at"):
            listen("127.0.0.1", port)
    with pytest.raises(UserError, match=r"host=no\.such\.host\.invalid port=0 can't be listened at"):
        listen("no.such.host.invalid", 0)
