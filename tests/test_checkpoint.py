from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unetkit
from unetkit.checkpoint import describe
from unetkit.data import Preprocessing
from unetkit.errors import UserError
from unetkit.models import UNet

MODEL = {"_target_": "unetkit.models.UNet", "in_channels": 1, "num_classes": 1, "channels": [4, 8]}


def saved(path: Path, **changes: Any) -> Path:
    """A checkpoint as training writes it, of a fresh network."""
    network = UNet(1, 1, [4, 8])
    card = describe(MODEL, Preprocessing(1, None, (0.4,), (0.2,)), 0.6, {"name": "test"})
    state = {f"network.{key}": value for key, value in network.state_dict().items()}
    torch.save({"state_dict": state, "unetkit": {**card, **changes}}, path)
    return path


def test_a_loaded_network_is_ready(tmp_path: Path) -> None:
    predictor = unetkit.load(saved(tmp_path / "a.ckpt"))
    assert predictor.threshold == 0.6
    assert predictor.preprocessing == Preprocessing(1, None, (0.4,), (0.2,))
    assert not predictor.network.training
    assert predictor(np.zeros((21, 34), np.uint8)).mask.shape == (21, 34)


@pytest.mark.parametrize(
    "target",
    ["os.system", "builtins.eval", "unetkit.models.unet.torch.load", "unetkit.models.activation_bytes", "None"],
)
def test_a_strangers_checkpoint_runs_no_code(tmp_path: Path, target: str) -> None:
    path = saved(tmp_path / "a.ckpt", model={"_target_": target, "command": f"touch {tmp_path}/harm"})
    with pytest.raises(UserError, match="is not a network"):
        unetkit.load(path)
    assert not (tmp_path / "harm").exists()


def test_a_pickle_with_code_is_not_opened(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return Path.touch, (tmp_path / "harm",)  # type: ignore[return-value]

    torch.save({"unetkit": {"format": 1}, "x": Harm()}, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match="can't be read safely"):
        unetkit.load(tmp_path / "a.ckpt")
    assert not (tmp_path / "harm").exists()


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        unetkit.load(tmp_path / "none.ckpt")
    (tmp_path / "text.ckpt").write_text("hello")
    with pytest.raises(UserError, match="can't be read safely"):
        unetkit.load(tmp_path / "text.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="not written by this version"):
        unetkit.load(tmp_path / "other.ckpt")
    path = saved(tmp_path / "misfit.ckpt", model={**MODEL, "channels": [4, 6]})
    with pytest.raises(UserError, match="do not fit its own network"):
        unetkit.load(path)
