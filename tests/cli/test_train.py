"""`unetkit train`: what it returns to Hydra's sweepers, how it ends, and how it is stopped."""

import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import Unetkit, WritePairs
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from faults.program import Program
from unetkit.cli import sweep, train
from unetkit.data.synthetic import section
from unetkit.paths import config_dir

ROOT = Path(__file__).parents[2]
FEW = ["data.count=16", "data.size=32"]
QUICK = ["trainer.max_epochs=1", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false"]
TINY = ["model=plain_small", "model.channels=[4,8]", *FEW, *QUICK]

Configured = Callable[..., DictConfig]


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configured:
    """Composes what is typed, as the configuration of a training in this process."""
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")  # so that this process keeps its allocator's settings
    monkeypatch.setattr(sweep, "mistakes", [])

    def call(*typed: str) -> DictConfig:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            return compose("train", [f"run_dir={tmp_path / 'run'}", f"data.cache_dir={tmp_path / 'cache'}", *typed])

    return call


def typed(*arguments: str, folder: Path, script: str = "train.py") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / script), *arguments, f"data.cache_dir={folder / 'cache'}"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)


def test_the_monitored_score_is_returned(configured: Configured, tmp_path: Path) -> None:
    score = train.main(configured(*TINY, "monitor=val/dice"))  # as Hydra calls it
    best = json.loads((tmp_path / "run" / "summary.json").read_text())["best"]
    assert best["monitor"] == "val/dice"
    assert score == best["score"] is not None
    assert sweep.mistakes == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["data=tgs_salt", "data.root=/nowhere", *QUICK], "error: data.root=/nowhere does not exist"),
        (["model.padding=same", *TINY], "error: model.padding=same must be one of"),
        (["augment.zoom=null", *TINY], "error: augment is refused: object of type 'NoneType' has no len()"),
    ],
)
def test_a_mistake_is_one_line_and_other_runs_of_a_sweep_go_on(
    wrong: list[str], told: str, configured: Configured, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(configured(*wrong)) is None
    error = capsys.readouterr().err
    assert error.startswith(told)
    assert error.count("\n") == 1
    assert len(sweep.mistakes) == 1  # for the exit status


def write_section(path: Path) -> None:
    image, _ = section(1, 1, size=32, salt=True)
    assert cv2.imwrite(str(path), image)


def check_mask(path: Path) -> None:
    mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert mask is not None
    assert mask.shape == (32, 32)
    assert set(np.unique(mask)) <= {0, 255}


def test_what_a_run_advises_to_type_predicts(
    configured: Configured, unetkit: Unetkit, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with caplog.at_level(logging.INFO):
        train.main(configured(*TINY))
    advice = shlex.split(caplog.messages[-1])
    assert advice[0] == "next:"
    write_section(tmp_path / "image.png")
    predict, checkpoint, _ = advice[-3:]
    done = unetkit(predict, checkpoint, f"input={tmp_path / 'image.png'}", f"output={tmp_path / 'out'}")
    assert (done.status, done.stderr) == (0, "")
    check_mask(tmp_path / "out" / "masks" / "image.png")


@pytest.mark.slow
def test_training_and_then_typing_the_advice_as_programs(tmp_path: Path) -> None:
    done = typed(*TINY, "hydra.run.dir=run", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    write_section(tmp_path / "image.png")
    advice = done.stdout.splitlines()[-1].removeprefix("next: ").replace("FILE_OR_FOLDER", "image.png")
    done = subprocess.run(advice, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    check_mask(tmp_path / "predictions" / "masks" / "image.png")


@pytest.mark.slow
def test_a_reference_that_leads_nowhere_is_one_line(unetkit: Unetkit, tmp_path: Path) -> None:
    done = unetkit("train", "data=folder", "data.root=${oc.env:NOWHERE}", f"hydra.run.dir={tmp_path / 'run'}")
    assert done.status == 1
    *_, last = done.stderr.splitlines()
    assert last.startswith("error: ")
    assert last.endswith("\"Environment variable 'NOWHERE' not found\"); give a value")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_what_was_typed_is_named_where_a_library_refuses_it(tmp_path: Path) -> None:
    done = typed("augment.zoom=null", *TINY, "hydra.run.dir=run", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: augment.zoom=null")
    assert "Traceback" not in done.stderr


def test_a_sweep_gives_each_run_its_own_directory(tmp_path: Path, unetkit: Unetkit) -> None:
    grid = ["-m", "model=plain_small,dumbnet", "seed=1,2", *FEW, *QUICK]
    done = unetkit("train", *grid, f"data.cache_dir={tmp_path / 'cache'}", f"hydra.sweep.dir={tmp_path / 'sweep'}")
    assert done.status == 0, done.stderr
    summaries = sorted(tmp_path.glob("sweep/*/summary.json"))
    assert [path.parent.name for path in summaries] == ["0-plain_small", "1-plain_small", "2-dumbnet", "3-dumbnet"]
    assert len({json.loads(path.read_text())["parameters"] for path in summaries}) == 2


@pytest.mark.slow
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
    goes_on = f"resume with checkpoint={checkpoints[0]}" if script == "train.py" else "the same command resumes"
    assert errors.splitlines()[-1] == f"stopped; {goes_on}"


@pytest.mark.slow
def test_processes_of_ddp_are_started_for_each_run_of_a_sweep(tmp_path: Path) -> None:
    """Lightning starts them as the program was started, which is the whole sweep."""
    options = [*TINY, "trainer=ddp_cpu", "data.batch_size=4", f"data.cache_dir={tmp_path}", "hydra.sweep.dir=two runs"]
    command = [sys.executable, "-m", "unetkit", "train", "-m", "seed=1,2", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "two runs").glob("*/summary.json"))) == 2
    assert len(list((tmp_path / "two runs").glob("*/train_ddp_process_1.log"))) == 2


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows copies no process")
@pytest.mark.parametrize("option", [[], ["-m"]], ids=["runs", "sweeps"])
def test_two_that_start_in_one_second_have_folders_of_their_own(option: list[str], tmp_path: Path) -> None:
    program = Program(is_fresh=False)
    both = [program.start("train", *option, *TINY, f"data.cache_dir={tmp_path / 'cache'}", cwd=tmp_path) for _ in "12"]
    assert [running.end().status for running in both] == [0, 0]
    assert len(list((tmp_path / "runs").rglob("summary.json"))) == 2


def test_relative_paths_are_right_where_hydra_changes_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unetkit: Unetkit, write_pairs: WritePairs
) -> None:
    image = {f"{i}": np.full((32, 32), 20 * i, np.uint8) for i in range(6)}
    write_pairs(tmp_path / "mine", image, {name: np.eye(32, dtype=np.uint8) for name in image})
    (tmp_path / "split.csv").write_text(
        "id,split\n" + "".join(f"{i},{'val' if i < 2 else 'train'}\n" for i in range(6))
    )
    monkeypatch.chdir(tmp_path)
    own = ["data=folder", "data.root=mine", "data.split=split.csv", "data.cache_dir=cache", "hydra.job.chdir=true"]
    done = unetkit("train", "model=plain_small", "model.channels=[2,4]", *QUICK, *own)
    assert done.status == 0, done.stderr
    (run,) = (tmp_path / "runs").glob("*/*")
    assert sum(line.endswith(",val") for line in (run / "split.csv").read_text().splitlines()) == 2
    assert (tmp_path / "cache").is_dir()
    assert Path.cwd() == tmp_path
