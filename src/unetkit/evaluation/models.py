"""Open the checkpoints to score, with their names and the records of their runs."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from unetkit.checkpoints.checkpoint import Checkpoint
from unetkit.checkpoints.files import find_checkpoints
from unetkit.data.splits import read_split
from unetkit.errors import UserError
from unetkit.evaluation.primary import Primary, extra_of_config, primary_of_config
from unetkit.paths import check_each_once, names_of
from unetkit.prediction.predictor import Predictor
from unetkit.run_files import read_config

MASK_KEYS = ("mask_values", "mask_colours", "ignore_index", "num_classes")


@dataclass(frozen=True)
class Model:
    """A checkpoint, ready to predict.

    Attributes:
        name: Name for tables and figures.
        path: The checkpoint's file.
        run: The directory of the run that made it, if the file lies in that or in its cross-validation, else None.
        predictor: The network with its preprocessing and threshold.
        num_classes: Number of logits of the network.
        class_names: Names of class 0, 1, ...; None if the checkpoint does not have them.
        mask_keys: Keys of `data` that say what the values of its masks mean; None if the checkpoint is older than that.
        data_name: Name of the data that it was trained on.
        epochs: Number of epochs that it was trained for; 0 if the checkpoint does not say.
        digest: The first 12 digits of the file's SHA-256.
    """

    name: str
    path: Path
    run: Path | None
    predictor: Predictor
    num_classes: int
    class_names: list[str] | None
    mask_keys: dict[str, Any] | None
    data_name: str
    epochs: int
    digest: str

    @property
    def classes(self) -> int:
        """Number of classes that it tells apart, background included; at least 2."""
        return max(self.num_classes, 2)

    def trained_on(self) -> set[str]:
        """Return the names of the images that it was trained on; none if its run's records are missing."""
        if self.run is None:
            return set()
        return {id for id, side in read_split(self.run / "split.csv").items() if side == "train"}

    def mirrors_border(self) -> bool:
        """Return whether its run scored whole images, as most do, and not only their centre.

        Raises:
            UserError: If the run's configuration can't be read.
        """
        return bool(self._config().get("mirror_border", True))

    def primary(self) -> Primary:
        """Return the score that led its run; IoU per image if that is not known.

        Raises:
            UserError: If the run's configuration can't be read, or names no score.
        """
        return primary_of_config(self._config())

    def extra(self) -> list[Primary]:
        """Return the further scores of its run; none if they are not known.

        Raises:
            UserError: If the run's configuration can't be read, or names no score.
        """
        return extra_of_config(self._config())

    def encodings(self) -> list[dict[str, Any]]:
        """Return keys of `data` for masks of its classes: those of its run, then those of class indices.

        Raises:
            UserError: If the run's configuration can't be read.
        """
        keys = self.mask_keys
        if keys is None:
            data = self._config().get("data")
            keys = {key: data[key] for key in MASK_KEYS if data.get(key)} if isinstance(data, dict) else {}
            keys |= {"background": None} if isinstance(data, dict) and data.get("background", 0) is None else {}
        if self.predictor.is_multilabel or "instances" in keys:
            return [{"num_classes": "auto"} | keys]
        indices = {"num_classes": self.num_classes} if self.num_classes > 2 else {}
        scored = {"background": None} if "background" in keys else {}
        void = {key: value for key, value in keys.items() if key == "ignore_index" and isinstance(value, int)}
        ways = [{"num_classes": "auto"} | scored | way for way in (keys, indices | void, indices)]
        return [way for index, way in enumerate(ways) if way not in ways[:index]]

    def _config(self) -> dict[str, Any]:
        """Return the configuration of its run; an empty one if it lies in none."""
        if self.run is None:
            return {}
        return read_config(self.run / "config.yaml")


def open_models(
    paths: object, names: Sequence[str] | None, device: str | torch.device, tta: str = "none"
) -> list[Model]:
    """Load checkpoints.

    Args:
        paths: Their paths, as `find_checkpoints` takes them.
        names: Names for tables and figures; None for the names of their run directories.
        device: Device to predict on.
        tta: Views whose predictions are averaged, as in `unetkit.load`.

    Raises:
        UserError: If a checkpoint can't be read or is given twice, or the names are too few, too many or equal.
    """
    files = find_checkpoints(paths)
    check_each_once("checkpoint", files)
    names = _names(files) if names is None else names_of(names)
    if len(names) != len(files) or len(set(names)) != len(names):
        raise UserError(f"names={','.join(names)}", f"must be {len(files)} different names, one for each checkpoint")
    return [_open(file, name, device, tta) for file, name in zip(files, names, strict=True)]


def _open(file: Path, name: str, device: str | torch.device, tta: str) -> Model:
    checkpoint = Checkpoint.read(file)
    metadata = checkpoint.metadata
    run = file.absolute().parent.parent
    if file.parent.name == "ensemble":  # a cross-validation has it beside its folds
        run /= file.stem
    return Model(
        name,
        file,
        run if all((run / record).is_file() for record in ("config.yaml", "split.csv")) else None,
        checkpoint.predictor(device, tta=tta),
        metadata.num_classes,
        metadata.class_names,
        metadata.data.get("mask_keys"),
        metadata.data_name or "an unknown source",
        0 if checkpoint.epoch is None else checkpoint.epoch + 1,
        hashlib.sha256(file.read_bytes()).hexdigest()[:12],
    )


def _names(files: Sequence[Path]) -> list[str]:
    """Return the shortest names that differ: of the runs, of runs and checkpoints, or else the paths."""
    runs = [file.absolute().parent.parent.name if file.parent.name == "checkpoints" else file.stem for file in files]
    if len(set(runs)) == len(files):
        return runs
    both = [f"{run}/{file.stem}" for run, file in zip(runs, files, strict=True)]
    return both if len(set(both)) == len(files) else [str(file) for file in files]
