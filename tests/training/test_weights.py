"""A new run that starts from the weights of another."""

import shutil
from pathlib import Path

import pytest
import torch
from training_runs import content_of, run, weights

from unetkit.errors import UserError


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A run of two epochs; copy it to change it."""
    run(folder := tmp_path_factory.mktemp("finished"), cache)
    return folder


def test_a_warning_says_that_weights_may_know_the_validation_images(
    finished: Path, tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path / "same", cache, "trainer.fast_dev_run=true", f"weights={finished}")
    assert "another part" not in caplog.text
    run(tmp_path / "other", cache, "trainer.fast_dev_run=true", f"weights={finished}", "data.split=kfold")
    assert "was trained on another part of data=synthetic" in caplog.text


def test_a_run_that_started_from_weights_is_resumed_with_or_without_naming_them(
    finished: Path, tmp_path: Path, cache: Path
) -> None:
    content = content_of(finished)
    content["unetkit"]["preprocessing"] |= {"mean": [0.1], "std": [0.9]}
    other = tmp_path / "other.ckpt"
    torch.save(content, other)
    run(tmp_path / "a", cache, f"weights={other}")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    longer = "trainer.max_epochs=3"
    run(tmp_path / "a", cache, f"checkpoint={tmp_path / 'a'}", longer)
    run(tmp_path / "b", cache, f"checkpoint={tmp_path / 'b'}", f"weights={other}", longer)
    a, b = (tmp_path / name / "checkpoints" / "last.ckpt" for name in "ab")
    assert torch.load(a, weights_only=True)["unetkit"]["preprocessing"]["mean"] == (0.1,)
    ours, theirs = weights(a), weights(b)
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


def test_weights_of_another_run_start_a_new_one(finished: Path, tmp_path: Path, cache: Path) -> None:
    last = finished / "checkpoints" / "last.ckpt"
    frozen = ["optimizer.lr=0", "trainer.max_epochs=1"]
    summary = run(tmp_path / "second", cache, f"weights={last}", "model.dropout=0.3", *frozen)
    assert summary["epochs"] == 1
    ours = weights(Path(summary["last_checkpoint"]))
    for key, value in weights(last).items():
        assert "running" in key or "tracked" in key or torch.equal(value, ours[key]), key
    classes = run(tmp_path / "classes", cache, f"weights={last}", "data=synthetic_multiclass", *frozen)
    finer = weights(Path(classes["last_checkpoint"]))
    assert finer["network.head.weight"].shape[0] == 4
    assert torch.equal(finer["network.encoder.0.0.weight"], weights(last)["network.encoder.0.0.weight"])
    for options, said in (
        ([f"weights={last}", f"checkpoint={last}"], "give one of them"),
        ([f"weights={last}", "model.channels=[4,6]"], r"another network: model.channels=\[4, 8\] \(here \[4, 6\]\)"),
        (["weights=nowhere.ckpt"], "nowhere.ckpt does not exist"),
    ):
        with pytest.raises(UserError, match=said):
            run(tmp_path / "third", cache, *frozen, *options)
    content = torch.load(last, weights_only=True)
    torch.save({key: content[key] for key in ("unetkit", "state_dict")}, tmp_path / "bare.ckpt")
    with pytest.raises(UserError, match="start with weights="):
        run(tmp_path / "third", cache, f"checkpoint={tmp_path / 'bare.ckpt'}")
