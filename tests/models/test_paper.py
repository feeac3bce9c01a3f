"""The U-Net of the paper has the layers, sizes and parameters that the paper states."""

import torch
from torch import nn

from unetkit.models import UNet


def paper_network() -> UNet:
    """Build the network of figure 1."""
    return UNet(1, 2, padding="valid", norm="none", dropout=0.5)


def test_the_network_has_23_convolutions_and_the_parameters_of_figure_1() -> None:
    network = paper_network()
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(convolutions) == 23
    assert sum(p.numel() for p in network.parameters()) == 31_030_658
    assert network.head.in_channels == 64


def test_a_tile_of_572_gives_388_through_the_sizes_of_figure_1() -> None:
    with torch.device("meta"):
        network = paper_network()
        sizes: list[int] = []
        for level in [*network.encoder, *network.decoder]:
            level.register_forward_hook(lambda _module, _inputs, output: sizes.append(output.shape[-1]))
        logits = network(torch.zeros(1, 1, 572, 572))
    assert logits.shape == (1, 2, 388, 388)
    assert sizes == [568, 280, 136, 64, 28, 52, 100, 196, 388]
