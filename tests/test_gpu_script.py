"""scripts/gpu.sh: parts with limits of time, answers that a second call keeps, and the tables of the page."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from unetkit.data.synthetic import write as write_synthetic

ROOT = Path(__file__).parent.parent


def part(folder: Path, name: str, code: str, limit: int = 20) -> Any:
    """Return a part that runs code; it finds the path of its answer in the variable `answer`."""
    from benchmarks.gpu_parts import Part

    start = f"from pathlib import Path\nanswer = Path({str(folder)!r}, '{name}.json')\n"
    (folder / f"part_{name}.py").write_text(start + code)
    return Part(name, [f"part_{name}"], limit, least=1)


ANSWER = """answer.write_text('{"rows": []}')"""


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *parts: Any, seconds: float = 60) -> int:
    from benchmarks import gpu

    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setattr(gpu, "RESERVE", 0)
    return gpu.run(list(parts), folder, time.monotonic() + seconds)


def test_a_part_that_fails_or_takes_too_long_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = part(tmp_path, "broken", "raise SystemExit('no memory')")
    endless = part(tmp_path, "endless", "import time; time.sleep(60)", 1)
    sound = part(tmp_path, "sound", ANSWER)
    assert run(tmp_path, monkeypatch, broken, endless, sound) == 1
    assert (tmp_path / "sound.json").exists()
    assert "no memory" in (tmp_path / "broken.failed").read_text()
    assert (tmp_path / "endless.failed").read_text() == "stopped after 1 s\n"
    assert "`broken` has no answer: failed: no memory" in (tmp_path / "results.md").read_text()

    capsys.readouterr()
    repaired = part(tmp_path, "broken", ANSWER)
    new = part(tmp_path, "new", ANSWER)
    assert run(tmp_path, monkeypatch, repaired, sound, new) == 0
    started = [line.split("] ")[1] for line in capsys.readouterr().out.splitlines() if line.startswith("[")]
    assert started == ["new", "broken"]  # what has failed comes last, and what is answered not again
    assert not (tmp_path / "broken.failed").exists()


def test_what_the_minutes_do_not_suffice_for_is_left_to_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = part(tmp_path, "slow", "import time; time.sleep(30)", 60)
    later = part(tmp_path, "later", ANSWER)
    began = time.monotonic()
    assert run(tmp_path, monkeypatch, slow, later, seconds=1.5) == 0
    assert time.monotonic() - began < 10
    assert not (tmp_path / "slow.failed").exists()  # so it is the first of the next call
    assert "1 parts are left, from later on" in capsys.readouterr().out


def test_the_page_shows_the_answers_of_results_gpu_and_no_other_figure() -> None:
    from benchmarks.gpu_page import BEGIN, END, tables

    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    shown = page.partition(BEGIN)[2].partition(END)[0].strip()
    assert shown == tables(ROOT / "results" / "gpu").strip(), "run `python -m benchmarks.gpu_page`"


def test_an_answer_fills_its_cells(tmp_path: Path) -> None:
    from benchmarks.gpu_page import fill_page

    page = tmp_path / "page.md"
    page.write_text((ROOT / "docs" / "performance.md").read_text(encoding="utf-8"), encoding="utf-8")
    row = {"way": "unetkit", "ms/step": 2.5, "images/s": 12800.0, "time / unetkit's": 1.0}
    about = {"device": "Some GPU", "date": "2026-01-02", "versions": {"torch": "2.11"}}
    (tmp_path / "step-unet_small.json").write_text(json.dumps({"rows": [row], "machine": about}))
    fill_page(page, tmp_path)
    text = page.read_text(encoding="utf-8")
    assert "| `unet_small` | unetkit | 2.5 | 12,800 | 1 |" in text
    assert "Measured on: Some GPU, torch 2.11, 2026-01-02." in text
    assert "| `unet_small` | SMP's way: NCHW amp | left out | left out | left out |" in text
    assert "| `unet_milesial` | milesial --amp | to be measured |" in text


def test_the_papers_task_is_trained_as_the_paper_did_and_fills_its_table(tmp_path: Path) -> None:
    from benchmarks.gpu_page import membranes as table_of
    from benchmarks.gpu_parts import membranes

    for is_gpu, steps in ((True, 10_000), (False, 2)):
        for part in membranes(tmp_path, tmp_path, is_gpu):
            overrides = part.arguments[2:]
            with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
                cfg = compose("cross_validate", [word for word in overrides if not word.startswith("hydra.")])
            if "experiment=isbi2012_paper" in overrides:
                assert (cfg.trainer.max_steps, cfg.data.batch_size, cfg.model.num_classes) == (steps, 1, 2)
            assert (cfg.data.split, cfg.cross_validation.tta) == ("contiguous", "rotations")
    (folder := tmp_path / "isbi2012" / "unet_paper").mkdir(parents=True)
    fold = {"v_rand": 0.97281, "v_info": 0.9866, "pixel_error": 0.0611, "iou": 0.9, "seconds": 321.4}
    (folder / "summary.json").write_text(json.dumps({"folds": {"fold-0": fold}}))
    assert "| `experiment=isbi2012_paper` | 0.9728 | 0.9866 | 0.0611 | 321 |" in table_of(tmp_path)


def test_the_ways_of_the_page_are_those_that_are_measured() -> None:
    from benchmarks.gpu_page import WAYS
    from benchmarks.quick_step import with_more_ways

    assert {name: tuple(with_more_ways(name).contenders) for name in WAYS} == WAYS


def gpu(*typed: str) -> subprocess.CompletedProcess[str]:
    """Run the script as it is typed, with this Python as python3."""
    python = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{python}{os.pathsep}{os.environ['PATH']}"}
    script = str(ROOT / "scripts" / "gpu.sh")
    command = ["bash", script, *typed]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=1600)


def test_data_that_are_not_what_they_should_be_are_refused_in_one_line(tmp_path: Path) -> None:
    done = gpu(str(tmp_path), "--device", "cpu")
    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path} holds neither train.csv nor train.zip of TGS Salt\n"
    (tmp_path / "train.csv").touch()
    done = gpu(str(tmp_path), "--device", "cpu", "--isbi", str(tmp_path / "no"))
    assert done.stderr == f"error: --isbi {tmp_path / 'no'} holds neither train.zip nor images/ and masks/\n"


@pytest.mark.slow
def test_the_script_runs_from_end_to_end_without_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_synthetic(tmp_path / "data", count=24, size=36, seed=0)
    (tmp_path / "wandb.py").write_text("raise ImportError('no module named wandb')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    answers = tmp_path / "answers"
    answers.mkdir()
    answered_before = {"speed-256-graph", "speed-32-eager", "speed-256-eager", "until-0.75", "until-0.80"}
    for name in answered_before | {"step-unet_milesial"}:  # which are of the same kinds as others
        (answers / f"{name}.json").write_text('{"rows": []}')
    typed = (str(data), "25", "--device", "cpu", "--output", str(answers))
    done = gpu(*typed)
    assert done.returncode == 0, done.stdout + done.stderr
    answered = {file.stem for file in (tmp_path / "answers").glob("*.json")}
    speeds = {f"speed-{batch}-{step}" for batch in (32, 256) for step in ("graph", "eager")}
    others = {"step-unet_small", "step-unet_milesial", "elastic", "checkpointing", "loading"}
    assert answered == speeds | others | {"until-0.549", "until-0.75", "until-0.80"}
    assert (tmp_path / "answers" / "folds" / "tgs_small" / "summary.json").exists()
    again = gpu(*typed)
    assert again.returncode == 0
    assert "[" not in again.stdout  # nothing is left to do
