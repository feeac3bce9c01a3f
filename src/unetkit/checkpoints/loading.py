"""The predictor of one checkpoint, or of several whose probabilities are averaged."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from unetkit.checkpoints.checkpoint import Checkpoint
from unetkit.checkpoints.files import find_checkpoints
from unetkit.errors import UserError
from unetkit.prediction.ensemble import Ensemble
from unetkit.prediction.predictor import Predictor


def load(
    path: str | Path,
    device: str | torch.device = "cpu",
    *,
    tta: str = "none",
    tile: int = 1024,
    overlap: int = 128,
) -> Predictor:
    """Load the network of a checkpoint, ready to predict images as read from files.

    Args:
        path: A checkpoint, or a run directory, which stands for its last checkpoint; or `hf://OWNER/NAME`, with
            `@REVISION` and `/FILE` if wanted, of the Hugging Face Hub.
        device: Name of the device to predict on; `auto` takes a GPU if there is one.
        tta: Views whose predictions are averaged: `none`, `flip` (the image and its mirror image), `d4` (all eight
            quarter turns and mirror images) or `rotations` (seven equal steps of a full turn).
        tile: Side in pixels above which an image is predicted in tiles.
        overlap: Pixels that neighbouring tiles share and are blended over.

    Raises:
        UserError: If the file does not exist or is not such a checkpoint, or an argument is out of its range.
    """
    return Checkpoint.read(path).predictor(device, tta=tta, tile=tile, overlap=overlap)


def load_ensemble(
    paths: str | Path | Sequence[str | Path], device: str | torch.device = "cpu", **options: Any
) -> Ensemble:
    """Load the networks of several checkpoints, as of all folds; their probabilities are averaged.

    Args:
        paths: A cross-validation, a pattern, or several of what `load` takes.
        device: Name of the device to predict on.
        options: Further arguments of `load`.

    Raises:
        UserError: As `load`, or if the networks have different numbers of classes.
    """
    members: list[Predictor] = []
    classes = 0
    labels: list[str] = []
    files = find_checkpoints(paths)
    for path in files:
        checkpoint = Checkpoint.read(path)
        count = checkpoint.metadata.classes
        if members and (count, checkpoint.metadata.labels) != (classes, labels):
            found = f"tells {count} classes apart, but {files[0]} {classes}"
            raise UserError(
                checkpoint.subject,
                found if count != classes else f"has other labels than {files[0]}",
                "average only networks with the same classes",
            )
        classes, labels = count, checkpoint.metadata.labels
        members.append(checkpoint.predictor(device, **options))
    threshold = sum(member.threshold for member in members) / len(members)
    min_area = round(sum(member.min_area for member in members) / len(members))
    return Ensemble(members, threshold, classes, min_area, checkpoint.metadata.has_background, labels)
