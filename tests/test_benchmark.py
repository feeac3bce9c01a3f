"""scripts/benchmark.py answers each question, at tiny sizes, and writes what it says."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
TINY = ["model=plain_small", "model.channels=[4,8]"]


def asked(tmp_path: Path, question: str, *options: str) -> dict[str, Any]:
    output = tmp_path / f"{question}.json"
    command = [sys.executable, str(ROOT / "scripts" / "benchmark.py"), question, *options]
    settings = ["--rounds", "1", "--threads", "1", "--device", "cpu", "--output", str(output)]
    done = subprocess.run([*command, *settings], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"wrote {output}" in done.stdout
    answer: dict[str, Any] = json.loads(output.read_text())
    assert answer["machine"]["threads"] == 1
    assert answer["command"].endswith(f"--output {output}")
    for row in answer["rows"]:  # the table shows what is written
        assert str(next(iter(row.values()))) in done.stdout
    return answer


def test_step(tmp_path: Path) -> None:
    sizes = ["--sizes", "64", "--small-batch", "1", "--large-batch", "1"]
    answer = asked(tmp_path, "step", *sizes, "--cases", "unet_recreation_small", "unet_milesial")
    ours, theirs, alone = answer["rows"]
    assert [row["batch"] for row in answer["rows"]] == [4, 4, 4]
    assert ours["time / unetkit's"] == alone["time / unetkit's"] == 1
    assert theirs["time / unetkit's"] == pytest.approx(theirs["seconds"] / ours["seconds"])
    assert theirs["images/s"] == pytest.approx(4 / theirs["seconds"])
    assert alone["peak MiB"] > 4 * 31_037_698 * 4 / 2**20  # weights, gradients and the optimiser's two averages
    assert 0 < ours["of FLOP/s"] < 1
    assert ours["of bytes/s"] > 0
    limits, left_out = answer["said"]
    assert limits.startswith("limits measured here: ")
    assert left_out == "left out: milesial's U-Net: give --milesial DIR, a clone of milesial/Pytorch-UNet"


def test_memory(tmp_path: Path) -> None:
    answer = asked(tmp_path, "memory", "--model", "plain_small", "--sizes", "32", "64", "--timed", "32")
    rows = {(row["pixels"], row["level"]): row for row in answer["rows"]}
    levels = {level for _, level in rows}
    assert {"none", "1", "all"} <= levels
    assert all(rows[size, "all"]["of none"] < rows[size, "1"]["of none"] < 1 for size in (32, 64))
    assert rows[32, "1"]["peak MiB"] > 0
    assert rows[64, "1"]["seconds"] is None
    assert "at 32 px" in answer["said"][0]


def test_predict(tmp_path: Path) -> None:
    tiles = ["--section", "96", "--tile", "64", "--overlap", "16", "--images", "4", "--batch", "2"]
    answer = asked(tmp_path, "predict", *tiles)
    names = {row["images"] for row in answer["rows"]}
    assert names == {"4 of 101x101", "96x96"}
    assert answer["rows"][0]["by"] == "unetkit"
    assert all(row["peak MiB"] > 0 for row in answer["rows"])


def test_epoch(tmp_path: Path) -> None:
    answer = asked(tmp_path, "epoch", "--images", "12", "--epochs", "3", "--batch", "4", "--ours", *TINY)
    (row,) = answer["rows"]
    assert len(row["rounds"]) == 2  # the first epoch is not counted
    assert "left out: milesial" in answer["said"][0]


def test_startup(tmp_path: Path) -> None:
    options = ["data.count=8", "data.size=36", f"data.cache_dir={tmp_path / 'cache'}"]
    answer = asked(tmp_path, "startup", "--ours", *TINY, *options)
    seconds = {row["command"]: row["seconds"] for row in answer["rows"]}
    assert seconds["python train.py --help"] < seconds["python train.py trainer.max_steps=1"]


def test_quality_on_sections_of_our_own(tmp_path: Path) -> None:
    """The embedded data have the layout of TGS Salt."""
    from unetkit.data.synthetic import write

    data = write(tmp_path / "data", count=12, size=36, seed=0)
    options = ["experiment=tgs_quick", *TINY, "data.batch_size=4", f"data.cache_dir={tmp_path / 'cache'}"]
    answer = asked(tmp_path, "quality", "--data", str(data), "--ours", *options, "trainer.max_epochs=2")
    assert [row["images"] for row in answer["rows"]] == [10, 20]
    assert "0.549 is" in answer["said"][0]


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "benchmark.py"), "epoch", "--epochs", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == "error: --epochs 1 must be at least 2, since the first is not counted"


@pytest.mark.slow
def test_the_table_of_networks_goes_on_where_it_stopped(tmp_path: Path) -> None:
    script = str(ROOT / "scripts" / "benchmark.py")
    options = ["--models", "dumbnet", "--epochs", "1", "--count", "8", "--rounds", "1", "--output", str(tmp_path)]
    command = [sys.executable, script, "networks", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"wrote {tmp_path / 'networks.md'}" in done.stdout
    row = json.loads((tmp_path / "networks.json").read_text())["networks"]["dumbnet"]
    down, conv, head = 9 * 64 * 64**2, 9 * 64 * 64 * 128**2, 64 * 128**2  # of 128x128 pixels, the first at stride 2
    assert (row["parameters"], row["multiply_adds"]) == (37_633, down + conv + head)
    assert 0 <= row["val_iou"] <= 1
    assert row["speed"] > 1
    assert "| `dumbnet` | 37,633 | 0.61 G |" in (tmp_path / "networks.md").read_text()
    (tmp_path / "dumbnet" / "run" / "summary.json").unlink()
    again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert again.returncode == 0
    assert not (tmp_path / "dumbnet" / "run" / "summary.json").exists()  # the row was there already
