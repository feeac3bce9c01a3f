"""Copies of checkpoints without the state of training, in half precision if wanted: small enough to be committed."""

import math
from pathlib import Path

import numpy as np
from torch import Tensor

from unetkit.checkpoints.checkpoint import Checkpoint, is_finite, save_weights
from unetkit.data import synthetic
from unetkit.errors import UserError, writable
from unetkit.paths import real_path, whole_file
from unetkit.prediction.predictor import Predictor

TOLERANCE = 0.05  # of probabilities; those of trained networks in float16 differ by about 0.01, on outlines
SECTIONS = 16  # synthetic sections to compare on; on noise, the two would hardly differ


def write_stripped(path: str | Path, file: Path, *, half: bool) -> float:
    """Write a copy of a checkpoint without the state of training, and compare its predictions with the original's.

    Args:
        path: A checkpoint, or a run directory.
        file: The output; not written if the comparison fails.
        half: Whether to round the weights to float16; `unetkit.load` makes them float32 again.

    Returns:
        The largest difference of probabilities on synthetic seismic sections.

    Raises:
        UserError: If the checkpoint can't be read, the output is the checkpoint itself or can't be written, or a
            difference exceeds `TOLERANCE`.
    """
    original = Checkpoint.read(path)
    if real_path(file) == real_path(original.path):
        raise UserError(
            f"output={file}", "is the checkpoint itself, whose run could not be resumed then", "give another"
        )
    weights = {key: _halved(x) if half else x for key, x in original.state_dict.items()}
    with writable("output", file), whole_file(file) as part:
        save_weights(part, original.metadata, weights, original.epoch)
        fits = is_finite(weights)  # float16 ends at 65,504
        difference = largest_difference(original.predictor(), Checkpoint.read(part).predictor()) if fits else math.inf
        if not difference <= TOLERANCE:  # also catches NaN
            problem = f"would differ from {original.subject} by up to {difference:.1e}, more than {TOLERANCE}"
            raise UserError(f"output={file}", f"{problem}, so it was not written", "use half=false")
    return difference


def largest_difference(one: Predictor, other: Predictor) -> float:
    """Return the largest difference between the probabilities of two predictors on the same images."""
    differences = []
    for index in range(SECTIONS):
        image, _ = synthetic.section(0, index, salt=index % 2 == 0)
        prepared = np.repeat(image[..., None], one.preprocessing.channels, axis=2)
        a, b = (predictor.predict_prepared(prepared).probability for predictor in (one, other))
        differences.append(np.abs(a - b).max())
    return float(np.max(differences))


def _halved(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor
