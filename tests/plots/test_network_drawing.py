"""The drawing of a network shows its sizes, channels and operations."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from torch import nn

from unetkit.errors import UserError
from unetkit.models import DumbNet, ResidualUNet, UNet
from unetkit.models.steps import steps_of
from unetkit.plots.network import draw_u

ROOT = Path(__file__).parents[2]


def words(svg: str, kind: str) -> list[str]:
    return ["".join(e.itertext()) for e in ElementTree.fromstring(svg).iter() if e.get("class") == kind]


def test_the_network_of_the_paper_gives_the_figure_of_the_paper() -> None:
    svg = draw_u(UNet(1, 2, padding="valid", norm="none"), 572)
    down = "572 570 568 284 282 280 140 138 136 68 66 64 32 30 28"
    up = "56 54 52 104 102 100 200 198 196 392 390 388"
    assert words(svg, "size") == [f"{size}²" for size in f"{down} {up}".split()]
    channels = ["1", "64", "64", "64", "128", "128", "128", "256", "256", "256", "512", "512", "512", "1024", "1024"]
    for width in (512, 256, 128, 64):
        channels += [f"{width} + {width}", str(width), str(width)]
    assert words(svg, "channels") == [*channels, "2"]
    assert words(svg, "legend") == ["conv 3x3", "max pool 2x2", "up-conv 2x2", "conv 1x1", "copy, crop, concatenate"]


@pytest.mark.parametrize(
    ("network", "sizes", "legend"),
    [
        (
            UNet(1, 1, [4, 8], padding="reflect", upsampling="nearest"),
            [101, 102, 51, 102, 101],
            ["mirror", "conv 3x3", "max pool 2x2", "nearest x2, conv 3x3", "conv 1x1", "crop", "copy, concatenate"],
        ),
        (
            ResidualUNet(1, 1, [6, 8], encoder_blocks=[0, 1], decoder_blocks=[1], dilations=[1, 1]),
            [101, 104, 52, 26, 52, 104, 101],
            [
                "mirror",
                "conv 3x3, stride 2",
                "max pool 2x2",
                "conv 1x1",
                "conv 3x3",
                "conv 1x1, bilinear x2",
                "conv 1x1, pixel shuffle x2",
                "crop",
                "copy, add",
            ],
        ),
        (DumbNet(), [101, 51, 101], ["conv 3x3, stride 2", "bilinear x2", "conv 3x3", "conv 1x1"]),
    ],
    ids=["unet", "residual", "dumbnet"],
)
def test_for_an_odd_size_the_drawing_shows_mirrored_borders_and_cropping(
    network: nn.Module, sizes: list[int], legend: list[str]
) -> None:
    svg = draw_u(network, 101)
    assert words(svg, "size") == [f"{size}²" for size in sizes]
    assert words(svg, "legend") == legend


def test_gates_and_shortcuts_are_not_drawn_as_steps() -> None:
    network = ResidualUNet(1, 1, [4, 6, 8], encoder_blocks=[0, 1, 1], decoder_blocks=[0, 1], dilations=[1, 1, 2])
    steps = [(step.level, step.channels, step.merged) for step in steps_of(network, 32)]
    down = [(0, 1, ""), (1, 4, ""), (2, 4, ""), *[(2, 6, "")] * 3, (3, 6, ""), *[(3, 8, "")] * 3]
    up = [(2, 6, "add"), (2, 6, ""), (2, 6, ""), (1, 4, "add"), (1, 4, ""), (0, 1, "")]
    assert steps == down + up


def test_drawing_leaves_the_network_as_it_was() -> None:
    network = UNet(1, 1, [4, 8]).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    draw_u(network, 32)
    assert network.training
    assert all(value.equal(before[key]) for key, value in network.state_dict().items())


def test_a_network_that_is_not_a_u_is_refused() -> None:
    with pytest.raises(UserError, match="does not go down and up again"):
        draw_u(nn.Sequential(nn.Conv2d(1, 2, 3)), 32)
    with pytest.raises(UserError, match="has no 2-D convolution"):
        draw_u(nn.Identity(), 32)
    with pytest.raises(UserError, match="size=0 must be a positive integer"):
        draw_u(UNet(), 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["model=unet_recreation_small", "size=104"], "", marks=pytest.mark.slow),
        pytest.param(
            ["model=unet_paper", "size=50"],
            "error: model.padding=valid loses 184 pixels of each axis, so 50 pixels are too few",
            marks=pytest.mark.slow,
        ),
        pytest.param(["model.channels=[0]"], "error: model.channels=[0] must be", marks=pytest.mark.slow),
    ],
    ids=["drawn", "size", "channels"],
)
def test_the_command_writes_an_svg_or_one_line_that_says_why_not(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    command: list[str | Path] = [
        sys.executable,
        ROOT / "scripts" / "draw.py",
        *arguments,
        f"output={tmp_path / 'new' / 'u.svg'}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) == done.returncode == (1 if said else 0)
    if not said:
        svg = (tmp_path / "new" / "u.svg").read_text()
        assert words(svg, "title") == ["unet_recreation_small"]
        assert words(svg, "size")[-1] == "64²"
