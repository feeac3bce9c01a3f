"""Sweeps: the table of all runs, a failed job, and going on after an interruption, with each launcher."""

import contextlib
import csv
import html
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Unetkit

ROOT = Path(__file__).parents[2]
QUICK = ["trainer.max_epochs=1", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false"]
TINY = ["model=plain_small", "model.channels=[4,8]", "data.count=16", "data.size=32", *QUICK]


def write_run(folder: Path, overrides: list[str], score: float | None, **facts: object) -> None:
    """Write what a run leaves; without a score, one that was killed."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(json.dumps(overrides))
    (folder / "metrics.csv").write_text("epoch,step,train/loss_epoch,val/iou_per_image\n0,3,0.7,\n0,3,,0.4\n")
    if score is not None:
        best = {"monitor": "val/iou_per_image", "score": score}
        (folder / "summary.json").write_text(json.dumps({"best": best, "parameters": 1689, "seconds": 2.5, **facts}))


def table(sweep: Path) -> list[dict[str, str]]:
    with (sweep / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_runs_of_a_sweep_are_compared_by_its_directory(tmp_path: Path, unetkit: Unetkit) -> None:
    sweep = tmp_path / "my sweep=1"
    write_run(sweep / "0-a", ["model=a", "optimizer.lr=0.001", "seed=1", "checkpoint=auto"], 0.5)
    write_run(sweep / "1-a", ["model=a", "optimizer.lr=0.1", "seed=1"], 0.75)
    write_run(sweep / "2-b", ["model=<b>", "optimizer.lr=0.001", "seed=1"], None)
    write_run(sweep / "10-b", ["model=<b>", "optimizer.lr=0.1", "seed=1"], 0.9)
    (sweep / "10-b" / "outcome.json").write_text(json.dumps({"status": "failed", "reason": "it was\nwrong"}))
    done = unetkit("compare", str(sweep))
    assert done.status == 0, done.stderr
    rows = table(sweep)
    assert list(rows[0])[:5] == ["run", "status", "model", "optimizer.lr", "val/iou_per_image"]
    assert [(row["run"], row["status"]) for row in rows] == [
        *(("1-a", "finished"), ("0-a", "finished"), ("2-b", "interrupted"), ("10-b", "failed"))
    ]
    assert (rows[0]["val/iou_per_image"], rows[0]["seconds"], rows[3]["reason"]) == ("0.75", "2.5", "it was wrong")
    shown = done.stdout.splitlines()
    assert shown[2].split() == ["1-a", "a", "0.1", "0.7500", "1,689", "-", "-", "-", "2.5", "finished"]
    assert "failed: 10-b: it was wrong" in shown
    page = (sweep / "sweep.html").read_text()
    assert "&lt;b&gt;" in page
    assert page.count("data:image/svg+xml") == 4
    assert "http" not in page.replace("data:image", "")  # loads nothing


def test_the_best_of_several_cross_validations_predicts_by_its_folder(
    tmp_path: Path, unetkit: Unetkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, score in (("0-a", 0.5), ("1-a", 0.75)):
        write_run(Path("sweep", name), [f"optimizer.lr={score}"], score)
        Path("sweep", name, "ensemble").mkdir()
    assert unetkit("compare", "sweep").stdout.endswith(f" checkpoint={Path('sweep', '1-a')} input=FILE_OR_FOLDER\n")


CAVEAT = "the runs were validated on different images, which alone changes scores; "


def test_scores_that_cannot_be_compared_are_told_and_the_advice_makes_them_comparable(
    tmp_path: Path, unetkit: Unetkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    typed = ["train", "-m", *TINY, f"data.cache_dir={tmp_path / 'cache'}", "logger=none"]
    done = unetkit(*typed, "seed=1,2", "metrics.primary=iou_per_image,dice", "hydra.sweep.dir=my sweep")
    assert done.status == 0, done.stderr
    told = done.stdout.splitlines()
    differ = "the scores are of different kinds (val/dice, val/iou_per_image), so that their order means nothing"
    assert f"{differ}; give all the same monitor, as monitor=val/iou_per_image" in told
    (line,) = (line for line in told if line.startswith(CAVEAT))
    assert line.removeprefix(CAVEAT).startswith("give all the same split: 'data.split=my sweep/")
    assert f"<p>T{line[1:]}" in html.unescape(Path("my sweep/sweep.html").read_text())
    (advised,) = shlex.split(line.partition("split: ")[2])
    advised_too = (advised, "monitor=val/iou_per_image", "metrics.primary=iou_per_image,dice")
    assert "different" not in unetkit(*typed, "seed=1,2", *advised_too, "hydra.sweep.dir=same").stdout


@pytest.mark.parametrize(
    ("keys", "fix"),
    [
        (("data.fold=0", "data.fold=1"), "unetkit cross-validate scores all folds as one"),
        (("data.root=a", "data.root=b"), "unetkit evaluate scores several checkpoints on the same images"),
    ],
)
def test_runs_on_different_data_are_told_what_compares_them(
    keys: tuple[str, str], fix: str, tmp_path: Path, unetkit: Unetkit
) -> None:
    for name, key, validated in zip("ab", keys, "xy" if "fold" in keys[0] else "xx", strict=True):
        write_run(tmp_path / name, [key], 0.5)
        (tmp_path / name / "split.csv").write_text(f"id,split\n{validated},val\nz,train\n")
    assert CAVEAT + fix in unetkit("compare", str(tmp_path)).stdout.splitlines()


def test_different_losses_are_not_compared_by_their_values(tmp_path: Path, unetkit: Unetkit) -> None:
    for name in ("bce", "dice"):
        write_run(tmp_path / name, [f"loss={name}"], 0.5, best={"monitor": "val/loss", "score": 0.5})
    told = (
        "the scores are of different kinds (val/loss loss=bce, val/loss loss=dice), so that their order means nothing"
    )
    assert (
        f"{told}; give all the same monitor, as monitor=val/iou_per_image"
        in unetkit("compare", str(tmp_path)).stdout.splitlines()
    )


def test_a_folder_that_is_no_sweep_is_one_line(tmp_path: Path, unetkit: Unetkit) -> None:
    for folder, problem in ((tmp_path, "holds no runs"), (tmp_path / "no", "is no folder")):
        said = f"error: {folder} {problem}; give the directory of a sweep or of a search\n"
        assert unetkit("compare", str(folder)) == (1, "", said)


def test_a_failed_job_is_named_and_the_same_command_does_only_what_is_left(
    tmp_path: Path, unetkit: Unetkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    typed = ["train", "-m", *TINY, "model.dropout=2,0", f"data.cache_dir={tmp_path / 'cache'}"]
    done = unetkit(*typed)
    assert done.status == 1
    assert "Traceback" not in done.stderr
    (sweep,) = tmp_path.glob("runs/*/*-sweep")
    good, bad = table(sweep)
    assert (good["run"], good["status"], good["model.dropout"]) == ("1-plain_small", "finished", "0")
    assert (bad["run"], bad["reason"]) == ("0-plain_small", "model.dropout=2 must be at least 0 and below 1")
    assert f"failed: 0-plain_small: {bad['reason']}" in done.stdout
    before = (sweep / "1-plain_small" / "summary.json").stat().st_mtime_ns
    done = unetkit(*typed)
    assert done.status == 1
    assert f"goes on with the sweep in {sweep.relative_to(tmp_path)}" in done.stderr
    assert (sweep / "1-plain_small" / "summary.json").stat().st_mtime_ns == before
    assert table(sweep) == [good, bad]
    assert [*tmp_path.glob("runs/*/*")] == [sweep]


@pytest.mark.parametrize(
    ("typed", "mistake"),
    [
        ("seed=2,1,3", "0-a holds the run with seed=1, which would now be seed=2"),
        ("model.dropout=0,0.1", "0-a holds the run with other keys, which would now be model.dropout=0"),
        ("seed=1,3", "1-a holds the run with seed=2, which would now be seed=3"),
    ],
)
def test_a_finished_run_is_not_taken_for_another_job_of_a_grid_in_another_order(
    typed: str, mistake: str, tmp_path: Path, unetkit: Unetkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(Path("sweep") / "0-a", ["model=a", "seed=1"], 0.5)
    write_run(Path("sweep") / "1-a", ["model=a", "seed=2"], 0.75)
    write_run(Path("sweep") / "2-a", ["model=a", "seed=4"], None)  # of which nothing would be lost
    before = {file: file.read_bytes() for file in Path("sweep").rglob("*.*") if file.is_file()}
    done = unetkit("train", "-m", *TINY, typed, "hydra.sweep.dir=sweep", f"data.cache_dir={tmp_path / 'cache'}")
    fix = "keep the order, with new values at the end, or give another hydra.sweep.dir"
    assert done.status == 1
    assert f"error: {Path('sweep')}{os.sep}{mistake}; {fix}" in done.stderr.splitlines()
    assert {file: file.read_bytes() for file in before} == before


def start(*typed: str, folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, str(ROOT / "train.py"), "-m", *typed, f"data.cache_dir={folder / 'cache'}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=folder, start_new_session=True, **pipes)  # type: ignore[call-overload, no-any-return]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_the_same_command_goes_on_with_a_sweep_that_was_killed(tmp_path: Path) -> None:
    typed = [*TINY[:-3], *QUICK[1:], "trainer.max_epochs=6", "data.batch_size=2", "checkpoint_every=2", "seed=1,2"]
    process = start(*typed, folder=tmp_path)
    while not (found := [*tmp_path.glob("runs/*/*/1-*/checkpoints/last.ckpt")]):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    process.kill()
    process.communicate()
    sweep = found[0].parents[2]
    first = (sweep / "0-plain_small" / "summary.json").stat().st_mtime_ns
    assert not (sweep / "1-plain_small" / "summary.json").exists()
    process = start(*typed, folder=tmp_path)
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert "resuming with epoch" in said
    assert (sweep / "0-plain_small" / "summary.json").stat().st_mtime_ns == first
    assert {row["status"] for row in table(sweep)} == {"finished"}
    assert len([*tmp_path.glob("runs/*/*")]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_a_failed_job_ends_no_other_with_launchers_of_several_processes(launcher: str, tmp_path: Path) -> None:
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.removesuffix('_local')}_launcher")
    process = start(f"hydra/launcher={launcher}", *TINY, "model.dropout=2,0", "hydra.sweep.dir=sweep", folder=tmp_path)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 1, said
    assert "Traceback" not in said
    assert "failed: 0-plain_small: model.dropout=2 must be at least 0 and below 1" in said
    assert [row["status"] for row in table(tmp_path / "sweep")] == ["finished", "failed"]


@pytest.mark.slow
def test_ray_goes_on_with_a_sweep_that_was_killed_and_a_failed_job_ends_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "needs unetkit[ray], which is not part of unetkit[dev]"
    pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason=reason)
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "300")  # Ray's own 60 are too few on a busy machine
    ray = ["hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=2"]
    small = [*TINY, "data.batch_size=2", "checkpoint_every=2", "trainer.max_epochs=40", "model.dropout=2,0"]
    process = start(*ray, *small, "hydra.sweep.dir=sweep", folder=tmp_path)
    last = tmp_path / "sweep" / "1-plain_small" / "checkpoints" / "last.ckpt"
    while not last.exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert not (last.parents[1] / "summary.json").exists()
    process = start(*ray, *small, "hydra.sweep.dir=sweep", folder=tmp_path)
    said, _ = process.communicate(timeout=400)
    assert process.returncode == 1, said
    assert "resuming with epoch" in said
    assert "failed: 0-plain_small: model.dropout=2 must be at least 0 and below 1" in said
    assert [row["status"] for row in table(tmp_path / "sweep")] == ["finished", "failed"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a job that its sweep has ended")
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_ctrl_c_leaves_no_job_behind(launcher: str, tmp_path: Path) -> None:
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.removesuffix('_local')}_launcher")
    endless = [*TINY, "seed=1,2", "trainer.max_epochs=9999", "hydra.sweep.dir=sweep"]
    process = start(f"hydra/launcher={launcher}", *endless, folder=tmp_path)
    while len([*tmp_path.glob("sweep/*/checkpoints/last.ckpt")]) < 2 and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 1
    ends_at = time.monotonic() + 60
    while processes_in(tmp_path) and time.monotonic() < ends_at:
        time.sleep(0.1)
    assert processes_in(tmp_path) == []
    logs = [file.read_text() for file in tmp_path.glob("sweep/.submitit/*/*_log.err")]
    said = "".join([process.communicate()[0], *logs])
    assert said.count("stopped; the same command resumes") == 2
    assert "the sweep in sweep is not done: type the same command to go on with it" in said


def processes_in(folder: Path) -> list[int]:
    """Return the numbers of the processes that work in a folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if place.readlink() == folder:
                found.append(int(place.parent.name))
    return found
