"""Checkpoints without the state of their training, in half precision if wanted: small enough to be committed."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unetkit.checkpoints import checkpoint
from unetkit.data import synthetic
from unetkit.errors import UserError, writable
from unetkit.paths import whole_file
from unetkit.prediction.predictor import Predictor

TOLERANCE = 0.05  # of probabilities; those of trained networks differ by about 0.01, on outlines
SECTIONS = 16  # seismic sections that are predicted to compare; noise would hardly tell the two apart


def strip(content: dict[str, Any], *, half: bool = False) -> dict[str, Any]:
    """What `checkpoint.read` gave, without all that is only needed to train on.

    Args:
        content: Weights, card, and the state of training.
        half: Whether to round the weights to float16; `unetkit.load` makes them float32 again.
    """
    state = {f"network.{key}": _halved(x) if half else x for key, x in checkpoint.network_state(content).items()}
    return {key: content[key] for key in ("unetkit", "epoch") if key in content} | {"state_dict": state}


def write_stripped(path: str | Path, file: Path, *, half: bool) -> float:
    """Write a slim copy of a checkpoint, and compare its answers with the original's.

    Args:
        path: A checkpoint of `train.py`, or its run directory.
        file: Where to; there is nothing new if the comparison fails.
        half: Whether to round the weights to float16.

    Returns:
        The largest difference of probabilities on seismic sections that are made for it.

    Raises:
        UserError: If the checkpoint can't be read, the file is that or can't be written, or a difference exceeds
            `TOLERANCE`.
    """
    if file.resolve() == checkpoint.file_of(path).resolve():
        raise UserError(f"output={file} is the checkpoint itself, whose run could not go on then; give another")
    original, content = checkpoint.load(path), checkpoint.read(path)
    with writable("output", file), whole_file(file) as part:
        small = strip(content, half=half)
        torch.save(small, part)
        fits = checkpoint.is_finite(small)  # float16 ends at 65,504
        difference = largest_difference(original, checkpoint.load(part)) if fits else math.inf
        if not difference <= TOLERANCE:  # which a nan does not pass either
            raise UserError(
                f"output={file} would differ from checkpoint={path} by up to {difference:.1e}, more than "
                f"{TOLERANCE}, so it was not written; use half=false"
            )
    return difference


def largest_difference(one: Predictor, other: Predictor) -> float:
    """The largest difference of the probabilities that two predictors of the same images give."""
    differences = []
    for index in range(SECTIONS):
        image, _ = synthetic.section(0, index, salt=index % 2 == 0)
        prepared = np.repeat(image[..., None], one.preprocessing.channels, axis=2)
        a, b = (predictor.predict_prepared(prepared).probability for predictor in (one, other))
        differences.append(np.abs(a - b).max())
    return float(np.max(differences))


def _halved(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor
