"""Imported networks give the outputs of the original projects, computed here from their state dicts alone."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import Unetkit
from torch import Tensor

import unetkit
from unetkit.checkpoints.importing import import_network, preprocessing_of, write_checkpoint
from unetkit.data import Preprocessing
from unetkit.errors import UserError
from unetkit.models import centre_crop

State = dict[str, Tensor]
WIDTHS = (4, 6, 8)


def conv(state: State, name: str, c_in: int, c_out: int, size: int, bias: bool) -> None:
    state[f"{name}.weight"] = torch.randn(c_out, c_in, size, size) / (c_in * size * size) ** 0.5
    if bias:
        state[f"{name}.bias"] = torch.randn(c_out)


def norm(state: State, name: str, channels: int) -> None:
    state[f"{name}.weight"], state[f"{name}.bias"] = torch.rand(channels) + 0.5, torch.randn(channels)
    state[f"{name}.running_mean"], state[f"{name}.running_var"] = torch.randn(channels), torch.rand(channels) + 0.5
    state[f"{name}.num_batches_tracked"] = torch.tensor(7)


def transposed(state: State, name: str, c_in: int, c_out: int) -> None:
    state[f"{name}.weight"], state[f"{name}.bias"] = torch.randn(c_in, c_out, 2, 2) / c_in**0.5, torch.randn(c_out)


def milesial(bilinear: bool) -> State:
    state: State = {}

    def double(name: str, c_in: int, c_mid: int, c_out: int) -> None:
        for index, (a, b) in ((0, (c_in, c_mid)), (3, (c_mid, c_out))):
            conv(state, f"{name}.double_conv.{index}", a, b, 3, bias=False)
            norm(state, f"{name}.double_conv.{index + 1}", b)

    a, b, c = WIDTHS[0], 2 * WIDTHS[0], 4 * WIDTHS[0]
    below = c // 2 if bilinear else c
    double("inc", 3, a, a)
    double("down1.maxpool_conv.1", a, b, b)
    double("down2.maxpool_conv.1", b, below, below)
    for name, c_in, c_out in (("up1", c, b // 2 if bilinear else b), ("up2", b, a)):
        if not bilinear:
            transposed(state, f"{name}.up", c_in, c_in // 2)
        double(f"{name}.conv", c_in, c_in // 2 if bilinear else c_out, c_out)
    conv(state, "outc.conv", a, 2, 1, bias=True)
    return state


def mateuszbuda() -> State:
    state: State = {}

    def block(prefix: str, c_in: int, c_out: int) -> None:
        for k, (a, b) in ((1, (c_in, c_out)), (2, (c_out, c_out))):
            conv(state, f"{prefix}conv{k}", a, b, 3, bias=False)
            norm(state, f"{prefix}norm{k}", b)

    a, b, c = WIDTHS
    block("encoder1.enc1", 3, a)
    block("encoder2.enc2", a, b)
    block("bottleneck.bottleneck", b, c)
    transposed(state, "upconv2", c, b)
    block("decoder2.dec2", 2 * b, b)
    transposed(state, "upconv1", b, a)
    block("decoder1.dec1", 2 * a, a)
    conv(state, "conv", a, 1, 1, bias=True)
    return state


def recreation(widths: tuple[int, ...]) -> State:
    state: State = {}
    for i, (a, b) in enumerate(zip((3, *widths), widths, strict=False)):
        conv(state, f"double_conv_layers_down.{i}.0", a, b, 3, bias=True)
        conv(state, f"double_conv_layers_down.{i}.2", b, b, 3, bias=True)
    for j, (a, b) in enumerate(zip(widths[::-1], widths[-2::-1], strict=False)):
        conv(state, f"double_conv_layers_up.{j}.0", 2 * b, b, 3, bias=True)
        conv(state, f"double_conv_layers_up.{j}.2", b, b, 3, bias=True)
        transposed(state, f"expanding_layer.{j}", a, b)
    conv(state, "classifier", widths[0], 1, 1, bias=True)
    return state


@dataclass
class Reference:
    """Another project's forward pass, from its state dict alone."""

    state: State
    down: list[tuple[str, str]]  # the two convolutions of each level
    up: list[tuple[str, str, str]]  # upsampling and two convolutions of each step
    head: str
    norm_of: Callable[[str], str] | None = None
    padding: str = "zeros"
    upsampled_first: bool = True

    def conv(self, name: str, x: Tensor) -> Tensor:
        if self.padding == "reflect":
            x = F.pad(x, (1, 1, 1, 1), "reflect")
        s = self.state
        x = F.conv2d(x, s[f"{name}.weight"], s.get(f"{name}.bias"), padding=1 if self.padding == "zeros" else 0)
        if self.norm_of:
            n = self.norm_of(name)
            x = F.batch_norm(
                x, s[f"{n}.running_mean"], s[f"{n}.running_var"], s[f"{n}.weight"], s[f"{n}.bias"], training=False
            )
        return x.relu()

    def __call__(self, x: Tensor) -> Tensor:
        skips = []
        for level, (first, second) in enumerate(self.down):
            x = F.max_pool2d(x, 2) if level else x
            x = self.conv(second, self.conv(first, x))
            skips.append(x)
        skips.pop()
        for up, first, second in self.up:
            if f"{up}.weight" in self.state:
                x = F.conv_transpose2d(x, self.state[f"{up}.weight"], self.state[f"{up}.bias"], stride=2)
            else:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            skip = centre_crop(skips.pop(), x.shape[-2], x.shape[-1])
            x = torch.cat((x, skip) if self.upsampled_first else (skip, x), 1)
            x = self.conv(second, self.conv(first, x))
        return F.conv2d(x, self.state[f"{self.head}.weight"], self.state[f"{self.head}.bias"])


def make_milesial(bilinear: bool) -> Reference:
    levels = ("inc", "down1.maxpool_conv.1", "down2.maxpool_conv.1")
    pairs = [(f"{n}.double_conv.0", f"{n}.double_conv.3") for n in levels]
    steps = [(f"{n}.up", f"{n}.conv.double_conv.0", f"{n}.conv.double_conv.3") for n in ("up1", "up2")]
    norms = {name: f"{name[:-1]}{int(name[-1]) + 1}" for pair in (*pairs, *(s[1:] for s in steps)) for name in pair}
    return Reference(milesial(bilinear), pairs, steps, "outc.conv", norms.__getitem__, upsampled_first=False)


def make_mateuszbuda() -> Reference:
    pairs = [(f"{n}conv1", f"{n}conv2") for n in ("encoder1.enc1", "encoder2.enc2", "bottleneck.bottleneck")]
    steps = [(f"upconv{k}", f"decoder{k}.dec{k}conv1", f"decoder{k}.dec{k}conv2") for k in (2, 1)]
    return Reference(mateuszbuda(), pairs, steps, "conv", lambda name: name.replace("conv", "norm"))


def make_recreation(levels: int, padding: str) -> Reference:
    pairs = [(f"double_conv_layers_down.{i}.0", f"double_conv_layers_down.{i}.2") for i in range(levels)]
    ups = [f"double_conv_layers_up.{j}" for j in range(levels - 1)]
    steps = [(f"expanding_layer.{j}", f"{up}.0", f"{up}.2") for j, up in enumerate(ups)]
    return Reference(recreation((4, 6, 8, 10)[:levels]), pairs, steps, "classifier", padding=padding)


