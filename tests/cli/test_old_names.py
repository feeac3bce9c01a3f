"""Keys that were renamed are accepted by their earlier names; choices that were removed name what to use."""

import pytest
from conftest import Unetkit
from omegaconf import OmegaConf

from unetkit.cli.old_names import with_new_names
from unetkit.training.api import compose_training
from unetkit.training.renamed import KEYS, REMOVED


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("data.resident=true", "data.cache_on_device=true"),
        ("++data.resident=true", "++data.cache_on_device=true"),
        ("+data.order_seed=1,2", "++data.shuffle_seed=1,2"),
        ("~data.order_seed", "~data.shuffle_seed"),
        ("~data.order_seed=47", "~data.shuffle_seed=47"),
    ],
)
def test_an_old_name_is_replaced_with_one_line(typed: str, read: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert with_new_names([typed]) == [read]
    old = next(key for key in KEYS if key in typed)
    assert capsys.readouterr() == ("", f"{old} is now called {KEYS[old]}\n")


def test_a_key_that_had_to_be_added_once_and_is_there_now_is_set(unetkit: Unetkit) -> None:
    assert with_new_names(["+experiment=mine"]) == ["+experiment=mine"]
    done = unetkit("train", "scheduler=plateau", "+scheduler.scheduler.threshold=0.02", "+tag.of=mine", "--cfg", "job")
    assert done.status == 0, done.stderr
    assert "threshold: 0.02" in done.stdout
    assert "of: mine" in done.stdout


def test_other_arguments_stay_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    others = [
        "train.py",
        "data.residents=1",
        "mydata.resident=1",
        "input=data.resident",
        "-m",
        "data=folder",
        "data.root=a=b",
    ]
    assert with_new_names(others) == others
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("old", KEYS)
def test_the_new_name_is_a_key_of_the_configuration(old: str, unetkit: Unetkit) -> None:
    done = unetkit("train", f"{old}=null", "--cfg", "job")
    assert done.stderr == f"{old} is now called {KEYS[old]}\n"
    assert f"  {KEYS[old].rpartition('.')[2]}: null\n" in done.stdout


@pytest.mark.parametrize("old", REMOVED)
def test_a_removed_choice_names_what_replaces_it(old: str, unetkit: Unetkit) -> None:
    assert unetkit("train", old) == (1, "", f"error: {old} was removed; use {REMOVED[old]}\n")
    assert unetkit("train", REMOVED[old], "--cfg", "job").status == 0


@pytest.mark.parametrize(("loss", "key"), [("dice", "loss.smooth"), ("dice_focal", "loss.terms.dice.smooth")])
def test_smoothing_in_pixels_is_read_beside_the_present_share(loss: str, key: str, unetkit: Unetkit) -> None:
    typed = unetkit("train", f"loss={loss}", f"{key}=1.5", "--cfg", "job")
    assert typed.status == 0
    assert " smooth: 1.5\n" in typed.stdout
    node = OmegaConf.select(compose_training([f"loss={loss}", f"{key}=2", "run_dir=unused"]), key.rpartition(".")[0])
    assert node.smooth == 2
