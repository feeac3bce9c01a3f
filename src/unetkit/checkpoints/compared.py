"""Compare an exported file's predictions with PyTorch's: probabilities of noise, or masks of images."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unetkit.checkpoints.formats import PredictArray
from unetkit.errors import UserError
from unetkit.metrics.counts import confusion, iou
from unetkit.models import predict_full_frame, probabilities
from unetkit.prediction.ensemble import Ensemble
from unetkit.prediction.predictor import Prediction, Predictor

SIZES = ((1, 101, 101), (3, 64, 96), (1, 97, 131), (3, 33, 40))  # (batch, height, width) of the images compared
VOLUMES = ((1, 16, 32, 32), (2, 19, 21, 40))  # (batch, depth, height, width) of the volumes compared

Array = NDArray[Any]


class Agreement(NamedTuple):
    """How well masks agree with those of PyTorch.

    Attributes:
        mean: Mean over the images of the mean IoU of the classes or labels.
        least: The lowest of the images.
        images: Number of images.
    """

    mean: float
    least: float
    images: int


def members_of(predictor: Predictor | Ensemble) -> Sequence[Predictor]:
    """Return the networks that are averaged; one alone is its own mean."""
    return predictor.members if isinstance(predictor, Ensemble) else [predictor]


def compared_sizes(predictor: Predictor | Ensemble) -> Sequence[tuple[int, ...]]:
    """Return the sizes of the images, or volumes, on which a file is compared with PyTorch."""
    return VOLUMES if members_of(predictor)[0].has_volumes else SIZES


def compare(predictor: Predictor | Ensemble, run: PredictArray) -> dict[tuple[int, ...], float]:
    """Return the largest difference between the file's probabilities and PyTorch's, for each of `compared_sizes`."""
    preprocessing = members_of(predictor)[0].preprocessing
    generator = np.random.default_rng(0)
    differences = {}
    for size in compared_sizes(predictor):
        images = noise(generator, (*size, preprocessing.channels), preprocessing.value_range)
        wanted, got = both(predictor, run, images)
        differences[size] = float(np.abs(got - wanted).max())
    return differences


def agreement(predictor: Predictor | Ensemble, run: PredictArray, images: Sequence[Array]) -> Agreement:
    """Compare the masks of images with those of PyTorch.

    Args:
        predictor: The predictor or the ensemble.
        run: Runs the file.
        images: Images (H, W, channels) as the file takes them, at least one.
    """
    scores = []
    for image in images:
        wanted, got = both(predictor, run, image[None])
        truth, found = (masks_of(predictor, torch.from_numpy(x[0])) for x in (wanted, got))
        channels = 1 if members_of(predictor)[0].is_multilabel else wanted.shape[1]
        scores.append(float(iou(confusion(found, truth, torch.ones_like(truth, dtype=torch.bool), channels)).mean()))
    return Agreement(float(np.mean(scores)), min(scores), len(scores))


def masks_of(predictor: Predictor | Ensemble, probability: Tensor) -> Tensor:
    """Return the mask (1, H, W) of probabilities (1 or C, H, W), or a binary mask of each label, (C, H, W)."""
    is_multilabel = members_of(predictor)[0].is_multilabel
    prediction = Prediction.of(probability, predictor.threshold, predictor.min_area, is_multilabel=is_multilabel)
    mask = torch.from_numpy(prediction.mask)[None]
    return torch.cat([mask >> label & 1 for label in range(len(probability))]) if is_multilabel else mask


@torch.inference_mode()
def both(predictor: Predictor | Ensemble, run: PredictArray, images: Array) -> tuple[Array, Array]:
    """Return the probabilities (B, 1 or C, H, W) of raw images (B, H, W, channels) by PyTorch, and by the file.

    Raises:
        UserError: If the file can't run on images of this size.
    """
    wanted = np.mean([probabilities_of(member, images) for member in members_of(predictor)], 0)
    try:
        got = run(np.ascontiguousarray(np.moveaxis(images, -1, 1)))
    except RuntimeError as error:  # OpenVINO pads no image of one pixel
        size = " x ".join(map(str, images.shape[1:-1]))
        problem = f"can't run on images of {size} pixels ({' '.join(str(error).split())[:200]})"
        raise UserError("the exported file", problem, "give larger ones") from error
    assert got.shape == wanted.shape, (got.shape, wanted.shape)
    return wanted, got


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
