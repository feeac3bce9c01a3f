"""The LightningModule: a network with its loss, its scores and its optimisation."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from unetkit.checkpoints.metadata import Metadata
from unetkit.data import Batch, Preprocessing
from unetkit.data.device_cache import IndexBatch, indices_of
from unetkit.errors import UserError
from unetkit.evaluation.primary import DEFAULT, Primary, read_primary
from unetkit.losses import EachLabel
from unetkit.models import predict_full_frame
from unetkit.models.deep_supervision import SideHeads
from unetkit.prediction.predictor import Predictor
from unetkit.training.accumulation import Accumulation
from unetkit.training.batch_loss import loss_of, truth_of
from unetkit.training.callbacks import EMA
from unetkit.training.evaluator import Evaluator
from unetkit.training.optimisation import (
    MakeOptimizer,
    Schedule,
    build_optimisation,
    clip_gradients,
    for_capture,
    keep_settings,
    parameter_groups,
    settings_of,
    steps_at_validations,
)
from unetkit.training.phase_scores import PhaseScores
from unetkit.training.ranking import Ranking
from unetkit.training.resumed_values import arguments_in_state, check_steps, obey_arguments
from unetkit.training.side_by_side import Member
from unetkit.training.step import StepParts, TrainingStep
from unetkit.training.strategy import clip_sharded
from unetkit.training.within_epoch import is_before_validation


class SegmentationModule(L.LightningModule):
    """Train a network that maps images (B, C, H, W) to logits (B, num_classes, H, W) on batches of `unetkit.data`.

    It logs `train/loss`, and at the end of each validation or test pass `loss`, `iou`, `iou_per_image`, `dice`,
    `kaggle` and `predicted_share` under `val/` or `test/`; for three classes or more also `iou/NAME` of each.

    Args:
        network: The network; its logits may be smaller than the image, as with unpadded convolutions.
        loss: Maps logits (B, C, H, W), class indices and valid pixels (B, H, W) to a scalar; if its `wants_weight` is
            true, it also takes weights (B, H, W).
        optimizer: Makes the optimiser of parameter groups; its `weight_decay` is not applied to biases and norms.
        schedule: The learning-rate schedule, or None for a constant rate.
        preprocessing: Preprocessing of the images.
        num_classes: Channels of the network's logits.
        class_names: Names of class 0, 1, ..., used in the names of their scores; None for their numbers.
        classes: Indices of the classes that scores are means over; None for all without the background, class 0.
        is_multilabel: Whether the classes are labels that may overlap: the loss is the mean of that of each label, and
            so are the scores.
        primary: The score that leads, which is computed even if it is not one of those above; None for IoU per image.
        extra: Further scores to compute.
        threshold: Probability above which a pixel is foreground.
        mirror_border: With unpadded convolutions, mirror the border of the image (the paper's overlap-tile), so that
            the whole image is learnt and scored; else only its centre is.
        deep_supervision: Weight of the mean loss of the decoder's other levels; 0 is off. Their heads are trained and
            saved with the module, outside the network.
        metadata: Metadata to store in checkpoints; None stores none.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        optimizer: MakeOptimizer,
        schedule: Schedule | None,
        *,
        preprocessing: Preprocessing,
        num_classes: int = 1,
        class_names: Sequence[str] | None = None,
        classes: Sequence[int] | None = None,
        is_multilabel: bool = False,
        primary: Primary | None = None,
        extra: Sequence[Primary] = (),
        threshold: float = 0.5,
        mirror_border: bool = True,
        deep_supervision: float = 0.0,
        metadata: Metadata | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.is_multilabel = is_multilabel
        self.loss = EachLabel(loss) if is_multilabel else loss
        self.make_optimizer = optimizer
        self.schedule = schedule
        self.preprocessing = preprocessing
        self.threshold = threshold
        self.mirror_border = mirror_border
        self.spacings: Sequence[Sequence[float] | None] | None = None  # of each volume of the data
        self.objects: Mapping[int, NDArray[np.int32]] | None = None  # numbers of the objects of each scored pair
        self.trains_on_surrounded_crops = False  # whether training images come with what the network loses
        self.deep_supervision = deep_supervision
        self.side_heads = SideHeads(network, num_classes) if deep_supervision else None
        self.metadata = metadata
        self.accumulation = Accumulation()
        self.num_classes = num_classes
        self.takes_whole_steps = False  # whether `step` takes the steps, and not Lightning
        self.requires_capture = False  # whether a step that can't be captured ends the training
        self.step: TrainingStep | None = None
        self.member: Member | None = None  # of a group of runs that are trained at once
        self.average: EMA | None = None  # updated within the whole steps
        self.taken: list[tuple[Tensor, int]] = []  # losses and numbers of images of steps that are not logged yet
        self.settings: list[dict[str, Any]] = []  # of the optimiser, on this device
        self.given: dict[str, Any] = {}  # values that the schedule was given in this run
        self.monitored: float | None = None
        self.scored_at: int | None = None  # step of the last validation
        self.tile = Predictor.tile  # side in pixels above which an image is validated in tiles
        self.has_background = 0 not in (classes or ())
        self.primary = primary or read_primary(DEFAULT)
        names = list(class_names or map(str, range(max(num_classes, 2))))
        shared: Any = {"is_multilabel": is_multilabel, "more": (self.primary, *extra)}
        self.val_scores, self.test_scores = (
            PhaseScores(phase, num_classes, names, classes, **shared) for phase in ("val", "test")
        )
        self.ranked = Ranking(num_classes, classes, is_multilabel=is_multilabel)  # images of the last validation

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, num_classes, H, W) of images (B, C, H, W) uint8; smaller without `mirror_border`.

        They are also smaller in training on crops that come with their surroundings.
        """
        x = self.preprocessing.normalise(images)
        mirrors = self.mirror_border and not (self.training and self.trains_on_surrounded_crops)
        logits: Tensor = predict_full_frame(self.network, x) if mirrors else self.network(x)
        return logits

    def predictor(self) -> Predictor:
        """Return a predictor that shares the network."""
        overlap = min(Predictor.overlap, self.tile // 8)
        return Predictor(
            self.network,
            self.preprocessing,
            self.threshold,
            tile=self.tile,
            overlap=overlap,
            is_multilabel=self.is_multilabel,
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a batch; `train/loss` is that of the network alone, to compare with `val/loss`."""
        if self.step is not None:
            loss = self.take_step(batch)
            self._log_taken_steps()
            return loss
        loss, total, valid = self.losses_of(batch)
        if not self._shares_steps:
            self._log_loss(loss, len(batch["image"]))
            return total
        self._log_loss(loss, valid.flatten(1).any(1).sum().float())  # Lightning rounds the mean of integers down
        return self.accumulation.weigh(total, valid, self.trainer.accumulate_grad_batches)

    @property
    def _shares_steps(self) -> bool:
        """Whether a step is taken on several batches, one after the other or in several processes."""
        trainer = self._trainer
        return trainer is not None and (trainer.accumulate_grad_batches > 1 or trainer.world_size > 1)

    def losses_of(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the losses of a batch.

        Returns:
            Loss of the network alone, and that with the heads of `deep_supervision`, which are scalars; and the valid
            pixels (B, h, w) of the size of the logits.
        """
        watched: AbstractContextManager[list[Tensor]] = nullcontext([])
        if self.side_heads is not None:
            watched = self.side_heads.watch(self.network)
        with watched as features:
            logits = self(batch["image"])
        target, valid = truth_of(batch, logits)
        loss = loss_of(self.loss, batch, logits, target, valid)
        if self.side_heads is None:
            return loss, loss, valid
        sides = [loss_of(self.loss, batch, side, target, valid) for side in self.side_heads(features, logits)]
        return loss, loss + self.deep_supervision * torch.stack(sides).mean(), valid

    def take_step(self, batch: IndexBatch | Batch) -> Tensor:
        """Take a whole step of the training by `step`; returns the loss."""
        assert self.step is not None  # narrows the type for mypy
        taker = self.step.take if self.member is None else partial(self.member.take, self.step)
        loss = taker(batch, self.current_epoch)
        if self.average is not None:
            self.average.count(self.global_step + 1)
        self.taken.append((loss, len(indices_of(batch))))
        return loss

    def _whole_step(self, optimizer: Optimizer) -> TrainingStep:
        """Put together what Lightning would do in a step."""
        trainer: Any = self.trainer
        parts = StepParts(trainer.datamodule.on_device, self.losses_of, optimizer)
        parts.clip_value, parts.clip_algorithm = trainer.gradient_clip_val, trainer.gradient_clip_algorithm
        if isinstance(precision := trainer.precision_plugin, MixedPrecision):
            parts.autocast, parts.scaler = precision.autocast_context_manager, precision.scaler
        if self.average is not None:
            parts.average = self.average.update
        return TrainingStep(parts, captures=self.device.type == "cuda", is_required=self.requires_capture)

    def _log_taken_steps(self) -> None:
        """Log the loss of the last step, and add those of the steps since the last call to the mean of the epoch."""
        *earlier, (last, size) = self.taken
        self.taken = []
        if earlier:
            sizes = [images for _, images in earlier]
            total = torch.stack([loss * images for loss, images in earlier]).sum()
            self._log_loss(total / sum(sizes), sum(sizes))
        self._log_loss(last, size)

    def _log_loss(self, loss: Tensor, images: int | Tensor) -> None:
        # Not prog_bar=True, with which Lightning reads the loss from the device at each step; see progress_bar.
        self.log("train/loss", loss, on_step=True, on_epoch=True, sync_dist=True, batch_size=images)  # type: ignore[arg-type]

    def begin_mean_loss(self) -> None:
        """Begin the mean loss of an epoch, which goes on where it was stored, though no batch is left to train on."""
        self._current_fx_name = "training_step"
        self._log_loss(torch.zeros((), device=self.device), 0)
        self._current_fx_name = None

    def on_train_epoch_start(self) -> None:
        """Start a group of batches whose gradients are added."""
        self.accumulation.restart()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Turn gradients of several batches into those of the mean over their images, before they are clipped."""
        if self._shares_steps:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            self.accumulation.average(parameters, self.trainer.strategy)

    def on_validation_epoch_start(self) -> None:
        """Forget the images of the validation before."""
        self.ranked.clear()

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Score a batch, and return its loss."""
        return self._evaluate(self.val_scores, batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Score a batch."""
        self._evaluate(self.test_scores, batch)

    def on_validation_epoch_end(self) -> None:
        """Log the scores, and step a plateau schedule if validations come within epochs.

        Raises:
            UserError: If the schedule monitors no score.
        """
        scores = self._log_scores(self.val_scores)
        self.ranked.gather()
        self.scored_at = self.global_step
        scheduler = self.lr_schedulers() if self._is_training() else None
        if isinstance(scheduler, ReduceLROnPlateau) and steps_at_validations(self.schedule, self.trainer):
            assert self.schedule is not None  # narrows the type for mypy
            monitor = self.schedule["monitor"]
            if monitor not in scores:
                raise UserError(f"scheduler.monitor={monitor}", "is no score", f"use one of {', '.join(scores)}")
            scheduler.step(scores[monitor].item())

    def on_test_epoch_end(self) -> None:
        """Log the scores."""
        self._log_scores(self.test_scores)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build optimiser and scheduler.

        Raises:
            UserError: If torch refuses one of their values.
        """
        groups = parameter_groups(self.network, self.side_heads)
        make = self.make_optimizer
        if self.takes_whole_steps and self.trainer.strategy.root_device.type == "cuda":
            make = for_capture(make) or make
        built = build_optimisation(make, self.schedule, groups, self.trainer)
        made = built.get("lr_scheduler") if isinstance(built, dict) else None
        if isinstance(made, dict):
            self.given = arguments_in_state(made["scheduler"])
        optimizer = built["optimizer"] if isinstance(built, dict) else built
        assert isinstance(optimizer, Optimizer)  # narrows the type for mypy
        self.settings = settings_of(optimizer)
        return built

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients, with fewer operations than Lightning's own way."""
        if not clip_sharded(self.trainer.strategy, gradient_clip_val, gradient_clip_algorithm):
            clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_train_start(self) -> None:
        """Make a resumed schedule one of this run's arguments, and give a plateau the score that it has not seen.

        Raises:
            UserError: If the schedule of the checkpoint had other arguments that can't be changed.
        """
        (optimizer,) = self.trainer.optimizers
        keep_settings(optimizer, self.settings)
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, LRScheduler):
            check_steps(scheduler, self.trainer.estimated_stepping_batches)
            obey_arguments(scheduler, self.given)
        if isinstance(scheduler, ReduceLROnPlateau) and self.monitored is not None:
            scheduler.step(self.monitored)
        self.monitored = None
        if self.takes_whole_steps:
            callbacks = self.trainer.callbacks  # type: ignore[attr-defined]
            self.average = next((callback for callback in callbacks if isinstance(callback, EMA)), None)
            self.step = self._whole_step(optimizer)

    def on_train_end(self) -> None:
        """Free the memory of the captured step."""
        self.step = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the metadata."""
        if self.metadata is not None:
            checkpoint["unetkit"] = replace(self.metadata, **self._progress()).to_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember the score that a plateau schedule has not seen: Lightning saves before it steps such a schedule."""
        self.monitored = checkpoint.get("unetkit", {}).get("monitored")

    def _progress(self) -> dict[str, Any]:
        """Return the metadata that say how far training is."""
        progress, trainer = self.trainer.fit_loop.epoch_loop.batch_progress, self.trainer
        is_within = not progress.is_last_batch and progress.current.ready < trainer.num_training_batches
        if is_within or is_before_validation(trainer):
            return {"batches_of_epoch": progress.current.ready}
        monitor = self.schedule["monitor"] if self.schedule else None
        is_due = (self.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
        is_due &= not steps_at_validations(self.schedule, trainer)  # else the schedule has seen it
        if is_due and monitor in trainer.callback_metrics:
            return {"monitored": trainer.callback_metrics[monitor].item()}
        return {}

    def _evaluate(self, scores: PhaseScores, batch: Batch) -> Tensor:
        """Score a batch, all at once or its large images one by one, and return the mean of the losses."""
        evaluator = Evaluator(self, self.predictor(), self.loss, self.num_classes, is_whole=self.mirror_border)
        losses = []
        for images in evaluator.evaluate(batch):
            scores.update(images, self.spacings, self.objects)
            if scores is self.val_scores:
                self.ranked.add(images.index, images.prediction, images.target)
            losses.append(images.loss)
        return torch.stack(losses).mean()

    def ranking(self) -> list[tuple[float, int]]:
        """Return IoU and index among all pairs of the images of the last validation, best first.

        Images that are empty in truth and prediction are left out.
        """
        return self.ranked.best_first()

    def _is_training(self) -> bool:
        return self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking

    def _log_scores(self, scores: PhaseScores) -> dict[str, Tensor]:
        values, shown = scores.compute(), {scores.name_of(name) for name in ("iou", self.primary.name)}
        for name, value in values.items():
            self.log(name, value, prog_bar=name in shown, sync_dist=True)
        if self.trainer.state.fn != TrainerFn.FITTING:  # after the last epoch Lightning counts one more
            self.log("epoch", float(max(self.current_epoch - 1, 0)), sync_dist=True)
        return values
