"""What need not be typed for a training: the settings of a run that is resumed, and the directory of a job."""

import re
from pathlib import Path

import pytest
import yaml

from unetkit.cli.completed import completed
from unetkit.errors import UserError


@pytest.fixture
def interrupted(tmp_path: Path) -> Path:
    """A run directory as an interrupted run leaves it, as far as the command looks at it."""
    typed = ["model=plain_small", "model.channels=[4,8]", "data.batch_size=8", "trainer.max_epochs=3", "weights=w.ckpt"]
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(typed))
    return tmp_path


def test_a_run_that_is_resumed_needs_no_other_argument(interrupted: Path) -> None:
    where = f"hydra.run.dir='{interrupted}'"
    typed = ["model=plain_small", "model.channels=[4,8]", "data.batch_size=8", "trainer.max_epochs=3"]
    resume = f"checkpoint={interrupted}"
    assert completed(["unetkit", resume]) == ["unetkit", where, *typed, resume]
    assert completed(["unetkit", resume, "data.batch_size=4"])[2:] == [
        *typed[:2],
        typed[3],
        resume,
        "data.batch_size=4",
    ]
    assert completed(["unetkit", resume, "model=unet_base"])[2:] == [*typed[2:], resume, "model=unet_base"]
    assert completed(["unetkit", *typed, resume, "hydra.run.dir=new"]) == [
        "unetkit",
        *typed,
        resume,
        "hydra.run.dir=new",
    ]
    (interrupted / "summary.json").write_text("{}")
    assert completed(["unetkit", resume]) == ["unetkit", *typed, resume]  # a finished run is continued elsewhere
    file = f"checkpoint={interrupted}/checkpoints/last.ckpt"
    assert completed(["unetkit", file]) == ["unetkit", *typed, file]


@pytest.mark.parametrize(
    "text", ["model._target_=os.system", "++hydra.sweeper._target_=x", "data.root='${oc.env:HOME}'", "hydra/launcher=x"]
)
def test_a_run_directory_runs_no_code(interrupted: Path, text: str) -> None:
    (interrupted / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump([text]))
    with pytest.raises(UserError, match=re.escape(f"was started with {text}; type that too, if you trust it")):
        completed(["unetkit", f"checkpoint={interrupted}"])
    assert completed(["unetkit", f"checkpoint={interrupted}", text])[-1] == text


def test_a_run_directory_names_no_place_to_write_to(interrupted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (interrupted / ".hydra" / "overrides.yaml").write_text("[data.cache_dir=/tmp/x, callbacks.best.dirpath=/tmp]")
    assert len(completed(["unetkit", f"checkpoint={interrupted}"])) == 3
    assert "data.cache_dir=/tmp/x callbacks.best.dirpath=/tmp" in capsys.readouterr().err


def test_a_job_of_slurm_finds_its_directory_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = ["unetkit", "seed=1"]
    assert completed(first) == first
    monkeypatch.setenv("SLURM_JOB_ID", "71")
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    _, where, _ = completed(first)
    assert re.fullmatch(r"hydra\.run\.dir=runs/slurm-71/[0-9a-f]{8}", where)
    assert completed(["unetkit", "seed=2"])[1] != where
    Path(where.partition("=")[2]).mkdir(parents=True)
    assert completed(first) == first  # the same command for the second time in this job
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert completed(first)[1] == where
    assert completed([*first, "hydra.run.dir=mine"]) == [*first, "hydra.run.dir=mine"]
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    assert completed(first) == first
