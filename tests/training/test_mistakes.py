"""A wrong value is told in one line that names its key."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Array, WritePairs
from training_runs import composed, config, run

from unetkit.errors import UserError
from unetkit.training.module import SegmentationModule
from unetkit.training.run import train

# Keys that the tests of their own packages cover too are slow, but for one of each kind.
FAST = [
    (["checkpoint=nowhere.ckpt"], "checkpoint=nowhere.ckpt does not exist"),
    (["data=tgs_salt"], "data.root is not set"),
    (["+data.root=photos"], "data.root=photos is not used by data=synthetic; choose data=folder, whose key it is"),
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
    (["trainer.step=fast"], "trainer.step=fast must be auto, graph or eager"),
    (["trainer.compile=fast"], "trainer.compile=fast must be one of"),
    (["trainer.compile=max-autotune", "trainer.accumulate_grad_batches=2"], "CUDA graphs, which lose gradients"),
    (["run_dir=/proc/none"], "run_dir=/proc/none can't be written"),
    (["weights=nowhere.ckpt"], "weights=nowhere.ckpt does not exist"),
    (["loss=cldice", "loss.iterations=1.5"], "loss.iterations=1.5 must be a whole number of pixels"),
    (["trainer.accumulate_grad_batches=0"], "accumulate_grad_batches=0"),
    (["trainer.max_epochs=-1"], "a schedule needs a number of steps"),
    (["optimizer.lr=-1"], "Invalid learning rate: -1; they have lr=-1, betas="),
    (["loss.dice_weight=null"], "loss.dice_weight=None must be a number"),
    (
        ["+loss.switch=0.5"],
        "loss.switch is set, perhaps by the experiment, but DiceBCELoss has no .*type ~loss.switch",
    ),
    (["loss=weighted_bce", "data.border_weight=null"], "data.border_weight=None does not have w0"),
    (["trainer.accelerator=abacus"], "abacus"),
    (["threshold=0.3", "data=synthetic_multiclass"], "threshold=0.3 is for binary masks; of 4 classes the"),
    (["scheduler.scheduler.warmup=5"], "warmup=5 must be a share of the steps"),
    (["loss=weighted_bce", "data.border_weight.sigma=wide"], "'sigma': 'wide'.* does not have w0"),
    (["trainer.check_val_every_n_epoch=0"], "check_val_every_n_epoch=0 must be a whole number of at least 1"),
    (["trainer.val_check_interval=9"], "val_check_interval"),
    (["trainer.val_check_interval=0"], "trainer.val_check_interval=0 must be above 0"),
    (["trainer.limit_train_batches=all"], "^trainer is refused: "),
    (["trainer.gradient_clip_val=-1"], "trainer.gradient_clip_val=-1 must be at least 0"),
    (["trainer.log_every_n_steps=few"], "trainer.log_every_n_steps=few must be a whole number of steps"),
    (["trainer.fast_dev_run=maybe"], "^trainer is refused: .*maybe"),
    (["trainer.accelerator=tpu"], "^trainer is refused: .*torch_xla"),
    (["channels_last=maybe"], "channels_last=maybe must be true or false"),
    (["model.in_channels=0"], "model.in_channels=0 must be a whole number of at least 1"),
    (
        ["callbacks=early_stopping", "callbacks.early_stopping.patience=long"],
        "patience=long must be",
    ),
    (["loss=weighted_bce", "data.border_weight=5"], "data.border_weight=5 does not have w0"),
    (["trainer.max_time=5"], "trainer.max_time=5 must be DAYS:HOURS:MINUTES:SECONDS"),
    (["callbacks=early_stopping", "callbacks.early_stopping.monitor=val/f1"], "conditioned on metric `val/f1`"),
    (["trainer.sync_batchnorm=true"], "trainer.sync_batchnorm=true needs GPUs; use trainer.sync_batchnorm=false"),
    (["trainer.strategy=fsdp"], "trainer.strategy=fsdp needs CUDA GPUs; use trainer=ddp_cpu"),
    (
        ["trainer.devices=2", "trainer.strategy=ddp_spawn"],
        "trainer.strategy=ddp_spawn trains in copies of this process, whose results are lost; use trainer.strategy=ddp",
    ),
    (["trainer.devices=2", "trainer.strategy=ddp_notebook"], "trainer.strategy=ddp_notebook trains in copies"),
]
SLOW = [
    (["data=folder", "data.root=nowhere"], "data.root=nowhere does not exist"),
    (
        ["augment=strong", "data.cache_on_device=true"],
        "data.cache_on_device=true needs augment=none, elastic_device, mild",
    ),
    (["data.cache_on_device=maybe"], "data.cache_on_device=maybe"),
    (
        ["augment=flip", "augment.transforms.flip.p=3"],
        r"flip is refused: .*less than or equal to 1.*\S$",
    ),
    (["data.sections_seed=-1"], "data.sections_seed=-1 must be a whole number of at least 0"),
    (["data.size=0"], "data.size=0 must be a whole number of pixels"),
    (["data=folder", "data.root=2026"], "data.root=2026 does not exist"),
    (["data.count=0"], "data.count=0 must be at least 2"),
    (["data.batch_size=many"], "data.batch_size=many"),
    (["data.crop_size=0"], "data.crop_size=0"),
    (["data.crop_size=[8]"], r"data.crop_size=\[8\] must be null, a whole number of at least 1, or two"),
    (["data.mask_values=[0,0]"], "data.mask_values"),
    (["data.num_classes=3"], "holds the values 0, 65535, but data.num_classes=3 stands for 0 to 2"),
    (["data.class_names=[salt]"], "data.class_names=.salt. must be 2 different names"),
    (["optimizer.lr=high"], "lr=high"),
    (["loss=sum", "loss.weights=2"], "loss.weights=2 must have one weight for each of bce, "),
    (["loss=sum"], "loss.weights are all 0; set one at least, as loss.weights.bce=1"),
    (["loss=dice", "+loss.smooth=0"], "smooth=0"),
    (["loss=dice", "loss.smoothing=100"], "loss.smoothing=100 must be a share of the image's pixels"),
    (["data.fold=1"], "data.fold=1 has no use: data.split=fraction has no folds; set data.split=kfold"),
    (["data.split=5"], "data.split=5 must be the name of a way to split"),
    (["data.split=kfold", "data.fold=first"], "data.fold=first of data.folds=5 does not fit 24 pairs"),
    (["data.seed=-1"], "data.seed=-1 must be a whole number of at least 0"),
    (["scheduler.interval=epoch"], "interval=epoch must be step"),
    (["scheduler=poly", "scheduler.scheduler.power=-1"], "power=-1 must be above 0"),
    (["data.channels=rgb"], "data.channels=rgb must be auto, or a whole number"),
    (["optimizer.betas=[0.9]"], r"they have lr=.*, betas=\[0.9\]"),
    (["scheduler.scheduler.final=two"], "final=two"),
    (["loss.bce_weight=-1"], "loss.bce_weight=-1 must be a number of at least 0"),
    (["augment=elastic", "augment.transforms.elastic.grid=0"], "grid=0 must be a whole number of points"),
    (["augment=flip", "+augment.transforms.blur.p=1"], "augment.transforms.blur=.* must be a transform; its _tar"),
    (
        ["augment=flip", "+augment.transforms.blur._target_=albumentations.Blurr"],
        "blur is refused: .*'Blurr'",
    ),
    (
        ["augment=flip", "+augment.transforms.normal._target_=albumentations.Normalize"],
        "augment.transforms turn an image.* into float32 of shape .* leave out what normalises",
    ),
]


@pytest.mark.parametrize(("options", "said"), [*FAST, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)])
def test_a_wrong_value_is_named(tmp_path: Path, cache: Path, options: list[str], said: str) -> None:
    if options[0].startswith("data="):
        cfg = composed(*options, f"run_dir={tmp_path}", f"data.cache_dir={cache}")
    else:
        cfg = config(tmp_path, cache, *options)
    with pytest.raises(UserError, match=said):
        train(cfg)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "data.batch_size=8 needs more memory than is free .*; lower it"),
        (torch._dynamo.exc.TorchDynamoException("no compiler"), r"fails here \(no compiler\); use false"),
        (RuntimeError("nll_loss does not have a deterministic implementation, but"), "use trainer.deterministic=warn"),
        (RuntimeError("a defect of ours"), "a defect of ours"),
    ],
    ids=["memory", "compiler", "determinism", "defect"],
)
def test_what_the_machine_can_not_do_is_told_and_a_defect_is_raised(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(SegmentationModule, "training_step", fail)
    with pytest.raises(RuntimeError if said in str(error) else UserError, match=said):
        run(tmp_path, cache)


def test_data_without_foreground_are_refused(tmp_path: Path, write_pairs: WritePairs) -> None:
    images = {name: np.full((36, 36), 100, np.uint8) for name in "abcde"}
    root = write_pairs(tmp_path / "data", images, {name: np.eye(36, dtype=np.uint8) * 255 for name in images})
    own = ["data=folder", f"data.root={root}", "data.ignore_index=255", f"data.cache_dir={tmp_path / 'cache'}"]
    with pytest.raises(UserError, match=r"data=folder has no foreground pixel .*; data.ignore_index=255 leaves out"):
        train(composed(*own, f"run_dir={tmp_path}"))


@pytest.mark.parametrize("instances", ["null", "foreground"])
@pytest.mark.parametrize("full", [np.full((36, 36), 255, np.uint8), np.ones((36, 36), np.uint16)])
def test_masks_that_are_all_full_are_refused(
    full: Array, instances: str, tmp_path: Path, write_pairs: WritePairs
) -> None:
    images = {name: np.full((36, 36), 100, np.uint8) for name in "abcde"}
    root = write_pairs(tmp_path / "data", images, dict.fromkeys(images, full))
    own = ["data=folder", f"data.root={root}", f"data.instances={instances}", f"data.cache_dir={tmp_path / 'cache'}"]
    with pytest.raises(UserError, match=r"in every pixel of every mask, .*; give the background a value of its own"):
        train(composed(*own, f"run_dir={tmp_path}"))
