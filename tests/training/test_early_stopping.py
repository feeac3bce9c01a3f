"""Early stopping looks at the last validations, also after `min_epochs`."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from training_runs import config, content_of, run

from unetkit.training.callbacks import EarlyStopping
from unetkit.training.renamed import use_new_names


class Scores(L.LightningModule):
    """Its validation scores are given, one after the other."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.given = scores
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen = 0

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.weight.sum()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/iou", self.given[self.seen])
        self.seen += 1

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def epochs(scores: list[float], tmp_path: Path, patience: int = 2, **options: Any) -> tuple[int, int]:
    """Epochs and validations until a run with these scores stops."""
    module = Scores([*scores, *[0.0] * 20])
    stopping = EarlyStopping("val/iou", patience=patience, mode="max")
    loader = DataLoader(TensorDataset(torch.zeros(4, 1)), batch_size=1)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    kept = {"default_root_dir": tmp_path, "enable_checkpointing": False, "max_epochs": 12, "limit_val_batches": 1}
    trainer = L.Trainer(callbacks=stopping, **quiet, **kept, **options)  # type: ignore[arg-type]
    trainer.fit(module, loader, loader)
    return trainer.current_epoch, module.seen - (trainer.num_sanity_val_steps > 0)


QUICK = {"num_sanity_val_steps": 0}
FALLS, RISES = [0.5, 0.4, 0.4, 0.4], [0.6, 0.7, 0.8, 0.9]


@pytest.mark.parametrize(
    ("scores", "options", "stops_after"),
    [
        pytest.param(FALLS, {}, (3, 3), id="patience runs out"),
        pytest.param([*FALLS, *RISES], {"min_epochs": 5}, (10, 10), id="it rises again at min_epochs"),
        pytest.param([*FALLS, *FALLS], {"min_epochs": 5}, (5, 5), id="it does not rise again"),
        pytest.param([*FALLS, *RISES], {"min_steps": 18}, (10, 10), id="it rises again at min_steps"),
        pytest.param([*FALLS, 0.3, 0.3], {"min_epochs": 3, "val_check_interval": 0.5}, (3, 6), id="by steps"),
        pytest.param([*FALLS, *RISES], {"min_epochs": 3, "val_check_interval": 0.5}, (5, 10), id="rises, by steps"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_run_stops_when_the_score_has_not_risen_lately_and_not_before_its_least_length(
    tmp_path: Path, scores: list[float], options: dict[str, Any], stops_after: tuple[int, int]
) -> None:
    assert epochs(scores, tmp_path, **QUICK, **options) == stops_after


def test_it_is_what_the_choice_of_files_makes_and_what_earlier_configurations_get(tmp_path: Path) -> None:
    cfg = config(tmp_path, tmp_path, "callbacks=early_stopping")
    assert cfg.callbacks.early_stopping._target_ == "unetkit.training.callbacks.EarlyStopping"
    cfg.callbacks.early_stopping._target_ = "lightning.pytorch.callbacks.EarlyStopping"
    use_new_names(cfg)
    assert cfg.callbacks.early_stopping._target_ == "unetkit.training.callbacks.EarlyStopping"


def test_its_state_has_the_key_of_lightnings_own() -> None:
    theirs = L.pytorch.callbacks.EarlyStopping("val/iou", mode="max")
    assert EarlyStopping("val/iou", mode="max").state_key == theirs.state_key
    assert EarlyStopping("val/iou", mode="max").state_dict().keys() == theirs.state_dict().keys()


@pytest.mark.slow
def test_a_run_whose_score_rises_at_min_epochs_goes_on(tmp_path: Path, cache: Path) -> None:
    options = ["data.count=60", "data.size=48", "optimizer.lr=1e-3", "trainer.max_epochs=30", "trainer.min_epochs=8"]
    stopping = ["callbacks=early_stopping", "callbacks.early_stopping.patience=2"]
    run(tmp_path, cache, *options, *stopping)
    scores = SimpleNamespace(**content_of(tmp_path)["callbacks"])
    (state,) = (value for key, value in vars(scores).items() if key.startswith("EarlyStopping"))
    assert state["wait_count"] >= 2
