"""Save a run within its epochs, so that what is lost by an interruption is less than an epoch, or nothing."""

import re
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn

from unetkit.errors import is_whole
from unetkit.training.module import SegmentationModule
from unetkit.training.stopping import Stop
from unetkit.training.within_epoch import (
    KEY,
    State,
    restore_before_validation,
    restore_means,
    restore_plateau,
    restore_random_state,
    save_position,
)

SHARE_OF_TIME = 0.01  # largest part of the time since the last checkpoint that one before a validation may take
MINUTES = re.compile(r"(\d+(?:\.\d+)?)min")


class SaveWithinEpoch(Checkpoint):
    """Save `last.ckpt` every so often, and where the run is asked to stop; restore what counts within an epoch.

    It saves after a step of the optimiser. Batches that are still being added up to one step, and a validation that has
    begun, are finished before it stops. Before a validation it saves whenever that takes little time, so that a
    validation that is killed, or fails, costs no training. As a `Checkpoint`, Lightning calls it after other callbacks.

    Args:
        file: The checkpoint to write.
        every: Number of steps, or a time as `30min`, between two checkpoints; None for none within an epoch.
        stop: What asks the run to stop.
        before_validation: Whether to save before a validation, too.
    """

    def __init__(self, file: Path, every: int | str | None, stop: Stop, *, before_validation: bool = True) -> None:
        self.file = file
        self.before_validation = before_validation
        self._every_n_train_steps, self.seconds = interval_of(every)  # as ModelCheckpoint calls it; see StepLoop
        self.stop = stop
        self._must_stop = False
        self._is_saved, self._saved_at = False, time.monotonic()
        self._seconds_to_save = 0.0
        self._to_restore: State | None = None
        self._max_steps = -1

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Let Lightning begin where only the validation of the last step is to be done, after `max_steps`."""
        loop = trainer.fit_loop.epoch_loop
        self._max_steps = loop.max_steps
        if self._to_restore is not None and self._to_restore.get("is_validation_next"):
            loop.max_steps = -1

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take signals from here on: Lightning would end the run without a checkpoint."""
        self.stop.handle_signals()
        if self._to_restore is not None:
            trainer.fit_loop._restarting = False  # else Lightning steps no plateau schedule at the end of this epoch
            restore_plateau(trainer, self._to_restore)
            if self._to_restore.get("is_validation_next"):
                assert isinstance(pl_module, SegmentationModule)  # narrows the type for mypy
                restore_before_validation(trainer, self._to_restore, pl_module.begin_mean_loss)
                self._to_restore = None
        self._saved_at = time.monotonic()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Restore the random numbers before the first batch; write the logs up to the last checkpoint."""
        if self._is_saved:
            self._is_saved = False
            for logger in trainer.loggers:
                logger.save()  # of the batch of the checkpoint, too, which Lightning logs after it
        if self._to_restore is not None:
            restore_random_state(trainer, self._to_restore)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Restore running means after the first batch; save and stop, unless a validation or the epoch's end comes."""
        if self._to_restore is not None:
            restore_means(trainer, self._to_restore)
            self._to_restore = None
        loop = trainer.fit_loop
        if loop._should_accumulate():
            return
        is_due = self._decide(trainer)
        if not loop.epoch_loop._is_training_done and not loop.epoch_loop._should_check_val_fx(loop._data_fetcher):  # type: ignore[arg-type]
            self._act(trainer, is_due)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save before a validation, if that takes little time or is due, and the run does not come from there."""
        if not self._is_between_steps(trainer):
            return
        trainer.fit_loop.epoch_loop.max_steps = self._max_steps
        if trainer.fit_loop.epoch_loop.restarting:
            return
        is_quick = self._seconds_to_save <= SHARE_OF_TIME * (time.monotonic() - self._saved_at)
        is_due = self._decide(trainer, self.before_validation and is_quick)
        self._must_stop = False  # until it is validated
        self._act(trainer, is_due)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save and stop after a validation within an epoch."""
        if self._is_between_steps(trainer) and not trainer.fit_loop.epoch_loop._is_training_done:
            self._act(trainer, self._decide(trainer))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop after the epoch; its checkpoint may be one that `callbacks.last` leaves out."""
        self._decide(trainer)
        if self._must_stop and not is_last_epoch(trainer):
            self._act(trainer, is_due=True)
        self._saved_at = time.monotonic()

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add what counts within an epoch, to this and all other checkpoints."""
        save_position(trainer, checkpoint)

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep it until the first batch."""
        self._to_restore = checkpoint.get(KEY)

    def _is_between_steps(self, trainer: L.Trainer) -> bool:
        """Return whether this is training, and no gradients are being added up."""
        is_training = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        return is_training and not trainer.fit_loop._should_accumulate()

    def _decide(self, trainer: L.Trainer, is_wanted: bool = False) -> bool:
        """Return whether a checkpoint is due, and note whether the run must stop; the same in all processes.

        Args:
            trainer: The trainer.
            is_wanted: Whether this process saves in any case, and so all do.
        """
        is_due = is_wanted or (self.seconds is not None and time.monotonic() - self._saved_at >= self.seconds)
        number, is_over = int(self.stop.received or 0), self.stop.is_time_over
        if trainer.world_size > 1:
            ours = torch.tensor([is_due, is_over, number], device=trainer.strategy.root_device)
            torch.distributed.all_reduce(ours, torch.distributed.ReduceOp.MAX)
            is_due, is_over, number = ours.tolist()
            self.stop.note(number, is_time_over=bool(is_over))
        self._must_stop = bool(is_over or number)
        steps = self._every_n_train_steps
        return bool(is_due) or (steps is not None and trainer.global_step % steps == 0)

    def _act(self, trainer: L.Trainer, is_due: bool) -> None:
        # Lightning reads the images of overfit_batches in an order of its own, from the first one.
        can_save = not trainer.fast_dev_run and not trainer.overfit_batches  # type: ignore[attr-defined]
        if can_save and (is_due or self._must_stop):
            began = time.monotonic()
            trainer.save_checkpoint(self.file)
            self._is_saved, self._saved_at = True, time.monotonic()
            self._seconds_to_save = self._saved_at - began
        if self._must_stop:
            trainer._signal_connector.received_sigterm = True  # Lightning logs this batch, and then stops


def is_last_epoch(trainer: L.Trainer) -> bool:
    """Return, at the end of an epoch, whether the run ends with it."""
    epochs: int = trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined]  # set by the loop
    limits = ((epochs, trainer.max_epochs), (trainer.global_step, trainer.max_steps))
    return trainer.should_stop or any(limit not in (None, -1) and done >= limit for done, limit in limits)


def interval_of(every: object) -> tuple[int | None, float | None]:
    """Return steps and seconds between two checkpoints, one of which is None; both are None where `every` is.

    Raises:
        ValueError: If it is neither a number of steps, nor a time as `30min`.
    """
    if every is None:
        return None, None
    if is_whole(every, 1):
        return every, None
    found = MINUTES.fullmatch(str(every))
    if found is None or not float(found[1]):
        raise ValueError(f"{every} is no interval")
    return None, 60 * float(found[1])


def is_interval(every: object) -> bool:
    """Return whether a value is one that `interval_of` accepts."""
    try:
        interval_of(every)
    except ValueError:
        return False
    return True
