"""Networks of several projects, and how each project trains them."""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from torch import Tensor, nn

from benchmarks.composing import composed
from unetkit.cli.memory import keep_freed_memory
from unetkit.data import Batch
from unetkit.errors import UserError
from unetkit.models import activation_bytes, centre_crop
from unetkit.training.configuration import choose_precision
from unetkit.training.optimisation import for_capture, parameter_groups
from unetkit.training.step import StepParts, TrainingStep


def peer(module: str, place: Path | None = None) -> Any:
    """Import a module of another project, from its clone if `place` is given.

    Raises:
        UserError: If it can't be imported.
    """
    if place is not None and str(place.absolute()) not in sys.path:
        sys.path.insert(0, str(place.absolute()))
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(module, f"can't be imported ({error})", "install it, or give its clone") from error


@dataclass
class Training:
    """A network and how it is trained. Calling it makes a training step.

    Attributes:
        network: The network to train.
        objective: The loss of logits and class indices.
        optimizer: The optimiser of the network's parameters.
        half: The 16-bit type of autocast; None for float32.
        clip: Norm of the gradient above which it is clipped; None for no clipping.
        layout: Memory format of images.
    """

    network: nn.Module
    objective: Callable[[Tensor, Tensor], Tensor]
    optimizer: torch.optim.Optimizer
    half: torch.dtype | None = None
    clip: float | None = None
    layout: torch.memory_format = torch.contiguous_format

    def __post_init__(self) -> None:
        self.parameters = list(self.network.parameters())
        self.scaler = torch.amp.GradScaler(self.device, enabled=self.half == torch.float16)

    @property
    def device(self) -> str:
        """Return the type of the network's device, such as `cpu`."""
        return next(self.network.parameters()).device.type

    def __call__(self, images: Tensor, target: Tensor) -> float:
        """Make a step on images (B, C, H, W) and class indices (B, H, W), and return the loss."""
        with torch.autocast(self.device, self.half, enabled=self.half is not None):
            loss = self.objective(self.logits(images), target)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if self.clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.item()

    def logits(self, images: Tensor) -> Tensor:
        """Compute the network's logits of images."""
        logits: Tensor = self.network(images.to(memory_format=self.layout))
        return logits


@dataclass
class WholeSteps(Training):
    """A training whose steps are taken as train.py takes them on a GPU: captured once as a CUDA graph, and replayed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        autocast = partial(torch.autocast, self.device, self.half, enabled=self.half is not None)
        parts = StepParts(lambda batch, epoch: batch, self.losses, self.optimizer, self.clip, "norm", autocast)
        parts.scaler = self.scaler if self.scaler.is_enabled() else None
        self.step = TrainingStep(parts, captures=self.device == "cuda", is_required=True)

    def __call__(self, images: Tensor, target: Tensor) -> Tensor:  # type: ignore[override]  # nothing waits for it
        """Make a step on images (B, C, H, W) and class indices (B, H, W), and return the loss."""
        return self.step.take({"image": images, "mask": target, "index": target[:, 0, 0]}, 0)

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the loss to show, that to minimise, which is the same, and the valid pixels."""
        loss = self.objective(self.logits(batch["image"]), batch["mask"])
        return loss, loss, batch["mask"]


def half_of(device: torch.device) -> torch.dtype:
    """Return the 16-bit type that unetkit uses on a device."""
    return torch.float16 if choose_precision(16, device.type) == "16-mixed" else torch.bfloat16


def unetkits(
    network: nn.Module,
    device: torch.device,
    clone: Path | None,
    amp: bool = True,
    layout: torch.memory_format = torch.channels_last,
    keeps: bool = True,
    kind: type[Training] = Training,
) -> Training:
    """Train as train.py does by default, with trainer.precision=16."""
    if keeps:
        keep_freed_memory()
    cfg = composed("unet_small")
    loss = instantiate(cfg.loss, _convert_="all")
    network.to(device, memory_format=layout)  # type: ignore[call-overload]

    def objective(logits: Tensor, target: Tensor) -> Tensor:
        target = centre_crop(target, *logits.shape[2:])
        value: Tensor = loss(logits, target, torch.ones_like(target, dtype=torch.bool))
        return value

    make = instantiate(cfg.optimizer, _convert_="all")
    if kind is WholeSteps and device.type == "cuda":
        make = for_capture(make)
    optimizer = make(parameter_groups(network))
    half = half_of(device) if amp else None
    return kind(network, objective, optimizer, half, cfg.trainer.gradient_clip_val, layout)


# The same loss and optimiser, for projects that have networks but no training loop.
in_fp32 = partial(unetkits, amp=False, layout=torch.contiguous_format, keeps=False)
in_amp = partial(unetkits, layout=torch.contiguous_format, keeps=False)
in_one_graph: partial[Training] = partial(unetkits, kind=WholeSteps)


