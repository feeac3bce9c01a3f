"""A trained network as one file for other programs: raw pixels in, probabilities out, checked against PyTorch."""

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.fx.experimental._config as symbolic
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from unetkit.data import Preprocessing
from unetkit.errors import UserError, writable
from unetkit.models import predict_full_frame, probabilities
from unetkit.paths import whole_file
from unetkit.prediction.predictor import Predictor

TOLERANCE = 1e-4
SIZES = ((1, 101, 101), (3, 64, 96), (1, 97, 131), (3, 33, 40))  # batch, height, width
AXES = {0: "batch", 2: "height", 3: "width"}

Array = NDArray[Any]
Run = Callable[[Array], Array]


class RawToProbabilities(nn.Module):
    """A network with all that stands around it: value range, normalisation, mirrored borders, sigmoid or softmax.

    (B, channels, H, W), uint8 or, where the training images were 16-bit or float, float32 in their values, to
    probabilities (B, 1 or num_classes, H, W) float32, for any size.
    """

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network = network
        self.preprocessing = preprocessing

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities of the foreground, or of each of more classes."""
        if self.preprocessing.value_range is not None:  # in double precision and rounded, as `to_uint8`
            low, high = self.preprocessing.value_range
            images = ((images.double() - low) * (255 / max(high - low, 1e-12))).clamp(0, 255).round()
        return probabilities(predict_full_frame(self.network, self.preprocessing.normalise(images)))


def export(predictor: Predictor, file: Path, form: str = "onnx", **facts: Any) -> float:
    """Write the network of a predictor, which is on the CPU, and compare the file's answers with PyTorch's.

    Args:
        predictor: As `unetkit.load` gives it.
        file: Where to; there is nothing if the comparison fails.
        form: `onnx`, or `torch` for `torch.export`.
        facts: What else the file's metadata should hold beside threshold, channels, input, value range and version.

    Returns:
        The largest difference between the two programs' probabilities.

    Raises:
        UserError: If the format is another, its packages are not installed, the file can't be written, or a
            difference exceeds `TOLERANCE`.
    """
    if form not in FORMATS:
        raise UserError(f"format={form} must be one of {', '.join(FORMATS)}")
    write, read = FORMATS[form]
    facts = {**facts_of(predictor), **facts}
    try:
        with writable("output", file), whole_file(file) as part:
            with quiet():
                write(trace(predictor), part, {key: json.dumps(value) for key, value in facts.items()})
                differences = compare(predictor, read(part))
            worst = max(differences, key=differences.__getitem__)
            if not differences[worst] <= TOLERANCE:  # which a nan does not pass either
                raise UserError(
                    f"output={file} would differ from PyTorch by up to {differences[worst]:.1e} at (batch, height, "
                    f"width) {worst}, more than {TOLERANCE:.0e}, so it was not written"
                )
    except ImportError as error:
        raise UserError(f'format={form} needs {error.name}: pip install -e ".[export]"') from error
    return differences[worst]


def facts_of(predictor: Predictor) -> dict[str, Any]:
    """What a program that runs the file has to know."""
    preprocessing = predictor.preprocessing
    return {
        "unetkit": version("unetkit"),
        "input": "uint8" if preprocessing.value_range is None else "float32",
        "channels": preprocessing.channels,
        "value_range": preprocessing.value_range,
        "threshold": predictor.threshold,
        "min_area": predictor.min_area,
    }


def trace(predictor: Predictor) -> ExportedProgram:
    """The graph of raw pixels to probabilities, for every batch, height and width."""
    preprocessing = predictor.preprocessing
    network = deepcopy(predictor.network).to(memory_format=torch.contiguous_format)
    model = RawToProbabilities(network, preprocessing).eval()  # channels_last would make batch 1 a graph of its own
    dtype = torch.uint8 if preprocessing.value_range is None else torch.float32
    example = torch.zeros(2, preprocessing.channels, 67, 101, dtype=dtype)
    free = dict.fromkeys(AXES, Dim.DYNAMIC)
    with symbolic.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]  # no guards against sizes 0 and 1
        return torch.export.export(model, (example,), dynamic_shapes=(free,), strict=False)


def write_onnx(program: ExportedProgram, file: Path, facts: dict[str, str]) -> None:
    """As ONNX, weights and metadata included, with the names `images` and `probabilities`."""
    import onnxruntime  # noqa: F401  # for the check; missed now rather than after the work
    from onnxscript import ir

    onnx = torch.onnx.export(
        program,
        dynamo=True,
        external_data=False,
        input_names=["images"],
        output_names=["probabilities"],
        dynamic_shapes=(AXES,),
        verbose=False,
    )
    assert onnx is not None
    output = onnx.model.graph.outputs[0]
    assert output.shape is not None
    output.shape = ir.Shape(["batch", output.shape[1], "height", "width"])
    onnx.model.metadata_props.update(facts)
    onnx.save(file)


def read_onnx(file: Path) -> Run:
    """The file in ONNX Runtime, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda images: np.asarray(session.run(None, {"images": images})[0])


def write_torch(program: ExportedProgram, file: Path, facts: dict[str, str]) -> None:
    """As a program of `torch.export`, whose extra file `unetkit.json` holds the metadata."""
    text = json.dumps({key: json.loads(value) for key, value in facts.items()})
    with file.open("wb") as stream:  # by name it would insist on .pt2
        torch.export.save(program, stream, extra_files={"unetkit.json": text})


def read_torch(file: Path) -> Run:
    """The file as PyTorch alone reads it."""
    with file.open("rb") as stream:
        module = torch.export.load(stream).module()
    return lambda images: np.asarray(module(torch.from_numpy(images)).numpy(force=True))


FORMATS = {"onnx": (write_onnx, read_onnx), "torch": (write_torch, read_torch)}


@torch.inference_mode()
def compare(predictor: Predictor, run: Run) -> dict[tuple[int, int, int], float]:
    """The largest difference between the file's probabilities and those of training's own path, at each of `SIZES`."""
    preprocessing = predictor.preprocessing
    generator = np.random.default_rng(0)
    differences = {}
    for batch, height, width in SIZES:
        images = noise(generator, (batch, height, width, preprocessing.channels), preprocessing.value_range)
        prepared = torch.from_numpy(np.stack([preprocessing.to_uint8(image) for image in images]))
        x = preprocessing.normalise(prepared.permute(0, 3, 1, 2))
        wanted = probabilities(predict_full_frame(predictor.network.eval(), x)).numpy()
        got = run(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        assert got.shape == wanted.shape, (got.shape, wanted.shape)
        differences[batch, height, width] = float(np.abs(got - wanted).max())
    return differences


def noise(generator: np.random.Generator, shape: tuple[int, ...], value_range: tuple[float, float] | None) -> Array:
    """Images of random values: uint8, or float32 that go a little beyond the range."""
    if value_range is None:
        return generator.integers(0, 256, shape, dtype=np.uint8)
    low, high = value_range
    return generator.uniform(low - (high - low) / 10, high + (high - low) / 10, shape).astype(np.float32)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters' remarks on their own workings from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
