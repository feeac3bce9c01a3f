"""A run that is resumed goes on exactly where it stopped."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from interrupted import stop
from training_runs import config, content_of, rows, run, weights

from unetkit.checkpoints.checkpoint import Checkpoint
from unetkit.errors import UserError
from unetkit.run_files import kept_metrics
from unetkit.training.resume import find_resume, kept_training_loss, log_resume, next_position


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A run of two epochs; copy it to change it."""
    run(folder := tmp_path_factory.mktemp("finished"), cache)
    return folder


PLATEAU = ["scheduler=plateau", "scheduler.scheduler.patience=0"]


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param([], id="cosine", marks=pytest.mark.slow),
        pytest.param(["callbacks=ema", "optimizer=sgd", "scheduler=onecycle"], id="onecycle and EMA"),
        pytest.param([*PLATEAU, "scheduler.scheduler.factor=0.5"], id="plateau", marks=pytest.mark.slow),
        pytest.param([*PLATEAU, "trainer.val_check_interval=0.7"], id="plateau, scored early", marks=pytest.mark.slow),
        pytest.param(["deep_supervision=0.4", "model.channels=[4,6,8]"], id="side heads", marks=pytest.mark.slow),
        pytest.param(["augment=strong", "data.num_workers=1"], id="workers", marks=pytest.mark.slow),
    ],
)
def test_resuming_goes_on_exactly(tmp_path: Path, cache: Path, extra: list[str]) -> None:
    options = ["model.dropout=0.3", "trainer.max_epochs=4", *extra]
    run(tmp_path / "whole", cache, *options)
    interrupted = stop(config(tmp_path / "part", cache, *options), epoch=1)
    run(tmp_path / "resumed", cache, *options, f"checkpoint={interrupted}")
    whole, resumed = (weights(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("whole", "resumed"))
    for key, value in whole.items():
        assert torch.equal(value, resumed[key]), key
    last = [rows(tmp_path / name)[-2] for name in ("whole", "resumed")]
    assert last[0] == last[1]


def test_a_run_resumed_in_its_directory_keeps_its_metrics_and_adds_up_its_seconds(
    finished: Path, tmp_path: Path, cache: Path
) -> None:
    folder = shutil.copytree(finished, tmp_path / "run")
    path = folder / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    content["callbacks"]["RunFigures"]["seconds"] += 1000
    torch.save(content, path)
    summary = run(folder, cache, "trainer.max_epochs=3", f"checkpoint={path}")
    assert summary["seconds"] > 1000
    assert (folder / "metrics.1.csv").read_text() == (finished / "metrics.csv").read_text()
    assert {row["epoch"] for row in rows(folder) if row["val/iou"]} == {"2"}
    (folder / "metrics.backup.csv").touch()
    assert kept_metrics(folder) == [folder / "metrics.1.csv"]


def test_a_new_run_replaces_one_that_is_done_but_not_one_that_was_interrupted(
    finished: Path, tmp_path: Path, cache: Path
) -> None:
    folder = shutil.copytree(finished, tmp_path / "run")
    (folder / "summary.json").unlink()  # which is written last
    before = (folder / "checkpoints" / "last.ckpt").read_bytes()
    with pytest.raises(UserError, match=f"{folder} holds a run that was interrupted; resume it with checkpoint="):
        run(folder, cache)
    assert (folder / "checkpoints" / "last.ckpt").read_bytes() == before
    shutil.copy(finished / "summary.json", folder)
    assert run(folder, cache, "trainer.max_epochs=1")["epochs"] == 1


def test_a_checkpoint_of_another_network_or_recipe_or_a_finished_one_is_refused(
    finished: Path, tmp_path: Path, cache: Path
) -> None:
    path = finished / "checkpoints" / "last.ckpt"
    with pytest.raises(UserError, match=r"model\.channels"):
        run(tmp_path / "b", cache, f"checkpoint={path}", "model.channels=[4,6]", "trainer.max_epochs=9")
    for change in ("optimizer=sgd", "optimizer.lr=0.1", "scheduler=poly", "callbacks=ema", "seed=3"):
        with pytest.raises(UserError, match="resume with the same"):
            run(tmp_path / "b", cache, f"checkpoint={path}", change, "trainer.max_epochs=9")
    with pytest.raises(UserError, match="has done 2 epochs"):
        run(tmp_path / "b", cache, f"checkpoint={path}")


def test_a_checkpoint_older_than_an_option_is_resumed(finished: Path, tmp_path: Path, cache: Path) -> None:
    content = content_of(finished)
    del content["unetkit"]["model"]["attention"], content["unetkit"]["recipe"]["deep_supervision"]
    torch.save(content, path := tmp_path / "old.ckpt")
    assert run(tmp_path / "b", cache, f"checkpoint={path}", "trainer.max_epochs=3")["epochs"] == 3


@pytest.mark.slow
def test_a_plateau_is_told_each_score_once(tmp_path: Path, cache: Path) -> None:
    options = ["scheduler=plateau", "scheduler.scheduler.patience=0", "trainer.check_val_every_n_epoch=2"]
    run(tmp_path / "part", cache, *options, "trainer.max_epochs=3")
    resumed = [f"checkpoint={tmp_path / 'part'}", "trainer.max_epochs=4"]
    seen = []
    for name, extra in (("whole", ["trainer.max_epochs=4"]), ("resumed", resumed)):
        run(tmp_path / name, cache, *options, *extra)
        content = content_of(tmp_path / name)
        seen.append(content["lr_schedulers"][0]["last_epoch"])
    assert seen == [1, 1]  # the second score is told after the checkpoint is saved


def test_a_run_that_ended_within_an_epoch_goes_on_there(tmp_path: Path, cache: Path) -> None:
    options = ["model.dropout=0.3", "scheduler=none", "trainer.max_epochs=2"]
    run(tmp_path / "whole", cache, *options)
    assert run(tmp_path / "part", cache, *options, "trainer.max_steps=2")["steps"] == 2  # of three batches
    stopped = tmp_path / "part" / "checkpoints" / "last.ckpt"
    assert next_position(Checkpoint.read(stopped)) == (0, 2)
    with pytest.raises(UserError, match=r"was saved within an epoch with data\.batch_size=8, and this run has 4"):
        run(tmp_path / "resumed", cache, *options, f"checkpoint={stopped}", "data.batch_size=4")
    run(tmp_path / "resumed", cache, *options, f"checkpoint={stopped}")
    whole, resumed = (weights(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("whole", "resumed"))
    for key, value in whole.items():
        assert torch.equal(value, resumed[key]), key
    assert rows(tmp_path / "whole")[-1] == rows(tmp_path / "resumed")[-1]


@pytest.mark.slow
def test_a_checkpoint_of_an_earlier_version_from_within_an_epoch_is_resumed_with_a_warning(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path / "part", cache, "trainer.max_epochs=2", "trainer.max_steps=2")
    content = content_of(tmp_path / "part")
    del content["within_epoch"]
    torch.save(content, within := tmp_path / "within.ckpt")
    for part in content["loops"]["fit_loop"]["epoch_progress"].values():
        part["processed"] += 1  # at max_steps, such a version ended the epoch
    torch.save(content, ended := tmp_path / "ended.ckpt")
    for path, position, last in ((within, (0, 2), 6), (ended, (1, 0), 5)):
        assert next_position(Checkpoint.read(path)) == position
        summary = run(tmp_path / f"from_{path.stem}", cache, "trainer.max_epochs=2", f"checkpoint='{path}'")
        assert summary["steps"] == last
    assert caplog.text.count("was saved within epoch 0 by an earlier version") == 2
    assert caplog.text.count("some images of that epoch will not be seen in it") == 1


def test_the_best_epoch_so_far_is_named_if_a_run_is_resumed_in_another_directory(
    finished: Path, tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    best = json.loads((finished / "summary.json").read_text())["best"]
    caplog.set_level("INFO")
    resumed = [f"checkpoint={finished}", "trainer.max_epochs=3"]
    run(tmp_path / "second", cache, *resumed)
    assert f"until here it is {best['checkpoint']}, with {best['monitor']} {best['score']:.4f}" in caplog.text
    caplog.clear()
    (tmp_path / "link").symlink_to(finished)
    resume = find_resume(cfg := config(tmp_path / "link", cache, *resumed), tmp_path / "link")
    assert resume is not None
    log_resume(resume, cfg.monitor, tmp_path / "link")
    assert "resuming with epoch 2" in caplog.text
    assert "until here it is" not in caplog.text


def test_a_one_cycle_schedule_is_not_resumed_with_another_length(tmp_path: Path, cache: Path) -> None:
    run(tmp_path / "a", cache, "scheduler=onecycle")
    path = tmp_path / "a" / "checkpoints" / "last.ckpt"
    with pytest.raises(UserError, match="planned for 6 steps"):
        run(tmp_path / "b", cache, "scheduler=onecycle", f"checkpoint={path}", "trainer.max_epochs=4")


def test_a_run_interrupted_before_its_records_gets_them(tmp_path: Path, cache: Path) -> None:
    before = run(tmp_path, cache, "callbacks=ema")
    for name in ("summary.json", "pictures/predictions.png"):
        (tmp_path / name).unlink()
    after = run(tmp_path, cache, "callbacks=ema", f"checkpoint={tmp_path}")
    assert kept_training_loss(tmp_path, 2) == {}  # of no epoch but the one that is asked for
    assert (after["epochs"], after["steps"]) == (before["epochs"], before["steps"])
    for score in ("val/iou", "val/loss", "train/loss_epoch"):
        assert after[score] == pytest.approx(before[score], abs=1e-6)
    for name in ("summary.json", "pictures/predictions.png"):
        assert (tmp_path / name).exists()
