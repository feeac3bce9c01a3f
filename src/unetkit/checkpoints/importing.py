"""Import checkpoints of other projects into our networks, with the same weights and the same outputs."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from unetkit.checkpoints.checkpoint import save_weights
from unetkit.checkpoints.files import read_safely
from unetkit.checkpoints.metadata import Metadata
from unetkit.checkpoints.origins import ORIGINS, Origin
from unetkit.data import Preprocessing
from unetkit.errors import UserError, writable
from unetkit.models import UNet, check_threshold
from unetkit.paths import expanded, whole_file

State = dict[str, Tensor]
# Names that torch puts before those of a module that it wraps, be it the whole network or a part of it.
WRAPPERS = re.compile(r"(?<=\.)(_orig_mod|module|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")


@dataclass(frozen=True)
class Imported:
    """A network with another project's weights.

    Attributes:
        origin: The project it comes from.
        model: The network's configuration, as a checkpoint stores it.
        network: The network with the imported weights.
        tensors: Number of tensors of the network, all imported.
        ignored: Names of what else the file holds.
    """

    origin: Origin
    model: dict[str, Any]
    network: UNet
    tensors: int
    ignored: list[str]


def import_network(path: str | Path, padding: str | None = None, prefix: str | None = None) -> Imported:
    """Read a state dict of one of `ORIGINS`, without running code from the file.

    Args:
        path: The `.pth`, `.pt` or `.ckpt` file.
        padding: Padding of the convolutions if it is not the project's usual one: it can't be read from shapes.
        prefix: What stands before the names of the network's tensors, such as `student.`; None to find it.

    Raises:
        UserError: If the file can't be read, or is not of one of these projects.
    """
    held, ignored = read_state(path)
    origin, outer = find_origin(path, held, prefix)
    theirs = {key.removeprefix(outer): value for key, value in held.items() if key.startswith(outer)}
    ignored += sorted(key for key in held if not key.startswith(outer))
    try:
        model = read_arguments(origin, theirs) | ({"padding": padding} if padding is not None else {})
        network = UNet(**model)
        state = translate(origin, theirs, network)
        network.load_state_dict(state)
    except (KeyError, IndexError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"checkpoint={path}", f"looks like {origin.project}, but does not fit it: {reason}") from error
    if len(state) < len(theirs):
        raise UserError(f"checkpoint={path}", f"holds {len(theirs)} tensors, but {origin.project} has {len(state)}")
    return Imported(origin, {"_target_": "unetkit.models.UNet", **model}, network, len(state), ignored)


def find_origin(path: str | Path, theirs: State, prefix: str | None) -> tuple[Origin, str]:
    """Return the project of some tensors, and what stands before their names: wrappers add `module.`, `model.`, ...

    Raises:
        UserError: If they are of no known project, or of several networks.
    """
    typed = None if prefix is None else WRAPPERS.sub("", prefix)
    places = {
        (index, found[1]): None  # a dict, as it keeps the order
        for index, origin in enumerate(ORIGINS)
        for key in theirs
        if (found := re.fullmatch(rf"((?:.*\.)?){origin.first}", key)) and typed in (None, found[1])
    }
    if not places:
        projects = ", ".join(o.project for o in ORIGINS)
        problem = f"is of none of {projects}: it has keys such as {next(iter(theirs))}"
        raise UserError(f"checkpoint={path}", problem, "give a checkpoint of one of these")
    if len(places) > 1:
        names = [outer or "''" for _, outer in places]
        problem = f"holds several networks, whose names begin with {', '.join(names)}"
        raise UserError(f"checkpoint={path}", problem, f"choose one with prefix={names[0]}")
    ((index, outer),) = places
    return ORIGINS[index], outer


def read_state(path: str | Path) -> tuple[State, list[str]]:
    """Return the tensors of a file, and the names of what else it holds; Lightning keeps them under `state_dict`.

    Tensors of other inner dicts, such as `model` or `ema`, get the name of the dict before their own. Names that torch
    puts before those of a wrapped part of a network are left out.

    Raises:
        UserError: If the file does not exist, can't be read safely, or holds no tensors.
    """
    content = read_safely(path)
    outer = content if isinstance(content, dict) else {}
    inner = outer.get("state_dict", outer)
    named = dict(_leaves(inner if isinstance(inner, dict) else {}))
    unwrapped = {WRAPPERS.sub("", key): value for key, value in named.items()}
    leaves = unwrapped if len(unwrapped) == len(named) else named  # two networks must not become one
    tensors = {key: value for key, value in leaves.items() if isinstance(value, Tensor)}
    if not tensors:
        raise UserError(f"checkpoint={path}", "holds no named tensors", "give a state dict (.pth, .pt) or a .ckpt")
    beside = map(str, outer) if inner is not outer else ()
    return tensors, sorted({*beside, *leaves} - tensors.keys() - {"state_dict"})


def _leaves(node: dict[Any, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what nested dicts hold, each with its dotted name."""
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def read_arguments(origin: Origin, theirs: State) -> dict[str, Any]:
    """Return the arguments of `UNet`, read from the shapes."""
    levels = sum(1 for key in theirs if re.fullmatch(origin.first, key))
    names = origin.modules(levels)
    firsts = [theirs[f"{names[f'encoder.{i}.0']}.weight"] for i in range(levels)]
    last = 3 if 3 in origin.layers else 2  # the second convolution: with norms, or without
    outs = [theirs[f"{names[f'decoder.{j}.convs.{last}']}.weight"].shape[0] for j in range(levels - 1)]
    is_transposed = f"{names['decoder.0.up.0']}.weight" in theirs
    return {
        "in_channels": firsts[0].shape[1],
        "num_classes": theirs[f"{names['head']}.weight"].shape[0],
        "channels": [weight.shape[0] for weight in firsts],
        "decoder_channels": outs[::-1],
        "upsampling": "transposed" if is_transposed else "bilinear",
        "align_corners": not is_transposed,
        **origin.options(levels),
    }


