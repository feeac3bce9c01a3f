"""What people type: train.py and scripts/, as processes."""

import json
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
TINY = [
    "model=plain_small",
    "data.count=24",
    "data.size=36",
    "model.channels=[4,8]",
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
]


def door(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, script, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    done = door("train.py", *TINY, f"data.cache_dir={folder / 'cache'}", f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr
    for said in ("19 pairs", "val/iou", "summary.json", "unetkit predict checkpoint="):
        assert said in done.stdout + done.stderr
    return folder


def test_training_and_then_predicting_a_folder(run_dir: Path, tmp_path: Path) -> None:
    (images,) = (run_dir / "cache").glob("synthetic-*/images")
    (tmp_path / "in").mkdir()
    for path in sorted(images.iterdir())[:3]:
        (tmp_path / "in" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG no more")
    checkpoint = run_dir / "checkpoints" / "last.ckpt"
    done = door(
        "scripts/predict.py", f"checkpoint={checkpoint}", f"input={tmp_path / 'in'}", f"output={tmp_path / 'out'}"
    )
    assert done.returncode == 1
    assert "wrote 3 masks" in done.stdout
    assert "broken.png" in done.stderr
    assert "Traceback" not in done.stderr
    masks = [cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in (tmp_path / "out" / "masks").iterdir()]
    assert len(masks) == 3
    assert all(mask is not None and mask.shape == (36, 36) and set(np.unique(mask)) <= {0, 255} for mask in masks)


def test_a_sweep_gives_each_run_its_own_directory(run_dir: Path, tmp_path: Path) -> None:
    tiny = [option for option in TINY if not option.startswith("model")]
    grid = ["-m", "model=unet_small,dumbnet", "scheduler=cosine,onecycle"]
    done = door("train.py", *grid, *tiny, f"data.cache_dir={run_dir / 'cache'}", f"hydra.sweep.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    summaries = sorted(tmp_path.glob("*/summary.json"))
    assert [path.parent.name for path in summaries] == ["0-unet_small", "1-unet_small", "2-dumbnet", "3-dumbnet"]
    assert {json.loads(path.read_text())["parameters"] for path in summaries} == {116_877, 37_633}


def test_a_sweep_goes_on_after_a_mistake(run_dir: Path, tmp_path: Path) -> None:
    options = [*TINY, f"data.cache_dir={run_dir / 'cache'}", f"hydra.sweep.dir={tmp_path}"]
    done = door("train.py", "-m", "model.dropout=2,0", *options)
    assert done.returncode == 1
    assert "error: model.dropout=2" in done.stderr
    assert [path.parent.name for path in tmp_path.glob("*/summary.json")] == ["1-plain_small"]


@pytest.mark.parametrize("script", ["train.py", "scripts/cross_validate.py"])
def test_a_training_that_is_stopped_says_what_it_leaves(script: str, tmp_path: Path) -> None:
    endless = [*TINY, "trainer.max_epochs=9999", f"data.cache_dir={tmp_path / 'cache'}", f"hydra.run.dir={tmp_path}"]
    program = subprocess.Popen(
        [sys.executable, script, *endless], cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a shell's background job ignores
    )  # fmt: skip
    while not (checkpoints := list(tmp_path.rglob("last.ckpt"))) and program.poll() is None:
        time.sleep(0.05)
    program.send_signal(signal.SIGINT)
    _, errors = program.communicate(timeout=60)
    assert program.returncode == 1
    assert "Traceback" not in errors
    assert errors.splitlines()[-1] == f"stopped; resume with checkpoint={checkpoints[0]}"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["train.py", "data=tgs_salt", "data.root=/nowhere"], "error: data.root=/nowhere does not exist"),
        (["train.py", "model.padding=same", *TINY], "error: model.padding=same must be one of"),
        (
            ["train.py", "augment.zoom=null", *TINY],
            "error: augment.zoom=null is refused: object of type 'NoneType' has no len()",
        ),
        (["scripts/predict.py"], "error: checkpoint= is missing"),
        (["scripts/predict.py", "checkpoint=x.ckpt", "input=."], "error: checkpoint=x.ckpt does not exist"),
        (["scripts/prepare_tgs.py", "output=/proc/none"], "error: "),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_mistakes_end_in_one_line(command: list[str], said: str, tmp_path: Path) -> None:
    extra = [f"hydra.run.dir={tmp_path}", f"data.cache_dir={tmp_path}"] if command[0] == "train.py" else []
    done = door(*command, *extra)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_prepare_tgs_checks_what_is_there(run_dir: Path, tmp_path: Path) -> None:
    (source,) = (run_dir / "cache").glob("synthetic-*")
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        for path in sorted(source.glob("*/*.png")):
            archive.write(path, path.relative_to(source))
    (tmp_path / "train.csv").write_bytes((source / "train.csv").read_bytes())
    done = door("scripts/prepare_tgs.py", f"output={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "24 labelled images" in done.stdout


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, unetkit.cli.train; assert not {'torch', 'lightning', 'albumentations'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert "model: " in door("train.py", "--help").stdout


def test_the_table_of_networks_goes_on_where_it_stopped(run_dir: Path, tmp_path: Path) -> None:
    options = ["--models", "dumbnet", "--epochs", "1", "--count", "8", "--rounds", "1", "--output", str(tmp_path)]
    done = door("scripts/benchmark.py", "networks", *options)
    assert done.returncode == 0, done.stderr
    assert f"wrote {tmp_path / 'networks.md'}" in done.stdout
    row = json.loads((tmp_path / "networks.json").read_text())["networks"]["dumbnet"]
    down, conv, head = 9 * 64 * 64**2, 9 * 64 * 64 * 128**2, 64 * 128**2  # of 128x128 pixels, the first at stride 2
    assert (row["parameters"], row["multiply_adds"]) == (37_633, down + conv + head)
    assert 0 <= row["val_iou"] <= 1
    assert row["speed"] > 1
    assert "| `dumbnet` | 37,633 | 0.61 G |" in (tmp_path / "networks.md").read_text()
    (tmp_path / "dumbnet" / "run" / "summary.json").unlink()
    again = door("scripts/benchmark.py", "networks", *options)
    assert again.returncode == 0
    assert not (tmp_path / "dumbnet" / "run" / "summary.json").exists()  # the row was there already
