"""`metrics.primary` leads: best epoch, its direction, threshold of folds, headline, comparisons, reports."""

import csv
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Unetkit, WritePairs
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from training_runs import QUIET, composed, run

from unetkit.errors import UserError
from unetkit.evaluation import LabelledImages, measure, open_models
from unetkit.evaluation.primary import KEYS, primary_metric, read_primary
from unetkit.evaluation.statistics import per_image
from unetkit.metrics import boundary_iou
from unetkit.paths import config_dir
from unetkit.report import evaluate_models
from unetkit.training.cross_validation import cross_validate
from unetkit.training.monitor import set_modes
from unetkit.training.renamed import use_new_names
from unetkit.training.run_data import data_of_run


def test_salt_is_led_by_the_score_of_its_competition_and_all_else_by_iou_per_image() -> None:
    for typed, leads in (
        ("data=tgs_salt", "kaggle"),
        ("experiment=tgs_small", "kaggle"),
        ("data=folder", "iou_per_image"),
        ("data=synthetic", "iou_per_image"),
    ):
        cfg = composed(typed)
        assert (cfg.metrics.primary, cfg.monitor, cfg.callbacks.best.monitor) == (leads, f"val/{leads}", f"val/{leads}")
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        assert compose("cross_validate", ["data=tgs_salt", "metrics.primary=dice"]).monitor == "val/dice"


@pytest.mark.parametrize(
    ("typed", "mode"),
    [("monitor=val/loss", "min"), ("metrics.primary=hausdorff95", "min"), ("metrics.primary=iou/salt", "max")],
)
def test_callbacks_and_schedule_know_whether_more_is_better(typed: str, mode: str) -> None:
    cfg = composed("callbacks=early_stopping", "scheduler=plateau", typed)
    set_modes(cfg)
    callbacks = cfg.callbacks
    assert (callbacks.best.mode, callbacks.early_stopping.mode, cfg.scheduler.scheduler.mode) == (mode,) * 3


def test_each_monitor_has_a_direction_of_its_own_and_one_that_is_typed_is_kept() -> None:
    cfg = composed("callbacks=early_stopping", "callbacks.early_stopping.monitor=val/loss", "callbacks.best.mode=max")
    set_modes(cfg)
    assert (cfg.callbacks.early_stopping.mode, cfg.callbacks.best.mode) == ("min", "max")


@pytest.mark.slow
def test_the_best_epoch_is_that_of_the_lowest_loss(tmp_path: Path, cache: Path) -> None:
    summary = run(tmp_path, cache, "monitor=val/loss", "optimizer.lr=1", "scheduler=none", "trainer.max_epochs=3")
    losses = [float(row["val/loss"]) for row in csv.DictReader((tmp_path / "metrics.csv").open()) if row["val/loss"]]
    assert losses[0] != min(losses) or losses[-1] != min(losses)
    assert summary["best"]["score"] == pytest.approx(min(losses), abs=1e-5)


def test_a_score_that_others_do_not_need_is_computed_where_it_leads(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "unetkit")
    summary = run(tmp_path, cache, "metrics.primary=boundary_iou", "trainer.max_epochs=1")
    assert (summary["primary"], summary["best"]["monitor"]) == ("boundary_iou", "val/boundary_iou")
    assert summary["best"]["score"] == summary["val/boundary_iou"]
    lines = caplog.text.partition("scores after")[2].splitlines()[1:]
    assert {lines[0].split()[0], lines[1].split()[0]} == {"val/loss", "val/boundary_iou"}


OF_CLASSES = [name for name in KEYS if not read_primary(name).entry.is_of_objects]  # for others see test_instances


@pytest.mark.parametrize("name", [*OF_CLASSES, "iou/salt", "dice/salt", "boundary_iou/salt", "iou_per_image/salt"])
def test_training_computes_each_score_as_evaluation_does(name: str) -> None:
    rng = np.random.default_rng(0)
    prediction, target = (torch.from_numpy(rng.integers(0, 3, (4, 12, 12))) for _ in range(2))
    target[0, 3:5] = 255
    metric = primary_metric(read_primary(name), 3, ["rock", "salt", "water"])
    for part in (slice(0, 3), slice(3, 4)):  # batches of unequal size
        metric.update(prediction[part], target[part], target[part] != 255)
    primary = read_primary(name)
    classes = [1] if primary.class_name else [1, 2]
    valid = target != 255
    if name.startswith("boundary_iou"):
        each = [
            boundary_iou((p == k).numpy(), (t == k).numpy(), v.numpy())
            for p, t, v in zip(prediction, target, valid, strict=True)
            for k in classes
        ]
        assert metric.compute() == pytest.approx(np.mean(each), abs=1e-6)
    elif primary.entry.name == "iou":
        both = torch.stack([((prediction == k) & (target == k)).flatten(1).sum(1) for k in classes])
        any_ = torch.stack([(((prediction == k) | (target == k)) & valid).flatten(1).sum(1) for k in classes])
        by_hand = (both.sum(1) / any_.sum(1)).mean() if primary.key == "pooled/iou" else (both / any_).mean()
        assert metric.compute() == pytest.approx(by_hand.item(), abs=1e-6)
    else:
        assert torch.isfinite(metric.compute())


