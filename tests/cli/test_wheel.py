"""The built wheel, installed into an environment of its own, works in another directory, without the clone."""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from zipfile import ZipFile

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TINY = ["model=plain_small", "model.channels=[4,8]", "data.count=16", "data.size=32", "data.cache_dir=cache"]
QUICK = ["trainer.max_epochs=1", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false", "hydra.run.dir=run"]


def typed(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """What a shell runs in a folder, where Python finds nothing of this session's own paths."""
    inherited = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "COMP_LINE")}
    return subprocess.run(
        command, shell=True, executable=shutil.which("bash"), cwd=folder, env=inherited | environment,
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    built = typed(shlex.join([sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(folder), str(ROOT)]), ROOT)
    assert built.returncode == 0, built.stderr
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def bin_dir(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new environment, which has the wheel, and sees what it depends on in this one."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    (packages,) = folder.glob("**/site-packages")
    dependencies = {sysconfig.get_path(key) for key in ("purelib", "platlib")}
    (packages / "dependencies.pth").write_text("\n".join(dependencies))  # whose own .pth files are not read
    programs = folder / ("Scripts" if sys.platform == "win32" else "bin")
    options = ["--no-deps", "--no-index", "--force-reinstall", str(wheel)]
    subprocess.run([programs / "python", "-m", "pip", "install", "-q", *options], check=True)
    return programs


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def trained(bin_dir: Path, work: Path) -> str:
    """What a training in the user's folder says."""
    done = typed(shlex.join([str(bin_dir / "unetkit"), "train", *TINY, *QUICK]), work)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_the_package_and_the_configuration_and_nothing_else(wheel: Path) -> None:
    names = [name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name]
    conf = {name for name in names if name.startswith("unetkit/conf/")}
    assert conf == {f"unetkit/{file.relative_to(ROOT).as_posix()}" for file in (ROOT / "conf").rglob("*.yaml")}
    assert all(name.startswith("unetkit/") for name in names)
    assert not [name for name in names if "__pycache__" in name]


def test_the_package_and_its_configuration_are_not_the_clones(bin_dir: Path, work: Path) -> None:
    code = "import sys, unetkit.paths as p; print(p.__file__, p.config_dir(), *sys.path, sep='\\n')"
    found = typed(shlex.join([str(bin_dir / "python"), "-c", code]), work).stdout.split()
    assert Path(found[1]) == Path(found[0]).parent / "conf"
    assert not [place for place in found if Path(place).is_relative_to(ROOT / "src") or Path(place) == ROOT]


def test_the_commands_are_listed(bin_dir: Path, work: Path) -> None:
    listed = typed(shlex.quote(str(bin_dir / "unetkit")), work)
    assert listed.returncode == 0
    assert "\n  train " in listed.stdout
    assert listed.stdout == typed(f"{shlex.quote(str(bin_dir / 'python'))} -m unetkit", work).stdout


def test_a_training_is_configured_by_the_wheels_files_and_predicts_as_it_advises(trained: str, work: Path) -> None:
    assert (work / "run" / "summary.json").exists()
    (images,) = work.glob("cache/synthetic-*/images")
    advice = trained.splitlines()[-1].removeprefix("next: ").replace("FILE_OR_FOLDER", shlex.quote(str(images)))
    done = typed(advice, work)
    assert done.returncode == 0, done.stderr
    assert len(list((work / "predictions" / "masks").iterdir())) == 16


def test_an_own_experiment_and_an_own_loss_are_found(bin_dir: Path, work: Path) -> None:
    (work / "conf" / "experiment").mkdir(parents=True)
    (work / "conf" / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /loss: mine\n  - override /model: plain_small\n"
        "data:\n  count: 16\n  size: 32\n  cache_dir: cache\n"
    )
    (work / "conf" / "loss").mkdir()
    (work / "conf" / "loss" / "mine.yaml").write_text("_target_: my_loss.MyLoss\n")
    (work / "my_loss.py").write_text("from unetkit.losses import DiceLoss\n\nclass MyLoss(DiceLoss):\n    pass\n")
    command = [str(bin_dir / "unetkit"), "train", "--config-dir", "conf", "experiment=mine", *QUICK]
    done = typed(shlex.join([*command, "hydra.run.dir=mine"]), work)
    assert done.returncode == 0, done.stderr
    assert "_target_: my_loss.MyLoss" in (work / "mine" / "config.yaml").read_text()


def test_bash_completes_the_command_as_hydra_sets_it_up(bin_dir: Path, work: Path) -> None:
    script = """
eval "$(unetkit train -sc install=bash)"
complete -p unetkit
COMP_LINE='unetkit train model=unet_sm'; COMP_POINT=${#COMP_LINE}; COMP_CWORD=2
hydra_bash_completion; echo "${COMPREPLY[@]}"
COMP_LINE='unetkit pred'; COMP_POINT=${#COMP_LINE}; COMP_CWORD=1
hydra_bash_completion; echo "${COMPREPLY[@]}"
"""
    done = typed(script, work, PATH=f"{bin_dir}{os.pathsep}{os.environ['PATH']}")
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "complete -o default -o nospace -F hydra_bash_completion unetkit",
        "model=unet_small",
        "predict",
    ]
