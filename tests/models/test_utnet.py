"""UTNet: the size of the authors' network, and attention of reduced size."""

import pytest
import torch

from unetkit.models import UTNet
from unetkit.models.utnet import AttentionUp, EfficientAttention, RelativePosition, ResidualBlock


def test_the_size_is_that_of_the_authors_network() -> None:
    """Counted in the authors' code (github.com/yhygao/UTNet) with its defaults."""
    with torch.device("meta"):
        network = UTNet(1, 4, [32, 64, 128, 256, 512], attention_blocks=[0, 1, 1, 1, 1])
    sizes = [sum(p.numel() for p in level.parameters()) for level in (*network.encoder, *network.decoder, network.head)]
    assert sizes == [28_164, 80_388, 315_524, 1_252_740, 4_994_948, 2_505_348, 630_532, 160_068, 50_656, 132]
    assert sum(sizes) == 10_018_500


@pytest.mark.parametrize("biased", [False, True])
def test_efficient_attention_is_full_attention_at_the_reduced_size(biased: bool) -> None:
    attention = EfficientAttention(8, heads=2, reduced_size=5, dropout=0.0)
    if not biased:
        torch.nn.init.zeros_(attention.position.table)
    query, key, value = torch.randn(3, 2, 8, 5, 5)
    found = torch.empty(2, 8, 5, 5)
    for head in range(2):
        q, k, v = (x[:, head::2].flatten(2).transpose(1, 2) for x in (query, key, value))  # (2, 25, 4)
        weights = ((q @ k.transpose(1, 2) + attention.position(5, 5)[head]) / 4**0.5).softmax(-1)
        found[:, head::2] = (weights @ v).transpose(1, 2).view(2, 4, 5, 5)
    torch.testing.assert_close(attention(query, key, value), attention.out(found))


def test_reduced_attention_of_a_constant_map_is_that_of_the_map() -> None:
    """Interpolation of a constant is the constant, and weights add up to 1."""
    attention = EfficientAttention(8, heads=4, reduced_size=3, dropout=0.0)
    value = torch.randn(2, 8, 1, 1)
    query, key = torch.randn(2, 8, 7, 9), torch.randn(2, 8, 10, 4)
    found = attention(query, key, value.expand(2, 8, 10, 4))
    torch.testing.assert_close(found, attention.out(value.expand(2, 8, 7, 9)))


def test_positions_count_cells_from_query_to_key() -> None:
    """Four rows and two columns of queries on a 2 x 2 map of keys: two rows share a cell."""
    position = RelativePosition(heads=1, size=2)
    position.table.data = torch.tensor([[[-11.0, -10, -9], [-1, 0, 1], [9, 10, 11]]])  # 10 rows + columns, query - key
    bias = position(4, 2).view(4, 2, 2, 2)
    torch.testing.assert_close(bias[0, 0], torch.tensor([[0.0, -1], [-10, -11]]))
    torch.testing.assert_close(bias[1], bias[0])
    torch.testing.assert_close(bias[3, 1], torch.tensor([[11.0, 10], [1, 0]]))


def test_positions_support_maps_smaller_than_the_reduced_one() -> None:
    assert RelativePosition(heads=2, size=8)(7, 3).shape == (2, 21, 64)


def test_each_pixel_of_the_decoder_depends_on_all_of_the_map_below() -> None:
    """Figure 1d: queries of high resolution, keys and values of low resolution."""
    up = AttentionUp(8, 4, (2, 4, 0.0)).eval()
    below, skip = torch.randn(1, 8, 6, 6, requires_grad=True), torch.randn(1, 4, 12, 12)
    out = up(below, skip)
    assert out.shape == (1, 4, 12, 12)
    out[0, :, 0, 0].sum().backward()
    assert below.grad is not None
    assert below.grad[0, :, -1, -1].abs().sum() > 0


def test_a_residual_block_of_zeros_is_the_identity() -> None:
    block = ResidualBlock(4, 4).eval()
    for parameter in block.parameters():
        torch.nn.init.zeros_(parameter)
    x = torch.randn(1, 4, 9, 9)
    assert torch.equal(block(x), x)
