"""Stop a run whose loss is no longer a number: name the images of the first such batch, keep earlier checkpoints."""

import logging
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor

from unetkit.checkpoints.checkpoint import is_finite
from unetkit.data import SegmentationDataModule
from unetkit.data.device_cache import indices_of
from unetkit.errors import UserError
from unetkit.paths import short_path

log = logging.getLogger(__name__)

SECONDS = 2.0  # longest time between two looks at the losses of steps that nothing waits for
SHOWN = 8  # images that the error names; the log names all


class Seen(NamedTuple):
    """The loss of a batch, in the order in which a process met it."""

    step: int
    name: str
    batch: int
    loss: float
    indices: list[int]


class StopOnNaN(L.Callback):
    """Raise a `UserError` where the loss of a batch, or a weight to be saved, is not a finite number.

    On a CPU each loss is checked immediately. On other devices, where that would make each step wait for the last one,
    losses are checked together at the steps that are logged, or every 2 s where Lightning does not read these (see
    `LateRows`), and at the ends of epochs. Steps that mixed precision
    skips because their gradients are not finite have a finite loss, and are no fault.

    Args:
        run_dir: Folder of the run, with its checkpoints.
        is_fold: Whether the run is part of a cross-validation, whose folds all have one recipe.
    """

    def __init__(self, run_dir: Path, is_fold: bool = False) -> None:
        self.run_dir, self.is_fold = run_dir, is_fold
        self._checked_at = time.monotonic()
        self._recent: list[tuple[int, str, int, Tensor, Tensor]] = []  # Seen, while still on the device

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check the loss of a training batch."""
        self._recent.append((trainer.global_step, "train/loss", batch_idx, outputs["loss"], indices_of(batch)))
        if _is_alone_on_cpu(trainer) or self._is_time(trainer):
            self._check(trainer)

    def on_quiet_step(self, trainer: L.Trainer, loss: Tensor, batch: Any, batch_idx: int, waited: float) -> None:
        """Keep the loss of a training batch that Lightning does not see, to check it with others."""
        self._recent.append((trainer.global_step, "train/loss", batch_idx, loss, indices_of(batch)))
        if _is_alone_on_cpu(trainer):
            self._check(trainer)

    def _is_time(self, trainer: L.Trainer) -> bool:
        """Return whether the losses are looked at after this step, for which the device is waited for."""
        if trainer.world_size > 1 or not getattr(trainer.lightning_module, "takes_whole_steps", False):
            every = trainer.log_every_n_steps  # type: ignore[attr-defined]  # Lightning waits for the device then anyway
            return bool(every) and trainer.global_step % every == 0
        return time.monotonic() - self._checked_at >= SECONDS

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Check the loss of a validation batch."""
        self._recent.append((trainer.global_step, "val/loss", batch_idx, outputs, batch["index"]))
        if _is_alone_on_cpu(trainer):
            self._check(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check the losses that are left, before the epoch is compared with the best one."""
        self._check(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check the losses that are left."""
        self._check(trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the previous checkpoint instead of replacing it with weights that can't be used."""
        self._check(trainer)
        if not is_finite(checkpoint["state_dict"]):
            problem = f"are not finite numbers (NaN) after step {trainer.global_step}, although every loss was"
            raise UserError("the weights", f"{problem}: {_cause(trainer)}", self._fix(trainer))

    def _check(self, trainer: L.Trainer) -> None:
        first = _first_of_all(trainer, self._first_bad())
        if first is None:
            return
        names = _names(trainer, first.indices)
        where = f"batch {first.batch} of epoch {trainer.current_epoch}"
        if len(names) > SHOWN:
            log.error("%s is %s in %s: %s", first.name, first.loss, where, ", ".join(names))
            names[SHOWN:] = [f"{len(names) - SHOWN} more"]
        problem = f"is not a finite number, in {where} ({', '.join(names)}): {_cause(trainer)}"
        raise UserError(f"{first.name}={first.loss}", problem, self._fix(trainer))

    def _first_bad(self) -> Seen | None:
        recent, self._recent = self._recent, []
        self._checked_at = time.monotonic()
        if not recent:
            return None
        losses = torch.stack([loss.detach().float() for _, _, _, loss, _ in recent]).tolist()
        for loss, (step, name, batch, _, indices) in zip(losses, recent, strict=True):
            if not math.isfinite(loss):
                return Seen(step, name, batch, loss, indices.tolist())
        return None

    def _fix(self, trainer: L.Trainer) -> str:
        file = self.run_dir / "checkpoints" / "last.ckpt"
        last = short_path(file) if file.exists() and not self.is_fold else None
        place = ", in another hydra.run.dir" if self.is_fold else ""
        if _overflowed(trainer):
            start = f"resume with checkpoint={last} and" if last else "start again with"
            return f"{start} trainer.precision=bf16-mixed or 32{place}; stop_on_nan=false goes on"
        start = f", from weights={last}" if last else ""
        return f"start again with a lower optimizer.lr{start}{place}; stop_on_nan=false goes on"


def _is_alone_on_cpu(trainer: L.Trainer) -> bool:
    return trainer.strategy.root_device.type == "cpu" and trainer.world_size == 1


def _first_of_all(trainer: L.Trainer, found: Seen | None) -> Seen | None:
    """Return the first such loss of all processes, so that all end with the same error."""
    if trainer.world_size == 1:
        return found
    everyone: list[Seen | None] = [None] * trainer.world_size
    torch.distributed.all_gather_object(everyone, found)
    return min((each for each in everyone if each is not None), default=None)


def _names(trainer: L.Trainer, indices: list[int]) -> list[str]:
    data = trainer.datamodule  # type: ignore[attr-defined]  # set by Trainer.fit
    assert isinstance(data, SegmentationDataModule)  # narrows the type for mypy
    return [str(data.found.pairs[index].image) for index in indices]


def _overflowed(trainer: L.Trainer) -> bool:
    """Return whether float16 is the likely cause: there, a step with such a loss leaves the weights as they are."""
    weights = dict(trainer.lightning_module.named_parameters())
    return trainer.precision == "16-mixed" and is_finite(weights)


def _cause(trainer: L.Trainer) -> str:
    if _overflowed(trainer):
        return "a value has likely left the range of float16, which ends at 65,504"
    rate = max(group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups)
    return f"likely the learning rate, {rate:.3g} then, is too high, or one of these images or masks is odd"
