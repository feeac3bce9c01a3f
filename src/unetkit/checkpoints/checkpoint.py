"""A checkpoint: weights with the metadata that is needed to predict with them, read once and checked once."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from unetkit import models
from unetkit.checkpoints.files import checkpoint_file, read_safely, write_content
from unetkit.checkpoints.hub import download, is_on_hub
from unetkit.checkpoints.metadata import FORMAT, Metadata
from unetkit.errors import UserError
from unetkit.prediction.device import find_device
from unetkit.prediction.predictor import Predictor

PREFIX = "network."  # of the network's tensors in the file; a training's module holds other tensors too
# Arguments of a network that change none of its tensors, or only those of the last layers.
NOT_OF_THE_WEIGHTS = {"dropout", "gradient_checkpointing", "encoder_weights", "num_classes"}
SLACK = 100  # parameters that a network may register beside four times those of its weights; some are replaced


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint file.

    Attributes:
        subject: The key and path that were typed for it, for messages.
        path: The file.
        metadata: Its metadata.
        state_dict: The network's weights, under the names of `nn.Module.state_dict`.
        content: All that the file holds, with the state of training if it has one.
    """

    subject: str
    path: Path
    metadata: Metadata
    state_dict: dict[str, Tensor]
    content: dict[str, Any]

    @classmethod
    def read(cls, path: str | Path, key: str = "checkpoint") -> Self:
        """Read a checkpoint of training, without running code from it.

        Args:
            path: The file, a run directory, which stands for its last checkpoint, or an address on the Hub.
            key: The key that the path was typed for, for messages.

        Raises:
            UserError: If the file does not exist, is not such a checkpoint, or holds weights that are not finite.
        """
        subject = f"{key}={path}"
        path = download(path, key) if is_on_hub(path) else path
        content = read_safely(path, key)
        parts = content if isinstance(content, dict) else {}
        stored, weights = parts.get("unetkit"), parts.get("state_dict")
        if not isinstance(stored, dict) or stored.get("format") != FORMAT or not isinstance(weights, dict):
            fix = "give one of its training; `unetkit import checkpoint=FILE` converts that of another project"
            raise UserError(subject, "was not written by this version of unetkit", fix)
        metadata = Metadata.from_dict(stored, subject)
        if not is_finite(weights):
            raise UserError(
                subject,
                "holds weights that are not finite (NaN): its training diverged",
                "remove its run, and train anew with a lower optimizer.lr",
            )
        network = {key.removeprefix(PREFIX): x for key, x in weights.items() if key.startswith(PREFIX)}
        return cls(subject, checkpoint_file(path, key), metadata, network, parts)

    @property
    def epoch(self) -> int | None:
        """Epoch in which it was saved, from 0; None if it does not say."""
        return self.content.get("epoch")

    @property
    def is_resumable(self) -> bool:
        """Whether it holds the state of a training; imported and stripped checkpoints don't."""
        return "loops" in self.content

    def build_network(self) -> nn.Module:
        """Return the network that it describes, with random weights; see `build_network`."""
        with at_most(SLACK + 4 * len(self.state_dict), self.subject):
            return build_network(self.metadata.model, self.subject)

    def predictor(
        self, device: str | torch.device = "cpu", *, tta: str = "none", tile: int = 1024, overlap: int = 128
    ) -> Predictor:
        """Return the trained network, ready to predict images as read from files; see `unetkit.load`.

        Raises:
            UserError: If the weights do not fit the network, or an argument is out of its range.
        """
        place, network, metadata = find_device(device), self.build_network(), self.metadata
        try:
            network.load_state_dict(self.state_dict)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(self.subject, f"holds weights that do not fit its own network: {reason}") from error
        models.fuse_conv_bn(network).to(place, memory_format=models.channels_last_of(network))  # type: ignore[call-overload]
        return Predictor(
            network,
            metadata.preprocessing,
            metadata.threshold,
            tta,
            tile,
            overlap,
            metadata.min_area,
            bool(metadata.labels),
        )

    def load_weights_into(self, network: nn.Module, model: dict[str, Any]) -> list[str]:
        """Fill a network, built from the configuration `model`, with these weights.

        Where the number of classes differs, the layers that depend on it keep their values.

        Returns:
            The names of the tensors that keep their values.

        Raises:
            UserError: If the weights are of another network.
        """
        theirs, state, ours = self.metadata.model, self.state_dict, network.state_dict()
        keys = [k for k in model | theirs if model.get(k) != theirs.get(k) and k not in NOT_OF_THE_WEIGHTS]
        kept = [key for key in ours if key not in state or state[key].shape != ours[key].shape]
        if keys or len(kept) == len(ours) or state.keys() != ours.keys():
            what = ", ".join(f"model.{key}={theirs.get(key)} (here {model.get(key)})" for key in keys)
            problem = f"holds the weights of another network: {what or 'its tensors differ'}"
            raise UserError(self.subject, problem, "the two must be the same")
        network.load_state_dict({**state, **{key: ours[key] for key in kept}})
        return kept


@contextmanager
def at_most(tensors: int, subject: str) -> Iterator[None]:
    """Let no network of more tensors be built: one of a million levels would take hours before its weights are missed.

    Raises:
        UserError: If a network is larger.
    """
    count = 0

    def registered(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal count
        count += 1
        if count > tensors:
            raise UserError(subject, "describes a much larger network than its weights are of", "give another")

    handle = register_module_parameter_registration_hook(registered)
    try:
        yield
    finally:
        handle.remove()


def build_network(model: dict[str, Any], subject: str) -> nn.Module:
    """Return a network with random weights, also where its configuration names pretrained ones.

    Args:
        model: The configuration, with `_target_`.
        subject: Subject of error messages.

    Raises:
        UserError: If it is not one of this package's networks: a stranger's checkpoint must not run other code.
    """
    target = str(model.get("_target_"))
    package, _, name = target.rpartition(".")
    network = getattr(models, name, None) if package == models.__name__ and name in models.__all__ else None
    if not (isinstance(network, type) and issubclass(network, nn.Module)):
        raise UserError(subject, f"asks for {target}, which is not a network of {models.__name__}")
    arguments = {key: None if key == "encoder_weights" else value for key, value in model.items() if key != "_target_"}
    try:
        built: nn.Module = network(**arguments)
    except TypeError as error:  # an argument of a later version
        problem = f"has a network that this version of unetkit lacks ({error})"
        raise UserError(subject, problem, "install a newer version") from error
    return built


def is_finite(state_dict: Mapping[str, Tensor]) -> bool:
    """Return whether all weights are finite numbers."""
    return all(bool(torch.isfinite(weight).all()) for weight in state_dict.values())


def save_weights(file: Path, metadata: Metadata, state_dict: Mapping[str, Tensor], epoch: int | None = None) -> None:
    """Write a checkpoint without the state of training.

    Args:
        file: The output.
        metadata: Its metadata.
        state_dict: The network's weights.
        epoch: Last epoch of its training, from 0, if known.
    """
    known = {} if epoch is None else {"epoch": epoch}
    weights = {PREFIX + key: value for key, value in state_dict.items()}
    write_content({"unetkit": metadata.to_dict(), **known, "state_dict": weights}, file)
