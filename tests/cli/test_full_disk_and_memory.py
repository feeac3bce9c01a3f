"""A disk without room and a machine without memory end each command in one line, and leave no part of a file."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Unetkit, WriteImage, WritePairs
from full_disk import room_for

from unetkit.models import UNet

resource = pytest.importorskip("resource")  # of Unix
RNG = np.random.default_rng(0)
IMAGES = {f"{number:02}": RNG.integers(0, 255, (64, 64)).astype(np.uint8) for number in range(10)}
MASKS = {name: np.uint8(255) * (image > 128) for name, image in IMAGES.items()}
TRAIN = ["train", "data=folder", "model=plain_small", "model.channels=[4,8]", "trainer.accelerator=cpu"]
QUIET = ["trainer.max_epochs=1", "trainer.enable_progress_bar=false"]


@pytest.mark.parametrize("command", ["predict", "doctor", "evaluate", "train", "cache"])
def test_a_full_disk_is_one_line_and_leaves_no_part(
    command: str, tmp_path: Path, checkpoint: Path, unetkit: Unetkit, write_pairs: WritePairs
) -> None:
    data = write_pairs(tmp_path / "data", IMAGES, MASKS)
    out, cache = tmp_path / "out", f"cache_dir={tmp_path / 'cache'}"
    train = [*TRAIN, *QUIET, f"data.root={data}", f"hydra.run.dir={out}", f"data.{cache}"]
    typed = {
        "predict": ["predict", f"checkpoint={checkpoint}", f"input={data}", f"output={out}"],
        "doctor": ["doctor", f"data.root={data}", f"output={out}"],
        "evaluate": ["evaluate", f"checkpoint={checkpoint}", f"input={data}", f"output={out}", "bootstrap=100", cache],
        "train": train,
        "cache": train,
    }[command]
    with room_for({"predict": 300, "doctor": 2000, "evaluate": 60_000, "train": 60_000, "cache": 6_000}[command]):
        done = unetkit(*typed)
    assert done.status == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "can't be written (" in lines[0]
    assert "File too large); make room, or give another" in lines[0]
    assert "Traceback" not in done.stderr + done.stdout
    assert not [path for path in tmp_path.rglob("*") if ".part" in path.name]
    for picture in out.rglob("*.png"):
        assert picture.read_bytes().endswith(b"IEND\xaeB`\x82")


START = """
import resource, sys
import cv2, torch, lightning, matplotlib, scipy.ndimage, albumentations
from unetkit.training import run
from unetkit.cli.main import main
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = taken + int(sys.argv.pop(1)) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
main()
"""


def with_memory(mib: int, *typed: str) -> subprocess.CompletedProcess[str]:
    """Run a command that may take so much memory besides what its libraries take."""
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    command = [sys.executable, "-c", START, str(mib), *typed]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit is of Linux")
def test_without_memory_a_command_is_one_line(
    tmp_path: Path, checkpoint: Path, write_pairs: WritePairs, write_image: WriteImage
) -> None:
    data = write_pairs(tmp_path / "data", IMAGES, MASKS)
    large = write_image(tmp_path / "large" / "x.png", np.zeros((2000, 2000), np.uint8)).parent
    train = [*TRAIN, *QUIET, f"data.root={data}", f"data.cache_dir={tmp_path / 'cache'}", "model.channels=[512,512]"]
    done = with_memory(500, *train, f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode == 1
    assert "error: data.batch_size=32 needs more memory than is free" in done.stderr
    assert "; lower it, or set" in done.stderr
    assert "Traceback" not in done.stderr
    predict = ["predict", f"checkpoint={checkpoint}", f"input={large}", f"output={tmp_path / 'out'}", "device=cpu"]
    done = with_memory(100, *predict, "tile=4000")
    assert done.returncode == 1
    assert "x.png: the prediction needs more memory than is free; give a smaller tile= than 4000" in done.stderr
    assert "Traceback" not in done.stderr
    assert with_memory(800, *predict, "tile=256").returncode == 0


def test_a_command_without_memory_names_what_to_turn(
    tmp_path: Path, unetkit: Unetkit, monkeypatch: pytest.MonkeyPatch, checkpoint: Path, write_pairs: WritePairs
) -> None:
    data = write_pairs(tmp_path / "data", IMAGES, MASKS)
    too_large: Callable[..., object] = lambda *_: np.zeros(2**60, np.uint8)  # noqa: E731
    monkeypatch.setattr(UNet, "forward", too_large)
    done = unetkit("evaluate", f"checkpoint={checkpoint}", f"input={data}", f"cache_dir={tmp_path}", "device=cpu")
    assert done.status == 1
    assert "error: the evaluation needs more memory than is free (" in done.stderr
    done = unetkit("predict", f"checkpoint={checkpoint}", f"input={data}", f"output={tmp_path / 'out'}", "device=cpu")
    assert done.status == 1
    assert done.stderr.count("needs more memory than is free; give a smaller tile= than 1024 or batch_size=") == 10
