"""Question `exported`: images per second of exported files of one network, in ONNX Runtime and in OpenVINO."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.answers import Answer
from benchmarks.contenders import peer
from benchmarks.measuring import cpu_seconds, paired

IMAGES = 32


def exported(rounds: int, device: torch.device, files: list[Path], sides: list[int]) -> Answer:
    """Measure files of `unetkit export` for 8-bit grey images, which are given one image at a time."""
    runs = {file.name: opened(file, torch.get_num_threads()) for file in files}
    rows = []
    for side in sides:
        images = np.random.default_rng(0).integers(0, 256, (IMAGES, 1, 1, side, side), np.uint8)
        contenders = {name: partial(each, run, images) for name, run in runs.items()}
        for name, row in paired(contenders, rounds, device, IMAGES, clock=cpu_seconds).items():
            ratio = row.pop("time / unetkit's")
            rows.append({"images": f"{side}x{side}", "file": name, **row, f"time / {files[0].name}": ratio})
    return rows, ["seconds of this process on the CPU, which other programs lengthen less than those of the clock"]


def opened(file: Path, threads: int) -> Callable[[NDArray[Any]], object]:
    """Return a function that runs a file, in OpenVINO if it ends in .xml."""
    if file.suffix == ".xml":
        compiled = peer("openvino").Core().compile_model(file, "CPU", {"INFERENCE_NUM_THREADS": threads})
        return lambda images: compiled(images)[0]
    runtime = peer("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    session = runtime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0]


def each(run: Callable[[NDArray[Any]], object], images: NDArray[np.uint8]) -> None:
    """Run a file on each of the images (N, 1, 1, H, W)."""
    for image in images:
        run(image)
