"""Lightning's loop over the batches of an epoch, which sees only those steps at which it has something to do.

`StepLoop` takes the steps in between by itself. It counts them where Lightning counts, so that `global_step`,
schedules, `max_steps`, rows of the logs, validations and checkpoints come at the steps at which they would come without
it, and a checkpoint of one way is resumed in the other.
"""

import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, ModelCheckpoint, ProgressBar, Timer
from lightning.pytorch.loops.fetchers import _DataFetcher
from lightning.pytorch.loops.optimization.automatic import _AutomaticOptimization
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.trainer import call
from lightning.pytorch.utilities.model_helpers import is_overridden

from unetkit.training.callbacks import EMA
from unetkit.training.late_rows import LateRows
from unetkit.training.module import SegmentationModule
from unetkit.training.optimisation import NEVER
from unetkit.training.save_within_epoch import SaveWithinEpoch

QUIET_SECONDS = 0.2  # longest time in which Lightning sees no step: progress bar, max_time and signals wait for it
PATIENT = (LearningRateMonitor, ModelCheckpoint, SaveWithinEpoch, ProgressBar, Timer, EMA)  # need not see each step


class StepOptimization(_AutomaticOptimization):
    """Leave the whole step of the optimiser to the module, and count it."""

    def run(self, optimizer: Any, batch_idx: int, kwargs: Any) -> Any:
        """Take a step; the arguments and the result are those of Lightning's own class."""
        loss = call._call_lightning_module_hook(self.trainer, "training_step", *kwargs.values())
        self.count()
        return {"loss": loss}

    def count(self) -> None:
        """Count a step of the optimiser."""
        progress = self.optim_progress.optimizer
        progress.zero_grad.increment_ready()
        progress.zero_grad.increment_started()
        progress.zero_grad.increment_completed()
        progress.step.increment_ready()
        progress.step.increment_completed()


class StepLoop(_TrainingEpochLoop):
    """Lightning's loop over batches, for a module that takes whole steps.

    Args:
        trainer: The trainer whose loop it replaces.
        min_steps: As of `lightning.Trainer`.
        max_steps: As of `lightning.Trainer`.
    """

    def __init__(self, trainer: L.Trainer, min_steps: int | None, max_steps: int) -> None:
        super().__init__(trainer, min_steps, max_steps)
        self.automatic_optimization = StepOptimization(trainer)
        self._seen_at = 0.0  # when Lightning last saw a step
        self._late_rows = LateRows(trainer)

    def advance(self, data_fetcher: _DataFetcher) -> None:
        """Take steps up to and including the next one that Lightning has to see."""
        if not self.restarting:
            while self._is_quiet():
                self._take_quietly(data_fetcher)
        if self._is_logged(self._batches_that_stepped + 1):
            self._late_rows.write()  # before the callbacks write to this step's row
        super().advance(data_fetcher)
        self._seen_at = time.monotonic()

    def on_advance_end(self, data_fetcher: _DataFetcher) -> None:
        """Validate if needed, with all rows of the logs written before."""
        if self._should_check_val_fx(data_fetcher):
            self._late_rows.write()
        super().on_advance_end(data_fetcher)

    def teardown(self) -> None:
        """Write what waits, and free what Lightning frees."""
        self._late_rows.write()
        super().teardown()

    def _is_logged(self, step: int) -> bool:
        every: int = self.trainer.log_every_n_steps
        return bool(every) and step % every == 0

    def _is_quiet(self) -> bool:
        """Return whether nothing but counting is to be done at the next step."""
        trainer, done = self.trainer, self.batch_progress.current.ready
        if done == 0 or done + 1 >= trainer.num_training_batches:  # the first and the last step of an epoch
            return False
        if trainer.should_stop or trainer.received_sigterm or time.monotonic() - self._seen_at > QUIET_SECONDS:
            return False
        step = self.global_step + 1
        if step in (trainer.max_steps, self.min_steps) or trainer.fast_dev_run:
            return False
        if self._is_logged(self._batches_that_stepped + 1):
            return False
        due = self._validations(done)
        due += [
            (each._every_n_train_steps, step)
            for each in trainer.checkpoint_callbacks
            if hasattr(each, "_every_n_train_steps")
        ]
        return not any(every and at % every == 0 for every, at in due) and self._are_patient()

    def _validations(self, done: int) -> list[tuple[float | None, int]]:
        """Return the number of batches between two validations, and that of the next batch."""
        if self.trainer.val_check_batch is None:
            return [(1, 0)]  # by the clock
        total = self.batch_progress.total.ready + 1
        return [(self.trainer.val_check_batch, total if self.trainer.check_val_every_n_epoch is None else done + 1)]

    def _are_patient(self) -> bool:
        """Return whether no callback and no schedule has to see each step."""
        waiting = (c for c in self.trainer.lr_scheduler_configs if c.reduce_on_plateau and c.interval == "step")
        return not any(c.frequency < NEVER for c in waiting) and all(map(is_patient, self.trainer.callbacks))

    def _take_quietly(self, data_fetcher: _DataFetcher) -> None:
        trainer, progress = self.trainer, self.batch_progress
        module = trainer.lightning_module
        assert isinstance(module, SegmentationModule)  # narrows the type for mypy
        began = time.perf_counter()
        batch, _, _ = next(data_fetcher)
        progress.is_last_batch = data_fetcher.done
        batch = trainer.strategy.batch_to_device(module._on_before_batch_transfer(batch, 0))
        waited = time.perf_counter() - began
        progress.increment_ready()
        progress.increment_started()
        loss = module.take_step(batch)
        assert isinstance(self.automatic_optimization, StepOptimization)  # narrows the type for mypy
        self.automatic_optimization.count()
        progress.increment_processed()
        self.update_lr_schedulers("step", update_plateau_schedulers=False)
        for callback in trainer.callbacks:
            if hasattr(callback, "on_quiet_step"):
                callback.on_quiet_step(trainer, loss, batch, self.batch_idx, waited)
        progress.increment_completed()
        self._batches_that_stepped += 1


def is_patient(callback: Callback) -> bool:
    """Return whether a callback need not see each step, or has a method `on_quiet_step` for those it does not see."""
    if isinstance(callback, PATIENT) or hasattr(callback, "on_quiet_step"):
        return True
    return not any(is_overridden(f"on_train_batch_{when}", callback, Callback) for when in ("start", "end"))
