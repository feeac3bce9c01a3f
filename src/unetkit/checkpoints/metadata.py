"""The metadata of a checkpoint, stored as plain containers beside the weights."""

from dataclasses import dataclass, field
from typing import Any, Self

from unetkit.data.preprocessing import Preprocessing
from unetkit.errors import UserError

FORMAT = 1
REQUIRED: dict[str, Any] = {"model": dict, "preprocessing": dict, "threshold": int | float, "data": dict}
OPTIONAL = {"min_area": 0, "batches_of_epoch": None, "monitored": None}  # written only if they differ from these


@dataclass(frozen=True)
class Metadata:
    """The metadata of a checkpoint.

    Attributes:
        model: The network's configuration: plain containers with `_target_`.
        preprocessing: How images are prepared, with the statistics used in training.
        threshold: Probability above which a pixel is foreground.
        data: The data it was trained on: name, split, number of images, class names.
        recipe: The settings that must stay the same when training is resumed.
        min_area: Masks with fewer pixels than this are made empty, as cross-validation found best.
        batches_of_epoch: Batches done of the epoch in which it was saved; None at the end of an epoch.
        monitored: Score that a plateau schedule has still to see; None for other schedules.
    """

    model: dict[str, Any]
    preprocessing: Preprocessing
    threshold: float = 0.5
    data: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    min_area: int = 0
    batches_of_epoch: int | None = None
    monitored: float | None = None

    @property
    def num_classes(self) -> int:
        """Channels of the network's logits; 1 for a sigmoid."""
        return int(self.model["num_classes"])

    @property
    def classes(self) -> int:
        """Classes that the network tells apart, background included; at least 2."""
        return max(self.num_classes, 2)

    @property
    def class_names(self) -> list[str] | None:
        """Names of class 0, 1, ..., or None if the checkpoint does not have them."""
        return self.data.get("class_names")

    @property
    def has_background(self) -> bool:
        """Whether class 0 is background, and no class like the others."""
        return "background" not in (self.data.get("mask_keys") or {})

    @property
    def labels(self) -> list[str]:
        """Names of the labels of a multi-label network; none for another."""
        is_multilabel = "labels" in (self.data.get("mask_keys") or {})
        return (self.class_names or [f"label {k}" for k in range(self.num_classes)]) if is_multilabel else []

    @property
    def data_name(self) -> str | None:
        """Name of the data it was trained on, or None if the checkpoint does not have it."""
        return self.data.get("name")

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers, as a checkpoint stores them under `unetkit`."""
        stored = {
            "format": FORMAT,
            "model": self.model,
            "preprocessing": self.preprocessing.to_dict(),
            "threshold": self.threshold,
            "data": self.data,
            "recipe": self.recipe,
        }
        return stored | {key: x for key, default in OPTIONAL.items() if (x := getattr(self, key)) != default}

    @classmethod
    def from_dict(cls, stored: dict[str, Any], subject: str) -> Self:
        """Return the metadata that `to_dict` made plain; `subject` names the checkpoint in messages.

        Raises:
            UserError: If a part is missing or is of a later version.
        """
        missing = [key for key, kind in REQUIRED.items() if not isinstance(stored.get(key), kind)]
        if missing:
            raise UserError(subject, f"is damaged: it does not say its {' and '.join(missing)}", "give another")
        try:
            preprocessing = Preprocessing.from_dict(stored["preprocessing"])
        except TypeError as error:
            problem = f"has a preprocessing that this version of unetkit lacks ({error})"
            raise UserError(subject, problem, "install a newer version") from error
        if not preprocessing.is_sound:
            raise UserError(subject, f"is damaged: its preprocessing is {preprocessing}"[:300], "give another")
        optional = {key: stored[key] for key in OPTIONAL if key in stored}
        recipe = stored.get("recipe", {})
        return cls(stored["model"], preprocessing, stored["threshold"], stored["data"], recipe, **optional)
