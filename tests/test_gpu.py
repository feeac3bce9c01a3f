"""What only a GPU can show: `pytest -m gpu`."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

import unetkit
from unetkit.data import DeviceAugmentation
from unetkit.data.device_augment import AugmentParams
from unetkit.models import UNet
from unetkit.training.run import train

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
