"""What a U-shaped network does with an image, noted down while it does it."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from unetkit.errors import UserError
from unetkit.models.arguments import is_positive


@dataclass
class Step:
    """Features after a step, and how they came about.

    Attributes:
        kind: `input`, `border` (mirrored or cropped), `conv`, `down`, `up` or `head`.
        text: What was done, as in `conv 3x3`.
        level: 0 at the input's size, 1 at half of it, ...
        channels: Of the features.
        size: Their height and width.
        merged: What was done with the skip: `concatenate`, `add`, or nothing.
        skip: How many of the channels are concatenated ones.
    """

    kind: str
    text: str
    level: int
    channels: int
    size: tuple[int, int]
    merged: str = ""
    skip: int = 0


def steps_of(network: nn.Module, size: int) -> list[Step]:
    """The steps of a forward pass of one image of size x size, without gates, shortcuts and normalisations.

    Raises:
        UserError: If the network is not one of images that goes down and up again, or the size does not suit it.
    """
    if not is_positive(size):
        raise UserError(f"size={size} must be a positive integer")
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None:
        raise UserError(f"model={type(network).__name__} has no 2-D convolution, so there is no U to draw")
    x = torch.zeros(1, first.in_channels, size, size, device="meta")  # shapes without numbers: any size at once
    notes = Notes(x)
    with torch.no_grad(), notes:
        output: Tensor = deepcopy(network).to("meta").eval()(x)
    steps = [*notes.steps, *notes.pointwise]
    if not notes.is_rising or steps[-1].level != 0:
        raise UserError(f"model={type(network).__name__} does not go down and up again, so there is no U to draw")
    if steps[-1].kind == "conv":  # a pixel shuffle stays a way up
        steps[-1].kind = "head"
    if size_of(output) != steps[-1].size:
        steps.append(Step("border", "crop", 0, output.shape[1], size_of(output)))
    return steps


class Notes(TorchFunctionMode):
    """Notes the steps of the main path while a network runs within it as a context."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.steps = [Step("input", "image", 0, image.shape[1], size_of(image))]
        self.pointwise: list[Step] = []  # a 1x1 convolution, which is the head if nothing follows
        self.depthwise = ""
        self.is_rising = False

    def __torch_function__(self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function of torch as ever, and note it if it is a step."""
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

    def _note(self, kind: str, text: str, level: int, features: Tensor) -> None:
        self.steps.append(Step(kind, text, level, features.shape[1], size_of(features)))
        self.pointwise, self.depthwise = [], ""

    def _convolved(self, x: Tensor, weight: Tensor, stride: int, y: Tensor) -> None:
        kernel, level = weight.shape[-1], self.steps[-1].level
        if kernel == 1 and self.depthwise:
            self._note("conv", self.depthwise, level, y)
        elif kernel == 1:
            self.pointwise = [Step("conv", "conv 1x1", level, y.shape[1], size_of(y))]
        elif stride > 1:
            self._went_down(f"conv {kernel}x{kernel}, stride {stride}", x, y)
        elif weight.shape[1] < x.shape[1]:
            self.depthwise = f"separable conv {kernel}x{kernel}"
        else:
            if x.shape[1] != self.steps[-1].channels:
                self.steps += self.pointwise  # what brought the features to this number
            self._note("conv", f"conv {kernel}x{kernel}", level, y)

    def _went_down(self, text: str, x: Tensor, y: Tensor) -> None:
        if not self.is_rising:  # a gate on the way up looks at the skip with a stride, too
            self._note("down", self._with_pointwise(text, x), self.steps[-1].level + 1, y)

    def _went_up(self, text: str, x: Tensor, y: Tensor) -> None:
        now = self.steps[-1]
        if now.level > 0 and size_of(x) == now.size and 2 * y.shape[-1] > 3 * x.shape[-1]:
            self.is_rising = True
            self._note("up", self._with_pointwise(text, x), now.level - 1, y)

    def _with_pointwise(self, text: str, x: Tensor) -> str:
        """With the 1x1 convolution before it, if one changed the number of features."""
        return text if x.shape[1] == self.steps[-1].channels else f"conv 1x1, {text}"

    def _merged(self, name: str, y: Tensor) -> None:
        if name == "cat" and self.steps[-1].kind == "conv" and self.steps[-2].kind == "up":
            conv = self.steps.pop()  # after nearest-neighbour upsampling; part of it
            self.steps[-1].text += f", {conv.text}"
            self.steps[-1].channels, self.steps[-1].size = conv.channels, conv.size
        up = self.steps[-1]
        if up.kind == "up" and not up.merged and isinstance(y, Tensor) and size_of(y) == up.size:
            up.merged, up.skip = {"cat": "concatenate", "add": "add"}[name], y.shape[1] - up.channels
            up.channels = y.shape[1]


def size_of(features: Tensor) -> tuple[int, int]:
    """Height and width of (B, C, H, W)."""
    return features.shape[-2], features.shape[-1]
