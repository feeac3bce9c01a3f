"""`unetkit find-lr` proposes a rate, draws the curve, and leaves nothing else."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import Unetkit

from unetkit.errors import UserError
from unetkit.training.learning_rate import propose

TINY = ["model=plain_small", "model.channels=[4,8]", "data.count=24", "data.size=36", "trainer.accelerator=cpu"]


def test_a_rate_to_type_and_its_picture(
    tmp_path: Path, cache: Path, unetkit: Unetkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    typed = [*TINY, "steps=50", "least=1e-5", "most=3", f"data.cache_dir={cache}", "scheduler=onecycle"]
    done = unetkit("find-lr", *typed, "callbacks=ema", "trainer.max_epochs=1", "logger=wandb")
    assert done.status == 0, done.stderr
    found = re.search(r"wrote \S*learning_rate.png: the loss falls most steeply at optimizer.lr=(\S+)", done.stdout)
    assert found
    assert 1e-5 < float(found[1]) < 3
    assert cv2.imread("learning_rate.png") is not None
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["learning_rate.png"]


def test_the_rate_of_the_steepest_fall() -> None:
    rates = np.geomspace(1e-6, 1, 100)
    losses = 1 / (1 + (rates / 3e-3) ** 0.8) + np.where(rates > 0.2, 5 * rates, 0)
    assert propose(rates, losses) == pytest.approx(3e-3, rel=0.35)


def test_a_loss_that_never_falls() -> None:
    with pytest.raises(UserError, match="the loss does not fall at any learning rate of the test; give a lower least="):
        propose(np.geomspace(1e-6, 1, 60), np.linspace(1, 2, 60))


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("steps=10", "steps=10 must be a whole number of at least 50"),
        ("least=2", "least=2 most=1.0 must be above 0, and less than most"),
        ("output=x.svg", "x.svg must end in .png; the curve is a picture"),
    ],
)
def test_wrong_values(cache: Path, unetkit: Unetkit, option: str, said: str) -> None:
    done = unetkit("find-lr", option, f"data.cache_dir={cache}")
    assert (done.status, said in done.stderr) == (1, True)
