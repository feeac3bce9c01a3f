"""Write the rows of the logs one row late, so that no step waits until the device has computed a loss.

Lightning reads each value that it logs at once; a GPU then has nothing to do until Python has prepared the next step.
"""

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import Tensor


class LateRows:
    """Keep the row of a step back until the next one is due, or something else is logged.

    Args:
        trainer: The trainer, whose training rows are kept back from now on.
    """

    def __init__(self, trainer: L.Trainer) -> None:
        self._trainer: Any = trainer
        self._connector: Any = trainer._logger_connector
        self._write: Callable[..., None] = self._connector.log_metrics
        self._waiting: tuple[dict[str, Any], int, torch.cuda.Event | None] | None = None
        vars(self._connector).update(log_metrics=self._write_in_order, update_train_step_metrics=self._keep_back)

    def write(self) -> None:
        """Write the row that waits."""
        if self._waiting is not None:
            (row, step, copied), self._waiting = self._waiting, None
            if copied is not None:
                copied.synchronize()
            self._write(row, step=step)

    def _write_in_order(self, metrics: Any, step: int | None = None) -> None:
        self.write()
        self._write(metrics, step=step)

    def _keep_back(self) -> None:
        trainer = self._trainer
        if self._connector.should_update_logs or trainer.fast_dev_run:
            values = {name: _to_host(value) for name, value in self._connector.metrics["log"].items()}
            self.write()
            if not values:
                return
            copied = None
            if trainer.strategy.root_device.type == "cuda":
                copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
                copied.record()
            row = {**values, "epoch": trainer.current_epoch}
            self._waiting = row, trainer.fit_loop.epoch_loop._batches_that_stepped, copied


def _to_host(value: Any) -> Any:
    """Start to copy a tensor into memory of the host that a GPU can write to by itself."""
    if not isinstance(value, Tensor) or not value.is_cuda:
        return value
    return torch.empty(value.shape, dtype=value.dtype, pin_memory=True).copy_(value, non_blocking=True)
