"""The self-describing checkpoint: weights, network, preprocessing and threshold, in plain containers."""

import re
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn

from unetkit import models
from unetkit.data import Preprocessing
from unetkit.errors import UserError
from unetkit.paths import matching, path_of
from unetkit.prediction.predictor import TTA, Ensemble, Predictor

FORMAT = 1
CARD: dict[str, Any] = {"model": dict, "preprocessing": dict, "threshold": int | float, "data": dict}


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


def load(
    path: str | Path,
    device: str | torch.device = "cpu",
    *,
    tta: str = "none",
    tile: int = 1024,
    overlap: int = 128,
) -> Predictor:
    """The network of a checkpoint, ready to predict images as read from files.

    Args:
        path: A checkpoint of `train.py`, or its run directory.
        device: Where to predict; `auto` takes a GPU where there is one.
        tta: Views whose predictions are averaged: `none`, `flip` (the mirror image too) or `d4` (all eight).
        tile: Side in pixels above which an image is predicted in tiles.
        overlap: Pixels that neighbouring tiles share and blend over.

    Raises:
        UserError: If the file is not there or is not such a checkpoint, or an argument is outside the above.
    """
    if tta not in TTA:
        raise UserError(f"tta={tta} must be one of {', '.join(TTA)}")
    if not 0 <= overlap < tile:
        raise UserError(f"overlap={overlap} must be at least 0 and smaller than tile={tile}")
    place = find_device(device)
    content = read(path)
    card = content["unetkit"]
    network = build_network(card["model"], path)
    try:
        network.load_state_dict(network_state(content))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"checkpoint={path} holds weights that do not fit its own network: {reason}") from error
    models.fuse_conv_bn(network).to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        preprocessing = Preprocessing.from_dict(card["preprocessing"])
    except TypeError as error:
        raise UserError(f"checkpoint={path} has a preprocessing that this version of unetkit lacks: {error}") from error
    return Predictor(network, preprocessing, card["threshold"], tta, tile, overlap, card.get("min_area", 0))


def load_ensemble(paths: Sequence[str | Path], device: str | torch.device = "cpu", **options: Any) -> Ensemble:
    """The networks of checkpoints, such as those of all folds; their probabilities are averaged.

    Args:
        paths: Checkpoints of `train.py`, at least one.
        device: Where to predict.
        options: Further arguments of `load`.

    Raises:
        UserError: As `load`, or if the networks don't tell the same classes apart.
    """
    cards = [read(path)["unetkit"] for path in paths]
    classes = [max(card["model"]["num_classes"], 2) for card in cards]  # one logit tells two apart
    for path, count in zip(paths, classes, strict=True):
        if count != classes[0]:
            raise UserError(
                f"checkpoint={path} tells {count} classes apart, but {paths[0]} {classes[0]}; "
                "average only networks of the same classes"
            )
    members = [load(path, device, **options) for path in paths]
    threshold = sum(member.threshold for member in members) / len(members)
    min_area = round(sum(member.min_area for member in members) / len(members))
    return Ensemble(members, threshold, classes[0], min_area)


def load_weights(network: nn.Module, model: dict[str, Any], path: str | Path) -> list[str]:
    """Fill a network, of the configuration `model`, with the weights of a checkpoint.

    Where it tells another number of classes apart, the layers that depend on that stay as they are.

    Returns:
        The keys of the tensors that stay.

    Raises:
        UserError: If the file is not there, is not such a checkpoint, or is of another network.
    """
    content = read(path, "weights")
    theirs, state = content["unetkit"]["model"], network_state(content)
    # Which change no tensor but the last ones:
    ignored = {"dropout", "gradient_checkpointing", "encoder_weights", "num_classes"}
    keys = [key for key in model | theirs if model.get(key) != theirs.get(key) and key not in ignored]
    ours = network.state_dict()
    other = [key for key in ours if key not in state or state[key].shape != ours[key].shape]
    if keys or len(other) == len(ours) or state.keys() != ours.keys():
        what = ", ".join(f"model.{key}={theirs.get(key)} (here {model.get(key)})" for key in keys)
        raise UserError(
            f"weights={path} are of another network: {what or 'its tensors differ'}; the two must be the same"
        )
    network.load_state_dict({**state, **{key: ours[key] for key in other}})
    return other


