"""scripts/benchmark.py answers each question, here at tiny sizes, and writes its answer.

Most questions start processes, so their tests are slow.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from unetkit.data.synthetic import write as write_synthetic
from unetkit.errors import UserError

ROOT = Path(__file__).parent.parent
TINY = ["model=plain_small", "model.channels=[4,8]"]


SCRIPT = str(ROOT / "scripts" / "benchmark.py")


def typed(tmp_path: Path, question: str, *options: str) -> list[str]:
    output = str(tmp_path / f"{question}.json")
    return [SCRIPT, question, *options, "--rounds", "1", "--threads", "1", "--device", "cpu", "--output", output]


def written(tmp_path: Path, question: str, printed: str) -> dict[str, Any]:
    output = tmp_path / f"{question}.json"
    assert f"wrote {output}" in printed
    answer: dict[str, Any] = json.loads(output.read_text())
    assert answer["machine"]["threads"] == 1
    assert answer["command"].endswith(f"--output {output}")
    for row in answer["rows"]:  # the table shows what the file has
        assert str(next(iter(row.values()))) in printed
    return answer


def asked(tmp_path: Path, question: str, *options: str) -> dict[str, Any]:
    command = [sys.executable, *typed(tmp_path, question, *options)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return written(tmp_path, question, done.stdout)


@pytest.fixture
def main() -> Callable[[], None]:
    """Return the program, to be run in this process."""
    from benchmarks.__main__ import main

    return main


def test_augment(
    main: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", typed(tmp_path, "augment", "--sizes", "101", "--count", "2"))
    main()
    answer = written(tmp_path, "augment", capsys.readouterr().out)
    rows = {row["library"]: row for row in answer["rows"]}
    ours, theirs = rows["unetkit DeviceAugmentation"], rows["albumentations ElasticTransform"]
    assert ours["time / unetkit's"] == 1
    assert theirs["images/s"] == pytest.approx(2 / theirs["seconds"])
    assert ours["RMS, px"] == pytest.approx(theirs["RMS, px"], rel=0.5)


def test_contenders_take_turns_and_times_are_relative_to_the_first(main: Callable[[], None]) -> None:
    from benchmarks.measuring import paired

    calls: list[str] = []
    seconds = iter([2.0, 6.0, 4.0, 4.0])
    contenders = {"ours": lambda: calls.append("ours"), "theirs": lambda: calls.append("theirs")}
    rows = paired(contenders, 2, torch.device("cpu"), 12, clock=lambda run, _: (run(), next(seconds))[1])
    assert calls == ["ours", "theirs"] * 3  # with a warm-up
    assert [row["seconds"] for row in rows.values()] == [3, 5]
    assert [row["images/s"] for row in rows.values()] == [4, pytest.approx(12 / 5)]
    assert [row["time / unetkit's"] for row in rows.values()] == [1, 2]  # the median of 3 and 1


def test_a_mistake_is_one_line(main: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", typed(tmp_path, "epoch", "--epochs", "1"))
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == "error: --epochs 1 must be at least 2, since the first is not measured"


@pytest.mark.slow
def test_step(tmp_path: Path) -> None:
    sizes = ["--sizes", "64", "--small-batch", "1"]
    answer = asked(tmp_path, "step", *sizes, "--cases", "unet_recreation_small")
    ours, theirs = answer["rows"]
    assert (ours["batch"], theirs["batch"]) == (4, 4)
    assert ours["time / unetkit's"] == 1
    assert theirs["time / unetkit's"] == pytest.approx(theirs["seconds"] / ours["seconds"])
    assert theirs["images/s"] == pytest.approx(4 / theirs["seconds"])
    assert ours["peak MiB"] > 0
    assert 0 < ours["of FLOP/s"] < 1
    assert ours["of bytes/s"] > 0
    (limits,) = answer["said"]
    assert limits.startswith("limits measured here: ")


def test_a_contender_that_can_not_run_is_left_out_and_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import step

    def no_clone(*_: object) -> None:
        raise UserError("milesial's U-Net", "needs its clone", "give --milesial DIR")

    monkeypatch.setattr(step, "RemoteTraining", no_clone)
    left_out: dict[str, None] = {}
    cpu = torch.device("cpu")
    assert step.steps_of_case("unet_milesial", 1, 32, 1, cpu, None, step.Limits(1, 1), left_out) == []
    assert list(left_out) == ["left out: milesial's U-Net needs its clone; give --milesial DIR"]


@pytest.mark.slow
def test_memory(tmp_path: Path) -> None:
    answer = asked(tmp_path, "memory", "--model", "plain_small", "--sizes", "32", "64", "--timed", "32")
    rows = {(row["pixels"], row["level"]): row for row in answer["rows"]}
    levels = {level for _, level in rows}
    assert {"none", "1", "all"} <= levels
    assert all(rows[size, "all"]["of none"] < rows[size, "1"]["of none"] < 1 for size in (32, 64))
    assert rows[32, "1"]["peak MiB"] > 0
    assert rows[64, "1"]["seconds"] is None
    assert "at 32 px" in answer["said"][0]


@pytest.mark.slow
def test_predict(tmp_path: Path) -> None:
    tiles = ["--section", "96", "--tile", "64", "--overlap", "16", "--images", "4", "--batch", "2"]
    answer = asked(tmp_path, "predict", *tiles)
    names = {row["images"] for row in answer["rows"]}
    assert names == {"4 of 101x101", "96x96"}
    assert answer["rows"][0]["by"] == "unetkit"
    assert all(row["peak MiB"] > 0 for row in answer["rows"])


@pytest.mark.slow
def test_epoch(tmp_path: Path) -> None:
    answer = asked(tmp_path, "epoch", "--images", "12", "--epochs", "3", "--batch", "4", "--ours", *TINY)
    (row,) = answer["rows"]
    assert len(row["rounds"]) == 2  # the first epoch is not measured
    assert "left out: milesial" in answer["said"][0]


@pytest.mark.slow
def test_startup(tmp_path: Path) -> None:
    options = ["data.count=8", "data.size=36", f"data.cache_dir={tmp_path / 'cache'}"]
    answer = asked(tmp_path, "startup", "--ours", *TINY, *options)
    seconds = {row["command"]: row["seconds"] for row in answer["rows"]}
    assert seconds["python train.py --help"] < seconds["python train.py trainer.max_steps=1"]


@pytest.mark.slow
def test_quality_of_synthetic_data_in_the_layout_of_tgs_salt(tmp_path: Path) -> None:
    data = write_synthetic(tmp_path / "data", count=12, size=36, seed=0)
    options = ["experiment=tgs_quick", *TINY, "data.batch_size=4", f"data.cache_dir={tmp_path / 'cache'}"]
    answer = asked(tmp_path, "quality", "--data", str(data), "--ours", *options, "trainer.max_epochs=2")
    assert [row["images"] for row in answer["rows"]] == [10, 20]
    assert "0.549 is" in answer["said"][0]


@pytest.mark.slow
def test_the_table_of_networks_continues_where_it_stopped(
    main: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--models", "dumbnet", "--epochs", "1", "--count", "8", "--rounds", "1", "--output", str(tmp_path)]
    command = [sys.executable, SCRIPT, "networks", *options]
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
    monkeypatch.setattr(sys, "argv", command[1:])
    main()
    assert not (tmp_path / "dumbnet" / "run" / "summary.json").exists()  # since the row is there already


@pytest.mark.slow
def test_exported_files_and_their_service_are_measured(tmp_path: Path) -> None:
    from unetkit.checkpoints.export import export
    from unetkit.data import Preprocessing
    from unetkit.models import UNet
    from unetkit.prediction.predictor import Predictor

    file = tmp_path / "a.onnx"
    export(Predictor(UNet(1, 1, [2, 4]), Preprocessing(1)), file)
    (row,) = asked(tmp_path, "exported", "--files", str(file), "--sides", "32")["rows"]
    assert (row["file"], row["time / a.onnx"]) == ("a.onnx", 1)
    rows = asked(tmp_path, "serve", "--file", str(file), "--sides", "32", "--requests", "20", "--concurrent", "4")[
        "rows"
    ]
    assert [row["by"] for row in rows][::2] == ["unetkit serve", "ONNX Runtime, one by one"]
    assert 0 < rows[0]["median answer, ms"] <= rows[0]["95 % answer, ms"]
