"""`unetkit` lists its commands, and each command explains itself."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Unetkit

from unetkit.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
WITH_OWN_HELP = [name for name in COMMANDS if name not in ("train", "cross-validate", "find-lr", "find-batch-size")]


def test_the_commands_are_listed_without_waiting_for_hydra_or_torch() -> None:
    code = "import sys; from unetkit.cli.main import main; main(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *lines, modules = done.stdout.splitlines()
    listed = [line.split()[0] for line in lines if line.startswith("  ")]
    assert listed == list(COMMANDS)
    assert not {"torch", "hydra", "omegaconf", "numpy"} & set(modules.split())


def test_help_is_the_same_list(unetkit: Unetkit) -> None:
    assert unetkit() == unetkit("--help") == unetkit("-h")
    assert unetkit().status == 0


@pytest.mark.parametrize(
    ("typed", "meant"), [("trian", "train"), ("cross_validate", "cross-validate"), ("exprt", "export")]
)
def test_the_nearest_command_is_proposed(typed: str, meant: str, unetkit: Unetkit) -> None:
    told = f"error: {typed} is not a command of unetkit; did you mean {meant}?\n"
    assert unetkit(typed, "model=unet_small") == (1, "", told)


def test_a_word_that_is_near_to_none_gets_the_list(unetkit: Unetkit) -> None:
    assert f"it must be one of {', '.join(COMMANDS)}" in unetkit("xyzzy").stderr


@pytest.mark.parametrize("name", WITH_OWN_HELP)
def test_help_says_what_a_command_does_and_what_its_keys_mean(name: str, unetkit: Unetkit) -> None:
    for option in ("--help", "-h"):
        done = unetkit(name, option)
        assert done.status == 0
        first, *rest = done.stdout.splitlines()
        assert f"`unetkit {name}" in first
        assert any(": " in line and "  # " in line for line in rest)
        assert "override" not in done.stdout  # which is for Hydra


@pytest.mark.parametrize("name", ["train", "cross-validate", "find-lr", "find-batch-size"])
def test_help_of_a_training_lists_groups_and_keys(name: str, unetkit: Unetkit) -> None:
    shown = unetkit(name, "--help").stdout
    assert "model: attention_unet, " in shown
    assert "max_epochs: " in shown
    assert f": unetkit {name} GROUP=FILE" in shown.splitlines()[0]
    assert "--config-dir DIR adds your own files" in shown


def test_scripts_of_the_clone_are_the_commands() -> None:
    scripts = {module: ROOT / "scripts" / f"{module}.py" for module, _ in COMMANDS.values()}
    scripts["train"] = ROOT / "train.py"
    for module, script in scripts.items():
        assert f"from unetkit.cli.{module} import run\n" in script.read_text()
    done = subprocess.run([sys.executable, scripts["predict"], "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Predict the masks of images")


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, unetkit.cli.train; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "lightning", "albumentations", "cv2"} & set(done.stdout.split())


def test_a_pipe_that_closes_early_is_no_error() -> None:
    command = f"{sys.executable} {ROOT / 'train.py'} --help | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stderr == ""