def translate(origin: Origin, theirs: State, network: UNet) -> State:
    """Return their tensors under our keys."""
    names = origin.modules(len(network.encoder))
    state = {}
    for key in network.state_dict():
        module, _, tensor = key.rpartition(".")
        value = theirs[f"{names[module]}.{tensor}"]
        if origin.upsampled_first and re.fullmatch(r"decoder\.\d+\.convs\.0\.weight", key):
            value = value.roll(value.shape[1] // 2, dims=1)  # swaps the halves for skip and upsampled
        state[key] = value
    return state


def preprocessing_of(imported: Imported, mean: Sequence[float] | float, std: Sequence[float] | float) -> Preprocessing:
    """Return the preprocessing for 8-bit images.

    Args:
        imported: The network, which says how many channels there are.
        mean: Mean of each channel on [0, 1], or one for all.
        std: Standard deviation of each channel on [0, 1], or one for all.

    Raises:
        UserError: If there are not as many numbers as channels, or a deviation is not positive.
    """
    channels = imported.model["in_channels"]
    means, stds = ([x] * channels if isinstance(x, float | int) else x for x in (mean, std))
    if not (_are_numbers(means, channels) and _are_numbers(stds, channels) and min(stds) > 0):
        problem = f"must have a number for each of {channels} channels, and std above 0"
        raise UserError(f"mean={mean} and std={std}", problem)
    return Preprocessing(channels, None, tuple(map(float, means)), tuple(map(float, stds)))


def write_checkpoint(imported: Imported, path: str | Path, preprocessing: Preprocessing, threshold: float) -> None:
    """Write a checkpoint to predict with, or to start a training from.

    Raises:
        UserError: If the threshold is not a probability, or the file can't be written.
    """
    check_threshold(threshold)
    metadata = Metadata(imported.model, preprocessing, threshold, {"name": imported.origin.project})
    file = expanded(path)
    with writable("output", path), whole_file(file) as part:
        save_weights(part, metadata, imported.network.state_dict())


def _are_numbers(values: object, count: int) -> bool:
    is_list = isinstance(values, Sequence) and len(values) == count
    return is_list and all(isinstance(value, float | int) for value in values)  # type: ignore[attr-defined]
