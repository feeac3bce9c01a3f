"""Run directories, checkpoints and configurations of earlier versions still work.

`old_run` was written by commit 856ec82, in which EMA, schedules and loggers had other module paths and `data.resident`
and `data.order_seed` their earlier names. It was interrupted after two of three epochs.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from training_runs import ROOT, composed, config, content_of, weights

import unetkit
from unetkit.errors import UserError
from unetkit.evaluation import LabelledImages, measure, open_models
from unetkit.training.folds import check_same_recipe
from unetkit.training.recipes import differences
from unetkit.training.renamed import keep_earlier_defaults, use_new_names
from unetkit.training.run import train
from unetkit.training.run_data import data_of_run

OLD_RUN = Path(__file__).parent / "old_run"
# What its third epoch leads to with the present draws of the augmentation. With those of its own time, the same commit
# reached 1.364687, 0.2, 0.116967 and 1.346569 without the interruption.
EXPECTED = {"val/loss": 1.36507, "val/iou": 0.193407, "val/iou_per_image": 0.113111, "train/loss_epoch": 1.359027}


@pytest.fixture
def old_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # its cache is a relative path
    return shutil.copytree(OLD_RUN, tmp_path / "run")


def old_options(run: Path) -> Sequence[str]:
    tiny = ["model=plain_small", "model.channels=[2,4]", "data.count=12", "data.size=24", "data.batch_size=4"]
    rest = ["callbacks=ema", "callbacks.ema.decay=0.9", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false"]
    return [*tiny, *rest, f"run_dir={run}", f"checkpoint={run}", "data.cache_dir=cache"]


def test_an_old_run_is_resumed_with_its_state_and_the_present_draws(old_run: Path) -> None:
    summary = train(composed(*old_options(old_run), "trainer.max_epochs=3"))
    assert (summary["epochs"], summary["steps"]) == (3, 9)
    for name, value in EXPECTED.items():
        assert summary[name] == pytest.approx(value, abs=1e-4), name
    content = content_of(old_run)
    assert content["callbacks"]["EMA"] == {"latest_update_step": 9}
    assert content["callbacks"]["RunFigures"]["seconds"] > 0
    assert (old_run / "metrics.1.csv").read_text() == (OLD_RUN / "metrics.csv").read_text()


def test_an_old_run_of_another_schedule_is_not_resumed(old_run: Path) -> None:
    with pytest.raises(UserError, match=r"was trained with scheduler: .*\.warmup_cosine, and"):
        train(composed(*old_options(old_run), "trainer.max_epochs=3", "scheduler=poly"))


def test_an_old_run_is_evaluated_on_its_own_validation_images(old_run: Path, cache: Path) -> None:
    (model,) = open_models([str(old_run)], ["old"], "cpu")
    measured = measure("old", model.predictor, LabelledImages(data_of_run(old_run, cache), "val"), ("foreground",))
    validating = [line for line in (old_run / "split.csv").read_text().split() if line.endswith("val")]
    assert len(measured.ids) == len(validating) == 2


@pytest.mark.parametrize("path", [OLD_RUN, *sorted((ROOT / "checkpoints").glob("*.ckpt"))], ids=lambda path: path.name)
def test_old_checkpoints_predict(path: Path) -> None:
    channels = unetkit.load(path).preprocessing.channels
    image = np.random.default_rng(0).integers(0, 256, (40, 40, channels)).astype(np.uint8)
    prediction = unetkit.load(path)(image)
    assert prediction.mask.shape == (40, 40)
    assert np.isfinite(prediction.probability).all()


def test_a_new_run_starts_from_old_weights(old_run: Path, tmp_path: Path) -> None:
    options = [option for option in old_options(tmp_path / "new") if not option.startswith("checkpoint=")]
    train(composed(*options, f"weights={old_run}", "trainer.max_epochs=1", "optimizer.lr=0"))
    then, now = (weights(run / "checkpoints" / "last.ckpt") for run in (old_run, tmp_path / "new"))
    assert all(torch.equal(then[key], now[key]) for key in then if "running" not in key and "tracked" not in key)


def test_the_configuration_that_an_old_run_wrote_trains_again(old_run: Path, tmp_path: Path) -> None:
    cfg = OmegaConf.load(old_run / "config.yaml")
    assert isinstance(cfg, DictConfig)
    cfg.run_dir = str(tmp_path / "again")
    cfg.trainer.max_epochs = 1
    assert Path(train(cfg)["last_checkpoint"]) == tmp_path / "again" / "checkpoints" / "last.ckpt"
    assert (tmp_path / "again" / "checkpoints" / "best.ckpt").exists()


def test_earlier_names_in_a_configuration_are_replaced_and_told(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    cfg = config(tmp_path, cache, "callbacks=ema", "+data.resident=true", "+data.order_seed=3")
    cfg.callbacks.ema._target_ = "unetkit.callbacks.EMA"
    cfg.scheduler.scheduler._target_ = "unetkit.schedules.warmup_cosine"
    use_new_names(cfg)
    assert (cfg.data.cache_on_device, cfg.data.shuffle_seed) == (True, 3)
    assert "resident" not in cfg.data
    assert cfg.callbacks.ema._target_ == "unetkit.training.callbacks.EMA"
    assert cfg.scheduler.scheduler._target_ == "unetkit.training.schedules.warmup_cosine"
    for line in ("data.resident is now called data.cache_on_device", "unetkit.callbacks.EMA is now called"):
        assert line in caplog.text
    assert cfg.trainer.max_epochs == 2  # the rest stays
    assert OmegaConf.is_interpolation(cfg.callbacks.best, "dirpath")


def test_folds_of_an_old_cross_validation_are_of_the_same_recipe(tmp_path: Path) -> None:
    options = [option for option in old_options(tmp_path) if not option.startswith("checkpoint=")]
    cfg = composed(*options, "trainer.devices=1", "trainer.max_epochs=3", name="cross_validate")
    (tmp_path / "fold-0").mkdir()
    shutil.copy(OLD_RUN / "config.yaml", tmp_path / "fold-0")
    check_same_recipe(cfg, tmp_path)
    cfg.optimizer.lr = 0.1
    with pytest.raises(UserError, match=r"optimizer\.lr=0\.003"):
        check_same_recipe(cfg, tmp_path)


def test_smoothing_in_pixels_leaves_no_share_beside_it(tmp_path: Path, cache: Path) -> None:
    cfg = config(tmp_path, cache, "+loss.smooth=1", "loss.bce_weight=2")
    use_new_names(cfg)
    assert "smoothing" not in cfg.loss
    assert (cfg.loss.smooth, cfg.loss.bce_weight) == (1, 2)


@pytest.mark.parametrize("choice", ["data=folder", "scheduler=plateau", "callbacks=early_stopping", "loss=bce"])
def test_keys_that_are_newer_than_a_run_make_it_no_other_recipe(choice: str, tmp_path: Path) -> None:
    cfg = composed(choice, f"run_dir={tmp_path}")
    stored = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(stored, dict)
    for key in ("background", "max_pixels", "stacks", "images", "masks", "primary_metric"):
        stored["data"].pop(key, None)
    for key in ("class_weights", "pos_weight", "label_smoothing"):
        stored["loss"].pop(key, None)
    for key in ("metrics", "checkpoint_every"):
        del stored[key]
    if "mode" in (stored["scheduler"]["scheduler"] or {}):
        stored["scheduler"]["scheduler"]["mode"] = "max"
    if "early_stopping" in stored["callbacks"]:
        stored["callbacks"]["early_stopping"]["mode"] = "max"
    OmegaConf.save(OmegaConf.create(stored), tmp_path / "config.yaml")
    assert differences(cfg, tmp_path / "config.yaml") == ""


@pytest.mark.parametrize("loss", ["dice_bce", "dice_focal"])
def test_an_old_run_goes_on_with_its_smoothing_unless_another_is_typed(loss: str, tmp_path: Path, cache: Path) -> None:
    key = "loss" if loss == "dice_bce" else "loss.terms.dice"
    cfg = config(tmp_path, cache, f"loss={loss}")
    stored = config(tmp_path, cache, f"loss={loss}", f"~{key}.smoothing", f"+{key}.smooth=2.0")
    OmegaConf.save(stored, tmp_path / "config.yaml", resolve=True)  # as training writes it
    keep_earlier_defaults(cfg, tmp_path / "config.yaml")
    assert cfg.loss == stored.loss
    others = [config(tmp_path, cache, f"loss={loss}", f"{key}.smoothing=0.03"), config(tmp_path, cache, "loss=bce")]
    for other in others:
        before = other.copy()
        keep_earlier_defaults(other, tmp_path / "config.yaml")
        assert other == before


def test_a_run_from_before_crops_by_area_keeps_one_crop_of_each_image(tmp_path: Path, cache: Path) -> None:
    cfg = config(tmp_path, cache, "data.crop_size=20")
    stored = config(tmp_path, cache, "data.crop_size=20", "~data.crops_per_image", "~data.foreground_crops")
    OmegaConf.save(stored, tmp_path / "config.yaml", resolve=True)
    keep_earlier_defaults(cfg, tmp_path / "config.yaml")
    assert (cfg.data.crops_per_image, cfg.data.foreground_crops) == (1, 0)
    OmegaConf.save(config(tmp_path, cache, "data.crop_size=20"), tmp_path / "config.yaml", resolve=True)
    keep_earlier_defaults(newer := config(tmp_path, cache, "data.crop_size=20"), tmp_path / "config.yaml")
    assert (newer.data.crops_per_image, newer.data.foreground_crops) == ("auto", 0.33)
