"""`unetkit tune`: a search that varies, prunes, resumes, shares its study among processes, and says what is best."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from conftest import Unetkit
from omegaconf import DictConfig
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from unetkit.errors import UserError
from unetkit.report.sweep import read_sweep
from unetkit.training.api import compose_training
from unetkit.training.run_kind import is_found_again
from unetkit.training.search_space import read_space, suggest
from unetkit.training.tuning import open_search, search

TINY = ["model=plain_small", "model.channels=[4,8]", "data.count=12", "data.size=32", "data.batch_size=4"]
QUIET = ["trainer.accelerator=cpu", "trainer.enable_progress_bar=false", "monitor=val/loss"]
RATE = "optimizer.lr=tag(log,interval(1e-4,1e-2))"


def states(folder: Path) -> list[str]:
    """How the trials of a study ended, in order."""
    storage = JournalStorage(JournalFileBackend(str(folder / "study.log")))  # as anybody with Optuna reads it
    return [trial.state.name for trial in optuna.load_study(study_name="unetkit", storage=storage).trials]


def test_values_are_drawn_from_what_was_typed() -> None:
    typed = [RATE, "loss=dice_bce,lovasz", "data.batch_size=range(4,17,4)", "model.depth=int(interval(2,5))", "seed=3"]
    space, fixed = read_space("none", {"model.channels": "choice([4,8],[8,16])", "loss": "choice(bce)"}, typed)
    assert fixed == ["seed=3"]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn: dict[str, set[str]] = {}
    for _ in range(60):
        for text in suggest(study.ask(), space):
            drawn.setdefault(text.partition("=")[0], set()).add(text.partition("=")[2])
    assert drawn["loss"] == {"dice_bce", "lovasz"}  # what is typed replaces what the file says
    assert drawn["model.channels"] == {"[4,8]", "[8,16]"}
    assert drawn["data.batch_size"] == {"4", "8", "12", "16"}
    assert drawn["model.depth"] == {"2", "3", "4", "5"}
    rates = sorted(map(float, drawn["optimizer.lr"]))
    assert 1e-4 <= rates[0] < 3e-4
    assert 3e-3 < rates[-1] <= 1e-2
    assert rates[len(rates) // 2] < 3e-3  # of the logarithm, not of the value


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["seed=1"], "needs something to vary"),
        (["optimizer.lr=interval(1,0.1)"], "is no interval from less to more"),
        (["optimizer.lr=tag(log,interval(0,1))"], "above 0 for a logarithm"),
        (["optimizer.lr=interval(1"], "can't be read"),
    ],
)
def test_what_can_not_be_searched_is_one_line(typed: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        suggest(optuna.create_study().ask(), read_space("none", {}, typed)[0])


def test_a_search_goes_on_and_its_best_command_can_be_typed(
    tmp_path: Path, unetkit: Unetkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    typed = ["tune", *TINY, *QUIET, "trainer.max_epochs=1", "data.cache_dir=cache", RATE, "model.dropout=0,2"]
    assert unetkit(*typed, "n_trials=1").status in (0, 1)
    done = unetkit(*typed, "n_trials=2")
    (study,) = tmp_path.glob("runs/tune-*")
    found = states(study)
    assert len(found) == 2
    assert set(found) <= {"COMPLETE", "FAIL"}  # a dropout of 2 is a mistake, which ends one trial only
    assert "COMPLETE" in found, done.stdout
    page = (study / "sweep.html").read_text()
    assert "Score of each trial" in page
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("the best trial once more: "))
    advice = shlex.split(line.partition(": ")[2])
    best = next(row for row in (study / "sweep.csv").read_text().splitlines() if row.startswith("trial-"))
    rate = next(text for text in advice if text.startswith("optimizer.lr=")).partition("=")[2]
    assert f",{rate}," in best
    done = unetkit(*advice[advice.index("train") :], "hydra.run.dir=again")
    assert done.status == 0, done.stderr
    score = json.loads((tmp_path / "again" / "summary.json").read_text())["best"]["score"]
    assert f",{score}," in best


@pytest.mark.parametrize("typed", ["trainer=ddp_cpu", "trainer.devices=2", "trainer.devices=[0,1]"])
def test_trials_of_several_processes_are_refused(typed: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not possible in a search"):
        open_search(tmp_path, {}, [typed], [])


def test_a_study_that_can_not_be_written_or_is_damaged_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for place in (tmp_path / "file", tmp_path / "file" / "study"):
        with pytest.raises(UserError, match=f"study={place} can't be written .*; give another"):
            open_search(place, {}, TINY, [])
    open_search(tmp_path / "study", {}, TINY, [])
    journal = tmp_path / "study" / "study.log"
    whole = journal.read_bytes()
    for damaged in (b"{bad" + whole, whole[:-20] + whole, b"[]\n" + whole, b'{"op_code":0}\n' + whole):
        journal.write_bytes(damaged)
        with pytest.raises(UserError, match=r"study\.log is damaged .*; remove the line that is cut short"):
            open_search(tmp_path / "study", {}, TINY, [])


def test_a_trial_with_a_wrong_value_is_in_the_table(tmp_path: Path) -> None:
    space, fixed = read_space("none", {}, [*TINY, *QUIET, "model.dropout=2,3"])
    search(open_search(tmp_path, space, fixed, []), 1, None)
    (run,) = read_sweep(tmp_path).runs
    assert (run.name, run.status) == ("trial-0", "failed")
    assert run.overrides["model.dropout"] in run.reason


@pytest.mark.slow
def test_each_validation_within_an_epoch_may_prune(tmp_path: Path) -> None:
    fixed = [*TINY, *QUIET, "trainer.max_epochs=2", "trainer.val_check_interval=1", "data.batch_size=4"]
    space, fixed = read_space("none", {}, [*fixed, f"data.cache_dir={tmp_path / 'cache'}", "optimizer.lr=0.01,0.02"])
    found = open_search(tmp_path / "study", space, fixed, [])
    search(found, 1, None)
    assert list(found.study.trials[0].intermediate_values) == [0, 1, 2, 3, 4, 5]  # three batches an epoch


def test_a_trial_that_is_stopped_is_found_by_the_same_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from unetkit.training import tuning

    trained: list[DictConfig] = []

    def note(cfg: DictConfig, *_: object, **__: object) -> dict[str, Any]:
        trained.append(cfg)
        return {}

    monkeypatch.setattr(tuning, "train", note)
    space, fixed = read_space("none", {}, [*TINY, *QUIET, RATE])
    search(open_search(tmp_path, space, fixed, []), 1, None)
    assert is_found_again(trained[0])
    assert not is_found_again(compose_training(fixed))


@pytest.mark.slow
def test_bad_trials_are_pruned_and_an_interrupted_one_goes_on(tmp_path: Path) -> None:
    fixed = [*TINY, *QUIET, "trainer.max_epochs=3", f"data.cache_dir={tmp_path / 'cache'}"]
    space, _ = read_space("none", {}, ["optimizer.lr=0.01,0.02,1e-9"])
    found = open_search(tmp_path / "study", space, fixed, [])
    for rate in ("0.01", "0.02", "0.01", "0.02", "0.01", "1e-09"):  # five to compare with, and a bad one
        found.study.enqueue_trial({"optimizer.lr": rate})
    search(found, 6, None)
    assert states(tmp_path / "study") == [*5 * ["COMPLETE"], "PRUNED"]
    outcome = json.loads((tmp_path / "study" / "trial-5" / "outcome.json").read_text())
    assert outcome["status"] == "pruned"
    assert "val/loss" in outcome["reason"]
    left = found.study.ask()  # as of a process that was killed
    search(open_search(tmp_path / "study", space, fixed, []), 7, None)
    assert states(tmp_path / "study")[left.number] in ("COMPLETE", "PRUNED")
    with pytest.raises(UserError, match="holds another search"):
        open_search(tmp_path / "study", space, [*fixed, "seed=2"], [])


@pytest.mark.slow
def test_processes_side_by_side_share_a_study(tmp_path: Path) -> None:
    typed = [*TINY, *QUIET, "trainer.max_epochs=1", "data.cache_dir=cache", RATE, "study=study", "n_trials=4"]
    command = [sys.executable, "-m", "unetkit", "tune", *typed]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    both = [subprocess.Popen(command, cwd=tmp_path, **pipes) for _ in range(2)]  # type: ignore[call-overload]
    said = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert states(tmp_path / "study") == 4 * ["COMPLETE"]
    rates = {line.split()[-1] for text in said for line in text.splitlines() if ": optimizer.lr=" in line}
    assert len(rates) == 4  # each process draws its own
