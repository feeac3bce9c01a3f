"""The predictor of an exported ONNX file: ONNX Runtime computes what PyTorch computes for a checkpoint."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unetkit.checkpoints.formats import AXES, PredictArray
from unetkit.data import Preprocessing
from unetkit.errors import UserError
from unetkit.prediction.predictor import Predictor

STRIDE = 32  # of files that don't say theirs: no network of this package has a larger one
INPUTS = ("uint8", "float32")


class ExportedNetwork(nn.Module):
    """A network from raw pixels (B, channels, H, W) to probabilities (B, 1 or C, H, W), which another program runs.

    Attributes:
        run: From an array of images to one of probabilities.
        margin: Pixels of surroundings that a tile is given on each side.
        num_downsamplings: Binary logarithm of the network's stride.
    """

    def __init__(self, run: PredictArray, margin: int, stride: int) -> None:
        super().__init__()
        self.run = run
        # The network mirrors the border of what it gets by its own margin. With whole strides more, the pixels of a
        # tile fall into the same pooling windows as in the whole image.
        self.margin = -(-margin // stride) * stride
        self.num_downsamplings = stride.bit_length() - 1

    def forward(self, images: Tensor) -> Tensor:
        """Return probabilities (B, 1 or C, H, W)."""
        return torch.from_numpy(self.run(images.numpy()))


@dataclass
class ExportedPredictor(Predictor):
    """A predictor whose network is an exported file; it predicts any size as the predictor of a checkpoint does.

    Attributes:
        class_names: Names of class 0, 1, ..., or of the labels; empty if the file does not have them.
    """

    class_names: list[str] = field(default_factory=list)

    @torch.inference_mode()
    def probabilities(self, pixels: NDArray[np.uint8], margin: int = 0) -> Tensor:
        """Return probabilities (B, 1 or C, H, W) of prepared images, without tiles and without resizing.

        Args:
            pixels: (B, H + 2 margin, W + 2 margin, channels).
            margin: Pixels of surroundings on each side, or 0 to have them mirrored.

        Raises:
            UserError: If a probability is not a number.
        """
        images = np.ascontiguousarray(np.moveaxis(raw_values(pixels, self.preprocessing), -1, 1))
        found: Tensor = self.network(torch.from_numpy(images))
        if found.sum().isnan():
            raise UserError("the network", "predicts values that are not numbers (NaN)", "export another")
        return found[..., margin : found.shape[-2] - margin, margin : found.shape[-1] - margin]


def raw_values(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[Any]:
    """Return the values of files that `Preprocessing.to_uint8` makes these pixels of, since exported graphs do it."""
    if preprocessing.value_range is None:
        return pixels
    low, high = preprocessing.ends
    return np.asarray(low + pixels * ((high - low) / 255), np.float32)


def read_exported(
    file: Path, key: str, threads: int | None = None, tile: int = 1024, overlap: int = 128
) -> ExportedPredictor:
    """Return the predictor of an ONNX file of `unetkit export`.

    Args:
        file: The file.
        key: The key that the path was typed for, for messages.
        threads: Threads of ONNX Runtime; None for one on each core.
        tile: Side in pixels above which an image is predicted in tiles.
        overlap: Pixels that neighbouring tiles share and are blended over.

    Raises:
        UserError: If ONNX Runtime is not installed, the file is no such file or is for volumes, or an argument is out
            of its range.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f"{key}={file}", "needs onnxruntime", 'pip install "unetkit[export]"') from error
    if not file.is_file():
        raise UserError(f"{key}={file}", "does not exist or is not a file", "give a file of `unetkit export`")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 4  # what it finds wrong with a file is raised as well
    try:
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        facts = {name: json.loads(value) for name, value in session.get_modelmeta().custom_metadata_map.items()}
        predictor = _predictor_of(facts, lambda images: np.asarray(session.run(None, {"images": images})[0]))
    except Exception as error:  # ONNX Runtime raises almost anything for bytes that are no ONNX
        fix = "write one: unetkit export checkpoint=RUN output=model.onnx"
        raise UserError(f"{key}={file}", "is not an ONNX file of `unetkit export`", fix) from error
    if len(session.get_inputs()[0].shape) != min(AXES):
        raise UserError(f"{key}={file}", "is a network for volumes, not for images", "use `unetkit predict` with it")
    return replace(predictor, tile=tile, overlap=overlap)


def _predictor_of(facts: dict[str, Any], run: PredictArray) -> ExportedPredictor:
    """Return the predictor of a file with this metadata, which `export.metadata_of` makes."""
    kept = ("channels", "value_range", "channel_ranges", "resize")
    preprocessing = Preprocessing.from_dict({name: facts[name] for name in kept if name in facts})
    if not preprocessing.is_sound or facts["input"] != INPUTS[preprocessing.value_range is not None]:
        raise ValueError(facts)
    network = ExportedNetwork(run, facts.get("margin", 0), facts.get("stride", STRIDE))
    return ExportedPredictor(
        network,
        preprocessing,
        facts["threshold"],
        min_area=facts["min_area"],
        is_multilabel=facts["is_multilabel"],
        class_names=facts.get("class_names") or [],
    )
