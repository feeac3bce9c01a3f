"""Export a network as one file for other programs: raw pixels in, probabilities out, compared with PyTorch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.fx.experimental._config as symbolic
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from unetkit.checkpoints.compared import Agreement, Array, agreement, compare, members_of
from unetkit.checkpoints.formats import AXES, FORMATS, PredictArray, quiet
from unetkit.data import Preprocessing
from unetkit.errors import UserError, check, writable
from unetkit.models import predict_full_frame, probabilities
from unetkit.paths import whole_files
from unetkit.prediction.ensemble import Ensemble
from unetkit.prediction.predictor import Predictor

TOLERANCE = 1e-4  # largest difference of probabilities between the file and PyTorch
EXACT, REDUCED = ("onnx", "torch"), ("onnx", "openvino")  # formats that keep the precision, and that may lower it


class RawToProbabilities(nn.Module):
    """A network with the steps before and after it: value range, normalisation, mirrored borders, sigmoid or softmax.

    It maps images (B, channels, H, W) of any size to probabilities (B, 1 or num_classes, H, W) float32, and volumes
    (B, channels, D, H, W) likewise. The images are uint8, or float32 with the values of the files if the training
    images were 16-bit or float.
    """

    def __init__(self, network: nn.Module, preprocessing: Preprocessing, *, is_multilabel: bool) -> None:
        super().__init__()
        self.is_multilabel = is_multilabel
        self.network = network
        self.preprocessing = preprocessing

    def forward(self, images: Tensor) -> Tensor:
        """Return probabilities of the foreground, or of each of more classes."""
        if self.preprocessing.value_range is not None:  # in float64 and rounded, as in `Preprocessing.to_uint8`
            low, high = (self._of_channels(end, images) for end in self.preprocessing.ends)
            images = ((images.double() - low) * (255 / (high - low).clamp(min=1e-12))).clamp(0, 255).round()
        logits = predict_full_frame(self.network, self.preprocessing.normalise(images))
        return probabilities(logits, is_multilabel=self.is_multilabel)

    def _of_channels(self, end: Any, images: Tensor) -> Tensor:
        """Return a number, or one for each channel, to be combined with images (B, channels, *)."""
        return torch.as_tensor(np.atleast_1d(end), dtype=torch.float64).view(1, -1, *[1] * (images.ndim - 2))


class Half(nn.Module):
    """A network that computes in float16; its input and its logits are float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.half()
        self.margin = getattr(network, "margin", 0)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, C, H, W)."""
        logits: Tensor = self.network(x.half())
        return logits.float()


class MeanProbabilities(nn.Module):
    """Several networks with the steps before and after them, whose probabilities are averaged."""

    def __init__(self, members: Sequence[RawToProbabilities]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        """Return probabilities of the foreground, or of each of more classes."""
        return torch.stack([member(images) for member in self.members]).mean(0)


def export(predictor: Predictor | Ensemble, file: Path, form: str = "onnx", **facts: Any) -> float:
    """Write the network of a predictor, or those of an ensemble, and compare the file's predictions with PyTorch's.

    Args:
        predictor: The predictor or the ensemble, on the CPU.
        file: The output; not written if the comparison fails.
        form: `onnx`, or `torch` for `torch.export`.
        facts: More entries for the file's metadata, beside those of `metadata_of`.

    Returns:
        The largest difference of probabilities.

    Raises:
        UserError: If the networks take different images, there is no such format, its packages are not installed, the
            file can't be written, or a difference exceeds `TOLERANCE`.
    """
    check("format", form, form in EXACT, f"one of {', '.join(EXACT)}")
    with written(predictor, file, form, "fp32", (), facts) as run:
        differences = compare(predictor, run)
        worst = max(differences, key=differences.__getitem__)
        if not differences[worst] <= TOLERANCE:  # also catches NaN
            problem = f"would differ from PyTorch by up to {differences[worst]:.1e}, more than {TOLERANCE:.0e}"
            where = f"for images of (batch, height, width) {worst}"  # or (batch, depth, height, width)
            raise UserError(f"output={file}", f"{problem}, {where}, so it was not written")
    return differences[worst]


def export_reduced(
    predictor: Predictor | Ensemble,
    file: Path,
    form: str,
    precision: str,
    images: Sequence[Array],
    min_iou: float,
    **facts: Any,
) -> Agreement:
    """Write a network of lower precision, and compare the masks that the file gives with PyTorch's.

    Args:
        predictor: The predictor or the ensemble, on the CPU.
        file: The output; not written if the comparison fails.
        form: `onnx`, or `openvino`, whose runtime computes in bfloat16 where the processor can.
        precision: `fp32`; `fp16`, weights and features; or `int8`, convolutions and matrix products.
        images: Images (H, W, channels) as the file takes them. Every second one is compared; the others set the ranges
            of int8.
        min_iou: Lowest mean IoU of the masks.
        facts: More entries for the file's metadata, beside those of `metadata_of`.

    Raises:
        UserError: If the networks take different images or are for volumes, packages are not installed, the file can't
            be written, or the masks agree less than `min_iou`.
    """
    check_reduced(predictor, form, precision)
    compared, calibration = images[::2], images[1::2] or images
    with written(predictor, file, form, precision, calibration if precision == "int8" else (), facts) as run:
        found = agreement(predictor, run, compared)
        if not found.mean >= min_iou:  # also catches NaN
            problem = f"would have a mean mask IoU of {found.mean:.4f} with PyTorch on {found.images} images"
            fix = "give another precision, more images, or a lower min_iou"
            raise UserError(f"output={file}", f"{problem}, less than min_iou={min_iou}, so it was not written", fix)
    return found


def check_reduced(predictor: Predictor | Ensemble, form: str, precision: str) -> None:
    """Check that a network can be written as `export_reduced` does.

    Raises:
        UserError: If there is no such format, or the network is for volumes.
    """
    check("format", form, form in REDUCED, f"one of {', '.join(REDUCED)}")
    if members_of(predictor)[0].has_volumes:
        reason = f"format={form} precision={precision}"
        raise UserError(reason, "is for images, but the network is for volumes", "use format=onnx precision=fp32")


@contextmanager
def written(
    predictor: Predictor | Ensemble,
    file: Path,
    form: str,
    precision: str,
    calibration: Sequence[Array],
    facts: dict[str, Any],
) -> Iterator[PredictArray]:
    """Write a file, and give a function that runs it; the file gets its place if the context ends without an error.

    Args:
        predictor: The predictor or the ensemble.
        file: The output.
        form: A key of `FORMATS`.
        precision: See `export_reduced`.
        calibration: Images (H, W, channels) that set the ranges of int8; none for other precisions.
        facts: More entries for the file's metadata.

    Raises:
        UserError: If the networks take different images, packages are not installed, or the file can't be written.
    """
    write, read = FORMATS[form]
    kinds = [member.preprocessing for member in members_of(predictor)]
    if len({(kind.channels, kind.value_range is None, kind.resize) for kind in kinds}) > 1:
        problem = "take images of different channels, depths or sizes, but a file takes one kind"
        raise UserError("checkpoint=: these networks", problem, "export them one by one")
    metadata = metadata_of(predictor) | {"precision": precision} | facts
    try:
        with writable("output", file), whole_files(file) as part, quiet():
            write(trace(predictor, is_half=precision == "fp16"), part, metadata, calibration)
            yield read(part)
    except ImportError as error:
        extra = "openvino" if form == "openvino" else "export"
        raise UserError(f"format={form}", f"needs {error.name}", f'pip install "unetkit[{extra}]"') from error


def metadata_of(predictor: Predictor | Ensemble) -> dict[str, Any]:
    """Return what a program that runs the file needs to know."""
    members = members_of(predictor)
    preprocessing = members[0].preprocessing
    return {
        "unetkit": version("unetkit"),
        "input": "uint8" if preprocessing.value_range is None else "float32",
        "channels": preprocessing.channels,
        "value_range": preprocessing.value_range,
        **({} if preprocessing.channel_ranges is None else {"channel_ranges": preprocessing.channel_ranges}),
        **({} if preprocessing.resize is None else {"resize": preprocessing.resize}),
        **({} if preprocessing.spacing is None else {"spacing": preprocessing.spacing}),
        "threshold": predictor.threshold,
        "is_multilabel": members[0].is_multilabel,
        "min_area": predictor.min_area,
        "stride": max(member.stride for member in members),
        "margin": max(member.margin for member in members),
    }


def trace(predictor: Predictor | Ensemble, *, is_half: bool = False) -> ExportedProgram:
    """Return the graph from raw pixels to probabilities, for any batch, height and width.

    Args:
        predictor: The predictor or the ensemble.
        is_half: Whether the networks compute in float16; the steps before and after them don't.
    """
    members = members_of(predictor)
    preprocessing = members[0].preprocessing
    # With channels_last, batch 1 would need another graph.
    networks = [deepcopy(member.network).to(memory_format=torch.contiguous_format) for member in members]
    each = [
        RawToProbabilities(
            Half(network) if is_half else network, member.preprocessing, is_multilabel=member.is_multilabel
        )
        for network, member in zip(networks, members, strict=True)
    ]
    model = (MeanProbabilities(each) if len(each) > 1 else each[0]).eval()
    dtype = torch.uint8 if preprocessing.value_range is None else torch.float32
    sides = (19, 21, 35) if members[0].has_volumes else (67, 101)
    example = torch.zeros(2, preprocessing.channels, *sides, dtype=dtype)
    free = dict.fromkeys(AXES[example.ndim], Dim.DYNAMIC)
    with symbolic.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]  # no guards against sizes 0 and 1
        return torch.export.export(model, (example,), dynamic_shapes=(free,), strict=False)