CASES: dict[str, tuple[Callable[[], Reference], str | None]] = {
    "milesial": (lambda: make_milesial(False), None),
    "milesial, bilinear": (lambda: make_milesial(True), None),
    "mateuszbuda": (make_mateuszbuda, None),
    "recreation V1": (lambda: make_recreation(3, "valid"), None),
    "recreation V2": (lambda: make_recreation(3, "zeros"), "zeros"),
    "recreation V3": (lambda: make_recreation(4, "reflect"), None),
}


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_an_imported_network_gives_the_outputs_of_the_original(case: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    make, padding = CASES[case]
    reference = make()
    torch.save(reference.state, tmp_path / "theirs.pth")
    imported = import_network(tmp_path / "theirs.pth", padding)
    x = torch.rand(2, 3, 72, 104)
    expected = reference(x)
    assert expected.std() > 0.01
    torch.testing.assert_close(imported.network.eval()(x), expected, atol=1e-5, rtol=1e-5)
    assert imported.tensors == len(reference.state)


def test_an_imported_checkpoint_predicts(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {**milesial(False), "mask_values": [0, 1]}
    torch.save({"state_dict": state, "epoch": 3, "hyper_parameters": {}}, tmp_path / "theirs.ckpt")
    imported = import_network(tmp_path / "theirs.ckpt")
    assert imported.ignored == ["epoch", "hyper_parameters", "mask_values"]
    preprocessing = preprocessing_of(imported, [0.1, 0.2, 0.3], 0.5)
    write_checkpoint(imported, tmp_path / "ours" / "net.ckpt", preprocessing, 0.4)
    predictor = unetkit.load(tmp_path / "ours" / "net.ckpt")
    assert predictor.threshold == 0.4
    assert predictor.preprocessing == Preprocessing(3, None, (0.1, 0.2, 0.3), (0.5, 0.5, 0.5))
    pixels = torch.randint(0, 256, (1, 3, 37, 50), dtype=torch.uint8)
    logits = imported.network.eval()(preprocessing.normalise(pixels))
    torch.testing.assert_close(
        predictor.probabilities(pixels.permute(0, 2, 3, 1).numpy())[:, 0], logits.softmax(1)[:, 1]
    )


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {"state_dict": {f"model._orig_mod.{key}": value for key, value in state.items()}},
        lambda state: {"epoch": 3, "model": state, "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}}},
        lambda state: {f"net.{key}": value for key, value in state.items()} | {"loss.weight": torch.zeros(2)},
        lambda state: {key.replace(".", "._orig_mod.module.", 1): value for key, value in state.items()},
    ],
    ids=["DataParallel", "Lightning and torch.compile", "beside an optimiser", "beside a loss", "compiled in parts"],
)
@pytest.mark.parametrize("make", [lambda: milesial(False), mateuszbuda, lambda: recreation((4, 6, 8))])
def test_names_may_have_a_wrapper_before_them(wrap: Any, make: Callable[[], State], tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = make()
    torch.save(state, tmp_path / "plain.pth")
    torch.save(wrap(state), tmp_path / "wrapped.pth")
    ours, wrapped = (import_network(tmp_path / f"{name}.pth") for name in ("plain", "wrapped"))
    for one, other in zip(ours.network.state_dict().values(), wrapped.network.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_one_of_several_networks_is_chosen_by_its_prefix(tmp_path: Path, unetkit: Unetkit) -> None:
    torch.manual_seed(0)
    student, teacher = milesial(False), milesial(False)
    both = {
        f"{name}.{key}": value for name, s in (("student", student), ("teacher", teacher)) for key, value in s.items()
    }
    torch.save(both, tmp_path / "both.pth")
    with pytest.raises(UserError, match=r"begin with student\., teacher\.; choose one with prefix=student\."):
        import_network(tmp_path / "both.pth")
    done = unetkit("import", f"checkpoint={tmp_path / 'both.pth'}", "prefix=teacher.", f"output={tmp_path / 'o.ckpt'}")
    assert done.status == 0, done.stderr
    weights = torch.load(tmp_path / "o.ckpt", weights_only=True)["state_dict"]
    assert any(torch.equal(value, teacher["inc.double_conv.0.weight"]) for value in weights.values())


def test_statistics_must_fit_the_channels(tmp_path: Path) -> None:
    torch.save(milesial(False), tmp_path / "theirs.pth")
    imported = import_network(tmp_path / "theirs.pth")
    for mean, std in (([0.1, 0.2], 1.0), (0.0, [1.0, 0.0, 1.0])):
        with pytest.raises(UserError, match="each of 3 channels"):
            preprocessing_of(imported, mean, std)


def test_a_checkpoint_of_no_known_project_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.pth"
    for content, said in (
        ({"layer.weight": torch.zeros(2)}, "is of none of milesial/Pytorch-UNet, .*layer.weight"),
        ({"epoch": 3}, "holds no named tensors"),
        ([1, 2], "holds no named tensors"),
        ({k: v for k, v in milesial(False).items() if k != "outc.conv.weight"}, "does not fit it: .*outc"),
        ({**milesial(False), "more.weight": torch.zeros(1)}, "holds 67 tensors, but milesial/Pytorch-UNet has 66"),
    ):
        torch.save(content, file)
        with pytest.raises(UserError, match=said):
            import_network(file)
    with pytest.raises(UserError, match="does not exist"):
        import_network(tmp_path / "nothing.pth")


@pytest.mark.parametrize(
    "wrong",
    [
        {"state_dict": 5},
        {1: torch.zeros(2)},
        milesial(False) | {"inc.double_conv.0.weight": torch.zeros(3)},
        milesial(False) | {"outc.conv.weight": torch.tensor(1.0)},
    ],
    ids=["no dict", "no names", "a vector for a kernel", "a number for a kernel"],
)
def test_damaged_contents_are_refused_in_one_line(wrong: object, tmp_path: Path) -> None:
    torch.save(wrong, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"^checkpoint=.*a\.pth .*"):
        import_network(tmp_path / "a.pth")


@pytest.mark.parametrize(("mean", "std"), [("abc", 1.0), (["a", "b", "c"], 1.0), (0.0, None), (0.0, [1.0, 1.0, 0.0])])
def test_statistics_are_numbers_of_each_channel(mean: object, std: object, tmp_path: Path) -> None:
    torch.save(milesial(False), tmp_path / "a.pth")
    with pytest.raises(UserError, match="must have a number for each of 3 channels"):
        preprocessing_of(import_network(tmp_path / "a.pth"), mean, std)  # type: ignore[arg-type]


@pytest.mark.parametrize("threshold", [7, -0.1, "a"])
def test_the_threshold_is_a_probability(threshold: object, tmp_path: Path) -> None:
    torch.save(milesial(False), tmp_path / "a.pth")
    imported = import_network(tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"threshold=.* must be a probability"):
        write_checkpoint(imported, tmp_path / "b.ckpt", Preprocessing(3), threshold)  # type: ignore[arg-type]
    assert not (tmp_path / "b.ckpt").exists()
