"""Variants of the U-Net have the properties of the plain one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from sampling import sampled
from torch import Tensor

from unetkit.errors import UserError
from unetkit.models import UNet, activation_bytes, layer_table, predict_full_frame
from unetkit.models.unet import Upsampling

SMALL = (4, 6, 8)
OPTIONS: list[dict[str, Any]] = [
    {"block": "residual"},
    {"block": "separable"},
    {"attention": "gate"},
    {"attention": "scse"},
    {"dilation": 3},
    {"bottleneck": "pyramid"},
    {"block": "residual", "attention": "gate", "dilation": 2, "bottleneck": "pyramid"},
]
each_option = pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))


@each_option
def test_logits_have_the_size_of_any_image(options: dict[str, Any]) -> None:
    channels, classes = (3, 3) if len(options) == 1 else (1, 1)
    network = UNet(channels, classes, SMALL, padding="reflect", upsampling="bilinear", **options)
    logits = network(torch.randn(1, channels, 33, 51))
    assert logits.shape == (1, classes, 33, 51)
    logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert network(torch.randn(1, channels, 1, 5)).shape == (1, classes, 1, 5)


@pytest.mark.parametrize(("options", "upsampling"), sampled(OPTIONS, ["transposed", "bilinear", "nearest"]))
def test_unpadded_networks_lose_their_margin(options: dict[str, Any], upsampling: Upsampling) -> None:
    network = UNet(1, 1, SMALL, padding="valid", upsampling=upsampling, **options).eval()
    lost = 2 * network.margin
    assert network(torch.randn(1, 1, lost + 3, lost + 20)).shape == (1, 1, 3, 20)
    assert network(torch.randn(1, 1, lost + 1, lost + 2)).shape == (1, 1, 1, 2)
    assert predict_full_frame(network, torch.randn(1, 1, 30, 41)).shape == (1, 1, 30, 41)


@pytest.mark.parametrize("options", [{"block": "residual"}, {"block": "separable"}, {"dilation": 3}])
def test_logits_of_an_unpadded_network_do_not_depend_on_the_position_of_the_window(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = UNet(1, 1, SMALL, padding="valid", norm="none", **options).eval()
    image = torch.randn(1, 1, 96, 100)
    # Multiples of 4 need no padding, and moving the window by 4 keeps the grid of the poolings.
    torch.testing.assert_close(network(image)[..., 4:, 8:], network(image[..., 4:, 8:]))


def test_open_gates_give_the_plain_network() -> None:
    plain, gated = UNet(1, 1, SMALL).eval(), UNet(1, 1, SMALL, attention="gate").eval()
    assert gated.load_state_dict(plain.state_dict(), strict=False).unexpected_keys == []
    for name, parameter in gated.named_parameters():
        if "gate.psi" in name:
            torch.nn.init.constant_(parameter, 50.0 if name.endswith("bias") else 0.0)
    x = torch.randn(1, 1, 37, 41)
    torch.testing.assert_close(gated(x), plain(x))


def test_dilation_has_the_weights_of_the_plain_network() -> None:
    plain, dilated = UNet(1, 1, SMALL), UNet(1, 1, SMALL, dilation=4)
    dilated.load_state_dict(plain.state_dict())
    x = torch.randn(2, 1, 48, 48)
    assert not torch.allclose(plain(x), dilated(x))


def one_step(network: UNet, x: Tensor, autocast: bool = False) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Return loss, gradients and buffers after one step in training mode."""
    torch.manual_seed(3)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = network(x).float().square().mean()
    loss.backward()
    return loss.detach(), [p.grad for p in network.parameters() if p.grad is not None], list(network.buffers())


@pytest.mark.parametrize(("options", "checkpointing", "autocast"), sampled(OPTIONS, [1, "all"], [False, True]))
def test_checkpointing_changes_no_number(options: dict[str, Any], checkpointing: int | str, autocast: bool) -> None:
    plain = UNet(1, 1, SMALL, dropout=0.3, **options)
    frugal = UNet(1, 1, SMALL, dropout=0.3, gradient_checkpointing=checkpointing, **options)
    frugal.load_state_dict(plain.state_dict())
    x = torch.randn(2, 1, 37, 41)
    assert activation_bytes(frugal, x) < activation_bytes(plain, x)
    frugal.load_state_dict(plain.state_dict())  # whose running statistics have changed
    torch.testing.assert_close(one_step(frugal, x, autocast), one_step(plain, x, autocast), rtol=0, atol=0)


@pytest.mark.parametrize("options", [{}, pytest.param(OPTIONS[-1], marks=pytest.mark.slow)], ids=["plain", "variant"])
def test_compilation_changes_no_number(options: dict[str, Any]) -> None:
    eager, compiled = UNet(1, 1, (4, 6), **options), UNet(1, 1, (4, 6), gradient_checkpointing="all", **options)
    compiled.load_state_dict(eager.state_dict())
    compiled.compile(backend="aot_eager", dynamic=False)
    x = torch.randn(2, 1, 13, 18)
    torch.testing.assert_close(one_step(compiled, x), one_step(eager, x))


EXPORTED: list[tuple[dict[str, Any], tuple[int, ...], list[tuple[int, ...]]]] = [
    ({"block": "residual", "attention": "gate"}, (1, 1, 101, 98), [(1, 1, 97, 131), (1, 1, 64, 64)]),
    (
        {"block": "separable", "attention": "scse", "dilation": 3, "bottleneck": "pyramid"},
        (1, 1, 101, 98),
        [(1, 1, 97, 131), (1, 1, 64, 64)],
    ),
    ({"spatial_dims": 3}, (1, 1, 13, 17, 18), [(1, 1, 9, 14, 11), (1, 1, 16, 16, 16)]),
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("options", "example", "shapes"), EXPORTED)
def test_exported_networks_take_any_size(
    options: dict[str, Any], example: tuple[int, ...], shapes: list[tuple[int, ...]], tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    network = UNet(1, 1, (4, 6), padding="reflect", upsampling="bilinear", **options).eval()
    dynamic = dict.fromkeys(range(2, len(example)), torch.export.Dim.DYNAMIC)
    path = tmp_path / "unet.onnx"
    torch.onnx.export(
        network, (torch.randn(example),), path, dynamo=True, external_data=False, dynamic_shapes=(dynamic,)
    )
    session = onnxruntime.InferenceSession(path)
    for shape in shapes:
        x = torch.randn(shape)
        (theirs,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        torch.testing.assert_close(torch.from_numpy(theirs), network(x).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"spatial_dims": 1}, "spatial_dims=1"),
        ({"block": "dense"}, "block=dense"),
        ({"attention": "self"}, "attention=self"),
        ({"dilation": 0}, "dilation=0"),
        ({"bottleneck": "aspp"}, "bottleneck=aspp"),
    ],
)
def test_a_wrong_argument_is_named_with_its_value(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        UNet(1, 1, SMALL, **arguments)


def test_the_table_of_layers_supports_gates_and_volumes() -> None:
    table = layer_table(UNet(1, 1, SMALL, spatial_dims=3, attention="gate"), torch.randn(1, 1, 13, 9, 11))
    assert "1x13x9x11 out" in table
    assert "4 x 16 x 12 x 12" in table  # mirrored up to multiples of 4
