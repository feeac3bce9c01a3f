"""Callbacks of every run (one seed per epoch, warnings of a collapse), early stopping, the average of the weights."""

import itertools
import logging
from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from lightning.pytorch import callbacks as lightning_callbacks
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from unetkit.data.types import derived_seed

log = logging.getLogger(__name__)


class EpochSeed(L.Callback):
    """Seed torch from (seed, epoch, rank) at the start of each epoch, so that a resumed run has the same dropout."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Seed."""
        torch.manual_seed(derived_seed(self.seed, trainer.current_epoch, trainer.global_rank))


class CollapseWarning(L.Callback):
    """Warn if training has diverged, or if every validation mask is predicted empty, or every one full."""

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check the loss and the share of predicted foreground; the module has logged both by now."""
        loss, share = (trainer.callback_metrics.get(f"val/{name}") for name in ("loss", "predicted_share"))
        if loss is None or share is None or trainer.sanity_checking or not trainer.is_global_zero:
            return
        if not loss.isfinite():
            log.warning(
                "epoch %d: val/loss is %s: the training has diverged, and its network is of no use; start again with a "
                "lower optimizer.lr",
                trainer.current_epoch,
                loss.item(),
            )
        elif share == 0 or (share == 1 and getattr(pl_module, "has_background", True)):
            log.warning(
                "epoch %d: every validation mask is predicted %s. In the first epochs this is common; if it stays, "
                "lower optimizer.lr, and check in pictures/training_pairs.png that masks and images belong together",
                trainer.current_epoch,
                "empty" if share == 0 else "full",
            )


class EarlyStopping(lightning_callbacks.EarlyStopping):
    """Stop when the score has not risen for `patience` validations, and `min_epochs` and `min_steps` are done.

    Lightning's own stops at `min_epochs` if the patience has ever run out before, even if the score rises again.
    """

    wants_to_stop = False  # at the last validation

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop if the run was interrupted when it was about to, unless it now has more patience."""
        self.wants_to_stop = self.wait_count >= max(self.patience, 1)
        self._stop_if_allowed(trainer)

    def _run_early_stopping_check(self, trainer: L.Trainer) -> None:
        others, trainer.should_stop = trainer.should_stop, False
        super()._run_early_stopping_check(trainer)
        self.wants_to_stop, trainer.should_stop = trainer.should_stop, others
        self._stop_if_allowed(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check the score, or stop after a check within the epoch, now that the epoch counts as done."""
        super().on_train_epoch_end(trainer, pl_module)
        self._stop_if_allowed(trainer)

    def _stop_if_allowed(self, trainer: L.Trainer) -> None:
        epochs: int = trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined]  # set by the loop
        is_allowed = epochs >= (trainer.min_epochs or 0) and trainer.global_step >= (trainer.min_steps or 0)
        trainer.should_stop = trainer.should_stop or (self.wants_to_stop and is_allowed)


class EMA(EMAWeightAveraging):
    """Exponential moving average of the weights, kept on the training device and updated as one batch of tensors.

    Lightning's own is made while the network is still on the CPU, so that each step would copy all weights there.

    Args:
        decay: Share of the old average in the new one, in [0, 1].
    """

    def __init__(self, decay: float) -> None:
        super().__init__(decay=decay)
        self._kwargs = {"multi_avg_fn": get_ema_multi_avg_fn(decay)}  # type: ignore[no-untyped-call]

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Create the average on the training device."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Pair the tensors of the average with those of the network, in groups of one type."""
        assert self._average_model is not None
        average = self._average_model.module
        pairs = list(zip(_tensors(average), _tensors(pl_module), strict=True))
        dtypes = dict.fromkeys(tensor.dtype for tensor, _ in pairs)
        self._groups = [[pair for pair in pairs if pair[0].dtype == dtype] for dtype in dtypes]
        self._has_begun = bool(self._average_model.n_averaged > 0)

    def update(self) -> None:
        """Move the average towards the network, or copy the network at first; nothing waits for the device."""
        assert self._average_model is not None
        for group in self._groups:
            averages, current = [pair[0].detach() for pair in group], [pair[1].detach() for pair in group]
            if self._has_begun:
                self._kwargs["multi_avg_fn"](averages, current, None)
            else:
                torch._foreach_copy_(averages, current)
        self._average_model.n_averaged.add_(1)
        self._has_begun = True

    def count(self, step: int) -> None:
        """Note that the average has seen so many steps."""
        self._latest_update_step = step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the average after a step of the optimiser, unless the step itself has done so."""
        if trainer.global_step > self._latest_update_step:
            self.update()
            self.count(trainer.global_step)


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    return itertools.chain(module.parameters(), module.buffers())
