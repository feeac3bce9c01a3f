"""Choose how the steps of a run are taken: as whole steps, which a GPU captures and replays, or in Lightning's way."""

import copy
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden
from omegaconf import DictConfig
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from unetkit.data import SegmentationDataModule
from unetkit.errors import UserError
from unetkit.losses import apply_loss
from unetkit.training.build import example_input
from unetkit.training.module import SegmentationModule
from unetkit.training.optimisation import for_capture
from unetkit.training.step_loop import StepLoop

log = logging.getLogger(__name__)

GRADIENT_HOOKS = ("on_before_backward", "on_after_backward", "on_before_zero_grad", "on_before_optimizer_step")
SIDE = 16  # pixels of the images on which a loss is tried


def choose_step(cfg: DictConfig, trainer: L.Trainer, module: SegmentationModule, data: SegmentationDataModule) -> None:
    """Let `module` take whole steps where `trainer.step` asks for it and nothing stands against it.

    `auto` does so on one CUDA GPU, and logs one line where something stands against it. `graph` does so on a CPU as
    well, where the whole step runs as it is.

    Raises:
        UserError: If `trainer.step=graph` is not possible.
    """
    wanted = cfg.trainer.get("step", "auto")
    device = trainer.strategy.root_device
    takes_whole_steps = wanted == "graph" or (wanted == "auto" and device.type == "cuda")
    if takes_whole_steps and (reason := next(obstacles(cfg, trainer, module, data), None)):
        if wanted == "graph":
            raise UserError("trainer.step=graph", f"is not possible with {reason}", "use trainer.step=auto or eager")
        log.info("trainer.step=auto: each operation is started by itself, which is slower, because of %s", reason)
        takes_whole_steps = False
    module.takes_whole_steps = data.leaves_batches_to_step = takes_whole_steps
    module.requires_capture = wanted == "graph"
    if module.member is not None and device.type == "cuda" and draws_random_numbers(module, data):
        log.info("the runs are trained one after the other, as the network draws random numbers on the GPU (dropout)")
        module.member = None
    if takes_whole_steps:
        loop = trainer.fit_loop.epoch_loop
        trainer.fit_loop.epoch_loop = StepLoop(trainer, loop.min_steps, loop.max_steps)


def obstacles(
    cfg: DictConfig, trainer: L.Trainer, module: SegmentationModule, data: SegmentationDataModule
) -> Iterator[str]:
    """Give what stands against whole steps, in the words of a log line."""
    device = trainer.strategy.root_device
    if device.type not in ("cuda", "cpu"):
        yield f"the device {device.type}"
    if trainer.world_size > 1 or not isinstance(trainer.strategy, SingleDeviceStrategy):
        yield "several processes"
    if trainer.accumulate_grad_batches > 1:
        yield f"trainer.accumulate_grad_batches={trainer.accumulate_grad_batches}"
    for key in ("detect_anomaly", "profiler"):
        if cfg.trainer.get(key):
            yield f"trainer.{key}={cfg.trainer[key]}"
    if has_mixed_sizes(data):
        yield "images of several sizes without data.crop_size"
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if any(is_overridden(hook, callback, Callback) for hook in GRADIENT_HOOKS):
            yield f"the callback {type(callback).__name__}, which looks at gradients"
    if waits_for_host(module):
        yield f"the loss {type(module.loss).__name__}, which reads values from the device"
    if device.type == "cuda":
        yield from obstacles_to_capture(cfg, trainer, module)


def obstacles_to_capture(cfg: DictConfig, trainer: L.Trainer, module: SegmentationModule) -> Iterator[str]:
    """Give what stands against a CUDA graph."""
    checkpointing = cfg.model.get("gradient_checkpointing") or "none"
    if checkpointing != "none":
        yield f"model.gradient_checkpointing={checkpointing}"
    make = for_capture(module.make_optimizer)
    name = cfg.optimizer.get("_target_", "the optimizer").rpartition(".")[2]
    if make is None:
        yield f"optimizer {name}, which has no form that can be captured"
    elif trainer.precision == "16-mixed" and "fused" not in getattr(make, "keywords", {}):
        yield f"trainer.precision=16 and optimizer {name}, which can't leave out a step on the device"


def has_mixed_sizes(data: SegmentationDataModule) -> bool:
    """Return whether batches of training pairs differ in height and width."""
    sizes = {data.prepared.training.masks.shapes[i] for i in data.split.indices("train")}
    crop = data.serving.crop
    return len({size if crop is None else tuple(map(min, size, crop)) for size in sizes}) > 1


def waits_for_host(module: SegmentationModule) -> bool:
    """Return whether the loss reads a value, for which the step would wait, from tensors that hold none."""
    channels = max(module.num_classes, 1)
    with FakeTensorMode(allow_non_fake_inputs=True):
        logits = torch.zeros(2, channels, SIDE, SIDE, requires_grad=True)
        target = torch.zeros(2, SIDE, SIDE, dtype=torch.uint8)
        try:
            loss = apply_loss(module.loss, logits, target, target < 2, logits.new_ones(target.shape))
            loss.backward()  # type: ignore[no-untyped-call]
        except UserError:  # told in training
            return False
        except Exception:  # each library raises another class where it finds no value
            return True
    return False


def draws_random_numbers(module: SegmentationModule, data: SegmentationDataModule) -> bool:
    """Return whether the network draws random numbers in training, as dropout does."""
    channels, height, width = example_input(data, module).shape[1:]
    watch = RandomOperations()  # type: ignore[no-untyped-call]
    kept = copy.deepcopy(module.network.state_dict())  # numbers of batches are counted even so
    with FakeTensorMode(allow_non_fake_inputs=True), watch:
        module.train()(torch.zeros(2, channels, height, width, dtype=torch.uint8))
    module.network.load_state_dict(kept)
    return watch.found


class RandomOperations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Note whether an operation draws random numbers."""

    found = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at an operation, and let it run."""
        self.found = self.found or torch.Tag.nondeterministic_seeded in func.tags
        return func(*args, **(kwargs or {}))


def compile_parts(module: SegmentationModule, mode: str | bool, cache_dir: Path) -> None:
    """Compile the network, and with whole steps the loss, in place, so that the keys of checkpoints stay.

    Args:
        module: The module that trains.
        mode: A mode of `torch.compile`, or true; a step that is captured as a whole needs no CUDA graphs within.
        cache_dir: Folder in which compiled code is kept for later runs, unless TORCHINDUCTOR_CACHE_DIR names one.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_dir / "compiled"))  # torch's is emptied by a restart
    parts, modes = [module.network], {"reduce-overhead": "default", "max-autotune": "max-autotune-no-cudagraphs"}
    if module.takes_whole_steps:
        mode = modes.get(str(mode), mode)
        parts.append(module.loss)
    for part in parts:
        part.compile(mode=None if mode is True else mode)
