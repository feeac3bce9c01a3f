"""A model card says what a checkpoint is, what it was trained on, and its scores as far as they are known."""

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from unetkit.checkpoints.checkpoint import Checkpoint, build_network, save_weights
from unetkit.checkpoints.metadata import Metadata
from unetkit.data import Preprocessing
from unetkit.errors import UserError
from unetkit.report import model_card
from unetkit.training.cross_validation import cross_validate

CONF = Path(__file__).parents[2] / "conf"
MODEL = {"_target_": "unetkit.models.UNet", "in_channels": 1, "num_classes": 1, "channels": [4, 8]}


def saved(path: Path, data: dict[str, object], min_area: int = 0) -> Path:
    metadata = Metadata(MODEL, Preprocessing(1), 0.4, data, {"optimizer": "torch.optim.AdamW"}, min_area)
    save_weights(path, metadata, build_network(MODEL, "test").state_dict(), epoch=1)
    return path


@pytest.fixture
def validation(tmp_path: Path) -> Path:
    """The records of a cross-validation of two folds."""
    folder = tmp_path / "cv"
    score = {"value": 0.51234, "low": 0.4, "high": 0.6}
    shown = ("per_image/kaggle", "per_image/iou", "per_image/dice", "pooled/iou")
    chosen = {"threshold": 0.5, "min_area": 0, "kaggle_of_others_choice": 0.5}
    summary = {
        "folds": {"fold-0": {"kaggle": 0.5}, "fold-1": {"kaggle": 0.52}},
        "images": 24,
        "tta": "none",
        "models": {"out of fold": {"scores": dict.fromkeys(shown, score)}},
        "post_processing": {**chosen, "fitted": {"threshold": 0.42, "min_area": 5}},
    }
    facts = {"epochs": 1, "seed": 47, "precision": "32-true", "device": "a processor", "git_commit": None}
    for fold in (0, 1):
        (folder / f"fold-{fold}").mkdir(parents=True)
        records = json.dumps({**facts, "data": {"split": "kfold", "folds": 2, "fold": fold}})
        (folder / f"fold-{fold}" / "summary.json").write_text(records, encoding="utf-8")
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    (folder / ".hydra").mkdir()
    typed = "- model=plain_small\n- data.root=/home/me\n- hydra.run.dir=x\n"
    (folder / ".hydra" / "overrides.yaml").write_text(typed, encoding="utf-8")
    return folder


def test_the_card_has_the_scores_of_its_cross_validation(validation: Path, tmp_path: Path) -> None:
    data = {"name": "synthetic", "train": 12, "val": 12, "split": "kfold", "fold": 1, "folds": 2, "seed": 47}
    file = saved(tmp_path / "a.ckpt", data, min_area=7)
    card = model_card(file, validation)
    parameters = sum(p.numel() for p in Checkpoint.read(file).build_network().parameters())
    for said in (
        f"UNet of {parameters:,} parameters",
        "masks of fewer than 7 pixels",
        "12 images of `synthetic`, 12 kept for validation; split `kfold`, fold 1 of 2, seed 47",
        "Out of fold, on 24 images",
        "| Kaggle's score, mean over images | 0.5123 | 0.4000 to 0.6000 |",
        "threshold 0.42 and least area 5 give the\nbest",
        "0.5000, 0.5200",
        "Trained for 1 epoch per fold, seed 47, 32",
        "weights in float32",
        "unetkit cross-validate model=plain_small data.root=DIR\n",
        f"`unetkit train model=plain_small weights={file}\ndata=folder data.root=DIR optimizer.lr=1e-3`",
    ):
        assert said in card
    assert "/home/me" not in card
    assert "Kaggle's competition" not in card
    assert "\n\n\n" not in card


def test_a_card_of_tgs_salt_without_scores(tmp_path: Path) -> None:
    card = model_card(saved(tmp_path / "a.ckpt", {"name": "tgs_salt"}), None)
    assert "| trained on | `tgs_salt` |" in card
    assert "Not measured here. Measure it on images that it was not trained on: `unetkit evaluate" in card
    assert "[Kaggle's competition](https://" in card
    assert "out of fold" not in card.lower()
    assert "masks of fewer than" not in card


def test_a_folder_without_scores_is_named(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps({"val/iou": 0.5}), encoding="utf-8")
    with pytest.raises(UserError, match=r"scores=.* is no directory of a finished cross-validation"):
        model_card(saved(tmp_path / "a.ckpt", {"name": "test"}), tmp_path)


@pytest.mark.slow
def test_the_card_of_a_fold_that_was_trained(tmp_path: Path) -> None:
    tiny = ["model=plain_small", "model.channels=[4,8]", "data.count=24", "data.size=36", "data.folds=2"]
    tiny += ["trainer.accelerator=cpu", "trainer.max_epochs=1", "trainer.enable_progress_bar=false"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        options = [f"run_dir={tmp_path}", f"data.cache_dir={tmp_path / 'cache'}", "cross_validation.bootstrap=100"]
        summary = cross_validate(compose("cross_validate", [*tiny, *options]))
    card = model_card(tmp_path / "ensemble" / "fold-1.ckpt", tmp_path)
    kaggle = summary["models"]["out of fold"]["scores"]["per_image/kaggle"]
    assert f"| {kaggle['value']:.4f} | {kaggle['low']:.4f} to {kaggle['high']:.4f} |" in card
    assert "12 images of `synthetic`, 12 kept for validation; split `kfold`, fold 1 of 2, seed 47" in card
    chosen = summary["post_processing"]
    assert (f"masks of fewer than {chosen['min_area']} pixels" in card) == (chosen["min_area"] > 0)
