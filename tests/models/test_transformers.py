"""Properties of Segmenter, UTNet and TransUNet: any size, gradient checkpointing, export, errors."""

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pytest
import torch
from torch import Tensor, nn

from unetkit.errors import UserError
from unetkit.models import Segmenter, TransUNet, UTNet, activation_bytes
from unetkit.models.vit import resized_positions

CONF = Path(__file__).parents[2] / "conf"
SEGMENTER = {"width": 16, "depth": 1, "heads": 2, "grid": 4, "drop_path": 0.5}
UTNET = {"channels": [4, 8, 8], "attention_blocks": [0, 1, 1], "heads": 2, "reduced_size": 4}
TRANSUNET = {
    "resnet_width": 8, "resnet_blocks": [1, 1, 1], "width": 16, "depth": 1, "heads": 2, "grid": 2,
    "decoder_channels": [8, 8, 8, 4, 4],
}  # fmt: skip


class Build(Protocol):
    def __call__(self, in_channels: int = ..., num_classes: int = ..., **arguments: Any) -> nn.Module: ...


every_network = pytest.mark.parametrize(
    "build",
    [partial(Segmenter, **SEGMENTER), partial(UTNet, **UTNET), partial(TransUNet, **TRANSUNET)],  # type: ignore[arg-type]
    ids=["segmenter", "utnet", "transunet"],
)


@every_network
@pytest.mark.parametrize(
    ("channels", "classes", "height", "width"), [(1, 1, 37, 37), (3, 4, 33, 51), (3, 1, 64, 64), (1, 4, 3, 8)]
)
def test_logits_have_the_size_of_any_image_and_all_weights_have_gradients(
    build: Build, channels: int, classes: int, height: int, width: int
) -> None:
    network = build(channels, classes, gradient_checkpointing="none")
    logits = network(torch.randn(2, channels, height, width))
    assert logits.shape == (2, classes, height, width)
    logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@every_network
def test_images_larger_than_the_learnt_positions_are_predicted(build: Build) -> None:
    with torch.no_grad():
        logits = build(1, 2).eval()(torch.randn(1, 1, 256, 256))
    assert logits.shape == (1, 2, 256, 256)
    assert logits.isfinite().all()


@every_network
def test_binary_logits_are_not_constant(build: Build) -> None:
    torch.manual_seed(0)
    logits = build(1, 1).eval()(torch.randn(1, 1, 64, 64))
    assert logits.std() > 1e-3


def one_step(network: nn.Module, x: Tensor, autocast: bool) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Return loss, gradients and buffers after one step in training mode."""
    torch.manual_seed(3)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = network(x).float().square().mean()
    loss.backward()
    return loss.detach(), [p.grad for p in network.parameters() if p.grad is not None], list(network.buffers())


@every_network
@pytest.mark.parametrize(("checkpointing", "autocast"), [(1, False), (3, True), ("all", False)])
def test_checkpointing_changes_no_number(build: Build, checkpointing: int | str, autocast: bool) -> None:
    torch.manual_seed(2)
    plain, frugal = build(dropout=0.3), build(dropout=0.3, gradient_checkpointing=checkpointing)
    assert list(plain.state_dict()) == list(frugal.state_dict())
    frugal.load_state_dict(plain.state_dict())
    x = torch.randn(2, 1, 37, 41)
    expected, actual = (one_step(network, x, autocast) for network in (plain, frugal))
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


@every_network
def test_checkpointing_keeps_less_the_more_it_covers(build: Build) -> None:
    x = torch.randn(1, 1, 64, 64)
    sizes = [activation_bytes(build(gradient_checkpointing=n), x) for n in ("none", 1, 3, "all")]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 0.7 * sizes[0]


@pytest.mark.slow
@every_network
def test_exported_networks_take_any_size(build: Build, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    network = build(1, 3).eval()
    dynamic = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    path = tmp_path / "network.onnx"
    torch.onnx.export(
        network, (torch.randn(2, 1, 101, 98),), path, dynamo=True, external_data=False, dynamic_shapes=(dynamic,),
        verbose=False,
    )  # fmt: skip
    session = onnxruntime.InferenceSession(path)
    for shape in ((1, 1, 101, 101), (3, 1, 97, 131), (2, 1, 64, 64)):
        x = torch.randn(shape)
        (theirs,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        torch.testing.assert_close(torch.from_numpy(theirs), network(x).detach(), rtol=1e-4, atol=2e-5)


def test_positions_are_kept_at_the_learnt_size_and_interpolated_along_each_axis_at_others() -> None:
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    positions = torch.stack([rows.flatten(), columns.flatten()], dim=1)[
        None
    ]  # (1, 16, 2): row and column of each token
    torch.testing.assert_close(resized_positions(positions, 4, 4, 4), positions)
    stretched = resized_positions(positions, 4, 7, 4).view(7, 4, 2)
    torch.testing.assert_close(stretched[..., 1], torch.arange(4.0).expand(7, 4))
    assert (stretched[1:, :, 0] > stretched[:-1, :, 0]).all()


def test_timm_is_imported_only_when_a_network_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys, unetkit.models; unetkit.models.UTNet(); sys.exit(any(x in sys.modules for x in sys.argv))"
    assert subprocess.run([sys.executable, "-c", code, "timm", "torchvision"], check=False).returncode == 0
    monkeypatch.setitem(sys.modules, "timm", None)  # as if it were not installed
    for network in (Segmenter, TransUNet):
        with pytest.raises(UserError, match=r'pip install "unetkit\[zoo\]"'):
            network()


COMMON = [
    ({"in_channels": 0}, "in_channels=0"),
    ({"num_classes": "two"}, "num_classes=two"),
    ({"heads": 3}, "heads=3"),
    ({"dropout": 1.0}, "dropout=1.0"),
    ({"gradient_checkpointing": 99}, "gradient_checkpointing=99"),
]
OWN = [
    (Segmenter, {"patch_size": 7}, "patch_size=7"),
    (Segmenter, {"grid": 0}, "grid=0"),
    (Segmenter, {"drop_path": -0.1}, "drop_path=-0.1"),
    (Segmenter, {"encoder_weights": "imagenet"}, r"encoder_weights=imagenet must be null, but at patch_size=16"),
    (Segmenter, {"encoder_weights": "ade20k"}, "encoder_weights=ade20k must be one of imagenet"),
    (UTNet, {"channels": [8]}, "channels"),
    (UTNet, {"attention_blocks": [1, 1]}, "attention_blocks"),
    (UTNet, {"reduced_size": 0}, "reduced_size=0"),
    (TransUNet, {"resnet_width": 12}, "resnet_width=12"),
    (TransUNet, {"resnet_blocks": [3, 4]}, "resnet_blocks"),
    (TransUNet, {"decoder_channels": [8]}, "decoder_channels"),
    (TransUNet, {"encoder_weights": "imagenet"}, "encoder_weights=imagenet must be null, but with"),
]


@pytest.mark.parametrize(
    ("network", "arguments", "named"),
    [*((network, *case) for network in (Segmenter, UTNet, TransUNet) for case in COMMON), *OWN],
)
def test_a_wrong_argument_is_named_with_its_value(
    network: type[nn.Module], arguments: dict[str, object], named: str
) -> None:
    with pytest.raises(UserError, match=named):
        network(**arguments)
