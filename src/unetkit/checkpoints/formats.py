"""The file formats of an exported network: how each is written, and read again to be checked."""

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

PredictArray = Callable[[NDArray[Any]], NDArray[Any]]  # from images (B, channels, H, W) to probabilities
# Axes of images and of volumes, by their number of dimensions, that are free in size.
AXES = {4: {0: "batch", 2: "height", 3: "width"}, 5: {0: "batch", 2: "depth", 3: "height", 4: "width"}}


def write_onnx(program: ExportedProgram, file: Path, metadata: dict[str, Any]) -> None:
    """Write ONNX with weights and metadata; its input is called `images`, its output `probabilities`."""
    import onnxruntime  # noqa: F401  # needed to check the file; fails here before the long work
    from onnxscript import ir

    axes = AXES[program.example_inputs[0][0].ndim]
    onnx = torch.onnx.export(
        program,
        dynamo=True,
        external_data=False,
        input_names=["images"],
        output_names=["probabilities"],
        dynamic_shapes=(axes,),
        verbose=False,
    )
    assert onnx is not None
    output = onnx.model.graph.outputs[0]
    assert output.shape is not None
    batch, *sides = axes.values()
    output.shape = ir.Shape([batch, output.shape[1], *sides])
    onnx.model.metadata_props.update({key: json.dumps(value) for key, value in metadata.items()})
    onnx.save(file)


def read_onnx(file: Path) -> PredictArray:
    """Return a function that runs the file in ONNX Runtime, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda images: np.asarray(session.run(None, {"images": images})[0])


def write_torch(program: ExportedProgram, file: Path, metadata: dict[str, Any]) -> None:
    """Write a program of `torch.export`, whose extra file `unetkit.json` holds the metadata."""
    with file.open("wb") as stream:  # given a name, torch refuses any other suffix than .pt2
        torch.export.save(program, stream, extra_files={"unetkit.json": json.dumps(metadata)})


def read_torch(file: Path) -> PredictArray:
    """Return a function that runs the file in PyTorch."""
    with file.open("rb") as stream:
        module = torch.export.load(stream).module()
    return lambda images: np.asarray(module(torch.from_numpy(images)).numpy(force=True))


FORMATS = {"onnx": (write_onnx, read_onnx), "torch": (write_torch, read_torch)}


@contextmanager
def quiet() -> Iterator[None]:
    """Hide the log lines and warnings of the exporters."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
