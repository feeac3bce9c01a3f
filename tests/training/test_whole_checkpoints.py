"""A checkpoint is whole or not there, and only one run writes to a directory."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch
from full_disk import room_for
from training_runs import QUIET, TINY, run, weights

from unetkit.checkpoints.checkpoint import Checkpoint
from unetkit.errors import UserError
from unetkit.training.checkpoint_io import WholeCheckpointIO
from unetkit.training.run_lock import only_run_in

RUN = [sys.executable, "-m", "unetkit", "train", *TINY, *QUIET]


def test_a_full_disk_leaves_the_checkpoint_before_and_is_told(tmp_path: Path) -> None:
    file = tmp_path / "last.ckpt"
    small, large = ({"weights": torch.full((n,), float(n))} for n in (1000, 100_000))
    WholeCheckpointIO().save_checkpoint(small, file)
    said = r"last\.ckpt can't be written \(File too large\); the one before is whole: make room; resume with"
    with room_for(100_000), pytest.raises(UserError, match=said):
        WholeCheckpointIO().save_checkpoint(large, file)
    assert torch.equal(torch.load(file)["weights"], small["weights"])
    assert list(tmp_path.iterdir()) == [file]
    with (
        room_for(100_000),
        pytest.raises(UserError, match=r"can't be written .*; make room, or give another"),
    ):
        WholeCheckpointIO().save_checkpoint(large, tmp_path / "new" / "last.ckpt")


def test_the_whole_checkpoint_that_is_named_beside_a_damaged_one_goes_on(tmp_path: Path, cache: Path) -> None:
    run(tmp_path, cache)
    (tmp_path / "summary.json").unlink()
    last = tmp_path / "checkpoints" / "last.ckpt"
    whole = weights(last)
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(UserError) as interrupted:
        run(tmp_path, cache)
    (typed,) = re.findall(r"checkpoint=[^, ]+", interrupted.value.fix)
    with pytest.raises(UserError) as damaged:
        run(tmp_path, cache, typed)
    (typed,) = re.findall(r"checkpoint=\S+best\.ckpt", damaged.value.fix)
    assert run(tmp_path, cache, typed)["epochs"] == 2
    resumed = weights(last)
    assert all(torch.equal(resumed[key], x) for key, x in whole.items())


def test_a_run_needs_no_folder_for_temporary_files(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    run(tmp_path / "run", cache, "trainer.max_epochs=1")
    assert Checkpoint.read(tmp_path / "run").epoch == 0


def test_a_second_run_in_one_directory_is_refused(tmp_path: Path, cache: Path) -> None:
    with only_run_in(tmp_path / "run"):
        said = r"run is being written by another run; wait until it ends, or give"
        with pytest.raises(UserError, match=said), only_run_in(tmp_path / "run", wait=0):
            pass
        (tmp_path / "run" / "notes.txt").touch()
    run(tmp_path / "run", cache, "trainer.max_epochs=1")
    assert (tmp_path / "run" / "summary.json").exists()


def test_a_run_that_was_refused_leaves_no_directory(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(UserError):
        run(tmp_path / "run", cache, "model.num_classes=7")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second device")
def test_a_run_that_is_killed_while_it_saves_goes_on(tmp_path: Path, cache: Path) -> None:
    command = [
        *RUN, "model.channels=[64,256,512]", "data.size=16", "data.count=4", "data.batch_size=4",
        "trainer.max_epochs=40", f"hydra.run.dir={tmp_path / 'run'}", f"data.cache_dir={cache}",
        "data.num_workers=2",
    ]  # fmt: skip
    scratch = Path(tempfile.mkdtemp(dir="/dev/shm"))
    environment = {**os.environ, "TMPDIR": str(scratch)}
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    typed = command
    try:
        for _ in range(4):
            process = subprocess.Popen(typed, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            try:
                _wait_for_part_of(last, process)
            finally:
                process.send_signal(signal.SIGKILL)
                process.communicate()
            assert Checkpoint.read(last).is_resumable
            typed = [*command, f"checkpoint={tmp_path / 'run'}"]
        epoch = Checkpoint.read(last).epoch or 0
        done = subprocess.run(
            [*typed, f"trainer.max_epochs={epoch + 2}"], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        resumed = re.search(r"resuming with epoch (\d+)(.*before the validation)?", done.stdout + done.stderr)
        assert resumed
        assert int(resumed[1]) == (epoch if resumed[2] else epoch + 1)
        assert sorted(file.name for file in last.parent.iterdir()) == ["best.ckpt", "last.ckpt"]
        assert [file for file in scratch.iterdir() if file.stat().st_size > 1e6] == []
    finally:
        shutil.rmtree(scratch)


def _wait_for_part_of(last: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until a save that replaces `last` is under way."""
    before = last.stat() if last.exists() else None
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if before is None:
            before = last.stat() if last.exists() else None
            continue
        parts = list(last.parent.glob(".last.ckpt.part*"))
        sizes = [part.stat().st_size for part in parts if part.exists()] or [last.stat().st_size]
        if 0 < sizes[0] < before.st_size:
            return
    pytest.fail("no save was seen")