def plain(network: nn.Module, device: torch.device, clone: Path | None) -> Training:
    """Train as U_net_recreation and most scripts do: float32, channels first, Adam, binary cross-entropy."""
    network.to(device)

    def objective(logits: Tensor, target: Tensor) -> Tensor:
        target = centre_crop(target, *logits.shape[2:])
        return F.binary_cross_entropy_with_logits(logits[:, 0], target.float())

    return Training(network, objective, torch.optim.Adam(network.parameters(), 1e-4, weight_decay=1e-4))


def milesials(network: nn.Module, device: torch.device, clone: Path | None, amp: bool = False) -> Training:
    """Train as milesial's train.py does for two classes."""
    dice_loss = peer("utils.dice_score", clone).dice_loss
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def objective(logits: Tensor, target: Tensor) -> Tensor:
        classes = F.one_hot(target, 2).permute(0, 3, 1, 2).float()
        dice: Tensor = dice_loss(F.softmax(logits, dim=1).float(), classes, multiclass=True)
        return F.cross_entropy(logits, target) + dice

    optimizer = torch.optim.RMSprop(network.parameters(), 1e-5, weight_decay=1e-8, momentum=0.999, foreach=True)
    return Training(network, objective, optimizer, half_of(device) if amp else None, 1.0, torch.channels_last)


def from_conf(name: str, clone: Path | None) -> nn.Module:
    """Build a network of conf/model."""
    network: nn.Module = instantiate(composed(name).model, _convert_="all")
    return network


def milesial_unet(clone: Path | None) -> nn.Module:
    """Build milesial's U-Net of the clone.

    Raises:
        UserError: If no clone is given.
    """
    if clone is None:
        raise UserError("milesial's U-Net", "needs its clone", "give --milesial DIR, a clone of milesial/Pytorch-UNet")
    network: nn.Module = peer("unet", clone).UNet(n_channels=3, n_classes=2)
    return network


def smp_unet(clone: Path | None) -> nn.Module:
    """Build SMP's U-Net over a ResNet-34."""
    network: nn.Module = peer("segmentation_models_pytorch").Unet("resnet34", encoder_weights=None, in_channels=1)
    return network


def monai_unet(clone: Path | None) -> nn.Module:
    """Build MONAI's BasicUNet with its default widths."""
    network: nn.Module = peer("monai.networks.nets").BasicUNet(spatial_dims=2, in_channels=1, out_channels=1)
    return network


Network = Callable[[Path | None], nn.Module]
Way = Callable[[nn.Module, torch.device, Path | None], Training]


@dataclass(frozen=True)
class Case:
    """Contenders that train the same network on the same tensors.

    Attributes:
        contenders: A network and a way to train it, by name; unetkit's first.
        is_large: Whether to use the smaller batch.
        channels: Channels of the images.
        classes: Channels of the logits.
    """

    contenders: dict[str, tuple[Network, Way]]
    is_large: bool = False
    channels: int = 1
    classes: int = 1


def against_plain(name: str, peer_name: str, **facts: Any) -> Case:
    """Return a case of a network of conf/model, trained by unetkit and in the plain way."""
    network = partial(from_conf, name)
    return Case({"unetkit": (network, unetkits), peer_name: (network, plain)}, **facts)


CASES = {
    "unet_recreation_small": against_plain("unet_recreation_small", "U_net_recreation: NCHW fp32", channels=3),
    "unet_small": against_plain("unet_small", "NCHW fp32"),
    "unet_base": against_plain("unet_base", "NCHW fp32"),
    "unet_large": against_plain("unet_large", "NCHW fp32", is_large=True),
    "unet_milesial": Case(
        {
            "unetkit": (partial(from_conf, "unet_milesial"), unetkits),
            "milesial": (milesial_unet, milesials),
            "milesial --amp": (milesial_unet, partial(milesials, amp=True)),
        },
        is_large=True,
        channels=3,
        classes=2,
    ),
    "SMP Unet-ResNet34": Case(
        {
            "unetkit": (smp_unet, unetkits),
            "SMP: NCHW fp32": (smp_unet, in_fp32),
            "SMP: NCHW amp": (smp_unet, in_amp),
        },
        is_large=True,
    ),
    "MONAI BasicUNet": Case(
        {
            "unetkit": (monai_unet, unetkits),
            "MONAI: NCHW fp32": (monai_unet, in_fp32),
            "MONAI: NCHW amp": (monai_unet, in_amp),
        },
        is_large=True,
    ),
}


def random_batch(case: Case, batch: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Make random images (B, C, size, size) and class indices (B, size, size)."""
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(batch, case.channels, size, size, generator=draw)
    return images.to(device), (images[:, 0] > 0.5).long().to(device)


def kept_bytes(training: Training, x: Tensor) -> int:
    """Measure the bytes kept for the backward pass of x, in the precision of the training.

    They include the copies of weights in 16 bits.
    """
    with torch.autocast(training.device, training.half, enabled=training.half is not None):
        return activation_bytes(training.network, x.to(memory_format=training.layout))
