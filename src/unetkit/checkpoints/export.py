"""Export a network as one file for other programs: raw pixels in, probabilities out, compared with PyTorch."""

from collections.abc import Sequence
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

from unetkit.checkpoints.formats import AXES, FORMATS, PredictArray, quiet
from unetkit.data import Preprocessing
from unetkit.errors import UserError, check, writable
from unetkit.models import predict_full_frame, probabilities
from unetkit.paths import whole_file
from unetkit.prediction.ensemble import Ensemble
from unetkit.prediction.predictor import Predictor

TOLERANCE = 1e-4  # largest difference of probabilities between the file and PyTorch
SIZES = ((1, 101, 101), (3, 64, 96), (1, 97, 131), (3, 33, 40))  # (batch, height, width) of the images compared
VOLUMES = ((1, 16, 32, 32), (2, 19, 21, 40))  # (batch, depth, height, width) of the volumes compared

Array = NDArray[Any]


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


class MeanProbabilities(nn.Module):
    """Several networks with the steps before and after them, whose probabilities are averaged."""

    def __init__(self, members: Sequence[RawToProbabilities]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        """Return probabilities of the foreground, or of each of more classes."""
        return torch.stack([member(images) for member in self.members]).mean(0)


def members_of(predictor: Predictor | Ensemble) -> Sequence[Predictor]:
    """Return the networks that are averaged; one alone is its own mean."""
    return predictor.members if isinstance(predictor, Ensemble) else [predictor]


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
    check("format", form, form in FORMATS, f"one of {', '.join(FORMATS)}")
    write, read = FORMATS[form]
    kinds = [member.preprocessing for member in members_of(predictor)]
    if len({(kind.channels, kind.value_range is None, kind.resize) for kind in kinds}) > 1:
        problem = "take images of different channels, depths or sizes, but a file takes one kind"
        raise UserError("checkpoint=: these networks", problem, "export them one by one")
    metadata = metadata_of(predictor) | facts
    try:
        with writable("output", file), whole_file(file) as part:
            with quiet():
                write(trace(predictor), part, metadata)
                differences = compare(predictor, read(part))
            worst = max(differences, key=differences.__getitem__)
            if not differences[worst] <= TOLERANCE:  # also catches NaN
                problem = f"would differ from PyTorch by up to {differences[worst]:.1e}, more than {TOLERANCE:.0e}"
                where = f"for images of (batch, height, width) {worst}"  # or (batch, depth, height, width)
                raise UserError(f"output={file}", f"{problem}, {where}, so it was not written")
    except ImportError as error:
        raise UserError(f"format={form}", f"needs {error.name}", 'pip install "unetkit[export]"') from error
    return differences[worst]


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


def trace(predictor: Predictor | Ensemble) -> ExportedProgram:
    """Return the graph from raw pixels to probabilities, for any batch, height and width."""
    members = members_of(predictor)
    preprocessing = members[0].preprocessing
    # With channels_last, batch 1 would need another graph.
    networks = [deepcopy(member.network).to(memory_format=torch.contiguous_format) for member in members]
    each = [
        RawToProbabilities(network, member.preprocessing, is_multilabel=member.is_multilabel)
        for network, member in zip(networks, members, strict=True)
    ]
    model = (MeanProbabilities(each) if len(each) > 1 else each[0]).eval()
    dtype = torch.uint8 if preprocessing.value_range is None else torch.float32
    sides = (19, 21, 35) if members[0].has_volumes else (67, 101)
    example = torch.zeros(2, preprocessing.channels, *sides, dtype=dtype)
    free = dict.fromkeys(AXES[example.ndim], Dim.DYNAMIC)
    with symbolic.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]  # no guards against sizes 0 and 1
        return torch.export.export(model, (example,), dynamic_shapes=(free,), strict=False)


def compared_sizes(predictor: Predictor | Ensemble) -> Sequence[tuple[int, ...]]:
    """Return the sizes of the images, or volumes, on which a file is compared with PyTorch."""
    return VOLUMES if members_of(predictor)[0].has_volumes else SIZES


@torch.inference_mode()
def compare(predictor: Predictor | Ensemble, run: PredictArray) -> dict[tuple[int, ...], float]:
    """Return the largest difference between the file's probabilities and PyTorch's, for each of `compared_sizes`."""
    members = members_of(predictor)
    preprocessing = members[0].preprocessing
    generator = np.random.default_rng(0)
    differences = {}
    for size in compared_sizes(predictor):
        images = noise(generator, (*size, preprocessing.channels), preprocessing.value_range)
        wanted = np.mean([probabilities_of(member, images) for member in members], 0)
        got = run(np.ascontiguousarray(np.moveaxis(images, -1, 1)))
        assert got.shape == wanted.shape, (got.shape, wanted.shape)
        differences[size] = float(np.abs(got - wanted).max())
    return differences


def probabilities_of(member: Predictor, images: Array) -> Array:
    """Return the probabilities (B, 1 or C, H, W) that a network predicts for raw images (B, H, W, channels)."""
    prepared = torch.from_numpy(np.stack([member.preprocessing.to_uint8(image) for image in images]))
    x = member.preprocessing.normalise(prepared.movedim(-1, 1))
    logits = predict_full_frame(member.network.eval(), x)
    return np.asarray(probabilities(logits, is_multilabel=member.is_multilabel))


def noise(generator: np.random.Generator, shape: tuple[int, ...], value_range: tuple[float, float] | None) -> Array:
    """Return random images: uint8, or float32 a little beyond the value range."""
    if value_range is None:
        return generator.integers(0, 256, shape, dtype=np.uint8)
    low, high = value_range
    return generator.uniform(low - (high - low) / 10, high + (high - low) / 10, shape).astype(np.float32)
