"""A whole step reads no value from its tensors: it runs on tensors that have none, where each reading raises."""

from collections.abc import Iterator

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensor, FakeTensorMode
from torchmetrics import Metric
from training_runs import ROOT, composed

from unetkit.data import Preprocessing
from unetkit.data.device_augment import DeviceAugmentation, basis
from unetkit.data.types import Batch
from unetkit.losses import wants_weight
from unetkit.training.module import SegmentationModule
from unetkit.training.optimisation import parameter_groups
from unetkit.training.step import StepParts, run_step

HOST = {"boundary", "hausdorff"}  # their distances are SciPy's
LOSSES = sorted({file.stem for file in (ROOT / "conf" / "loss").glob("*.yaml")} - HOST - {"sum"})
AUGMENTATIONS = sorted(file.stem for file in (ROOT / "conf" / "augment").glob("*_device.yaml"))
OTHERS = {"unet_3d", "smp_unet"}  # volumes; another library, by its encoder's name
NETWORKS = sorted({file.stem for file in (ROOT / "conf" / "model").glob("*.yaml")} - OTHERS)
SAMPLE = {"unet_small", "attention_unet"}
TINY = ["model=plain_small", "model.channels=[2,3,4]"]


@pytest.fixture
def mode() -> Iterator[FakeTensorMode]:
    """In which all tensors are without values."""
    basis.cache_clear()
    yield FakeTensorMode()
    basis.cache_clear()  # which holds tensors without values


def take_values_away(module: nn.Module, mode: FakeTensorMode) -> None:
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = nn.Parameter(mode.from_tensor(parameter.detach()))
        for name, buffer in part._buffers.items():
            part._buffers[name] = None if buffer is None else mode.from_tensor(buffer)
        for name in part._defaults if isinstance(part, Metric) else ():
            setattr(part, name, mode.from_tensor(getattr(part, name)))


def module_of(cfg: DictConfig, classes: int = 1) -> SegmentationModule:
    network = instantiate(cfg.model, num_classes=classes, in_channels=1, _convert_="all")
    optimizer = instantiate(cfg.optimizer, _convert_="all")
    normal = Preprocessing(1, mean=(0.5,), std=(0.2,))
    loss, heads = instantiate(cfg.loss, _convert_="all"), cfg.deep_supervision
    return SegmentationModule(
        network, loss, optimizer, None, preprocessing=normal, num_classes=classes, deep_supervision=heads
    )


def take_step(mode: FakeTensorMode, cfg: DictConfig, classes: int = 1, side: int = 32, clip: str = "norm") -> None:
    """Take two steps with pairs that are cached on the device."""
    module = module_of(cfg, classes)
    take_values_away(module, mode)
    augmentation = instantiate(cfg.augment, _convert_="all")
    with mode:
        take_steps(module, augmentation, cfg, side, clip)


def take_steps(
    module: SegmentationModule, augmentation: DeviceAugmentation, cfg: DictConfig, side: int, clip: str
) -> None:
    images = torch.zeros(5, 1, side, side, dtype=torch.uint8)
    masks = torch.zeros(5, side, side, dtype=torch.uint8)

    def make_batch(indices: Tensor, epoch: int | Tensor) -> Batch:
        batch: Batch = {"image": images[indices], "mask": masks[indices], "index": indices}
        if wants_weight(module.loss):
            batch["weight"] = masks[indices].float()
        return augmentation.apply(batch, augmentation.sample_params(epoch, indices, side, side))

    groups = parameter_groups(module.network, module.side_heads)
    fused = {"fused": True} if "RMSprop" not in cfg.optimizer._target_ else {}
    parts = StepParts(make_batch, module.losses_of, module.make_optimizer(groups, **fused), 1.0, clip)
    for _ in range(2):
        loss = run_step(parts, torch.tensor([3, 1]), torch.tensor(7))  # type: ignore[arg-type]
    assert isinstance(loss, FakeTensor)
    assert loss.shape == ()


@pytest.mark.parametrize("classes", [1, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("loss", LOSSES)
def test_no_loss_is_waited_for(mode: FakeTensorMode, loss: str, classes: int) -> None:
    take_step(mode, composed(*TINY, f"loss={loss}"), classes)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_no_augmentation_is_waited_for(mode: FakeTensorMode, augmentation: str) -> None:
    take_step(mode, composed(*TINY, f"augment={augmentation}", "deep_supervision=0.4"))


@pytest.mark.parametrize("clip", ["norm", "value"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop"])
def test_no_optimiser_is_waited_for(mode: FakeTensorMode, optimizer: str, clip: str) -> None:
    take_step(mode, composed(*TINY, f"optimizer={optimizer}"), clip=clip)


@pytest.mark.parametrize(
    "network", [pytest.param(name, marks=[] if name in SAMPLE else [pytest.mark.slow]) for name in NETWORKS]
)
def test_no_network_is_waited_for(mode: FakeTensorMode, network: str) -> None:
    take_step(mode, composed(f"model={network}"), side=64)


def test_a_loss_that_reads_values_is_found(mode: FakeTensorMode) -> None:
    """That is, these tests can fail."""
    with pytest.raises(DataDependentOutputException):
        take_step(mode, composed(*TINY, "loss=boundary"))


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_scores_are_added_up_without_waiting(mode: FakeTensorMode, classes: int) -> None:
    module = module_of(composed(*TINY), classes)
    take_values_away(module, mode)
    with mode:
        masks = torch.zeros(2, 32, 32, dtype=torch.uint8)
        batch: Batch = {"image": masks[:, None], "mask": masks, "index": torch.arange(2)}
        for _ in range(2):
            assert isinstance(module.validation_step(batch, 0), FakeTensor)
