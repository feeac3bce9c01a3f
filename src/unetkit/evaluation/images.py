"""Which labelled images a model is scored on: those that its run kept for validation, or others."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from unetkit import data as sources
from unetkit.data import SegmentationDataModule
from unetkit.data.files import read_image
from unetkit.errors import UserError
from unetkit.evaluation.models import Model
from unetkit.paths import path_of

PARTS = ("train", "val", "test", "all")


class LabelledImages:
    """Images and their masks, read one by one, so that memory does not grow with their number.

    Attributes:
        name: What they are, for people.
        num_classes: Of the masks; 1 for binary ones.
        classes: Names of the classes without the background.
        ids: Their names.

    Args:
        data: Where they come from.
        part: `train`, `val`, `test` or `all`.

    Raises:
        UserError: If files are missing or unreadable, or no image is in that part.
    """

    def __init__(self, data: SegmentationDataModule, part: str) -> None:
        if part not in PARTS:
            raise UserError(f"part={part} must be one of {', '.join(PARTS)}")
        if len(data.find_pairs()) < 2:
            raise UserError(f"{data.name} holds fewer than two labelled images; scores need more")
        data.inspect()
        self._data = data
        self._chosen = [i for i, side in enumerate(data.split) if part in (side, "all")]
        if not self._chosen:
            raise UserError(f"part={part}: the data has no such images; it has {', '.join(sorted(set(data.split)))}")
        self.name = data.name if part == "all" else f"{data.name}, {part} part"
        self.num_classes = data.num_classes
        self.classes = tuple(data.class_names[1:])
        self.ids = [data.pairs[i].id for i in self._chosen]

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, item: int) -> tuple[str, NDArray[Any], NDArray[np.uint8]]:
        """Name, image as read, and mask (H, W) of class indices."""
        index = self._chosen[item]
        return self.ids[item], read_image(self._data.pairs[index].image), self._data.masks[index]

    def __iter__(self) -> Iterator[tuple[str, NDArray[Any], NDArray[np.uint8]]]:
        return (self[item] for item in range(len(self)))


def find_images(
    first: Model, data: DictConfig | None, folder: str | None, part: str | None, cache_dir: str | Path
) -> LabelledImages:
    """The images of `input=` or `data=`, or those that the first model's run kept for validation.

    Args:
        first: The model that rules over the others.
        data: `data=` of the command line, if given.
        folder: `input=` of the command line, if given.
        part: `train`, `val`, `test` or `all`; None for `val` of the run's own data and `all` of others.
        cache_dir: Where the decoded masks of `folder` are kept.

    Raises:
        UserError: If both or neither are given and the model lies in no run directory, or the data holds a mistake.
    """
    folder = None if folder is None else str(path_of("input", folder))
    if folder is not None and data is not None:
        raise UserError(f"input={folder} and data={data.name} both say what to score on; give one")
    if folder is not None:
        mask_values = list(range(first.num_classes)) if first.num_classes > 2 else None
        try:
            return LabelledImages(of_folder(folder, cache_dir, mask_values, first.class_names), part or "all")
        except UserError as error:  # name the key that was typed
            raise UserError(str(error).replace("data.root=", "input=")) from error
    if data is not None:
        return LabelledImages(of_config(data), part or "all")
    if first.run is None:
        raise UserError(
            f"checkpoint={first.path} lies in no run directory (config.yaml, split.csv), so it is not known which "
            "images it was not trained on; give input=FOLDER of images/ and masks/, or data= and data.root="
        )
    return LabelledImages(of_run(first.run), part or "val")


def check_images(models: Sequence[Model], images: LabelledImages) -> list[str]:
    """What to know before believing the scores of these models on these images.

    Raises:
        UserError: If the masks have another number of classes than a model predicts.
    """
    warnings = []
    for model in models:
        if max(model.num_classes, 2) != max(images.num_classes, 2):
            raise UserError(
                f"checkpoint={model.path} predicts {max(model.num_classes, 2)} classes, the masks of {images.name} "
                f"have {max(images.num_classes, 2)}; see data.mask_values"
            )
        seen = len(model.trained_on() & set(images.ids))
        if seen:
            warnings.append(
                f"{seen} of the {len(images)} images have the names of images that {model.name} was trained on: "
                "its scores on them say little about new images."
            )
        if model.run is None:
            warnings.append(
                f"{model.name} was trained on images of {model.data_name}, but its run's records are not beside it: if "
                "some are among these, its scores on them say little about new images."
            )
        if model.run and not _config(model.run).get("mirror_border", True):
            warnings.append(
                f"{model.name} was trained with mirror_border=false and has scored the centre of images only; here "
                "it is scored on all of them, their borders mirrored."
            )
    return warnings


def of_run(run: Path) -> SegmentationDataModule:
    """The data of a run, in the parts that it was split into.

    Raises:
        UserError: If its configuration names anything but our own data, so that it can't run a stranger's code.
    """
    allowed = {f"{sources.__name__}.{name}" for name in sources.__all__}
    cfg = _config(run).get("data")
    for target in _targets(cfg):
        if target not in allowed:
            raise UserError(f"{run / 'config.yaml'} asks for {target}; if you trust it, give data= and data.root=")
    if "${" in str(cfg):  # was escaped; resolved again, it could be anything
        raise UserError(f"{run / 'config.yaml'} holds '${{', which train.py never writes; give data= and data.root=")
    if not isinstance(cfg, dict) or cfg.get("_target_") != f"{sources.__name__}.{SegmentationDataModule.__name__}":
        raise UserError(f"{run / 'config.yaml'} does not say which data it was trained on; give data= and data.root=")
    return of_config(OmegaConf.create(cfg | {"split": str(run / "split.csv")}))


def of_config(cfg: DictConfig) -> SegmentationDataModule:
    """The data that a `data=` on the command line describes.

    Raises:
        UserError: If a value is wrong.
    """
    try:
        data: SegmentationDataModule = instantiate(cfg, augmentation=None, _convert_="all")
    except InstantiationException as error:
        if not isinstance(error.__cause__, UserError):
            raise
        raise UserError(str(error.__cause__)) from error
    return data


def of_folder(
    root: str | Path,
    cache_dir: str | Path,
    mask_values: Sequence[int] | None,
    class_names: Sequence[str] | None = None,
) -> SegmentationDataModule:
    """A folder or zip of images/ and masks/; `mask_values` and `class_names` as in `SegmentationDataModule`."""
    return SegmentationDataModule(
        name=str(root),
        pairs=partial(sources.folder_pairs, root),
        augmentation=None,  # type: ignore[arg-type]  # nothing is trained
        cache_dir=cache_dir,
        mask_values=mask_values,
        class_names=class_names,
    )


def _config(run: Path) -> dict[str, Any]:
    """A run's configuration, with all that refers to other places resolved, so that what was checked is what is used.

    Raises:
        UserError: If it is not as train.py writes it.
    """
    file = run / "config.yaml"
    try:
        cfg = OmegaConf.to_container(OmegaConf.load(file), resolve=True)
    except Exception as error:  # whatever a file that is no YAML, or refers to what is not there, makes OmegaConf raise
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"{file} can't be read ({reason}); give data= and data.root=") from error
    if not isinstance(cfg, dict):
        raise UserError(f"{file} is no configuration of train.py; give data= and data.root=")
    return {str(key): value for key, value in cfg.items()}


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (str(node[key]) for key in node if key == "_target_")
    if isinstance(node, dict | list):
        for value in node.values() if isinstance(node, dict) else node:
            yield from _targets(value)