def test_scores_of_cells_and_pixel_error_are_there_only_where_they_are_named(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "unetkit")
    named = {"val/v_rand", "val/v_info", "val/pixel_error"}
    summary = run(tmp_path, cache, "metrics.extra=[v_rand,v_info,pixel_error,iou]", "trainer.max_epochs=1")
    assert named <= {line.split()[0] for line in caplog.text.partition("scores after")[2].splitlines()[1:] if line}
    (model,) = open_models([str(tmp_path)], ["run"], "cpu")
    images = LabelledImages(data_of_run(tmp_path, str(cache)), "val")
    scores = evaluate_models([model], images, tmp_path / "evaluation", 50, 0)["models"]["run"]["scores"]
    for key in named:
        assert scores[key.replace("val", "per_image")]["value"] == pytest.approx(summary[key], abs=1e-5)
    assert "V_rand" in (tmp_path / "evaluation" / "report.html").read_text(encoding="utf-8")
    assert ",v_rand," in (tmp_path / "evaluation" / "scores.csv").read_text().partition("\n")[0]
    plain = measure("run", model.predictor, images, images.classes)
    assert not {"v_rand", "v_info", "pixel_error"} & per_image(plain).keys()


def test_membranes_are_led_by_the_score_of_their_challenge() -> None:
    cfg = composed("experiment=isbi2012_modern")
    assert (cfg.metrics.primary, list(cfg.metrics.extra)) == ("v_rand", ["v_info", "warping_error", "pixel_error"])
    assert list(composed("data=folder").metrics.extra) == []


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["metrics.extra=[f1]"], r"metrics.extra=f1 must be one of iou"),
        (["metrics.extra=v_rand"], r"metrics.extra=v_rand must be a list of scores"),
        (["metrics.extra=[iou/pepper]"], r"metrics.extra=iou/pepper names no class that is scored"),
        (["metrics.primary=f1"], r"metrics.primary=f1 must be one of iou, iou_per_image, .*, as iou/NAME"),
        (["metrics.primary=iou/pepper"], r"names no class that is scored: these are foreground; see data.class_names"),
        (["monitor=val/mcc"], r"monitor=val/mcc is not logged in this run.*; use metrics.primary=mcc"),
        (["monitor=iou"], r"monitor=iou must be one of val/loss, val/iou"),
    ],
)
def test_a_score_that_is_not_there_is_named(typed: list[str], said: str, tmp_path: Path, cache: Path) -> None:
    with pytest.raises(UserError, match=said):
        run(tmp_path, cache, *typed)


def test_configurations_of_earlier_versions_are_led_by_what_they_monitored() -> None:
    for monitor, leads in (("val/kaggle", "kaggle"), ("val/iou", "iou"), ("val/loss", "iou_per_image")):
        cfg = composed("model=plain_small")
        old = OmegaConf.create({**OmegaConf.to_container(cfg), "monitor": monitor})  # type: ignore[dict-item]
        del old["metrics"]
        use_new_names(old)
        assert (old.metrics.primary, old.monitor) == (leads, monitor)


@pytest.mark.slow
def test_folds_headline_comparison_and_report_are_led_by_it(
    tmp_path: Path, write_pairs: WritePairs, unetkit: Unetkit, caplog: pytest.LogCaptureFixture
) -> None:
    """Nuclei were given the threshold of the salt score, which was 0.0000 for them."""
    caplog.set_level(logging.INFO, "unetkit")
    rng = np.random.default_rng(0)
    images = {f"{i:02d}": rng.integers(0, 256, (32, 32)).astype(np.uint8) for i in range(12)}
    root = write_pairs(tmp_path / "data", images, {name: 255 * (image > 128) for name, image in images.items()})
    tiny = ["model=plain_small", "model.channels=[2,4]", "data.folds=2", "trainer.max_epochs=1", *QUIET]
    places = ["data=folder", f"data.root={root}", f"data.cache_dir={tmp_path / 'cache'}"]
    for primary in ("iou_per_image", "precision"):
        run_dir = tmp_path / primary
        typed = [*tiny, *places, f"run_dir={run_dir}", f"metrics.primary={primary}"]
        summary = cross_validate(composed(*typed, name="cross_validate"))
        assert (summary["primary"], summary["post_processing"]["score"]) == (primary, primary)
        assert "kaggle" not in summary["folds"]["fold-0"]
        assert next(iter(summary["folds"]["fold-0"])) == primary
        value = summary["models"]["out of fold"]["scores"][f"per_image/{primary.removesuffix('_per_image')}"]["value"]
        assert f"out of fold: {primary} {value:.4f}, 95 % interval" in caplog.text
    done = unetkit("compare", f"runs=[{tmp_path / 'precision'},{tmp_path / 'iou_per_image'}]",
                   f"output={tmp_path / 'compared'}", "bootstrap=100")  # fmt: skip
    assert done.status == 0, done.stderr
    assert done.stdout.splitlines()[1].split()[0] == "precision"
    written = json.loads((tmp_path / "compared" / "comparison.json").read_text())
    assert written["primary"] == "precision"
    header = (tmp_path / "compared" / "comparison.md").read_text().splitlines()[0]
    assert header.index("| precision |") < header.index("| IoU |")
    fold = tmp_path / "precision" / "fold-0"
    for typed, first in ([], "per_image/precision"), (["metrics.primary=dice"], "per_image/dice"):
        done = unetkit(
            "evaluate", f"checkpoint={fold}", f"output={tmp_path / 'scored'}", "bootstrap=100", "device=cpu", *typed
        )
        assert done.status == 0, done.stderr
        assert done.stdout.splitlines()[1].split()[0] == first
    page = (tmp_path / "scored" / "report.html").read_text(encoding="utf-8")
    assert page.index("Dice, per image") < page.index("IoU, per image")
