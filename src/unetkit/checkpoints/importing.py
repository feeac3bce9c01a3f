"""Checkpoints of other projects, read into our networks: same weights, same outputs."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from unetkit.checkpoints.checkpoint import save_weights
from unetkit.checkpoints.files import read_safely
from unetkit.checkpoints.metadata import Metadata
from unetkit.data import Preprocessing
from unetkit.errors import UserError, writable
from unetkit.models import UNet, check_threshold
from unetkit.paths import whole_file

State = dict[str, Tensor]


@dataclass(frozen=True)
class Origin:
    """A project whose U-Net ours can take over. Levels count from 0 at full size, decoder steps from the bottom.

    Attributes:
        project: Its name.
        first: Pattern of the keys of the first convolution of each level on the way down.
        encoder: Prefix of the convolutions of level i of n.
        up: Prefix of the upsampling of decoder step j, of n levels.
        decoder: Prefix of the convolutions of decoder step j, of n levels.
        layers: What follows these prefixes, for our layers 0, 1, ... of a `DoubleConv`.
        head: Prefix of the last convolution.
        upsampled_first: Whether it concatenates (upsampled, skip), where ours is (skip, upsampled).
        options: Arguments of `UNet` that no shape tells, for n levels.
        note: What its users must know of the input.
    """

    project: str
    first: str
    encoder: Callable[[int, int], str]
    up: Callable[[int, int], str]
    decoder: Callable[[int, int], str]
    layers: Mapping[int, str]
    head: str
    upsampled_first: bool
    options: Callable[[int], dict[str, Any]]
    note: str

    def modules(self, levels: int) -> dict[str, str]:
        """Their module names by ours."""
        steps = range(levels - 1)
        names = {"head": self.head} | {f"decoder.{j}.up.0": self.up(j, levels) for j in steps}
        for k, end in self.layers.items():
            names |= {f"encoder.{i}.{k}": self.encoder(i, levels) + end for i in range(levels)}
            names |= {f"decoder.{j}.convs.{k}": self.decoder(j, levels) + end for j in steps}
        return names


ORIGINS = (
    Origin(
        project="milesial/Pytorch-UNet",
        first=r"(inc|down\d+\.maxpool_conv\.1)\.double_conv\.0\.weight",
        encoder=lambda i, n: f"down{i}.maxpool_conv.1.double_conv" if i else "inc.double_conv",
        up=lambda j, n: f"up{j + 1}.up",
        decoder=lambda j, n: f"up{j + 1}.conv.double_conv",
        layers={0: ".0", 1: ".1", 3: ".3", 4: ".4"},
        head="outc.conv",
        upsampled_first=False,
        options=lambda n: {"padding": "zeros", "norm": "batch"},
        note="its predict.py halves the image before (--scale 0.5): do the same if it was trained so",
    ),
    Origin(
        project="mateuszbuda/brain-segmentation-pytorch",
        first=r"(encoder\d+\.enc\d+|bottleneck\.bottleneck)conv1\.weight",
        encoder=lambda i, n: f"encoder{i + 1}.enc{i + 1}" if i < n - 1 else "bottleneck.bottleneck",
        up=lambda j, n: f"upconv{n - 1 - j}",
        decoder=lambda j, n: f"decoder{n - 1 - j}.dec{n - 1 - j}",
        layers={0: "conv1", 1: "norm1", 3: "conv2", 4: "norm2"},
        head="conv",
        upsampled_first=True,
        options=lambda n: {"padding": "zeros", "norm": "batch"},
        note="it normalises each volume by itself: give mean=[..] and std=[..] of your images, on [0, 1]",
    ),
    Origin(
        project="JimmyBoppit/U_net_recreation",
        first=r"double_conv_layers_down\.\d+\.0\.weight",
        encoder=lambda i, n: f"double_conv_layers_down.{i}",
        up=lambda j, n: f"expanding_layer.{j}",
        decoder=lambda j, n: f"double_conv_layers_up.{j}",
        layers={0: ".0", 2: ".2"},
        head="classifier",
        upsampled_first=True,
        options=lambda n: {"padding": "valid" if n == 3 else "reflect", "norm": "none"},
        note="it resizes 101x101 to 104x104 before; its version V2 wants padding=zeros",
    ),
)


@dataclass(frozen=True)
class Imported:
    """A network with another project's weights.

    Attributes:
        origin: Where it comes from.
        model: Its configuration, as a checkpoint stores it.
        network: With the weights.
        tensors: How many were taken over: all that the network has.
        ignored: Names of what else the file holds.
    """

    origin: Origin
    model: dict[str, Any]
    network: UNet
    tensors: int
    ignored: list[str]


def import_network(path: str | Path, padding: str | None = None) -> Imported:
    """Read a state dict of one of `ORIGINS`, without running code from the file.

    Args:
        path: Its `.pth`, `.pt` or `.ckpt`.
        padding: Of the convolutions, if not the project's usual one: no shape tells it.

    Raises:
        UserError: If the file can't be read, or is of none of these projects.
    """
    theirs, ignored = read_state(path)
    origin = next((o for o in ORIGINS if any(re.fullmatch(o.first, key) for key in theirs)), None)
    if origin is None:
        projects = ", ".join(o.project for o in ORIGINS)
        raise UserError(f"checkpoint={path} is of none of {projects}: it has keys such as {next(iter(theirs))}")
    try:
        model = read_arguments(origin, theirs) | ({"padding": padding} if padding is not None else {})
        network = UNet(**model)
        state = translate(origin, theirs, network)
        network.load_state_dict(state)
    except (KeyError, IndexError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"checkpoint={path} looks like {origin.project}, but does not fit it: {reason}") from error
    if len(state) < len(theirs):
        raise UserError(f"checkpoint={path} holds {len(theirs)} tensors, but {origin.project} has {len(state)}")
    return Imported(origin, {"_target_": "unetkit.models.UNet", **model}, network, len(state), ignored)


def read_state(path: str | Path) -> tuple[State, list[str]]:
    """The tensors of a file, and the names of what else it holds; Lightning keeps them under `state_dict`.

    Raises:
        UserError: If the file is not there, can't be read safely, or holds no tensors.
    """
    content = read_safely(path)
    outer = content if isinstance(content, dict) else {}
    inner = outer.get("state_dict", outer)
    inner = inner if isinstance(inner, dict) else {}
    tensors = {str(key): value for key, value in inner.items() if isinstance(value, Tensor)}
    if not tensors:
        raise UserError(f"checkpoint={path} holds no named tensors; give a state dict (.pth, .pt) or a .ckpt")
    return tensors, sorted({*map(str, outer), *map(str, inner)} - tensors.keys() - {"state_dict"})


def read_arguments(origin: Origin, theirs: State) -> dict[str, Any]:
    """The arguments of `UNet`, as the shapes tell them."""
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
    """Their tensors under our keys."""
    names = origin.modules(len(network.encoder))
    state = {}
    for key in network.state_dict():
        module, _, tensor = key.rpartition(".")
        value = theirs[f"{names[module]}.{tensor}"]
        if origin.upsampled_first and re.fullmatch(r"decoder\.\d+\.convs\.0\.weight", key):
            value = value.roll(value.shape[1] // 2, dims=1)  # both halves are as wide as the skip
        state[key] = value
    return state


def preprocessing_of(imported: Imported, mean: Sequence[float] | float, std: Sequence[float] | float) -> Preprocessing:
    """8-bit images, normalised by statistics on [0, 1] of each channel, or of all.

    Raises:
        UserError: If there are not as many as channels, or a deviation is not positive.
    """
    channels = imported.model["in_channels"]
    means, stds = ([x] * channels if isinstance(x, float | int) else x for x in (mean, std))
    if not (_are_numbers(means, channels) and _are_numbers(stds, channels) and min(stds) > 0):
        raise UserError(f"mean={mean} and std={std} must have a number for each of {channels} channels; std above 0")
    return Preprocessing(channels, None, tuple(map(float, means)), tuple(map(float, stds)))


def write_checkpoint(imported: Imported, path: str | Path, preprocessing: Preprocessing, threshold: float) -> None:
    """Write one of our checkpoints, to predict with or to start a training from.

    Raises:
        UserError: If the threshold is no probability, or the file can't be written.
    """
    check_threshold(threshold)
    metadata = Metadata(imported.model, preprocessing, threshold, {"name": imported.origin.project})
    file = Path(path).expanduser()
    with writable("output", path), whole_file(file) as part:
        save_weights(part, metadata, imported.network.state_dict())


def _are_numbers(values: object, count: int) -> bool:
    is_list = isinstance(values, Sequence) and len(values) == count
    return is_list and all(isinstance(value, float | int) for value in values)  # type: ignore[attr-defined]
