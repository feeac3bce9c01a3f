"""The progress bar of training, drawn a few times a second, whatever a step takes."""

import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import TQDMProgressBar

SECONDS = 0.2  # between two drawings; each takes about a millisecond, and reads the loss from the device


class Bar(TQDMProgressBar):
    """Lightning's bar of steps and scores, with the loss of the last step that it shows.

    Args:
        position: Number of lines below the first one at which it is drawn, beside the bars of other runs.
    """

    def __init__(self, position: int = 0) -> None:
        super().__init__(process_position=position)
        self._drawn_at = 0.0

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        """Return what is shown: the loss of the last step, and scores of the last validation."""
        items = super().get_metrics(trainer, pl_module)
        items.pop("v_num", None)  # a version of the logger, which has none
        loss = trainer.callback_metrics.get("train/loss")
        return items if loss is None else {"train/loss": loss.item(), **items}

    def _should_update(self, current: int, total: int) -> bool:
        now = time.monotonic()
        is_due = now - self._drawn_at >= SECONDS or current == total
        if is_due:
            self._drawn_at = now
        return self.is_enabled and is_due
