"""A checkpoint as the page shows it: its predictor, and its name and kind."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from unetkit.checkpoints.checkpoint import Checkpoint
from unetkit.demo import markup
from unetkit.errors import UserError
from unetkit.prediction.predictor import Predictor


@dataclass(frozen=True)
class DemoModel:
    """A checkpoint, ready to predict, with what the page says about it.

    Attributes:
        name: The path that was typed for it.
        predictor: The network with its preprocessing and threshold.
        parameters: Number of parameters of the network.
        class_names: Names of class 0, 1, ..., or of the labels, as far as the checkpoint has them.
        has_background: Whether class 0 is background.
    """

    name: str
    predictor: Predictor
    parameters: int
    class_names: Sequence[str] = ()
    has_background: bool = True

    @classmethod
    def load(cls, path: str, device: str) -> Self:
        """Load a checkpoint of training.

        Raises:
            UserError: As `unetkit.load`, or if the network is for volumes.
        """
        checkpoint = Checkpoint.read(path)
        if checkpoint.metadata.model.get("spatial_dims", 2) == 3:
            problem = "is a network for volumes, and the page shows images"
            raise UserError(f"checkpoint={path}", problem, "use `unetkit predict` with it")
        network = checkpoint.build_network()  # the predictor's has fewer parameters: its norms are fused
        parameters = sum(weights.numel() for weights in network.parameters())
        metadata = checkpoint.metadata
        names = metadata.class_names or ()
        return cls(path, checkpoint.predictor(device), parameters, names, metadata.has_background)

    @property
    def title(self) -> str:
        """Name and kind, as HTML."""
        preprocessing = self.predictor.preprocessing
        kind = f"{type(self.predictor.network).__name__}, {self.parameters:,} parameters"
        depth = "8-bit" if preprocessing.value_range is None else "16-bit or float"
        channels = f"{preprocessing.channels} channel{'s' * (preprocessing.channels > 1)}"
        return f"{markup.text(self.name)}<br><small>{kind}; {depth} images with {channels}</small>"

    @cached_property
    def is_binary(self) -> bool:
        """Whether it predicts one foreground class, whose threshold can be moved."""
        dtype = np.uint8 if self.predictor.preprocessing.value_range is None else np.float32
        return self.predictor(np.zeros((64, 64), dtype)).probability.ndim == 2
