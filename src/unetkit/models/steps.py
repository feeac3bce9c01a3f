"""Record the steps of a U-shaped network during a forward pass, so that it can be drawn."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from unetkit.errors import UserError, check
from unetkit.models.arguments import is_positive


@dataclass
class Step:
    """A step, and the features after it.

    Attributes:
        kind: `input`, `border` (mirrored or cropped), `conv`, `down`, `up` or `head`.
        text: Name of the operation, as `conv 3x3`.
        level: 0 at the input's size, 1 at half of it, ...
        channels: Number of features.
        size: Height and width of the features.
        merged: How the skip was merged: `concatenate`, `add`, or empty without a skip.
        skip: How many of the channels come from the skip.
    """

    kind: str
    text: str
    level: int
    channels: int
    size: tuple[int, int]
    merged: str = ""
    skip: int = 0


def steps_of(network: nn.Module, size: int) -> list[Step]:
    """Record the steps for one image of size x size, without gates, shortcuts and normalisations.

    Raises:
        UserError: If the network is not for images, has no encoder and decoder, or the size is too small for it.
    """
    check("size", size, is_positive(size), "a positive integer")
    subject = f"model={type(network).__name__}"
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None:
        raise UserError(subject, "has no 2-D convolution, so it can't be drawn as a U", "choose another network")
    x = torch.zeros(1, first.in_channels, size, size, device="meta")  # shapes without values, which is fast
    recorder = Recorder(x)
    with torch.no_grad(), recorder:
        output: Tensor = deepcopy(network).to("meta").eval()(x)
    steps = [*recorder.steps, *recorder.pointwise]
    if not recorder.is_rising or steps[-1].level != 0:
        raise UserError(subject, "does not go down and up again, so it can't be drawn as a U", "choose another network")
    if steps[-1].kind == "conv":  # not a pixel shuffle, which is an upsampling
        steps[-1].kind = "head"
    if size_of(output) != steps[-1].size:
        steps.append(Step("border", "crop", 0, output.shape[1], size_of(output)))
    return steps


class Recorder(TorchFunctionMode):
    """A context that records the steps of the main path of a network that runs in it."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.steps = [Step("input", "image", 0, image.shape[1], size_of(image))]
        self.pointwise: list[Step] = []  # the last 1x1 convolution, which is the head if nothing follows
        self.depthwise = ""  # text of a depthwise convolution, until its 1x1 convolution follows
        self.is_rising = False

    def __torch_function__(self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function of torch, and record it if it is a step."""
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        name = getattr(function, "__name__", "").strip("_")
        if name == "conv2d":
            self._convolved(args[0], args[1], max(args[3]), result)
        elif name in ("max_pool2d", "avg_pool2d"):
            self._went_down(f"{name[:3]} pool 2x2", args[0], result)
        elif name == "conv_transpose2d":
            self._went_up(f"up-conv {args[1].shape[-1]}x{args[1].shape[-1]}", args[0], result)
        elif name == "interpolate":
            self._went_up(f"{kwargs.get('mode', 'nearest')} x2", args[0], result)
        elif name == "pixel_shuffle":
            self._went_up("pixel shuffle x2", args[0], result)
        elif name == "index_select" and self.steps[-1].kind in ("input", "border"):
            self.steps = [self.steps[0], Step("border", "mirror", 0, result.shape[1], size_of(result))]
        elif name in ("cat", "add"):
            self._merged(name, result)
        return result

    def _record(self, kind: str, text: str, level: int, features: Tensor) -> None:
        self.steps.append(Step(kind, text, level, features.shape[1], size_of(features)))
        self.pointwise, self.depthwise = [], ""

    def _convolved(self, x: Tensor, weight: Tensor, stride: int, y: Tensor) -> None:
        kernel, level = weight.shape[-1], self.steps[-1].level
        if kernel == 1 and self.depthwise:
            self._record("conv", self.depthwise, level, y)
        elif kernel == 1:
            self.pointwise = [Step("conv", "conv 1x1", level, y.shape[1], size_of(y))]
        elif stride > 1:
            self._went_down(f"conv {kernel}x{kernel}, stride {stride}", x, y)
        elif weight.shape[1] < x.shape[1]:
            self.depthwise = f"separable conv {kernel}x{kernel}"
        else:
            if x.shape[1] != self.steps[-1].channels:
                self.steps += self.pointwise  # which changed the number of features
            self._record("conv", f"conv {kernel}x{kernel}", level, y)

    def _went_down(self, text: str, x: Tensor, y: Tensor) -> None:
        if not self.is_rising:  # in the decoder, attention gates have stride-2 convolutions too
            self._record("down", self._with_pointwise(text, x), self.steps[-1].level + 1, y)

    def _went_up(self, text: str, x: Tensor, y: Tensor) -> None:
        now = self.steps[-1]
        if now.level > 0 and size_of(x) == now.size and 2 * y.shape[-1] > 3 * x.shape[-1]:
            self.is_rising = True
            self._record("up", self._with_pointwise(text, x), now.level - 1, y)

    def _with_pointwise(self, text: str, x: Tensor) -> str:
        """Prefix the text with `conv 1x1`, if a 1x1 convolution before it changed the number of features."""
        return text if x.shape[1] == self.steps[-1].channels else f"conv 1x1, {text}"

    def _merged(self, name: str, y: Tensor) -> None:
        if name == "cat" and self.steps[-1].kind == "conv" and self.steps[-2].kind == "up":
            conv = self.steps.pop()  # the convolution after nearest-neighbour upsampling, part of that step
            self.steps[-1].text += f", {conv.text}"
            self.steps[-1].channels, self.steps[-1].size = conv.channels, conv.size
        up = self.steps[-1]
        if up.kind == "up" and not up.merged and isinstance(y, Tensor) and size_of(y) == up.size:
            up.merged, up.skip = {"cat": "concatenate", "add": "add"}[name], y.shape[1] - up.channels
            up.channels = y.shape[1]


def size_of(features: Tensor) -> tuple[int, int]:
    """Return height and width of (B, C, H, W)."""
    return features.shape[-2], features.shape[-1]
