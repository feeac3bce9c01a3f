"""Runs with each kind of choice that the configuration offers."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import run, weights

from unetkit.errors import UserError
from unetkit.training.configuration import choose_precision

FAST = [
    ["model=unet_paper", "optimizer=sgd", "optimizer.lr=1e-4", "scheduler=none"],
    ["trainer.precision=16", "trainer.accumulate_grad_batches=2", "trainer.gradient_clip_val=0.5"],
    ["callbacks=[ema,early_stopping]", "channels_last=false", "augment=flip"],
    ["loss=weighted_bce", "data.crop_size=24", "model.padding=valid", "mirror_border=false", "data.size=60"],
    ["data=synthetic_multiclass", "data.batch_size=6", "augment=strong", "model.padding=valid"],
]
SLOW = [
    ["model=dumbnet", "model.channels=8"],
    ["model=unet_paper", "mirror_border=false", "data.size=48"],
    ["model.padding=valid", "model.upsampling=nearest", "loss.dice_weight=0.5", "scheduler=plateau"],
    ["model.gradient_checkpointing=all", "optimizer=rmsprop", "scheduler=poly", "augment=strong"],
    ["model=unet_small", "model.channels=[4,6,8]", "loss=bce_lovasz"],
    ["loss=sum", "loss.weights.weighted_bce=0.5", "loss.weights.boundary=1"],
    ["loss=boundary", "data.num_workers=1"],
    ["augment=strong_device", "loss=weighted_bce", "data.crop_size=20"],
    ["deep_supervision=0.4", "model.channels=[4,4,8]", "model.padding=valid", "trainer.precision=16", "callbacks=ema"],
    ["data.split=kfold", "data.fold=2", "data.num_workers=2", "data.crop_size=20"],
]


@pytest.mark.parametrize("options", [*FAST, *(pytest.param(x, marks=pytest.mark.slow) for x in SLOW)], ids=" ".join)
def test_choices_train(tmp_path: Path, cache: Path, options: list[str]) -> None:
    summary = run(tmp_path, cache, "trainer.max_epochs=1", *options)
    assert 0 <= summary["val/iou"] <= 1
    assert np.isfinite(summary["train/loss_epoch"])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_run_is_the_same_but_for_rounding(tmp_path: Path, cache: Path) -> None:
    for name, compiles in (("plain", "false"), ("compiled", "true")):
        run(
            tmp_path / name,
            cache,
            f"trainer.compile={compiles}",
            "callbacks=ema",
            "data.count=20",
            "trainer.limit_val_batches=0",
        )
    plain, compiled = (weights(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("plain", "compiled"))
    assert plain.keys() == compiled.keys()
    assert all(torch.allclose(plain[key].float(), compiled[key].float(), atol=1e-3) for key in plain)


def test_precision_16_is_bfloat16_on_a_cpu_and_float16_on_a_gpu() -> None:
    assert choose_precision(16, "cpu") == "bf16-mixed"
    assert choose_precision("16-mixed", "cpu") == "bf16-mixed"
    assert choose_precision(16, "cuda") == "16-mixed"
    assert choose_precision("bf16-mixed", "cpu") == "bf16-mixed"
    assert choose_precision(32, "cpu") == "32-true"
    with pytest.raises(UserError, match=r"trainer\.precision=64"):
        choose_precision(64, "cpu")
