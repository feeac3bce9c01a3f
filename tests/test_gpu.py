"""What only a GPU can show: `pytest -m gpu`."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir

import unetkit
from unetkit.data import DeviceAugmentation
from unetkit.data.device_augment import AugmentParams
from unetkit.models import UNet
from unetkit.training.cross_validation import cross_validate
from unetkit.training.run import train
from unetkit.training.step import StepGraph, TrainingStep

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CONF = Path(__file__).parent.parent / "conf"


def test_sixteen_trains_and_the_checkpoint_predicts_on_a_cpu(tmp_path: Path) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        options = ["data.count=64", "trainer.precision=16", "trainer.max_epochs=2", "trainer.accelerator=gpu"]
        options += ["trainer.devices=1", f"run_dir={tmp_path}", f"data.cache_dir={tmp_path}"]
        summary = train(compose("train", options))
    assert summary["precision"] == "16-mixed"
    assert 0 < summary["train/loss_epoch"] < 10
    predictor = unetkit.load(tmp_path / "checkpoints" / "last.ckpt")
    on_gpu = unetkit.load(tmp_path / "checkpoints" / "last.ckpt", "cuda")
    image = (torch.rand(101, 101) * 255).byte().numpy()
    torch.testing.assert_close(
        torch.from_numpy(on_gpu(image).probability), torch.from_numpy(predictor(image).probability), rtol=0, atol=2e-3
    )


@pytest.mark.parametrize("checkpointing", [1, "all"])
def test_checkpointing_changes_nothing_under_float16(checkpointing: int | str) -> None:
    plain = UNet(1, 1, (8, 16, 32)).cuda()
    frugal = UNet(1, 1, (8, 16, 32), gradient_checkpointing=checkpointing).cuda()
    frugal.load_state_dict(plain.state_dict())
    x = torch.randn(2, 1, 101, 101, device="cuda")
    for network in (plain, frugal):
        with torch.autocast("cuda", torch.float16):
            loss = network(x).float().square().mean()
        loss.backward()
    for a, b in zip(plain.parameters(), frugal.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-5)
    for c, d in zip(plain.buffers(), frugal.buffers(), strict=True):
        torch.testing.assert_close(c, d, rtol=0, atol=0)


def test_a_batch_is_changed_on_the_gpu_as_on_the_cpu() -> None:
    augmentation = DeviceAugmentation(0, zoom=(0.8, 1.25), rotate=10.0, affine_p=1.0, contrast=0.2, intensity_p=1.0)
    image = torch.randint(0, 256, (64, 1, 101, 101), dtype=torch.uint8)
    mask = (image > 127).to(torch.uint8)
    params = augmentation.sample_params(0, torch.arange(64), 101, 101)
    on_cpu = augmentation.warp(image, mask, params)
    on_gpu = augmentation.warp(image.cuda(), mask.cuda(), AugmentParams(*(x.cuda() for x in params)))
    for a, b in zip(on_cpu, on_gpu, strict=True):
        assert (a.int() - b.cpu().int()).abs().gt(1).float().mean() < 1e-3  # ties of the nearest pixel


def test_pairs_cached_on_the_gpu_and_cuda_graphs_train(tmp_path: Path) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        options = ["data.count=64", "trainer.precision=16", "trainer.max_epochs=2", "trainer.accelerator=gpu"]
        options += ["data.cache_on_device=true", "trainer.compile=reduce-overhead", "trainer.devices=1"]
        # Compiling is what takes time: a small network, and no second form of it for validation.
        options += ["model=plain_small", "model.channels=[4,8]", "trainer.limit_val_batches=0"]
        summary = train(compose("train", [*options, f"run_dir={tmp_path}", f"data.cache_dir={tmp_path}"]))
    assert 0 < summary["train/loss_epoch"] < 10
    unetkit.load(tmp_path / "checkpoints" / "last.ckpt")


def trained(run_dir: Path, step: str, *options: str) -> dict[str, Any]:
    """Return the last checkpoint of a small training by captured steps (`graph`) or in Lightning's way (`eager`)."""
    tiny = ["model=plain_small", "model.channels=[4,8]", "data.count=72", "data.batch_size=8", "trainer.max_epochs=2"]
    gpu = ["trainer.accelerator=gpu", "trainer.devices=1", "trainer.enable_progress_bar=false", f"trainer.step={step}"]
    folders = [f"run_dir={run_dir}", f"data.cache_dir={run_dir.parent}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        train(compose("train", [*tiny, *gpu, *folders, *options]))
    content: dict[str, Any] = torch.load(run_dir / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)
    return content


def assert_close(one: dict[str, Any], other: dict[str, Any], tolerance: float) -> None:
    assert one["global_step"] == other["global_step"]
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(value, other["state_dict"][name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "options",
    [
        ["callbacks=ema"],
        ["optimizer=sgd", "scheduler=onecycle", "trainer.gradient_clip_algorithm=value"],
        ["optimizer=rmsprop", "data.batch_size=10"],
        ["loss=bce_lovasz", "data.cache_on_device=false", "augment=flip"],
    ],
    ids=" ".join,
)
def test_captured_steps_train_as_lightning_does(tmp_path: Path, options: list[str]) -> None:
    """To within what float32 sums in another order, and sums of the backward pass in any order, give."""
    eager, graph = (trained(tmp_path / step, step, *options) for step in ("eager", "graph"))
    assert_close(graph, eager, 2e-3)


def test_captured_steps_draw_other_dropout_at_each_step_and_the_same_in_each_run(tmp_path: Path) -> None:
    options = ["model.dropout=0.5", "optimizer=sgd"]
    first, again = (trained(tmp_path / name, "graph", *options) for name in ("first", "again"))
    assert_close(first, again, 1e-3)
    without = trained(tmp_path / "without", "graph", "optimizer=sgd")
    differences = [(first["state_dict"][k] - v).abs().max() for k, v in without["state_dict"].items() if "head" in k]
    assert max(differences) > 1e-3


def test_float16_scales_the_loss_within_the_graph(tmp_path: Path) -> None:
    """The first scale of 65,536 overflows, so that steps are left out until it is small enough."""
    graph = trained(tmp_path / "graph", "graph", "trainer.precision=16", "loss.bce_weight=1000")
    scaler = graph["MixedPrecision"]
    assert 0 < scaler["scale"] <= 65536
    assert all(value.isfinite().all() for value in graph["state_dict"].values())
    steps = [float(state["step"]) for state in graph["optimizer_states"][0]["state"].values()]
    assert 0 < steps[0] <= graph["global_step"]


def test_a_captured_run_is_resumed_on_the_gpu_and_on_the_cpu(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", "graph", "scheduler=none")
    first = trained(tmp_path / "first", "graph", "scheduler=none", "trainer.max_epochs=1")
    assert first["global_step"] < whole["global_step"]
    resumed = [f"checkpoint={tmp_path / 'first'}", "scheduler=none"]
    assert_close(trained(tmp_path / "on_gpu", "graph", *resumed), whole, 2e-3)
    on_cpu = trained(tmp_path / "on_cpu", "auto", *resumed, "trainer.accelerator=cpu")
    assert_close(on_cpu, whole, 2e-3)
    back = trained(
        tmp_path / "back", "graph", f"checkpoint={tmp_path / 'on_cpu'}", "trainer.max_epochs=3", "scheduler=none"
    )
    assert back["global_step"] > whole["global_step"]


def test_two_folds_in_one_graph_train_as_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captured: list[int] = []
    capture = StepGraph._capture

    def count_steps(self: StepGraph, steps: list[TrainingStep]) -> None:
        captured.append(len(steps))
        capture(self, steps)

    monkeypatch.setattr(StepGraph, "_capture", count_steps)
    tiny = ["model=plain_small", "model.channels=[4,8]", "data.count=150", "data.batch_size=8", "trainer.max_epochs=2"]
    tiny += ["data.folds=2", "trainer.accelerator=gpu", "trainer.step=graph", "trainer.enable_progress_bar=false"]
    for count in (1, 2):
        folders = [f"run_dir={tmp_path / str(count)}", f"data.cache_dir={tmp_path}"]
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cross_validate(compose("cross_validate", [*tiny, *folders, f"cross_validation.at_once={count}"]))
    assert captured == [1, 1, 2]
    for fold in ("fold-0", "fold-1"):
        one, other = (
            torch.load(tmp_path / count / fold / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)
            for count in ("1", "2")
        )
        assert_close(one, other, 2e-3)
