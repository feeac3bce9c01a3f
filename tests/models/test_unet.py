"""The U-Net: sizes, padding, parity with other implementations, gradient checkpointing, errors, export."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unetkit.errors import UserError
from unetkit.models import UNet, activation_bytes, centre_crop, mirror_pad, predict_full_frame
from unetkit.models.padding import mirrored_indices

SMALL = (4, 6, 8)


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("padding", "upsampling", "height", "width"),
    [
        ("zeros", "transposed", 37, 37),
        ("reflect", "bilinear", 33, 51),
        ("replicate", "nearest", 1, 5),
        ("reflect", "transposed", 64, 32),
        ("replicate", "bilinear", 37, 37),
        ("zeros", "nearest", 33, 51),
    ],
)
def test_logits_have_the_size_of_any_image(padding: str, upsampling: str, height: int, width: int) -> None:
    network = UNet(3, 2, SMALL, padding=padding, upsampling=upsampling)  # type: ignore[arg-type]
    assert network(torch.randn(2, 3, height, width)).shape == (2, 2, height, width)


@pytest.mark.parametrize(("levels", "norm"), [(1, "group"), (2, "none"), (5, "batch")])
def test_networks_of_any_depth_and_norm_have_gradients(levels: int, norm: str) -> None:
    network = UNet(1, 1, [4] * levels, norm=norm, dropout=0.5)  # type: ignore[arg-type]
    network(torch.randn(2, 1, 33, 20)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_the_paper_turns_572_into_388() -> None:
    network = UNet(1, 2, [2, 4, 8, 16, 32], padding="valid", norm="none")
    assert network(torch.zeros(1, 1, 572, 572)).shape == (1, 2, 388, 388)
    assert network.margin == (572 - 388) // 2


@pytest.mark.parametrize("upsampling", ["transposed", "nearest"])
def test_logits_of_a_valid_network_do_not_depend_on_the_position_of_the_window(upsampling: str) -> None:
    torch.manual_seed(0)
    network = UNet(1, 1, SMALL, padding="valid", upsampling=upsampling, norm="none").eval()  # type: ignore[arg-type]
    image = torch.randn(1, 1, 88, 92)
    # Multiples of 4 need no padding, and moving the window by 4 keeps the grid of the poolings.
    whole, part = network(image), network(image[..., 4:, 8:])
    torch.testing.assert_close(whole[..., 4:, 8:], part)


def test_valid_convolutions_lose_the_same_margin_at_any_size() -> None:
    network = UNet(1, 1, SMALL, padding="valid", norm="none").to("meta")
    for size in range(60, 64):  # all remainders by 4
        assert network(torch.zeros(1, 1, size, size + 1, device="meta")).shape[-2:] == (size - 40, size - 39)


def test_overlap_tile_predicts_every_pixel() -> None:
    network = UNet(1, 1, SMALL, padding="valid", norm="none").eval()
    image = torch.randn(1, 1, 31, 101)
    full = predict_full_frame(network, image)
    assert full.shape == (1, 1, 31, 101)
    inner = network(image.repeat(1, 1, 2, 1)[..., :44, :])  # the rows that see no mirrored pixel
    assert inner.shape == (1, 1, 4, 61)


def test_an_image_too_small_for_a_valid_network_is_an_error_with_the_least_size() -> None:
    with pytest.raises(UserError, match="at least 41"):
        UNet(1, 1, SMALL, padding="valid")(torch.zeros(1, 1, 40, 64))


def test_images_of_a_fitting_size_are_not_padded() -> None:
    network = UNet(1, 1, (4, 8)).eval()
    x = torch.randn(1, 1, 16, 16)
    top = network.encoder[0](x)
    up = network.decoder[0](network.encoder[1](F.max_pool2d(top, 2)), top)
    torch.testing.assert_close(network(x), network.head(up))


def test_padding_mirrors_and_crops_back() -> None:
    network = UNet(1, 1, (4, 8, 8)).eval()
    image = torch.randn(1, 1, 13, 14)  # 16 x 16: 1 before and 2 after, 1 before and 1 after
    padded = F.pad(image, (1, 1, 1, 2), mode="reflect")
    torch.testing.assert_close(network(image), network(padded)[..., 1:14, 1:15])


def test_mirroring_is_that_of_numpy() -> None:
    for size in (1, 2, 3, 7):
        expected = np.pad(np.arange(size), (9, 11), "reflect")
        assert mirrored_indices(size, 9, 11, torch.device("cpu")).tolist() == expected.tolist()


def test_mirror_pad_and_centre_crop_are_inverse() -> None:
    x = torch.randn(2, 3, 5, 6)
    assert torch.equal(centre_crop(mirror_pad(x, (7, 7), (4, 4)), 5, 6), x)


def test_skips_are_concatenated_before_the_upsampled_features() -> None:
    network = UNet(1, 1, (2, 3))
    seen: list[Tensor] = []
    network.decoder[0].convs.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))  # type: ignore[union-attr]
    x = torch.randn(1, 1, 8, 8)
    network.eval()(x)
    torch.testing.assert_close(seen[0][:, :2], network.encoder[0](x))


def test_parameters_are_registered_in_the_order_encoder_decoder_head() -> None:
    names = [name for name, _ in UNet(1, 1, (2, 3, 4), norm="none").named_parameters()]
    order = ["encoder.0", "encoder.1", "encoder.2", "decoder.0.up", "decoder.0.convs", "decoder.1.up"]
    order += ["decoder.1.convs", "head"]
    firsts = [min(i for i, name in enumerate(names) if name.startswith(prefix)) for prefix in order]
    assert firsts == sorted(firsts)


class MilesialDoubleConv(nn.Module):
    """The layers of milesial/Pytorch-UNet's DoubleConv, written from its description."""

    def __init__(self, c_in: int, c_out: int, c_mid: int | None = None) -> None:
        super().__init__()
        c_mid = c_mid or c_out
        self.double_conv = nn.Sequential(
            nn.Conv2d(c_in, c_mid, 3, padding=1, bias=False),
            nn.BatchNorm2d(c_mid),
            nn.ReLU(),
            nn.Conv2d(c_mid, c_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(c_out),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.double_conv(x)  # type: ignore[no-any-return]


class MilesialLike(nn.Module):
    """milesial's network at a quarter of its widths, with transposed convolutions or bilinear upsampling."""

    def __init__(self, bilinear: bool) -> None:
        super().__init__()
        c, half = [16, 32, 64, 128, 256], 2 if bilinear else 1
        down = [(3, 16), (16, 32), (32, 64), (64, 128), (128, 256 // half)]
        self.down = nn.ModuleList(MilesialDoubleConv(a, b) for a, b in down)
        self.up = nn.ModuleList()
        for a, b in zip(c[:0:-1], c[-2::-1], strict=True):
            if bilinear:
                out = b // half if b > 16 else b
                layers = [nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)]
                self.up.append(nn.ModuleList([*layers, MilesialDoubleConv(a, out, a // 2)]))
            else:
                self.up.append(nn.ModuleList([nn.ConvTranspose2d(a, b, 2, 2), MilesialDoubleConv(a, b)]))
        self.outc = nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = [x := self.down[0](x)]
        for block in self.down[1:]:
            skips.append(x := block(F.max_pool2d(x, 2)))
        x = skips.pop()
        for level in self.up:
            up, conv = level.children()
            x = conv(torch.cat([skips.pop(), up(x)], dim=1))
        return self.outc(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize("bilinear", [False, True])
def test_milesials_parameters_copied_in_order_give_milesials_outputs(bilinear: bool) -> None:
    torch.manual_seed(1)
    theirs = MilesialLike(bilinear).eval()
    ours = (
        UNet(3, 2, [16, 32, 64, 128, 128], decoder_channels=[16, 16, 32, 64], upsampling="bilinear", align_corners=True)
        if bilinear
        else UNet(3, 2, [16, 32, 64, 128, 256])
    ).eval()
    for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        a.copy_(b)
    x = torch.randn(1, 3, 64, 48)
    torch.testing.assert_close(ours(x), theirs(x))


def one_step(network: UNet, x: Tensor, *, autocast: bool, compiled: bool) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Return loss, gradients and buffers after one step in training mode."""
    torch.manual_seed(3)
    if compiled:
        network.compile(backend="aot_eager")  # traces and joins steps as the default does, without a C++ compiler
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = network(x).float().square().mean()
    loss.backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    return loss.detach(), gradients, list(network.buffers())


@pytest.mark.parametrize(
    ("checkpointing", "autocast", "norm"),
    [(1, False, "batch"), (2, True, "batch"), ("all", False, "group"), ("all", True, "batch")],
)
def test_checkpointing_changes_no_number(checkpointing: int | str, autocast: bool, norm: str) -> None:
    torch.manual_seed(2)
    plain = UNet(1, 1, SMALL, dropout=0.3, norm=norm)  # type: ignore[arg-type]
    frugal = UNet(1, 1, SMALL, dropout=0.3, norm=norm, gradient_checkpointing=checkpointing)  # type: ignore[arg-type]
    assert list(plain.state_dict()) == list(frugal.state_dict())
    frugal.load_state_dict(plain.state_dict())
    x = torch.randn(2, 1, 37, 41)
    expected = one_step(plain, x, autocast=autocast, compiled=False)
    actual = one_step(frugal, x, autocast=autocast, compiled=False)
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


@pytest.mark.slow
def test_checkpointing_changes_no_number_when_compiled() -> None:
    torch.manual_seed(2)
    plain = UNet(1, 1, (4, 8))
    frugal = UNet(1, 1, (4, 8), gradient_checkpointing="all")
    frugal.load_state_dict(plain.state_dict())
    keys = list(frugal.state_dict())
    x = torch.randn(2, 1, 16, 16)
    expected = one_step(plain, x, autocast=False, compiled=True)
    actual = one_step(frugal, x, autocast=False, compiled=True)
    assert list(frugal.state_dict()) == keys
    torch.testing.assert_close(actual, expected)


def test_checkpointing_keeps_less_the_more_levels_it_covers() -> None:
    x = torch.randn(1, 1, 64, 64)
    sizes = [activation_bytes(UNet(1, 1, (8, 16, 32), gradient_checkpointing=n), x) for n in ("none", 1, 2, "all")]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 0.5 * sizes[0]


def test_he_initialisation() -> None:
    network = UNet(1, 1, (64, 128), norm="none")
    weight = network.encoder[1].get_parameter("0.weight")  # 3x3 over 64 features
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.02)
    up = network.decoder[0].get_parameter("up.0.weight")  # each output pixel sees 128 inputs
    assert up.std().item() == pytest.approx(math.sqrt(2 / 128), rel=0.02)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"in_channels": 0}, "in_channels=0"),
        ({"in_channels": "auto"}, "in_channels=auto"),
        ({"num_classes": -1}, "num_classes=-1"),
        ({"channels": []}, "channels"),
        ({"decoder_channels": [1, 2, 3]}, "decoder_channels"),
        ({"padding": "same"}, "padding=same"),
        ({"upsampling": "cubic"}, "upsampling=cubic"),
        ({"norm": "layer"}, "norm=layer"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"gradient_checkpointing": 9}, "gradient_checkpointing=9"),
        ({"gradient_checkpointing": "some"}, "gradient_checkpointing=some"),
    ],
)
def test_a_wrong_argument_is_named_with_its_value(arguments: dict[str, object], named: str) -> None:
    with pytest.raises(UserError, match=named):
        UNet(**{"channels": SMALL, **arguments})  # type: ignore[arg-type]


@pytest.mark.slow  # tests/checkpoints/test_export.py has a fast case
@pytest.mark.parametrize("padding", ["reflect", "valid"])
def test_an_exported_network_pads_images_of_any_size(padding: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    network = UNet(1, 1, SMALL, padding=padding, upsampling="bilinear").eval()  # type: ignore[arg-type]
    dynamic = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    path = tmp_path / "unet.onnx"
    torch.onnx.export(
        network, (torch.randn(2, 1, 101, 98),), path, dynamo=True, external_data=False, dynamic_shapes=(dynamic,)
    )
    session = onnxruntime.InferenceSession(path)
    for shape in ((1, 1, 101, 101), (3, 1, 97, 131), (2, 1, 64, 64)):
        x = torch.randn(shape)
        (theirs,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        torch.testing.assert_close(torch.from_numpy(theirs), network(x).detach(), rtol=1e-4, atol=1e-5)


def test_the_gradient_of_a_crop_keeps_channels_last() -> None:
    x = torch.randn(2, 3, 9, 8).to(memory_format=torch.channels_last).requires_grad_()
    y = x * 1
    kept: list[bool] = []
    y.register_hook(  # type: ignore[no-untyped-call]
        lambda gradient: kept.append(gradient.is_contiguous(memory_format=torch.channels_last))
    )
    cropped = centre_crop(y, 4, 5)
    assert torch.equal(cropped, x[:, :, 2:6, 1:6])
    cropped.backward(torch.ones_like(cropped))  # type: ignore[no-untyped-call]
    assert kept == [True]
