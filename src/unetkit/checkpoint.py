"""The self-describing checkpoint: weights, network, preprocessing and threshold, in plain containers."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from unetkit import models
from unetkit.data import Preprocessing
from unetkit.errors import UserError
from unetkit.inference import Predictor

FORMAT = 1


def describe(
    model: dict[str, Any],
    preprocessing: Preprocessing,
    threshold: float,
    data: dict[str, Any],
    recipe: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What a checkpoint says beside the weights.

    Args:
        model: The network's configuration, plain containers with `_target_`.
        preprocessing: Of the images, statistics included.
        threshold: Probability above which a pixel is foreground.
        data: What it was trained on.
        recipe: What must stay the same when training goes on.
    """
    return {
        "format": FORMAT,
        "model": model,
        "preprocessing": preprocessing.to_dict(),
        "threshold": threshold,
        "data": data,
        "recipe": recipe or {},
    }


def load(path: str | Path, device: str | torch.device = "cpu", *, flip: bool = False) -> Predictor:
    """The network of a checkpoint, ready to predict images as read from files.

    Args:
        path: A checkpoint of `train.py`.
        device: Where to predict.
        flip: Average with the prediction of the mirrored image.

    Raises:
        UserError: If the file is not there, or is not such a checkpoint.
    """
    content = read(path)
    card = content["unetkit"]
    network = build_network(card["model"], path)
    prefix = "network."
    state = content["state_dict"]
    try:
        network.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    except RuntimeError as error:
        raise UserError(f"checkpoint={path} holds weights that do not fit its own network: {error}") from error
    network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return Predictor(network, Preprocessing.from_dict(card["preprocessing"]), card["threshold"], flip=flip)


def read(path: str | Path) -> dict[str, Any]:
    """The checkpoint's content, read without running code from it.

    Raises:
        UserError: If the file is not there, or is not a checkpoint of `train.py`.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"checkpoint={path} does not exist or is no file; give the path of a .ckpt file")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever bytes that are no checkpoint make the reader raise
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"checkpoint={path} can't be read safely as a checkpoint ({reason})") from error
    card = content.get("unetkit") if isinstance(content, dict) else None
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise UserError(f"checkpoint={path} was not written by this version of unetkit's train.py")
    return dict(content)


def build_network(model: dict[str, Any], path: str | Path) -> nn.Module:
    """The network that a checkpoint describes, with random weights: no pretrained ones are downloaded for it.

    Raises:
        UserError: If it names anything but one of our networks, so that it can't run a stranger's code.
    """
    target = str(model.get("_target_"))
    package, _, name = target.rpartition(".")
    network = getattr(models, name, None) if package == models.__name__ and name in models.__all__ else None
    if not (isinstance(network, type) and issubclass(network, nn.Module)):
        raise UserError(f"checkpoint={path} asks for {target}, which is not a network of {models.__name__}")
    arguments = {key: None if key == "encoder_weights" else value for key, value in model.items() if key != "_target_"}
    built: nn.Module = network(**arguments)
    return built
