"""The LightningModule: a network with its loss, its scores and its optimisation."""

import inspect
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, TypedDict

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import LRSchedulerConfigType, OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau
from torchmetrics import ClasswiseWrapper, MeanMetric, MetricCollection

from unetkit.checkpoints.metadata import Metadata
from unetkit.data import VOID, Batch, Preprocessing
from unetkit.errors import UserError
from unetkit.losses import apply_loss
from unetkit.metrics import ClassIoU, segmentation_metrics
from unetkit.models import centre_crop, classify, predict_full_frame, probabilities
from unetkit.models.deep_supervision import SideHeads


class Schedule(TypedDict):
    """A scheduler that still lacks its optimiser, and how Lightning is to step it."""

    scheduler: Callable[..., LRScheduler]
    interval: str
    monitor: str | None


class SegmentationModule(L.LightningModule):
    """Trains a network that maps images (B, C, H, W) to logits (B, num_classes, H, W) on batches of `unetkit.data`.

    Logs `train/loss`, and at the end of each validation or test pass `loss`, `iou`, `iou_per_image`, `dice`,
    `kaggle` and `predicted_share` under `val/` or `test/`; of three classes or more also `iou/NAME` of each.

    Args:
        network: Its logits may be smaller than the image, as with unpadded convolutions.
        loss: A scalar of logits, class indices and what counts, and of weights if it has `wants_weight`.
        optimizer: Makes the optimiser of parameter groups; a `weight_decay` of it spares vectors (biases, norms).
        schedule: Or None for a constant rate.
        preprocessing: Of the images.
        num_classes: Of the network's logits.
        class_names: Of class 0, 1, ..., for the names of their scores; None for their numbers.
        threshold: Probability above which a pixel is foreground.
        mirror_border: Where unpadded convolutions take pixels away: mirror them (the paper's overlap-tile), so that
            the whole frame is learnt and scored; else only the centre is.
        deep_supervision: Weight of the mean loss of the decoder's other levels; 0 is off. Their heads are trained and
            saved with the module, beside the network.
        metadata: What checkpoints say beside the weights; None leaves it out.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        optimizer: Callable[..., Optimizer],
        schedule: Schedule | None,
        *,
        preprocessing: Preprocessing,
        num_classes: int = 1,
        class_names: Sequence[str] | None = None,
        threshold: float = 0.5,
        mirror_border: bool = True,
        deep_supervision: float = 0.0,
        metadata: Metadata | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.make_optimizer = optimizer
        self.schedule = schedule
        self.preprocessing = preprocessing
        self.threshold = threshold
        self.mirror_border = mirror_border
        self.deep_supervision = deep_supervision
        self.side_heads = SideHeads(network, num_classes) if deep_supervision else None
        self.metadata = metadata
        self.monitored: float | None = None
        self.scored_at: int | None = None  # step of the last validation
        metrics = segmentation_metrics(num_classes)
        if num_classes > 2:
            names = list(class_names or map(str, range(num_classes)))
            metrics.add_metrics({"classes": ClasswiseWrapper(ClassIoU(num_classes), names, "iou/")})
        self.scores = nn.ModuleDict({phase: metrics.clone(prefix=f"{phase}/") for phase in ("val", "test")})
        self.losses = nn.ModuleDict({phase: MeanMetric() for phase in ("val", "test")})

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, num_classes, H, W) of images (B, C, H, W) uint8; smaller without `mirror_border`."""
        x = self.preprocessing.normalise(images)
        logits: Tensor = predict_full_frame(self.network, x) if self.mirror_border else self.network(x)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch; `train/loss` is that of the network alone, which compares with `val/loss`."""
        watched: AbstractContextManager[list[Tensor]] = nullcontext([])
        if self.side_heads is not None:
            watched = self.side_heads.watch(self.network)
        with watched as features:
            logits, target, valid = self._logits_and_truth(batch)
        loss = self._loss(batch, logits, target, valid)
        self.log(
            "train/loss",
            loss,
            prog_bar=True,
            on_step=True,
            on_epoch=True,
            sync_dist=True,
            batch_size=len(batch["image"]),
        )
        if self.side_heads is not None:
            sides = [self._loss(batch, side, target, valid) for side in self.side_heads(features, logits)]
            loss = loss + self.deep_supervision * torch.stack(sides).mean()
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score a batch."""
        self._evaluate("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Score a batch."""
        self._evaluate("test", batch)

    def on_validation_epoch_end(self) -> None:
        """Log the scores."""
        self._log_scores("val")
        self.scored_at = self.global_step

    def on_test_epoch_end(self) -> None:
        """Log the scores."""
        self._log_scores("test")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser, and the scheduler told the number of steps if it asks for `total_steps`.

        Raises:
            UserError: If torch refuses a value of theirs.
        """
        steps = self.trainer.estimated_stepping_batches
        try:
            return self._optimizer_and_scheduler(steps)
        # torch's own checks of rates, momenta and the like
        except (TypeError, ValueError, ArithmeticError, LookupError) as error:
            makers = (self.make_optimizer, self.schedule and self.schedule["scheduler"])
            given = [f"{key}={value}" for maker in makers for key, value in getattr(maker, "keywords", {}).items()]
            raise UserError(f"optimizer or scheduler: {error}; they have {', '.join(given)}") from error

    def _optimizer_and_scheduler(self, steps: float) -> OptimizerLRScheduler:
        optimizer = self.make_optimizer(parameter_groups(self.network, self.side_heads))
        if self.schedule is None:
            return optimizer
        make_scheduler = self.schedule["scheduler"]
        wants_steps = inspect.signature(make_scheduler).parameters.get("total_steps")
        if wants_steps and self.schedule["interval"] != "step":
            raise ValueError(f"interval={self.schedule['interval']} must be step, as this schedule counts steps")
        if wants_steps and math.isinf(steps):
            raise ValueError("a run without end has no schedule; give trainer.max_epochs, or scheduler=none")
        known = {"total_steps": int(steps)} if wants_steps else {}
        config: LRSchedulerConfigType = {
            "scheduler": make_scheduler(optimizer, **known),
            "interval": self.schedule["interval"],
        }
        if self.schedule["monitor"] is not None:
            config["monitor"] = self.schedule["monitor"]
            config["frequency"] = self.trainer.check_val_every_n_epoch or 1  # there is nothing to monitor in between
        return {"optimizer": optimizer, "lr_scheduler": config}

    def on_train_start(self) -> None:
        """Let a resumed schedule go on, but for a one-cycle that was planned for another length.

        Raises:
            UserError: If the checkpoint's schedule had another number of steps.
        """
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, ReduceLROnPlateau) and self.monitored is not None:
            scheduler.step(self.monitored)
        self.monitored = None
        steps = self.trainer.estimated_stepping_batches
        if isinstance(scheduler, OneCycleLR) and scheduler.total_steps != steps:
            raise UserError(
                f"the checkpoint's one-cycle schedule was planned for {scheduler.total_steps} steps, this run has "
                f"{steps}; resume with the same trainer.max_epochs and data.batch_size, or start anew with weights="
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store what a reader needs beside the weights."""
        if self.metadata is not None:
            checkpoint["unetkit"] = replace(self.metadata, **self._progress()).to_dict()

    def _progress(self) -> dict[str, Any]:
        """Return the metadata that say how far training is, to be resumed from there."""
        progress, trainer = self.trainer.fit_loop.epoch_loop.batch_progress, self.trainer
        if not progress.is_last_batch and progress.current.ready < trainer.num_training_batches:
            return {"batches_of_epoch": progress.current.ready}
        monitor = self.schedule["monitor"] if self.schedule else None
        is_due = (self.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
        if is_due and monitor in trainer.callback_metrics:
            return {"monitored": trainer.callback_metrics[monitor].item()}
        return {}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember what a plateau schedule had still to see: Lightning saves before it steps such a schedule."""
        self.monitored = checkpoint.get("unetkit", {}).get("monitored")

    def _logits_and_truth(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (B, C, h, w), class indices and what counts (B, h, w), where h, w is what the network predicts."""
        logits = self(batch["image"])
        target = centre_crop(batch["mask"], *logits.shape[2:])
        return logits, target, target != VOID

    def _loss(self, batch: Batch, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        weight = batch.get("weight")
        if weight is not None:
            weight = centre_crop(weight, *logits.shape[2:])
        return apply_loss(self.loss, logits, target, valid, weight)

    def _evaluate(self, phase: str, batch: Batch) -> None:
        logits, target, valid = self._logits_and_truth(batch)
        loss, scores = self._collectors(phase)
        loss.update(self._loss(batch, logits, target, valid), weight=valid.flatten(1).any(1).sum())
        scores.update(classify(probabilities(logits), self.threshold), target, valid)

    def _log_scores(self, phase: str) -> None:
        loss, scores = self._collectors(phase)
        values = {f"{phase}/loss": loss.compute(), **scores.compute()}
        for name, value in values.items():
            self.log(name, value, prog_bar=name in (f"{phase}/iou", f"{phase}/kaggle"), sync_dist=True)
        if self.trainer.state.fn != TrainerFn.FITTING:  # after the last epoch Lightning counts one more
            self.log("epoch", float(max(self.current_epoch - 1, 0)), sync_dist=True)
        loss.reset()
        scores.reset()

    def _collectors(self, phase: str) -> tuple[MeanMetric, MetricCollection]:
        loss, scores = self.losses[phase], self.scores[phase]
        assert isinstance(loss, MeanMetric)  # a ModuleDict forgets what it holds
        assert isinstance(scores, MetricCollection)
        return loss, scores


def parameter_groups(*networks: nn.Module | None) -> list[dict[str, Any]]:
    """Matrices and kernels, which decay, apart from vectors (biases, scales of norms), which don't."""
    parameters = [p for network in networks if network is not None for p in network.parameters()]
    decaying = [p for p in parameters if p.ndim > 1]
    vectors = [p for p in parameters if p.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": decaying}]
    if vectors:
        groups.append({"params": vectors, "weight_decay": 0.0})
    return groups
