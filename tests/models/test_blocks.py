"""Building blocks of U-Nets, compared with values computed by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unetkit.models.attention import SCSE, AttentionGate
from unetkit.models.blocks import BLOCKS, DoubleConv, ResidualBlock, SeparableConv
from unetkit.models.layers import IMAGES, Layers, he_initialisation
from unetkit.models.pyramid import PyramidPooling, bin_means


def parameters(block: nn.Module) -> int:
    return sum(p.numel() for p in block.parameters())


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("block", BLOCKS.values())
def test_valid_blocks_lose_two_pixels_per_side_and_the_others_none(block: type[DoubleConv], dims: int) -> None:
    x = torch.randn(2, 3, *[9] * dims)
    for padding, size in (("zeros", 9), ("reflect", 9), ("valid", 5)):
        layers = Layers(dims, padding, "group")  # type: ignore[arg-type]
        assert block(3, 4, 6, layers)(x).shape == (2, 6, *[size] * dims)


@pytest.mark.parametrize(("dims", "taps"), [(2, 9), (3, 27)])
def test_separable_convolutions_have_as_many_parameters_as_the_formula_says(dims: int, taps: int) -> None:
    depthwise_and_pointwise = (taps * 5 + 5 * 7) + (taps * 7 + 7 * 4)
    norms = 2 * (5 + 7 + 7 + 4)
    assert parameters(SeparableConv(5, 7, 4, Layers(dims))) == depthwise_and_pointwise + norms


def test_a_residual_block_of_zeros_is_its_shortcut() -> None:
    block = ResidualBlock(3, 5, 5).eval()
    for parameter in block.layers.parameters():
        nn.init.zeros_(parameter)
    x = torch.randn(1, 3, 7, 8)
    projection = block.shortcut.get_parameter("0.weight")[:, :, 0, 0]
    expected = (
        torch.einsum("oi,bihw->bohw", projection, x) / (1 + 1e-5) ** 0.5
    )  # divided by the norm's initial deviation
    torch.testing.assert_close(block(x), expected.relu())
    assert len(ResidualBlock(5, 3, 5).shortcut) == 0  # equal widths: the identity


@pytest.mark.parametrize(("dilation", "reach"), [(1, 2), (3, 6)])
def test_dilation_enlarges_the_receptive_field(dilation: int, reach: int) -> None:
    x = torch.rand(1, 1, 21, 21, requires_grad=True)
    block = DoubleConv(1, 1, 1, Layers(norm="none"), dilation=dilation)
    for parameter in block.parameters():
        nn.init.ones_(parameter)
    block(x)[0, 0, 10, 10].backward()
    assert x.grad is not None
    seen = x.grad[0, 0].nonzero()
    assert (seen.min().item(), seen.max().item()) == (10 - reach, 10 + reach)


def test_the_attention_gate_is_the_equation_of_the_paper() -> None:
    torch.manual_seed(0)
    gate = AttentionGate(4, 6, IMAGES).apply(he_initialisation)  # biases are 0
    skip, below = torch.randn(1, 4, 2, 2), torch.randn(1, 6, 1, 1)
    x = torch.einsum("oiyx,iyx->o", gate.w_x.weight, skip[0])
    g = gate.w_g.weight[:, :, 0, 0] @ below[0, :, 0, 0]
    alpha = torch.sigmoid(gate.psi.weight[0, :, 0, 0] @ (x + g).relu())
    torch.testing.assert_close(gate(skip, below), skip * alpha)


@pytest.mark.parametrize("dims", [2, 3])
def test_gate_coefficients_lie_between_0_and_1(dims: int) -> None:
    gate = AttentionGate(4, 6, Layers(dims))
    alpha = gate.coefficients(torch.randn(2, 4, *[8] * dims), torch.randn(2, 6, *[4] * dims))
    assert alpha.shape == (2, 1, *[8] * dims)
    assert 0 < alpha.min() < alpha.max() < 1


def test_scse_of_volumes_is_the_sum_of_both_gates() -> None:
    gate = SCSE(4, Layers(3))
    for parameter in gate.parameters():
        nn.init.zeros_(parameter)
    x = torch.randn(1, 4, 3, 4, 5)
    torch.testing.assert_close(gate(x), x * (0.5 + 0.5))  # sigmoid(0) twice


@pytest.mark.parametrize("bins", [1, 2, 3, 6, 9])
def test_bin_means_equal_adaptive_average_pooling(bins: int) -> None:
    image, volume = torch.randn(2, 3, 7, 11), torch.randn(2, 3, 4, 7, 6)
    torch.testing.assert_close(bin_means(image, bins), F.adaptive_avg_pool2d(image, bins))
    torch.testing.assert_close(bin_means(volume, bins), F.adaptive_avg_pool3d(volume, bins))


def test_each_pixel_of_pyramid_pooling_depends_on_the_whole_image() -> None:
    x = torch.randn(1, 8, 9, 12, requires_grad=True)
    y = PyramidPooling(8, Layers(norm="none"))(x)
    assert y.shape == x.shape
    y[..., 0, 0].sum().backward()
    assert x.grad is not None
    assert x.grad[..., -1, -1].abs().sum() > 0
