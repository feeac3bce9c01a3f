"""Each image is scored by the network that has not seen it, and a threshold by images that did not choose it."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import WritePairs
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from unetkit.checkpoints.files import find_checkpoints
from unetkit.checkpoints.loading import load_ensemble
from unetkit.errors import UserError
from unetkit.evaluation import Measured, Measures, measure_image
from unetkit.prediction.predictor import Prediction
from unetkit.training.cross_validation import (
    PostProcessing,
    choose,
    cross_validate,
    fit,
    kaggle_grid,
    kaggle_of_others_choice,
)

CONF = Path(__file__).parents[2] / "conf"


def measured(*images: tuple[list[float], list[int]]) -> Measured:
    """Images of one row, each as probabilities and truth."""
    rows = []
    for values, truth in images:
        probability = np.array([values], np.float32)
        mask = (probability > 0.5).astype(np.uint8)
        rows.append(measure_image(Prediction(probability, mask), np.array([truth], np.uint8), 2))
    measures = Measures(*(torch.stack(column) for column in zip(*rows, strict=True)))
    return Measured("x", tuple(map(str, range(len(images)))), ("foreground",), 0.5, measures)


def test_the_best_threshold_and_area_are_found() -> None:
    # True pixels lie above 0.6, others at 0.55: a threshold from 0.55 to 0.6 is right for all images.
    image = ([0.9] * 8 + [0.55] * 4, [1] * 8 + [0] * 4)
    assert 0.55 <= fit([measured(image)]).threshold < 0.6 + 1e-6
    # A speck of 3 sure pixels that is not there, and 10 that are: masks of fewer than 5 (or 10) pixels must go.
    speck, body = ([0.9] * 3 + [0.1] * 9, [0] * 12), ([0.9] * 10 + [0.1] * 2, [1] * 10 + [0] * 2)
    assert fit([measured(speck, body)]) == PostProcessing(0.5, 5)
    assert (kaggle_grid(measured(speck, body), 5) == 1).all()
    assert (kaggle_grid(measured(speck, body), 0).mean(0) == 0.5).all()


def test_a_choice_is_judged_by_images_that_did_not_make_it() -> None:
    # In one fold everything above 0.3 is true, in the other everything above 0.7: each choice fails on the other.
    low = measured(([0.5] * 6 + [0.25] * 6, [1] * 6 + [0] * 6))
    high = measured(([0.75] * 6 + [0.6] * 6, [1] * 6 + [0] * 6))
    assert kaggle_of_others_choice([low, high]) == 0.0
    assert kaggle_of_others_choice([low]) is None


def test_a_choice_that_does_not_gain_is_not_used() -> None:
    low = measured(([0.6] * 6 + [0.3] * 6, [1] * 6 + [0] * 6))
    high = measured(([0.75] * 6 + [0.6] * 6, [1] * 6 + [0] * 6))
    used, said = choose([low, high])  # fitted, low's choice is wrong for high, and high's for low
    assert used == PostProcessing(0.5, 0)
    assert said["kaggle_of_others_choice"] == 0.0
    used, said = choose([high, high])
    assert said["fitted"] == used._asdict() == {"threshold": 0.6, "min_area": 0}
    assert choose([high])[0] == PostProcessing(0.5, 0)  # nobody to judge


def config(folder: Path, *overrides: str, with_synthetic: bool = True) -> DictConfig:
    tiny = [
        "model=plain_small",
        *(["data.count=24", "data.size=36"] if with_synthetic else []),
        "model.channels=[4,8]",
        "data.folds=2",
        "trainer.accelerator=cpu",
    ]
    fixed = [*tiny, "trainer.max_epochs=1", "trainer.enable_progress_bar=false", f"run_dir={folder}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("cross_validate", [*fixed, f"data.cache_dir={folder / 'cache'}", *overrides])


def test_all_folds_from_training_to_an_ensemble(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = cross_validate(config(tmp_path, "cross_validation.bootstrap=100"))
    assert "image/s" not in capsys.readouterr().err  # as the configuration wants no progress bar
    assert summary.keys() >= {"folds", "models", "post_processing", "tta", "seed", "git_commit"}
    assert (summary["epochs"], summary["data"]["split"]) == (1, "kfold")
    rows = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert len({row["id"] for row in rows}) == len(rows) == 24
    for fold in (0, 1):
        run = tmp_path / f"fold-{fold}"
        kept = {row["id"] for row in csv.DictReader((run / "split.csv").open()) if row["split"] == "val"}
        assert kept <= {row["id"] for row in rows}
        logged = json.loads((run / "summary.json").read_text())
        assert logged["data"]["fold"] == fold
    ensemble = load_ensemble(sorted((tmp_path / "ensemble").glob("*.ckpt")))
    assert len(ensemble.members) == 2
    chosen = summary["post_processing"]
    assert (round(ensemble.threshold, 2), ensemble.min_area) == (chosen["threshold"], chosen["min_area"])
    before = (tmp_path / "fold-0" / "summary.json").stat().st_mtime_ns
    again = cross_validate(config(tmp_path, "cross_validation.bootstrap=100", "trainer.enable_progress_bar=true"))
    assert "image/s" in capsys.readouterr().err
    assert (tmp_path / "fold-0" / "summary.json").stat().st_mtime_ns == before
    assert again["models"] == summary["models"]


def test_a_fold_interrupted_after_its_last_epoch_gets_its_records(tmp_path: Path) -> None:
    options = ("cross_validation.bootstrap=100", "callbacks=ema", "loss=bce_lovasz")
    summary = cross_validate(config(tmp_path, *options))
    records = tmp_path / "fold-1" / "summary.json"
    before = json.loads(records.read_text())
    records.unlink()
    (tmp_path / "fold-1" / "pictures" / "predictions.png").unlink()
    assert cross_validate(config(tmp_path, *options))["models"] == summary["models"]
    after = json.loads(records.read_text())
    assert after["epochs"] == before["epochs"]
    for score in ("val/iou", "val/loss"):
        assert after[score] == pytest.approx(before[score], abs=1e-6)
    assert (tmp_path / "fold-1" / "pictures" / "predictions.png").exists()


def test_a_random_fraction_becomes_folds_but_a_chosen_way_to_divide_stays(tmp_path: Path) -> None:
    for override, said in (("data.split=fraction", "kfold"), ("data.split=contiguous", "contiguous")):
        folder = tmp_path / said
        cross_validate(config(folder, override, "cross_validation.folds=[0]", "cross_validation.bootstrap=100"))
        assert json.loads((folder / "fold-0" / "summary.json").read_text())["data"]["split"] == said


def test_folds_that_were_trained_apart_are_scored_together(tmp_path: Path) -> None:
    options = ("cross_validation.bootstrap=100",)
    alone = cross_validate(config(tmp_path / "apart", *options, "cross_validation.folds=[1]"))
    assert (alone["images"], list(alone["folds"])) == (12, ["fold-1"])
    apart = cross_validate(config(tmp_path / "apart", *options, "cross_validation.folds=[0]"))
    together = cross_validate(config(tmp_path / "together", *options))
    assert apart["models"] == together["models"]
    assert [file.name for file in sorted((tmp_path / "apart" / "ensemble").iterdir())] == ["fold-0.ckpt", "fold-1.ckpt"]
    assert len(find_checkpoints(tmp_path / "apart")) == 2


def test_folds_of_two_recipes_are_never_mixed(tmp_path: Path) -> None:
    folds = ("cross_validation.bootstrap=100", "cross_validation.folds=[0]")
    cross_validate(config(tmp_path, *folds))
    for override, said in (
        ("optimizer.lr=0.5", r"fold-0 was trained with optimizer.lr=0.003 \(now 0.5\); type the same, or give another"),
        ("callbacks=ema", r"callbacks.ema._target_=None \(now unetkit.training.callbacks.EMA\)"),
        ("seed=48", r"data.seed=47 \(now 48\), seed=47 \(now 48\)|augment.seed=47 \(now 48\)"),
    ):
        with pytest.raises(UserError, match=said):
            cross_validate(config(tmp_path, *folds, override))
    places = ("data.num_workers=0", "trainer.log_every_n_steps=5", "logger=wandb", "data.cache_dir=/tmp")
    assert cross_validate(config(tmp_path, *folds, *places))["images"] == 12


def test_folds_of_one_s_own_images_go_on(tmp_path: Path, write_pairs: WritePairs) -> None:
    rng = np.random.default_rng(0)
    images = {f"{i}": rng.integers(0, 256, (36, 36)).astype(np.uint8) for i in range(12)}
    root = write_pairs(tmp_path / "data", images, {name: 255 * (image > 128) for name, image in images.items()})
    own = ("data=folder", f"data.root={root}", "cross_validation.bootstrap=100")
    for folds, scored in (("[0]", 6), ("[0,1]", 12)):
        cfg = config(tmp_path / "run", *own, f"cross_validation.folds={folds}", with_synthetic=False)
        assert cross_validate(cfg)["images"] == scored
    with pytest.raises(UserError, match=r"data.channels=1 \(now 3\)"):
        cross_validate(config(tmp_path / "run", *own, "data.channels=3", with_synthetic=False))
    for folder in ("images", "masks"):
        (root / folder / "0.png").rename(root / folder / "12.png")
    with pytest.raises(UserError, match=r"fold-0 divided other images than .*data holds now, as 0 shows \(2 differ\)"):
        cross_validate(config(tmp_path / "run", *own, with_synthetic=False))


def test_a_fold_goes_on_with_what_was_typed_for_the_first(tmp_path: Path, write_pairs: WritePairs) -> None:
    images = {f"{i}": np.full((36, 36, 3), (i, 100, 200), np.uint8) for i in range(12)}
    root = write_pairs(tmp_path / "data", images, {name: np.eye(36, dtype=np.uint8) * 255 for name in images})
    own = ("data=folder", f"data.root={root}", "cross_validation.bootstrap=100")
    typed = ("data.num_classes=2", "model.in_channels=1", "cross_validation.folds=[0]")
    cross_validate(config(tmp_path / "run", *own, *typed, with_synthetic=False))
    with pytest.raises(UserError, match=r"model.in_channels=1 \(now 3\)"):
        cross_validate(config(tmp_path / "run", *own, with_synthetic=False))
    cross_validate(config(tmp_path / "run", *own, "model.in_channels=1", with_synthetic=False))
    for fold in (0, 1):
        assert OmegaConf.load(tmp_path / "run" / f"fold-{fold}" / "config.yaml").model.num_classes == 2


def test_images_that_are_divided_already_are_refused(tmp_path: Path) -> None:
    for folder in ("train/images", "train/masks", "val/images", "val/masks"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "data" / folder / "a.png"), np.zeros((32, 32), np.uint8))
    cfg = config(tmp_path / "run")
    cfg.data.pairs = {"_target_": "unetkit.data.folder_pairs", "_partial_": True, "root": str(tmp_path / "data")}
    with pytest.raises(UserError, match="all pairs lie in train/, val/ or test/"):
        cross_validate(cfg)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("cross_validation.folds=[2]", r"cross_validation.folds=\[2\] must be a list of some of 0 to 1"),
        ("cross_validation.folds=[0,0]", r"cross_validation.folds=\[0, 0\] must be a list of some of 0 to 1"),
        ("cross_validation.folds=0", "cross_validation.folds=0 must be a list of some of 0 to 1"),
        ("trainer.devices=2", "trainer.devices=2 must be 1, or a list of one"),
        ("cross_validation.tta=flips", "cross_validation.tta=flips must be one of none, flip, d4"),
        ("cross_validation.bootstrap=many", "cross_validation.bootstrap=many must be a whole number of at least 100"),
        ("trainer.fast_dev_run=true", "trainer.fast_dev_run=True must be false, as folds are scored by checkpoints"),
        ("trainer.max_epochs=0", "trainer.max_epochs=0 must be 1 or more"),
        ("data.folds=five", "data.folds=five must be a whole number of at least 2"),
        ("checkpoint=last.ckpt", "checkpoint=last.ckpt is for train.py"),
        ("data.split=recreation", "data.split=recreation has no folds; use kfold, contiguous or mosaic"),
    ],
)
def test_mistakes_are_named(override: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        cross_validate(config(tmp_path, override))
