"""The labelled images that models are scored on, and what limits the meaning of scores on them."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetkit.data import SegmentationDataModule, folder_pairs, volume_pairs
from unetkit.data.masks import read_objects
from unetkit.data.objects import Numbers
from unetkit.data.volumes import Volume
from unetkit.errors import UserError, check
from unetkit.evaluation.models import Model
from unetkit.prediction.objects import can_split

PARTS = ("train", "val", "test", "all")


class LabelledImages:
    """Images and their masks, read one by one, so that memory does not grow with their number.

    Attributes:
        name: Name of the data and its part, for people.
        num_classes: Number of classes in the masks; 1 for binary masks.
        classes: Names of the classes that are scored: without the background, if there is one.
        has_background: Whether class 0 is background.
        is_multilabel: Whether the classes are labels that may overlap.
        ids: Names of the images.
        are_volumes: Whether they are volumes (D, H, W).

    Args:
        data: The source of the images.
        part: `train`, `val`, `test` or `all`.

    Raises:
        UserError: If files are missing or unreadable, or no image is in that part.
    """

    def __init__(self, data: SegmentationDataModule, part: str) -> None:
        check("part", part, part in PARTS, f"one of {', '.join(PARTS)}")
        if len(data.found.pairs) < 2:
            raise UserError(str(data.name), "holds fewer than two labelled images", "scores need more")
        self._data = data
        self._chosen = [i for i, side in enumerate(data.split.sides) if part in (side, "all")]
        if not self._chosen:
            parts = ", ".join(sorted(set(data.split.sides)))
            raise UserError(f"part={part}", "names a part that the data does not have", f"give one of {parts}, all")
        self.name = data.name if part == "all" else f"{data.name}, {part} part"
        self.num_classes = data.num_classes
        self.has_background = data.has_background
        self.is_multilabel = data.is_multilabel
        self.classes = tuple(data.class_names[k] for k in data.scored_classes)
        self.ids = [data.found.pairs[i].id for i in self._chosen]
        self.are_volumes = data.has_volumes

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, item: int) -> tuple[str, NDArray[Any] | Volume, NDArray[np.uint8]]:
        """Return the name, the image as read from its file, and the mask (H, W) of class indices; or a volume."""
        index = self._chosen[item]
        found = self._data.found
        return self.ids[item], found.volume(index) if self.are_volumes else found.image(index), found.masks[index]

    @property
    def has_objects(self) -> bool:
        """Whether the masks number objects."""
        return self._data.mask_encoding.instances is not None

    @property
    def scored_objects(self) -> Callable[[str], Numbers] | None:
        """What gives the objects of an image; None where there are none, or scikit-image is missing to split masks."""
        return self.objects_of if self.has_objects and can_split() else None

    def objects_of(self, id: str) -> Numbers:
        """Return the number of the object of each pixel (H, W) of an image, 0 for the background, -1 where void."""
        index = self._chosen[self.ids.index(id)]
        pair, shape = self._data.found.pairs[index], self._data.found.masks.shapes[index]
        return read_objects(pair, shape, self._data.mask_encoding)

    def __iter__(self) -> Iterator[tuple[str, NDArray[Any] | Volume, NDArray[np.uint8]]]:
        return (self[item] for item in range(len(self)))


def images_of_folder(folder: str | Path, cache_dir: str | Path, model: Model, part: str = "all") -> LabelledImages:
    """Open a folder or zip of images and masks, for which the user typed `input=`.

    Args:
        folder: The folder or zip.
        cache_dir: Folder for the decoded masks.
        model: The model that says what the values of the masks mean: as in its run, or the indices of its classes.
        part: `train`, `val`, `test` or `all`.

    Raises:
        UserError: If files are missing or unreadable, or no image is in that part.
    """

    def build(keys: dict[str, Any]) -> SegmentationDataModule:
        return SegmentationDataModule(
            name=str(folder),
            pairs=partial(volume_pairs, folder)
            if model.predictor.has_volumes
            else partial(folder_pairs, folder, labels=keys.get("labels", "classes"), class_names=model.class_names),
            root=str(folder),
            augmentation=None,  # nothing is trained
            cache_dir=cache_dir,
            class_names=model.class_names,
            channels=model.predictor.preprocessing.channels,
            **keys,
        )

    try:
        return first_readable(build, model.encodings(), part)
    except UserError as error:
        if error.subject == f"data.root={folder}":  # the user typed another key
            raise error.about(f"input={folder}") from error
        raise


def first_readable(
    build: Callable[[dict[str, Any]], SegmentationDataModule], encodings: Sequence[dict[str, Any]], part: str
) -> LabelledImages:
    """Open images with the first of some encodings that their masks have.

    An encoding refuses values that it does not name, so masks are not read by a wrong one.

    Args:
        build: Makes the data, given keys such as `mask_values`.
        encodings: The keys, the likeliest ones first.
        part: `train`, `val`, `test` or `all`.

    Raises:
        UserError: If none fits; it is that of the first.
    """
    errors = []
    for keys in encodings:
        try:
            return LabelledImages(build(keys), part)
        except UserError as error:
            errors.append(error)
    raise errors[0]


def check_images(models: Sequence[Model], images: LabelledImages) -> list[str]:
    """Find what to know before trusting the scores of these models on these images.

    Returns:
        Warnings, a sentence each.

    Raises:
        UserError: If the masks have another number of classes than a model predicts.
    """
    warnings = []
    for model in models:
        if model.predictor.has_volumes != images.are_volumes:
            kinds = ("images", "volumes")
            problem = (
                f"is for {kinds[model.predictor.has_volumes]}, but {images.name} holds {kinds[images.are_volumes]}"
            )
            raise UserError(f"checkpoint={model.path}", problem, "give data of its kind")
        if model.predictor.is_multilabel != images.is_multilabel:
            kinds = ("one class a pixel", "labels that may overlap")
            raise UserError(
                f"checkpoint={model.path}",
                f"predicts {kinds[model.predictor.is_multilabel]}, but {images.name} has masks of the other kind",
                "see data.labels",
            )
        predicted, given = model.classes, max(images.num_classes, 2)
        if predicted != given:
            raise UserError(
                f"checkpoint={model.path}",
                f"predicts {predicted} classes, but the masks of {images.name} have {given}",
                "see data.mask_values",
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
        if not model.mirrors_border():
            warnings.append(
                f"{model.name} was trained with mirror_border=false, where only the centre of images is scored; here "
                "whole images are scored, with mirrored borders."
            )
    return warnings