def network_state(content: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The network's part of what `read` gives."""
    prefix = "network."
    return {k.removeprefix(prefix): v for k, v in content["state_dict"].items() if k.startswith(prefix)}


def find_device(device: str | torch.device) -> torch.device:
    """The device of that name; `auto` is CUDA, else Apple's MPS, else the CPU.

    Raises:
        UserError: If there is no such device.
    """
    name = str(device)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        raise UserError(f"device={name} must be auto, cpu, cuda (or cuda:1, ...) or mps")
    seen = torch.cuda.device_count()
    if name.startswith("cuda") and int(name.partition(":")[2] or 0) >= seen:
        raise UserError(f"device={name}, but torch sees {seen or 'no'} CUDA device; use device=cpu")
    if name == "mps" and not torch.backends.mps.is_available():
        raise UserError("device=mps, but torch sees no such device; use device=cpu")
    return torch.device(name)


def read(path: str | Path, key: str = "checkpoint") -> dict[str, Any]:
    """The checkpoint's content, read without running code from it; `key` is what was typed for it.

    Raises:
        UserError: If the file is not there, is not a checkpoint of `train.py`, or of a training that diverged.
    """
    content = read_safely(path, key)
    card = content.get("unetkit") if isinstance(content, dict) else None
    if not isinstance(card, dict) or card.get("format") != FORMAT or not isinstance(content.get("state_dict"), dict):
        raise UserError(f"{key}={path} was not written by this version of unetkit's train.py")
    missing = [name for name, kind in CARD.items() if not isinstance(card.get(name), kind)]
    if missing:
        raise UserError(f"{key}={path} is damaged: it does not say its {' and '.join(missing)}")
    if not is_finite(content):
        raise UserError(
            f"{key}={path} holds weights that are no numbers (NaN): its training diverged; remove its run, and train "
            "anew with a lower optimizer.lr"
        )
    return dict(content)


def is_finite(content: dict[str, Any]) -> bool:
    """Whether all weights of what `read` gives are numbers."""
    return all(bool(torch.isfinite(weight).all()) for weight in content["state_dict"].values())


def file_of(path: str | Path, key: str = "checkpoint") -> Path:
    """The file of a checkpoint; a run directory stands for its `checkpoints/last.ckpt`."""
    file = path_of(key, path)
    return last if (last := file / "checkpoints" / "last.ckpt").is_file() else file


def find(given: object) -> list[Path]:
    """The files of one path or several, each of a checkpoint, run directory or cross-validation, or a pattern of them.

    Raises:
        UserError: If there is nothing of that name.
    """
    files: list[Path] = []
    for item in given if isinstance(given, Sequence) and not isinstance(given, str) else [given]:
        found = matching(str(path_of("checkpoint", item)))
        if not found:
            raise UserError(f"checkpoint={item} matches no file")
        for path in found:
            files += sorted((path / "ensemble").glob("*.ckpt")) or [file_of(path)]
    if not files:
        raise UserError("checkpoint=[] names no file")
    return files


def read_safely(path: str | Path, key: str = "checkpoint") -> Any:
    """What a file of torch.save holds, read without running code from it.

    Raises:
        UserError: If the file is not there, or holds more than tensors and plain containers.
    """
    file = file_of(path, key)
    if not file.is_file():
        raise UserError(f"{key}={path} does not exist or is no file; give the path of a checkpoint")
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever bytes that are no checkpoint make the reader raise
        is_strange = isinstance(error, UnpicklingError)
        reason = "not a file of torch.save, or one that holds code" if is_strange else "damaged, or no such file at all"
        raise UserError(f"{key}={path} can't be read safely as a checkpoint ({reason}); give a whole one") from error


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
    try:
        built: nn.Module = network(**arguments)
    except TypeError as error:  # an argument that a later version has
        raise UserError(f"checkpoint={path} is of a network that this version of unetkit lacks: {error}") from error
    return built
