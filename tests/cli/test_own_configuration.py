"""A user's own `conf/` beside their work adds groups' files and experiments, and their own module is found there."""

import json
from pathlib import Path

import pytest
from conftest import Unetkit

FILES = {
    "conf/experiment/mine.yaml": """# @package _global_
defaults:
  - override /model: slim
  - override /loss: squared
data:
  count: 16
  size: 32
trainer:
  max_epochs: 1
  accelerator: cpu
  enable_progress_bar: false
""",
    "conf/model/slim.yaml": """defaults:
  - plain_small
channels: [4, 8]
""",
    "conf/loss/squared.yaml": "_target_: my_losses.Squared\n",
    "my_losses.py": """from torch import nn

class Squared(nn.Module):
    def forward(self, logits, target, valid):
        return ((logits[:, 0].sigmoid() - target) ** 2)[valid].mean()
""",
}


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a user's own work, as the working directory."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_own_files_are_choices_of_every_command(work: Path, unetkit: Unetkit) -> None:
    shown = unetkit("train", "--config-dir", "conf", "--help").stdout
    assert "mine, none, recreation_large" in shown
    assert "plain_small, pspnet, residual_unet, segformer, segmenter, separable_unet, slim, " in shown
    done = unetkit("draw", "--config-dir", "conf", "model=slim", "output=slim.svg")
    assert done == (0, "wrote slim.svg; open it in a browser\n", "")
    shown = unetkit("cross-validate", "--config-dir", "conf", "experiment=mine", "--cfg", "job").stdout
    assert "_target_: my_losses.Squared" in shown


def test_a_folder_conf_is_not_read_without_being_asked_for(work: Path, unetkit: Unetkit) -> None:
    assert unetkit("train", "experiment=mine").stderr.startswith("error: experiment=mine does not exist; it may be ")


def test_own_network_and_loss_are_trained(work: Path, unetkit: Unetkit) -> None:
    done = unetkit("train", "--config-dir", "conf", "experiment=mine", "hydra.run.dir=run", "data.cache_dir=cache")
    assert done.status == 0, done.stderr
    assert json.loads((work / "run" / "summary.json").read_text())["epochs"] == 1
    assert "_target_: my_losses.Squared" in (work / "run" / "config.yaml").read_text()
