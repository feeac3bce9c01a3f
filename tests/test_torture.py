"""scripts/torture.py sees what it looks for, and its short version finds nothing."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[1]


def written(run: Path, **changed: Any) -> Path:
    """Write what a run leaves."""
    (run / "checkpoints").mkdir(parents=True)
    content = {"state_dict": {"w": torch.ones(4)}, "best": f"{run}/best.ckpt", "epoch": 3, **changed}
    torch.save(content, run / "checkpoints" / "last.ckpt")
    (run / "summary.json").write_text(f'{{"val/iou": 0.5, "seconds": {len(run.name)}}}')
    (run / "metrics.csv").write_text("epoch,step,val/iou\n0,3,0.5\n")
    return run


def test_what_differs_in_two_runs_is_found_to_the_bit(tmp_path: Path) -> None:
    from faults.comparing import differences, lost_rows

    whole, same = written(tmp_path / "whole"), written(tmp_path / "b")
    assert differences(whole, same) == []
    one_bit = torch.ones(4)
    one_bit.view(torch.int32)[2] ^= 1
    assert differences(whole, written(tmp_path / "bit", state_dict={"w": one_bit})) == ["last.ckpt[state_dict][w]"]
    assert differences(whole, written(tmp_path / "epoch", epoch=4)) == ["last.ckpt[epoch]: 3, not 4"]
    (same / "metrics.csv").write_text("epoch,step,val/iou\n0,3,0.6\n")
    (same / "summary.json").write_text("{}")
    assert differences(whole, same) == ["metrics.csv['0.0', '3', 'val']", "summary.json[val/iou] is in one only"]
    (same / "metrics.csv").write_text("epoch,step,val/iou\n")
    assert lost_rows(same, whole) == 1


def test_a_broken_checkpoint_and_a_part_of_one_are_found(tmp_path: Path) -> None:
    from faults.comparing import leftovers, unreadable

    folder = written(tmp_path / "run") / "checkpoints"
    assert unreadable(folder) == leftovers(tmp_path) == []
    (folder / "last.ckpt").write_bytes((folder / "last.ckpt").read_bytes()[:-200])
    (folder / ".best.ckpt.part7").touch()
    assert len(unreadable(folder)) == len(leftovers(tmp_path)) == 1


@pytest.mark.parametrize(
    ("status", "said", "exceeded", "must", "what"),
    [
        (1, "error: images/p3.png is empty", "", "refuse", None),
        (1, "error: images/p3.png is empty", "", "accept", "refused in one line"),
        (0, "", "", "accept", None),
        (0, "", "", "refuse", "accepted"),
        (1, "error: something is wrong", "", "refuse", "a line that names neither file nor key"),
        (1, "Traceback (most recent call last):\nerror: images/p3.png", "", "refuse", "stack trace"),
        (1, "", "", "refuse", "0 lines of error"),
        (-11, "", "", "either", "ended with status -11"),
        (1, "error: images/p3.png", "time", "refuse", "exceeded the limit of time"),
    ],
)
def test_a_command_that_gets_an_odd_file_is_judged(
    tmp_path: Path, status: int, said: str, exceeded: str, must: str, what: str | None
) -> None:
    from faults.cases import judge
    from faults.program import Done

    result = judge(Done(status, said, 1.0, 1.0, exceeded), must, ("p3",), tmp_path)
    assert result.is_good == (what is None)
    assert what is None or result.what == what


def test_there_are_as_many_cases_as_promised() -> None:
    from faults.__main__ import GROUPS

    cases = {name: list(cases(1)) for name, cases in GROUPS.items()}
    trained = Counter(case.fault.name.endswith("`train`") for case in cases["data"])[True]
    assert len(cases["kills"]) >= 50
    assert trained >= 150
    assert len(cases["demo"]) >= 500
    for group in cases.values():
        assert len({(case.fault, case.name) for case in group}) == len(group)


@pytest.mark.slow
def test_the_short_version_finds_nothing(tmp_path: Path) -> None:
    options = ["--short", "--seed", "23", "--output", str(tmp_path / "results")]
    command = [sys.executable, str(ROOT / "scripts" / "torture.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout
    assert "all as promised" in done.stdout
