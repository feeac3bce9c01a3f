"""Question `serve`: images per second of `unetkit serve`, beside plain ONNX Runtime on the same images."""

import http.client
import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from threading import local

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.answers import Answer, Row
from benchmarks.measuring import paired
from unetkit.checkpoints.exported import ExportedPredictor, read_exported
from unetkit.errors import UserError
from unetkit.plots.images import encode_png

Pixels = NDArray[np.uint8]
SERVICES = {"unetkit serve": "batch_size=8", "unetkit serve batch_size=1": "batch_size=1"}


def serve(rounds: int, device: torch.device, file: Path, requests: int, concurrent: int, sides: list[int]) -> Answer:
    """Measure a service in a process of its own, asked over HTTP, and ONNX Runtime called in this process.

    Raises:
        UserError: If their masks differ.
    """
    threads = torch.get_num_threads()
    predictor, rows = read_exported(file, "--file", threads), []
    with ExitStack() as stack:
        ports = {name: stack.enter_context(service(file, threads, option)) for name, option in SERVICES.items()}
        for side in sides:
            images = pictures(side, 32)
            askers = {name: Asker(port, images, requests, concurrent) for name, port in ports.items()}
            masks = [predictor(image).mask * 255 for image in images]
            for name, asker in askers.items():
                if not all(np.array_equal(mask, asker.mask(number)) for number, mask in enumerate(masks)):
                    raise UserError(name, "gives other masks than ONNX Runtime")
            runs: dict[str, Callable[[], object]] = {
                **askers,
                "ONNX Runtime, one by one": partial(one_by_one, predictor, images, requests),
            }
            measured = paired(runs, rounds, device, requests)
            rows += [
                {"images": f"{side}x{side}", "by": n, **row, **waits(askers.get(n))} for n, row in measured.items()
            ]
    return rows, [f"{requests} requests a round, {concurrent} at a time"]


@contextmanager
def service(file: Path, threads: int, option: str) -> Iterator[int]:
    """Run `unetkit serve` until the context ends; yields its port."""
    command = [sys.executable, "-m", "unetkit", "serve", f"file={file.resolve()}", f"threads={threads}", "port=0"]
    process = subprocess.Popen([*command, option], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        if "/predict" not in said:
            raise UserError(f"--file={file}", "can't be served", "its reason is above")
        yield int(said.partition("/predict")[0].rpartition(":")[2])
    finally:
        process.terminate()
        process.wait()


class Asker:
    """Sends images to a service, several at a time, over connections that stay open in a round.

    Attributes:
        seconds: Time that each answer of the latest round took.
    """

    def __init__(self, port: int, images: list[Pixels], requests: int, concurrent: int) -> None:
        self.port, self.requests = port, requests
        self.contents = [encode_png(image) for image in images]
        self.pool = ThreadPoolExecutor(concurrent)
        self.own = local()  # a connection for each thread
        self.seconds: list[float] = []

    def __call__(self) -> None:
        """Send all requests, and wait for the answers."""
        self.own = local()  # as the service closes those that are not used for seconds
        numbers = itertools.islice(itertools.cycle(range(len(self.contents))), self.requests)
        self.seconds = [seconds for seconds, _ in self.pool.map(self.ask, numbers)]

    def ask(self, number: int) -> tuple[float, bytes]:
        """Send one image; return the seconds until its answer, and the answer."""
        if not hasattr(self.own, "connection"):
            self.own.connection = http.client.HTTPConnection("127.0.0.1", self.port)
        started = time.perf_counter()
        self.own.connection.request("POST", "/predict", self.contents[number])
        content = self.own.connection.getresponse().read()
        return time.perf_counter() - started, content

    def mask(self, number: int) -> Pixels:
        """Return the mask of one image."""
        content = np.frombuffer(self.ask(number)[1], np.uint8)
        return np.asarray(cv2.imdecode(content, cv2.IMREAD_UNCHANGED), np.uint8)


def pictures(side: int, count: int) -> list[Pixels]:
    """Return smooth grey images (side, side), all different."""
    generator = np.random.default_rng(0)
    coarse = (generator.integers(0, 256, (side // 8 + 1, side // 8 + 1), np.uint8) for _ in range(count))
    return [np.asarray(cv2.resize(noise, (side, side)), np.uint8) for noise in coarse]


def one_by_one(predictor: ExportedPredictor, images: list[Pixels], requests: int) -> None:
    """Run ONNX Runtime on as many images, without decoding, tiles or HTTP."""
    run = predictor.network.run
    assert callable(run)
    for image in itertools.islice(itertools.cycle(images), requests):
        run(image[None, None])


def waits(asker: Asker | None) -> Row:
    """Return the median and the 95 % quantile of the seconds of answers in the latest round."""
    if asker is None:
        return {"median answer, ms": None, "95 % answer, ms": None}
    median, late = np.quantile(asker.seconds, [0.5, 0.95]) * 1000
    return {"median answer, ms": float(median), "95 % answer, ms": float(late)}
