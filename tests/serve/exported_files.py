"""Small exported networks, and a server in a thread, for the tests of the service."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch

from unetkit.checkpoints.export import export
from unetkit.checkpoints.exported import read_exported
from unetkit.data import Preprocessing
from unetkit.models import UNet
from unetkit.prediction.predictor import Predictor
from unetkit.serve import Limits, Service, build, listen
from unetkit.serve.server import server_of
from unetkit.server_log import errors_in_one_line

LIMITS = Limits(upload_bytes=2**20, pixels=90_000, batch=4, requests=64)
TILE, OVERLAP = 64, 24
PLAIN = Preprocessing(1, None, (0.4,), (0.2,))


def trained(classes: int = 1, channels: int = 1, padding: Literal["reflect", "valid"] = "reflect") -> UNet:
    """A network whose masks have foreground and background."""
    torch.manual_seed(3)
    network = UNet(channels, classes, [4, 8], padding=padding)
    with torch.no_grad():
        for _ in range(10):
            network.train()(torch.randn(2, channels, 64, 64))
    return network.eval()


def exported(folder: Path, predictor: Predictor, **facts: Any) -> Path:
    """Write the ONNX file of a predictor."""
    export(predictor, folder / "model.onnx", **facts)
    return folder / "model.onnx"


@contextmanager
def serving(file: Path, limits: Limits = LIMITS) -> Iterator[int]:
    """Serve a file by uvicorn, in a thread; gives the port."""
    predictor = read_exported(file, "file", 1, TILE, OVERLAP)
    with listen("127.0.0.1", 0) as listening, errors_in_one_line():
        server = server_of(build(Service(file.name, predictor, limits)))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()
