"""The projects whose U-Nets can be imported: how each names its modules, and what can't be read from tensor shapes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Origin:
    """A project whose U-Net can be loaded as `UNet`.

    Levels count from 0 at full size, decoder steps from 0 at the bottom.

    Attributes:
        project: Name of the project.
        first: Pattern of the keys of the first convolution of each encoder level.
        encoder: Maps (i, n) to the prefix of the convolutions of level i, of n levels.
        up: Maps (j, n) to the prefix of the upsampling of decoder step j, of n levels.
        decoder: Maps (j, n) to the prefix of the convolutions of decoder step j, of n levels.
        layers: Text after these prefixes, by the number of the layer in our `DoubleConv`.
        head: Prefix of the last convolution.
        upsampled_first: Whether it concatenates (upsampled, skip); ours is (skip, upsampled).
        options: Maps the number of levels to the arguments of `UNet` that can't be read from shapes.
        note: Advice for its users about the input.
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
        """Return its module names by ours, for this many levels."""
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
        note="its predict.py halves the image before (--scale 0.5): do the same if it was trained like that",
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
        note="it resizes 101x101 to 104x104 before; for its version V2 give padding=zeros",
    ),
)
