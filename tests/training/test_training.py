"""Whole runs on small synthetic data: real files, real Hydra composition, real Lightning."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import lightning as L
import numpy as np
import pytest
import torch
from conftest import WritePairs
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

import unetkit
from unetkit.checkpoints.checkpoint import Checkpoint
from unetkit.data import synthetic_multiclass_pairs, synthetic_pairs
from unetkit.data.files import FileRef, read_image
from unetkit.errors import UserError
from unetkit.training.configuration import choose_precision
from unetkit.training.module import SegmentationModule
from unetkit.training.records import Summary
from unetkit.training.resume import lacks_records_only, metrics_before, next_epoch
from unetkit.training.run import build_module, prepare_data, train

ROOT = Path(__file__).parents[2]
TINY = ["model=plain_small", "data.count=24", "data.size=36", "data.batch_size=8", "model.channels=[4,8]"]
QUIET = ["trainer.enable_progress_bar=false", "trainer.accelerator=cpu"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _closed_hydra() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def config(run_dir: Path, cache: Path, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        fixed = [f"run_dir={run_dir}", f"data.cache_dir={cache}"]
        return compose("train", [*TINY, *QUIET, "trainer.max_epochs=2", *fixed, *overrides])


def run(run_dir: Path, cache: Path, *overrides: str) -> Summary:
    return train(config(run_dir, cache, *overrides))


def rows(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def weights(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


def test_a_run_leaves_all_that_is_promised(tmp_path: Path, cache: Path) -> None:
    summary = run(tmp_path, cache)
    written = json.loads((tmp_path / "summary.json").read_text())
    assert written == summary
    scores = {"val/loss", "val/iou", "val/iou_per_image", "val/dice", "val/kaggle", "val/predicted_share"}
    assert written["images_per_second"] > 0
    facts = {"parameters", "images_per_second", "peak_memory_mib", "seconds", "seed", "versions", "git_commit"}
    assert scores | facts <= written.keys()
    assert (written["data"]["train"], written["data"]["val"]) == (19, 5)
    assert {row["epoch"] for row in rows(tmp_path) if row["val/iou"]} == {"0", "1"}
    for name in ("training_pairs.png", "predictions.png", "learning_curves.png"):
        picture = cv2.imread(str(tmp_path / "pictures" / name))
        assert picture is not None
        assert picture.std() > 20
    assert (tmp_path / "config.yaml").exists()
    assert len((tmp_path / "split.csv").read_text().splitlines()) == 25
    assert Path(written["best"]["checkpoint"]).exists()
    assert Path(written["last_checkpoint"]).exists()


def test_a_network_learns_one_batch_by_heart(tmp_path: Path, cache: Path) -> None:
    summary = run(
        tmp_path, cache, "augment=none", "data.count=12", "trainer.overfit_batches=1", "trainer.max_epochs=150",
        "model.channels=[8,16,16]", "optimizer.lr=0.02", "trainer.check_val_every_n_epoch=150",
    )  # fmt: skip
    assert summary["train/loss_epoch"] < 0.1


def test_one_batch_of_pairs_cached_on_the_device_trains(tmp_path: Path, cache: Path) -> None:
    summary = run(
        tmp_path, cache, "augment=none", "data.count=12", "data.cache_on_device=true", "trainer.overfit_batches=1",
        "trainer.max_epochs=1",
    )  # fmt: skip
    assert summary["train/loss_epoch"] > 0


def test_what_a_recipe_sets_of_a_callback_does_not_bring_it_back(tmp_path: Path, cache: Path) -> None:
    recipe = ["experiment=tgs_quick", "data=synthetic", "data.split=fraction", "trainer.max_epochs=1"]
    keeps_raw_weights = {}  # beside their average
    for name, extra in (("with", []), ("without", ["callbacks=none"])):
        run(tmp_path / name, cache, *recipe, "trainer.check_val_every_n_epoch=1", *extra)
        content = torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)
        keeps_raw_weights[name] = "current_model_state" in content
    assert keeps_raw_weights == {"with": True, "without": False}


def test_two_runs_are_equal(tmp_path: Path, cache: Path) -> None:
    for name in ("a", "b"):
        run(tmp_path / name, cache)
    a, b = (weights(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("a", "b"))
    for key, value in a.items():
        assert torch.equal(value, b[key]), key


@pytest.mark.parametrize(
    "extra",
    [
        [],
        ["callbacks=ema", "optimizer=sgd", "scheduler=onecycle"],
        ["scheduler=plateau", "scheduler.scheduler.patience=0", "scheduler.scheduler.factor=0.5"],
        ["scheduler=plateau", "scheduler.scheduler.patience=0", "trainer.val_check_interval=0.7"],
        ["deep_supervision=0.4", "model.channels=[4,6,8]"],
        ["augment=strong", "data.num_workers=1"],
    ],
    ids=["cosine", "onecycle and EMA", "plateau", "plateau, scored early", "deep supervision", "workers"],
)
def test_resuming_goes_on_exactly(tmp_path: Path, cache: Path, extra: list[str]) -> None:
    options = ["model.dropout=0.3", "trainer.max_epochs=4", *extra]
    run(tmp_path / "whole", cache, *options)

    class Stop(L.Callback):
        def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            trainer.should_stop = trainer.current_epoch == 1

    cfg = config(tmp_path / "part", cache, *options)
    data = prepare_data(cfg)
    L.seed_everything(cfg.seed, verbose=False)
    module = build_module(cfg, data)
    from unetkit.training import run as training
    from unetkit.training.callbacks import RunStats

    trainer = training.build_trainer(cfg, tmp_path / "part", RunStats())
    trainer.callbacks.insert(0, Stop())  # type: ignore[attr-defined]
    trainer.fit(module, datamodule=data)
    assert trainer.current_epoch == 2
    interrupted = tmp_path / "part" / "checkpoints" / "last.ckpt"
    run(tmp_path / "resumed", cache, *options, f"checkpoint={interrupted}")
    whole, resumed = (weights(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("whole", "resumed"))
    for key, value in whole.items():
        assert torch.equal(value, resumed[key]), key
    last = [rows(tmp_path / name)[-2] for name in ("whole", "resumed")]
    assert last[0] == last[1]


def test_resuming_into_the_same_directory_loses_no_row(tmp_path: Path, cache: Path) -> None:
    run(tmp_path, cache)
    before = (tmp_path / "metrics.csv").read_text()
    run(tmp_path, cache, "trainer.max_epochs=3", f"checkpoint={tmp_path}/checkpoints/last.ckpt")
    assert (tmp_path / "metrics.1.csv").read_text() == before
    assert {row["epoch"] for row in rows(tmp_path) if row["val/iou"]} == {"2"}


def test_an_interrupted_run_is_not_replaced(tmp_path: Path, cache: Path) -> None:
    run(tmp_path, cache)
    (tmp_path / "summary.json").unlink()  # which comes last
    before = (tmp_path / "checkpoints" / "last.ckpt").read_bytes()
    with pytest.raises(UserError, match=f"{tmp_path} holds a run that was interrupted; go on with it by checkpoint="):
        run(tmp_path, cache)
    assert (tmp_path / "checkpoints" / "last.ckpt").read_bytes() == before
    run(tmp_path, cache, f"checkpoint={tmp_path}", "trainer.max_epochs=3")
    run(tmp_path, cache)  # one that is done may be


def test_the_records_of_a_run_that_goes_on_are_of_the_whole(tmp_path: Path, cache: Path) -> None:
    run(tmp_path, cache)
    path = tmp_path / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    content["callbacks"]["RunFigures"]["seconds"] += 1000
    torch.save(content, path)
    going_on = config(tmp_path, cache, "trainer.max_epochs=3", f"checkpoint={tmp_path}")
    assert train(going_on)["seconds"] > 1000
    (tmp_path / "metrics.backup.csv").touch()
    assert metrics_before(going_on, tmp_path) == [tmp_path / "metrics.1.csv"]
    assert metrics_before(config(tmp_path, cache), tmp_path) == []  # another run, in the same directory


def test_the_checkpoint_is_plain_and_predicts(tmp_path: Path, cache: Path) -> None:
    run(tmp_path, cache, "model=unet_milesial", "model.channels=[4,8]", "trainer.max_epochs=1", "threshold=0.3")
    path = tmp_path / "checkpoints" / "last.ckpt"
    card = torch.load(path, weights_only=True)["unetkit"]
    assert card["model"]["in_channels"] == card["preprocessing"]["channels"] == 3
    predictor = unetkit.load(path)
    assert predictor.threshold == 0.3
    image = cv2.imread(str(synthetic_pairs(cache, 24, 36, 0)[0].image), cv2.IMREAD_UNCHANGED)
    assert image is not None
    prediction = predictor(image)
    assert prediction.mask.shape == prediction.probability.shape == (36, 36)
    assert np.array_equal(prediction.mask, prediction.probability > 0.3)


def test_two_logits_of_binary_masks_are_a_softmax_with_a_threshold(tmp_path: Path, cache: Path) -> None:
    summary = run(tmp_path, cache, "data.num_classes=2", "threshold=0.3")
    assert not [name for name in summary if name.startswith("val/iou/")]
    path = tmp_path / "checkpoints" / "last.ckpt"
    assert weights(path)["network.head.weight"].shape[0] == 2
    predictor = unetkit.load(path)
    image = read_image(synthetic_pairs(cache, 24, 36, 0)[0].image)
    prediction = predictor(image)
    pixels = torch.from_numpy(predictor.preprocessing.to_uint8(image)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        logits = predictor.network(predictor.preprocessing.normalise(pixels))
    np.testing.assert_allclose(prediction.probability, logits.softmax(1)[0, 1], atol=1e-6)
    np.testing.assert_array_equal(prediction.mask, prediction.probability > 0.3)


def test_a_run_of_several_classes_leaves_void_out(tmp_path: Path, cache: Path) -> None:
    """Loss and scores are those computed by hand from the pixels that count, which the void ones are no part of."""
    names, root = ["rock", "salt", "water", "sand"], tmp_path / "data"
    for pair in synthetic_multiclass_pairs(cache, 12, 36, 0):
        assert pair.mask is not None
        mask = read_image(pair.mask)
        mask[:, : int(pair.id) + 5] = 255  # more void in each
        for part, pixels in (("images", read_image(pair.image)), ("masks", mask)):
            (root / part).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / part / f"{pair.id}.png"), pixels)
    options = [f"data.root={root}", "data.num_classes=4", f"data.class_names=[{','.join(names)}]", "data.batch_size=4"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        fixed = [
            "data=folder",
            "model=plain_small",
            f"run_dir={tmp_path}",
            f"data.cache_dir={cache}",
            "model.channels=[4,8]",
            *QUIET,
        ]
        cfg = compose("train", [*fixed, *options, "trainer.max_epochs=2", "data.ignore_index=255"])
    summary = train(cfg)
    card = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["unetkit"]
    assert card["data"]["class_names"] == names

    predictor = unetkit.load(tmp_path / "checkpoints" / "last.ckpt")
    validating = [line.split(",")[0] for line in (tmp_path / "split.csv").read_text().split() if line.endswith("val")]
    overlap, union, losses = np.zeros(4), np.zeros(4), []
    for name in validating:
        prediction = predictor(read_image(FileRef(root / "images" / f"{name}.png")))
        truth = read_image(FileRef(root / "masks" / f"{name}.png"))
        counts = truth != 255
        true, mask, probability = truth[counts], prediction.mask[counts], prediction.probability[:, counts]
        classes = np.arange(4)[:, None]
        overlap += ((mask == classes) & (true == classes)).sum(1)
        union += ((mask == classes) | (true == classes)).sum(1)
        p, t = probability[1:], true == classes[1:]
        dice = (2 * (p * t).sum(1) + 1) / (p.sum(1) + t.sum(1) + 1)
        losses.append(1 - dice.mean() - np.log(probability[true, np.arange(len(true))]).mean())
    expected = np.divide(overlap, union, out=np.ones(4), where=union > 0)
    for name, iou in zip(names, expected, strict=True):
        assert summary[f"val/iou/{name}"] == pytest.approx(iou, abs=1e-5)
    assert summary["val/iou"] == pytest.approx(expected[1:].mean(), abs=1e-5)
    assert summary["val/loss"] == pytest.approx(np.mean(losses), abs=1e-4)
    assert {f"val/iou/{name}" for name in names} <= rows(tmp_path)[-1].keys()


@pytest.mark.parametrize(
    "options",
    [
        ["model=dumbnet", "~model.channels", "+model.channels=8"],
        ["model=unet_paper", "optimizer=sgd", "optimizer.lr=1e-4", "scheduler=none"],
        ["model=unet_paper", "mirror_border=false", "data.size=48"],
        ["model.padding=valid", "model.upsampling=nearest", "loss.dice_weight=0.5", "scheduler=plateau"],
        ["model.gradient_checkpointing=all", "optimizer=rmsprop", "scheduler=poly", "augment=strong"],
        ["trainer.precision=16", "trainer.accumulate_grad_batches=2", "trainer.gradient_clip_val=0.5"],
        ["callbacks=[ema,early_stopping]", "channels_last=false", "augment=flip"],
        ["model=unet_small", "model.channels=[4,6,8]", "loss=bce_lovasz"],
        ["loss=weighted_bce", "data.crop_size=24", "model.padding=valid", "mirror_border=false", "data.size=60"],
        ["loss=sum", "loss.weights.weighted_bce=0.5", "loss.weights.boundary=1"],
        ["loss=boundary", "data.num_workers=1"],
        ["augment=strong_device", "loss=weighted_bce", "data.crop_size=20"],
        ["data=synthetic_multiclass", "data.batch_size=6", "augment=strong", "model.padding=valid"],
        [
            "deep_supervision=0.4",
            "model.channels=[4,4,8]",
            "model.padding=valid",
            "trainer.precision=16",
            "callbacks=ema",
        ],
        ["data.split=kfold", "data.fold=2", "data.num_workers=2", "data.crop_size=20"],
    ],
    ids=lambda options: options[0],
)
def test_choices_train(tmp_path: Path, cache: Path, options: list[str]) -> None:
    summary = run(tmp_path, cache, "trainer.max_epochs=1", *options)
    assert 0 <= summary["val/iou"] <= 1
    assert np.isfinite(summary["train/loss_epoch"])


def test_pairs_in_the_device_s_memory_train_the_same_network(tmp_path: Path, cache: Path) -> None:
    for name, is_cached in (("loaded", "false"), ("cached", "true")):
        options = ["augment=strong_device", f"data.cache_on_device={is_cached}"]
        options += ["data.count=27"]  # so that the last batch is short
        summary = run(tmp_path / name, cache, *options)
        assert 0 <= summary["data_wait"] < 1
    one, other = (weights(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("loaded", "cached"))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert rows(tmp_path / "loaded")[-1]["val/iou"] == rows(tmp_path / "cached")[-1]["val/iou"]


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_run_is_the_same_but_for_rounding(tmp_path: Path, cache: Path) -> None:
    for name, compiles in (("plain", "false"), ("compiled", "true")):
        run(tmp_path / name, cache, f"trainer.compile={compiles}", "callbacks=ema", "data.count=16")
    plain, compiled = (weights(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("plain", "compiled"))
    assert plain.keys() == compiled.keys()
    assert all(torch.allclose(plain[key].float(), compiled[key].float(), atol=1e-3) for key in plain)


def test_sixteen_means_what_the_device_can() -> None:
    assert choose_precision(16, "cpu") == "bf16-mixed"
    assert choose_precision("16-mixed", "cpu") == "bf16-mixed"
    assert choose_precision(16, "cuda") == "16-mixed"
    assert choose_precision("bf16-mixed", "cpu") == "bf16-mixed"
    assert choose_precision(32, "cpu") == "32-true"
    with pytest.raises(UserError, match=r"trainer\.precision=64"):
        choose_precision(64, "cpu")


def test_two_processes_score_as_one(tmp_path: Path, cache: Path) -> None:
    """Five validation images shared by two processes: one is filled up, and counts nowhere."""
    options = ["data.count=25", "trainer.max_epochs=1", "optimizer.lr=0", "data.num_workers=0"]
    alone = run(tmp_path / "one", cache, *options)
    command = [sys.executable, "train.py", *TINY, *QUIET, *options, f"data.cache_dir={cache}"]
    command += ["trainer.devices=2", "trainer.strategy=ddp", f"hydra.run.dir={tmp_path / 'two'}"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    together = json.loads((tmp_path / "two" / "summary.json").read_text())
    for name in ("val/iou", "val/iou_per_image", "val/dice", "val/kaggle", "val/predicted_share"):
        assert together[name] == pytest.approx(alone[name], abs=2e-3), name
    assert together["data"] == alone["data"]


@pytest.mark.parametrize(("threshold", "said"), [("0.9999999", "predicted empty"), ("0.0", "predicted full")])
def test_a_collapse_is_said(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture, threshold: str, said: str
) -> None:
    run(tmp_path, cache, "trainer.max_epochs=1", f"threshold={threshold}")
    assert said in caplog.text


def test_a_training_that_diverged_is_told(tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    summary = run(tmp_path, cache, "trainer.max_epochs=1", "optimizer.lr=inf")
    assert "val/loss is nan: the training has diverged" in caplog.text
    assert "predicted empty" not in caplog.text
    with pytest.raises(UserError, match=r"checkpoint=.* holds weights that are not finite \(NaN\)"):
        unetkit.load(summary["last_checkpoint"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["checkpoint=nowhere.ckpt"], "checkpoint=nowhere.ckpt does not exist"),
        (["data=tgs_salt"], "data.root is not set"),
        (["data=folder", "data.root=nowhere"], "data.root=nowhere does not exist"),
        (["data.batch_size=0"], "data.batch_size=0"),
        (["data.split=third"], "data.split=third must be"),
        (["model.num_classes=3"], "model.num_classes=3"),
        (["model.norm=layer"], "model.norm=layer must be one of"),
        (["monitor=val/f1"], "monitor=val/f1 must be one of"),
        (["seed=-1"], "seed=-1"),
        (["deep_supervision=-1"], "deep_supervision=-1"),
        (["deep_supervision=0.4"], "two or more decoder levels"),
        (["model.spatial_dims=3"], "model.spatial_dims=3 is for volumes"),
        (["threshold=5"], "threshold=5"),
        (["threshold=half"], "threshold=half"),
        (["trainer.max_epochs=many"], "trainer.max_epochs=many must be a whole number"),
        (["augment=strong_device", "augment.flip=3"], "augment.flip=3 must be a probability"),
        (
            ["augment=strong", "data.cache_on_device=true"],
            "data.cache_on_device=true wants augment=none, elastic_device, mild",
        ),
        (["data.cache_on_device=maybe"], "data.cache_on_device=maybe"),
        (["trainer.compile=fast"], "trainer.compile=fast must be one of"),
        (["trainer.compile=max-autotune", "trainer.accumulate_grad_batches=2"], "CUDA graphs, which lose gradients"),
        (["augment=flip", "augment.transforms.flip.p=3"], r"^augment.transforms.flip: .*less than or equal to 1.*\S$"),
        (["run_dir=/proc/none"], "run_dir=/proc/none can't be written"),
        (["weights=nowhere.ckpt"], "weights=nowhere.ckpt does not exist"),
        (["data.sections_seed=-1"], "data.sections_seed=-1 must be a whole number of at least 0"),
        (["loss=cldice", "loss.iterations=1.5"], "loss.iterations=1.5 must be a whole number of pixels"),
        (["data.size=0"], "data.size=0 must be a whole number of pixels"),
        (["data=folder", "data.root=2026"], "data.root=2026 does not exist"),
        (["trainer.accumulate_grad_batches=0"], "accumulate_grad_batches=0"),
        (["data.count=0"], "data.count=0 must be at least 2"),
        (["data.batch_size=many"], "data.batch_size=many"),
        (["data.crop_size=0"], "data.crop_size=0"),
        (["data.mask_values=[0,0]"], "data.mask_values"),
        (["data.num_classes=3"], "holds the values 0, 65535; data.num_classes=3 stands for 0 to 2"),
        (["data.class_names=[salt]"], "data.class_names=.salt. must be 2 different names"),
        (["trainer.max_epochs=-1"], "a run without end has no schedule"),
        (["optimizer.lr=-1"], "Invalid learning rate: -1; they have lr=-1, betas="),
        (["optimizer.lr=high"], "lr=high"),
        (["loss.dice_weight=null"], "loss.dice_weight=None must be a number"),
        (["loss=sum", "loss.weights=2"], "loss.weights=2 must give one factor for each of bce, "),
        (["loss=sum"], "all loss.weights are 0; set some, as in loss.weights.bce=1"),
        (["loss=dice", "loss.smooth=0"], "smooth=0"),
        (
            ["+loss.switch=0.5"],
            "loss.switch is set, by the experiment perhaps, but DiceBCELoss has no .*type ~loss.switch",
        ),
        (["loss=weighted_bce", "data.border_weight=null"], "data.border_weight=None, but the loss wants"),
        (["trainer.accelerator=abacus"], "abacus"),
        (["data.fold=1"], "data.fold=1, but data.split=fraction has no folds; set data.split=kfold"),
        (["data.split=5"], "data.split=5 must be the name of a way to split"),
        (["data.split=kfold", "data.fold=first"], "data.fold=first of data.folds=5 does not fit 24 pairs"),
        (["data.seed=-1"], "data.seed=-1 must be a whole number of at least 0"),
        (["threshold=0.3", "data=synthetic_multiclass"], "threshold=0.3 is for binary masks; of 4 classes the"),
        (["scheduler.scheduler.warmup=5"], "warmup=5 must be a share of the steps"),
        (["scheduler.interval=epoch"], "interval=epoch must be step"),
        (["scheduler=poly", "scheduler.scheduler.power=-1"], "power=-1 must be above 0"),
        (["loss=weighted_bce", "data.border_weight.sigma=wide"], "'sigma': 'wide'.*, but the loss wants"),
        (["trainer.check_val_every_n_epoch=0"], "check_val_every_n_epoch=0 must be a whole number of at least 1"),
        (["trainer.val_check_interval=9"], "val_check_interval"),
        (["trainer.val_check_interval=0"], "trainer.val_check_interval=0 must be a number of batches, or a share"),
        (["trainer.limit_train_batches=all"], "trainer.limit_train_batches=all must be a number of batches"),
        (["trainer.gradient_clip_val=-1"], "trainer.gradient_clip_val=-1 must be at least 0"),
        (["trainer.log_every_n_steps=few"], "trainer.log_every_n_steps=few must be a whole number of steps"),
        (["trainer.fast_dev_run=maybe"], "trainer.fast_dev_run=maybe must be true, false or a number of batches"),
        (["trainer.accelerator=tpu"], "^trainer: .*torch_xla"),
        (["channels_last=maybe"], "channels_last=maybe must be true or false"),
        (["data.channels=rgb"], "data.channels=rgb must be auto, or a whole number"),
        (["model.in_channels=0"], "model.in_channels=0 must be a whole number of at least 1"),
        (
            ["callbacks=early_stopping", "callbacks.early_stopping.patience=long"],
            "patience=long must be",
        ),
        (["optimizer.betas=[0.9]"], r"they have lr=.*, betas=\[0.9\]"),
        (["scheduler.scheduler.final=two"], "final=two"),
        (["loss.bce_weight=-1"], "loss.bce_weight=-1 must be a number of at least 0"),
        (["loss=weighted_bce", "data.border_weight=5"], "data.border_weight=5, but the loss wants"),
        (["augment=elastic", "augment.transforms.elastic.grid=0"], "grid=0 must be a whole number of points"),
        (["augment=flip", "+augment.transforms.blur.p=1"], "augment.transforms.blur=.* must be a transform; its _tar"),
        (["augment=flip", "+augment.transforms.blur._target_=albumentations.Blurr"], "transforms.blur: .*'Blurr'"),
        (
            ["augment=flip", "+augment.transforms.normal._target_=albumentations.Normalize"],
            "augment.transforms make float32 of shape .* leave out what normalises",
        ),
        (["trainer.max_time=5"], "trainer.max_time=5 must be DAYS:HOURS:MINUTES:SECONDS"),
        (["callbacks=early_stopping", "callbacks.early_stopping.monitor=val/f1"], "conditioned on metric `val/f1`"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, cache: Path, options: list[str], said: str) -> None:
    if options[0].startswith("data="):
        cfg = config(tmp_path, cache)
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            cfg = compose("train", [*options, f"run_dir={tmp_path}", f"data.cache_dir={cache}"])
    else:
        cfg = config(tmp_path, cache, *options)
    with pytest.raises(UserError, match=said):
        train(cfg)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "data.batch_size=8 does not fit into the GPU's memory"),
        (torch._dynamo.exc.TorchDynamoException("no compiler"), r"fails here \(no compiler\); use false"),
        (RuntimeError("nll_loss does not have a deterministic implementation, but"), "use trainer.deterministic=warn"),
        (RuntimeError("a defect of ours"), "a defect of ours"),
    ],
    ids=["memory", "compiler", "determinism", "defect"],
)
def test_what_this_machine_can_not_do_is_told_from_defects(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(SegmentationModule, "training_step", fail)
    with pytest.raises(RuntimeError if said in str(error) else UserError, match=said):
        run(tmp_path, cache)


def test_checkpoints_of_one_s_own_are_written_too(tmp_path: Path, cache: Path) -> None:
    every = "{_target_: lightning.pytorch.callbacks.ModelCheckpoint, filename: 'own-{epoch}', every_n_epochs: 2}"
    summary = run(tmp_path, cache, f"+callbacks.every={every}")
    assert summary["last_checkpoint"] == str(tmp_path / "checkpoints" / "last.ckpt")
    assert sorted(file.name for file in tmp_path.rglob("own-*.ckpt")) == ["own-epoch=1.ckpt"]


def test_weights_that_may_know_the_images_are_told(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path / "first", cache, "trainer.max_epochs=1")
    run(tmp_path / "same", cache, "trainer.max_epochs=1", f"weights={tmp_path / 'first'}")
    assert "another part" not in caplog.text
    run(tmp_path / "other", cache, "trainer.max_epochs=1", f"weights={tmp_path / 'first'}", "data.split=kfold")
    assert "were trained on another part of data=synthetic" in caplog.text


def test_a_checkpoint_of_another_network_or_a_finished_one_is_refused(tmp_path: Path, cache: Path) -> None:
    run(tmp_path / "a", cache)
    path = tmp_path / "a" / "checkpoints" / "last.ckpt"
    with pytest.raises(UserError, match=r"model\.channels"):
        run(tmp_path / "b", cache, f"checkpoint={path}", "model.channels=[4,6]", "trainer.max_epochs=9")
    for change in ("optimizer=sgd", "optimizer.lr=0.1", "scheduler=poly", "callbacks=ema", "seed=3"):
        with pytest.raises(UserError, match="resume with the same"):
            run(tmp_path / "b", cache, f"checkpoint={path}", change, "trainer.max_epochs=9")
    with pytest.raises(UserError, match="has done 2 epochs"):
        run(tmp_path / "b", cache, f"checkpoint={path}")


def test_a_checkpoint_older_than_an_option_goes_on(tmp_path: Path, cache: Path) -> None:
    run(tmp_path / "a", cache)
    path = tmp_path / "a" / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    del content["unetkit"]["model"]["attention"], content["unetkit"]["recipe"]["deep_supervision"]
    torch.save(content, path)
    assert run(tmp_path / "b", cache, f"checkpoint={path}", "trainer.max_epochs=3")["epochs"] == 3


def test_a_run_that_stops_within_an_epoch_is_scored(tmp_path: Path, cache: Path) -> None:
    summary = run(tmp_path, cache, "trainer.max_steps=2")
    assert 0 <= summary["val/iou"] <= 1
    assert Path(summary["last_checkpoint"]).exists()


def test_the_scores_are_those_of_the_last_epoch(tmp_path: Path, cache: Path) -> None:
    every, second, never = (
        run(tmp_path / str(n), cache, "trainer.max_epochs=3", f"trainer.check_val_every_n_epoch={n}") for n in (1, 2, 9)
    )
    assert second["val/loss"] == never["val/loss"] == every["val/loss"]
    scored = [row for row in rows(tmp_path / "2") if row["val/loss"]]
    assert [float(row["epoch"]) for row in scored] == [1, 2]
    assert float(scored[0]["val/loss"]) != pytest.approx(every["val/loss"])


@pytest.mark.parametrize("option", ["trainer.fast_dev_run=true", "trainer.max_epochs=0"])
def test_a_run_without_a_log_is_recorded(tmp_path: Path, cache: Path, option: str) -> None:
    assert 0 <= run(tmp_path, cache, option)["val/iou"] <= 1
    assert (tmp_path / "summary.json").exists()


def test_a_plateau_is_told_each_score_once(tmp_path: Path, cache: Path) -> None:
    options = ["scheduler=plateau", "scheduler.scheduler.patience=0", "trainer.check_val_every_n_epoch=2"]
    run(tmp_path / "part", cache, *options, "trainer.max_epochs=3")
    goes_on = [f"checkpoint={tmp_path / 'part'}", "trainer.max_epochs=4"]
    seen = []
    for name, extra in (("whole", ["trainer.max_epochs=4"]), ("resumed", goes_on)):
        run(tmp_path / name, cache, *options, *extra)
        content = torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)
        seen.append(content["lr_schedulers"][0]["last_epoch"])
    assert seen == [1, 1]  # the second score is told after the checkpoint is saved


def test_a_checkpoint_from_within_an_epoch_goes_on_and_says_so(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    best = (
        "{_target_: lightning.pytorch.callbacks.ModelCheckpoint, monitor: val/iou, save_top_k: -1, filename: '{step}'}"
    )
    run(tmp_path / "whole", cache, f"+callbacks.every={best}", "trainer.val_check_interval=0.7", "trainer.max_epochs=2")
    within = tmp_path / "whole" / "checkpoints" / "step=5.ckpt"  # of epochs of three batches
    run(tmp_path / "stopped", cache, "trainer.max_epochs=2", "trainer.max_steps=2")
    stopped = tmp_path / "stopped" / "checkpoints" / "last.ckpt"
    for path, epoch, last in ((within, 1, 6), (stopped, 0, 5)):
        assert next_epoch(Checkpoint.read(path)) == 1
        summary = run(tmp_path / f"from{epoch}", cache, "trainer.max_epochs=2", f"checkpoint='{path}'")
        assert summary["steps"] == last
        assert f"was saved within epoch {epoch}, after 2 of its batches" in caplog.text
    (tmp_path / "whole" / "summary.json").unlink()
    in_place = config(tmp_path / "whole", cache, "trainer.max_epochs=2", f"checkpoint='{within}'")
    assert not lacks_records_only(in_place, Checkpoint.read(within))


def test_the_best_before_is_named_where_a_run_goes_on_elsewhere(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    best = run(tmp_path / "first", cache)["best"]
    caplog.set_level("INFO")
    goes_on = [f"checkpoint={tmp_path / 'first'}", "trainer.max_epochs=3"]
    run(tmp_path / "second", cache, *goes_on)
    assert f"until here it is {best['checkpoint']}, with val/iou {best['score']:.4f}" in caplog.text
    caplog.clear()
    (tmp_path / "link").symlink_to(tmp_path / "first")
    run(tmp_path / "link", cache, *goes_on)
    assert "until here it is" not in caplog.text


def test_a_fixed_split_is_trained_on_in_an_order_of_the_run_s_seed(tmp_path: Path, cache: Path) -> None:
    splits, orders = [], []
    for seed in (47, 48):
        data = prepare_data(config(tmp_path, cache, f"seed={seed}", "data.seed=47", "augment=none"))
        splits.append(data.split)
        orders.append([int(index) for batch in data.train_dataloader() for index in batch["index"]])
    assert splits[0] == splits[1]
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]


def test_one_cycle_is_not_stretched(tmp_path: Path, cache: Path) -> None:
    run(tmp_path / "a", cache, "scheduler=onecycle")
    path = tmp_path / "a" / "checkpoints" / "last.ckpt"
    with pytest.raises(UserError, match="planned for 6 steps"):
        run(tmp_path / "b", cache, "scheduler=onecycle", f"checkpoint={path}", "trainer.max_epochs=4")


def test_data_without_foreground_teach_nothing(tmp_path: Path, write_pairs: WritePairs) -> None:
    images = {name: np.full((36, 36), 100, np.uint8) for name in "abcde"}
    root = write_pairs(tmp_path / "data", images, {name: np.eye(36, dtype=np.uint8) * 255 for name in images})
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        own = ["data=folder", f"data.root={root}", "data.ignore_index=255", f"data.cache_dir={tmp_path / 'cache'}"]
        cfg = compose("train", [*own, f"run_dir={tmp_path}"])
    with pytest.raises(UserError, match=r"no mask of data=folder has .*; data.ignore_index=255 leaves those"):
        train(cfg)


def test_a_run_begun_with_weights_goes_on_as_it_began(tmp_path: Path, cache: Path) -> None:
    first = run(tmp_path / "first", cache, "trainer.max_epochs=1")
    content = torch.load(first["last_checkpoint"], weights_only=True)
    content["unetkit"]["preprocessing"] |= {"mean": [0.1], "std": [0.9]}
    other = tmp_path / "other.ckpt"
    torch.save(content, other)
    run(tmp_path / "a", cache, f"weights={other}")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    longer = "trainer.max_epochs=3"
    run(tmp_path / "a", cache, f"checkpoint={tmp_path / 'a'}", longer)
    run(tmp_path / "b", cache, f"checkpoint={tmp_path / 'b'}", f"weights={other}", longer)
    a, b = (tmp_path / name / "checkpoints" / "last.ckpt" for name in "ab")
    assert torch.load(a, weights_only=True)["unetkit"]["preprocessing"]["mean"] == (0.1,)
    ours, theirs = weights(a), weights(b)
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


def test_weights_of_another_run_start_a_new_one(tmp_path: Path, cache: Path) -> None:
    first = run(tmp_path / "first", cache)
    last = first["last_checkpoint"]
    frozen = ["optimizer.lr=0", "trainer.max_epochs=1"]
    summary = run(tmp_path / "second", cache, f"weights={last}", "model.dropout=0.3", *frozen)
    assert summary["epochs"] == 1
    ours = weights(Path(summary["last_checkpoint"]))
    for key, value in weights(Path(last)).items():
        assert "running" in key or "tracked" in key or torch.equal(value, ours[key]), key
    classes = run(tmp_path / "classes", cache, f"weights={last}", "data=synthetic_multiclass", *frozen)
    finer = weights(Path(classes["last_checkpoint"]))
    assert finer["network.head.weight"].shape[0] == 4
    assert torch.equal(finer["network.encoder.0.0.weight"], weights(Path(last))["network.encoder.0.0.weight"])
    for options, said in (
        ([f"weights={last}", f"checkpoint={last}"], "give one of them"),
        ([f"weights={last}", "model.channels=[4,6]"], r"another network: model.channels=\[4, 8\] \(here \[4, 6\]\)"),
        (["weights=nowhere.ckpt"], "nowhere.ckpt does not exist"),
    ):
        with pytest.raises(UserError, match=said):
            run(tmp_path / "third", cache, *frozen, *options)
    content = torch.load(last, weights_only=True)
    torch.save({key: content[key] for key in ("unetkit", "state_dict")}, tmp_path / "bare.ckpt")
    with pytest.raises(UserError, match="start with weights="):
        run(tmp_path / "third", cache, f"checkpoint={tmp_path / 'bare.ckpt'}")
