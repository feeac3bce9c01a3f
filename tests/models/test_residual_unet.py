"""The residual U-Net: sizes, gradient checkpointing, blocks, errors."""

import pytest
import torch

from unetkit.errors import UserError
from unetkit.models import ResidualUNet
from unetkit.models.attention import SCSE
from unetkit.models.blocks import ResidualBlock


@pytest.mark.parametrize(("height", "width"), [(37, 37), (33, 51), (3, 8)])
def test_logits_have_the_size_of_any_image(height: int, width: int) -> None:
    assert ResidualUNet(3, 2)(torch.randn(2, 3, height, width)).shape == (2, 2, height, width)


@pytest.mark.parametrize("checkpointing", [1, "all"])
def test_checkpointing_changes_no_number(checkpointing: int | str) -> None:
    plain, frugal = (ResidualUNet(bottleneck="pyramid", gradient_checkpointing=c) for c in ("none", checkpointing))
    frugal.load_state_dict(plain.state_dict())
    x = torch.randn(2, 1, 37, 41)
    for network in (plain, frugal):
        network(x).square().mean().backward()
    for a, b in zip(plain.parameters(), frugal.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.equal(a.grad, b.grad)
    for c, d in zip(plain.buffers(), frugal.buffers(), strict=True):
        assert torch.equal(c, d)


def test_a_residual_block_of_zeros_is_the_identity() -> None:
    block = ResidualBlock(4, dilation=2).eval()
    for parameter in block.parameters():
        torch.nn.init.zeros_(parameter)
    x = torch.rand(1, 4, 9, 9)
    assert torch.equal(block(x), x)


def test_scse_is_the_sum_of_both_gates() -> None:
    gate = SCSE(4)
    for parameter in gate.parameters():
        torch.nn.init.zeros_(parameter)
    x = torch.randn(1, 4, 5, 5)
    torch.testing.assert_close(gate(x), x * (0.5 + 0.5))  # sigmoid(0) twice


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"channels": [8]}, "channels"),
        ({"encoder_blocks": [1, 1]}, "encoder_blocks"),
        ({"decoder_blocks": [1, 1, 1, 1]}, "decoder_blocks"),
        ({"dilations": [1]}, "dilations"),
        ({"attention": "gate"}, "attention=gate"),
        ({"bottleneck": "wide"}, "bottleneck=wide"),
        ({"gradient_checkpointing": 5}, "gradient_checkpointing=5"),
    ],
)
def test_a_wrong_argument_is_named(arguments: dict[str, object], named: str) -> None:
    with pytest.raises(UserError, match=named):
        ResidualUNet(**arguments)  # type: ignore[arg-type]


def test_a_new_network_gives_2x2_equal_logits() -> None:
    logits = ResidualUNet(1, 3).eval()(torch.randn(2, 1, 16, 24))
    assert torch.equal(logits, logits[..., ::2, ::2].repeat_interleave(2, -1).repeat_interleave(2, -2))
