"""The file formats of an exported network: how each is written, and read again to be checked."""

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

PredictArray = Callable[[NDArray[Any]], NDArray[Any]]  # from images (B, channels, H, W) to probabilities
# Axes of images and of volumes, by their number of dimensions, that are free in size.
AXES = {4: {0: "batch", 2: "height", 3: "width"}, 5: {0: "batch", 2: "depth", 3: "height", 4: "width"}}


def write_onnx(
    program: ExportedProgram, file: Path, metadata: dict[str, Any], calibration: Sequence[NDArray[Any]] = ()
) -> None:
    """Write ONNX with weights and metadata; its input is called `images`, its output `probabilities`.

    Args:
        program: The graph.
        file: The output.
        metadata: What a program that runs the file needs to know.
        calibration: Images (H, W, channels) that set the ranges of int8; none to keep the precision.
    """
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
    if calibration:
        quantise(file, calibration)


def quantise(file: Path, images: Sequence[NDArray[Any]]) -> None:
    """Let the convolutions and matrix products of an ONNX file compute in int8.

    Weights have a scale for each channel, features one for each layer, which the smallest and the largest value on the
    images set (static quantisation; Jacob et al. 2018, *Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference*). In the file, they stand as pairs of QuantizeLinear and DequantizeLinear.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.images = iter(images)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            image = next(self.images, None)
            return None if image is None else {"images": np.ascontiguousarray(np.moveaxis(image, -1, 0))[None]}

    quantised = file.with_name(f"{file.name}.int8")
    quantize_static(
        file,
        quantised,
        Reader(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "ConvTranspose", "MatMul", "Gemm"],
        per_channel=True,
        activation_type=QuantType.QUInt8,  # twice as fast here as QInt8
        weight_type=QuantType.QInt8,
    )
    quantised.replace(file)


def read_onnx(file: Path) -> PredictArray:
    """Return a function that runs the file in ONNX Runtime, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda images: np.asarray(session.run(None, {"images": images})[0])


def write_torch(
    program: ExportedProgram, file: Path, metadata: dict[str, Any], calibration: Sequence[NDArray[Any]] = ()
) -> None:
    """Write a program of `torch.export`, whose extra file `unetkit.json` holds the metadata."""
    assert not calibration  # checked by `export`
    with file.open("wb") as stream:  # given a name, torch refuses any other suffix than .pt2
        torch.export.save(program, stream, extra_files={"unetkit.json": json.dumps(metadata)})


def read_torch(file: Path) -> PredictArray:
    """Return a function that runs the file in PyTorch."""
    with file.open("rb") as stream:
        module = torch.export.load(stream).module()
    return lambda images: np.asarray(module(torch.from_numpy(images)).numpy(force=True))


def write_openvino(
    program: ExportedProgram, file: Path, metadata: dict[str, Any], calibration: Sequence[NDArray[Any]] = ()
) -> None:
    """Write OpenVINO's .xml with the metadata as its section `unetkit`, and its .bin of weights beside it."""
    import openvino

    with TemporaryDirectory() as folder:
        source = Path(folder) / "model.onnx"
        write_onnx(program, source, {}, calibration)
        model = openvino.Core().read_model(source)
    for key, value in metadata.items():
        model.set_rt_info(json.dumps(value), ["unetkit", key])
    openvino.save_model(model, file, compress_to_fp16=False)  # the graph has its precision already


def read_openvino(file: Path) -> PredictArray:
    """Return a function that runs the file in OpenVINO, on the CPU, in the precision that OpenVINO chooses for it."""
    import openvino

    compiled = openvino.Core().compile_model(file, "CPU")
    return lambda images: np.asarray(compiled(images)[0])


FORMATS = {
    "onnx": (write_onnx, read_onnx),
    "torch": (write_torch, read_torch),
    "openvino": (write_openvino, read_openvino),
}


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
