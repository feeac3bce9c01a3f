"""Keep the end of the last epoch, without spending a good part of short epochs on writing it."""

import math
import time
from typing import Any, Literal

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint

from unetkit.errors import check
from unetkit.training.save_within_epoch import is_last_epoch

SECONDS_ON_GPU = 30.0  # where an epoch of a small network takes less than a second


class LastEpoch(ModelCheckpoint):
    """Save the end of epochs, of the first and the last one always, of the others at most every so many seconds.

    Args:
        seconds: Least time between two checkpoints; `auto` for 30 with one GPU, else 0.
        **options: Arguments of `lightning.pytorch.callbacks.ModelCheckpoint`.

    Raises:
        UserError: If `seconds` is no time.
    """

    def __init__(self, seconds: float | Literal["auto"] = "auto", **options: Any) -> None:
        super().__init__(**options)
        is_time = seconds == "auto" or (isinstance(seconds, int | float) and seconds >= 0)
        check("callbacks.last.seconds", seconds, is_time, "auto, or a number of seconds, at least 0")
        self.seconds = seconds
        self._saved_at = -math.inf

    @property
    def state_key(self) -> str:
        """Key of its state in checkpoints, which is that of Lightning's class, as in earlier versions."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save, if it is time."""
        is_alone_on_gpu = trainer.strategy.root_device.type == "cuda" and trainer.world_size == 1
        least = self.seconds if self.seconds != "auto" else SECONDS_ON_GPU * is_alone_on_gpu
        if is_last_epoch(trainer) or time.monotonic() - self._saved_at >= float(least):
            super().on_train_epoch_end(trainer, pl_module)
            self._saved_at = time.monotonic()
