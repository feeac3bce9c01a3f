"""What runs do beside training: the same draws on resuming, warnings, averaged weights, figures and pictures."""

import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from torch.optim.swa_utils import get_ema_multi_avg_fn

from unetkit.data import SegmentationDataModule
from unetkit.data.types import VOID, Item, SampleKey, derived_seed
from unetkit.metrics import confusion, iou
from unetkit.plots import images as pictures
from unetkit.plots.ranking import evenly, three_groups
from unetkit.prediction.predictor import Prediction, Predictor
from unetkit.training.module import SegmentationModule

log = logging.getLogger(__name__)


class EpochSeed(L.Callback):
    """Seed torch from (seed, epoch, rank) when an epoch begins, so that dropout resumes where it stopped."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Seed."""
        torch.manual_seed(derived_seed(self.seed, trainer.current_epoch, trainer.global_rank))


class CollapseWarning(L.Callback):
    """Warn when the training has diverged, or every validation mask is predicted empty, or every one full."""

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the loss and the share of predicted foreground, which the module has logged by now."""
        loss, share = (trainer.callback_metrics.get(f"val/{name}") for name in ("loss", "predicted_share"))
        if loss is None or share is None or trainer.sanity_checking or not trainer.is_global_zero:
            return
        if not loss.isfinite():
            log.warning(
                "epoch %d: val/loss is %s: the training has diverged, and its network is of no use; begin anew with a "
                "lower optimizer.lr",
                trainer.current_epoch,
                loss.item(),
            )
            return
        if 0 < share < 1:
            return
        log.warning(
            "epoch %d: every validation mask is predicted %s. In the first epochs this is common; if it stays, lower "
            "optimizer.lr, and see in pictures/training_pairs.png whether masks and images belong together",
            trainer.current_epoch,
            "empty" if share == 0 else "full",
        )


class EMA(EMAWeightAveraging):
    """Lightning's exponential moving average of the weights, kept on the device that trains, all tensors at once.

    Lightning makes it while the network is still on the CPU, and a GPU would bring all weights there at every step.

    Args:
        decay: The share of the old average in the new one.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(decay=decay)
        self._kwargs = {"multi_avg_fn": get_ema_multi_avg_fn(decay)}  # type: ignore[no-untyped-call]

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Begin the average."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)


class RunStats(L.Callback):
    """Measure images per second of training, what of it was waiting for data, and the peak of memory.

    Attributes:
        images_per_second: Of the training steps, the first left out, data loading included.
        data_wait: Share of that time between two steps: loading, augmentation, the way to the device, progress bar.
        peak_memory_mib: Of the GPU's tensors, or of the process since it began on a CPU.
        seconds_of_the_run: All, with those up to the checkpoint that it goes on from.
    """

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.images = 0
        self.seconds = 0.0
        self.waited = 0.0
        self._last: float | None = None
        self._is_on_gpu = False

    @property
    def state_key(self) -> str:
        """The class's first name, under which older checkpoints hold its state."""
        return "RunFigures"

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget the peak of an earlier run of a sweep."""
        self._is_on_gpu = trainer.strategy.root_device.type == "cuda"
        if self._is_on_gpu:
            torch.cuda.reset_peak_memory_stats()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave what lies between epochs out."""
        self._last = None

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Add the time since the last step."""
        if self._last is not None:
            self.waited += time.perf_counter() - self._last

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add a step."""
        now = time.perf_counter()
        if self._last is not None:
            self.images += len(batch["image"]) * trainer.world_size
            self.seconds += now - self._last
        self._last = now

    @property
    def seconds_of_the_run(self) -> float:
        """Wall time in seconds."""
        return time.perf_counter() - self.began

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"seconds": self.seconds_of_the_run}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Count what passed before the interruption, too."""
        self.began -= state_dict["seconds"]

    @property
    def images_per_second(self) -> float | None:
        """None before two steps of an epoch were made."""
        return round(self.images / self.seconds, 2) if self.seconds else None

    @property
    def data_wait(self) -> float | None:
        """In [0, 1]; None before two steps of an epoch were made."""
        return round(self.waited / self.seconds, 4) if self.seconds else None

    @property
    def peak_memory_mib(self) -> float | None:
        """In MiB; None on Windows without a GPU."""
        if self._is_on_gpu:
            return round(torch.cuda.max_memory_allocated() / 2**20, 1)
        if sys.platform == "win32":
            return None
        import resource  # which Windows lacks

        unit = 1 if sys.platform == "darwin" else 1024  # Linux counts KiB
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)


class ImageLogger(L.Callback):
    """Write `training_pairs.png` before training; show some predictions to W&B or TensorBoard.

    Args:
        folder: For the pictures.
        shown: Validation images that the loggers get after each validation.
    """

    def __init__(self, folder: Path, shown: int = 4) -> None:
        self.folder = folder
        self.shown = shown

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw some training pairs as they are and as the first epochs show them."""
        if trainer.is_global_zero:
            pictures.write_png(self.folder / "training_pairs.png", training_pairs(_data(trainer)))

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Send predictions to the loggers that take pictures."""
        loggers = [x for x in trainer.loggers if isinstance(x, WandbLogger | TensorBoardLogger)]
        if not loggers or trainer.sanity_checking or not trainer.is_global_zero:
            return
        dataset = _data(trainer).dataset("val")
        assert isinstance(pl_module, SegmentationModule)  # the only one that training.py trains
        predictor = predictor_of(pl_module)
        for item in evenly(len(dataset), self.shown):
            pair = dataset[item]
            prediction = predictor.predict_prepared(pair["image"])
            for logger in loggers:
                names = _data(trainer).class_names
                log_prediction(logger, f"predictions/{item}", pair, prediction, trainer.global_step, names)


def training_pairs(data: SegmentationDataModule, rows: int = 8, epochs: int = 4) -> pictures.Image:
    """A sheet of training pairs: as they are, then as the first epochs show them."""
    plain, augmented = data.dataset("train"), data.dataset("train", augment=True)
    items = evenly(len(plain), rows)
    drawn = []
    for item in items:
        versions = [plain[item], *(augmented[SampleKey(epoch, item)] for epoch in range(epochs))]
        drawn.append([pictures.overlay(pair["image"], pair["mask"]) for pair in versions])
    headings = ["as it is", *(f"epoch {epoch}" for epoch in range(epochs))]
    return pictures.sheet(drawn, headings, [data.pairs[plain.indices[item]].id for item in items], data.class_names)


def best_median_worst(
    predictor: Predictor, data: SegmentationDataModule, each: int = 3, looked_at: int = 500
) -> pictures.Image:
    """A sheet of the validation pairs with the best, median and worst IoU, of at most `looked_at`.

    It is that of `val/iou_per_image`: the mean over the classes but the background.

    Those that are empty in truth and prediction have nothing to show and are left out.
    """
    dataset = data.dataset("val")
    ranking = []
    for item in evenly(len(dataset), looked_at):
        pair = dataset[item]
        mask, truth = (
            torch.from_numpy(x[None].copy()) for x in (predictor.predict_prepared(pair["image"]).mask, pair["mask"])
        )
        counts = confusion(mask, truth, truth != VOID, data.num_classes)
        if (counts.tp + counts.fp + counts.fn).any():
            ranking.append((iou(counts).mean().item(), item))
    ranking.sort(reverse=True)
    rows, captions = [], []
    for group, members in zip(("best", "median", "worst"), three_groups(ranking, each), strict=True):
        for score, item in members:
            pair = dataset[item]
            image, prediction = pair["image"], predictor.predict_prepared(pair["image"])
            probability = prediction.probability if prediction.probability.ndim == 2 else prediction.probability.max(0)
            drawn = [pictures.overlay(image, pair["mask"]), pictures.overlay(image, prediction.mask)]
            rows.append([pictures.to_rgb(image), *drawn, pictures.heatmap(probability)])
            captions.append(f"{group}: IoU {score:.3f}, {data.pairs[pair['index']].id}")
    last = "probability" if data.num_classes <= 2 else "confidence"  # the probability of the predicted class
    return pictures.sheet(rows, ("image", "truth", "prediction", last), captions, data.class_names)


def log_prediction(
    logger: Logger, key: str, pair: Item, prediction: Prediction, step: int, class_names: Sequence[str]
) -> None:
    """Send image, truth and prediction to W&B (as mask overlays) or TensorBoard (drawn)."""
    image, truth = pair["image"], pair["mask"]
    if isinstance(logger, WandbLogger):
        labels = {**dict(enumerate(class_names)), VOID: "void"}
        drawn_masks = {"truth": truth, "prediction": prediction.mask}
        masks = {name: {"mask_data": mask, "class_labels": labels} for name, mask in drawn_masks.items()}
        logger.log_image(key, [pictures.to_rgb(image)], step=step, masks=[masks])
    elif isinstance(logger, TensorBoardLogger):
        drawn = [
            pictures.to_rgb(image),
            pictures.overlay(image, truth),
            pictures.overlay(image, prediction.mask),
        ]
        logger.experiment.add_image(key, np.hstack(drawn), step, dataformats="HWC")


def predictor_of(module: SegmentationModule) -> Predictor:
    """A module's network, ready for images."""
    return Predictor(module.network, module.preprocessing, module.threshold)


def _data(trainer: L.Trainer) -> SegmentationDataModule:
    data = trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it on fit
    assert isinstance(data, SegmentationDataModule)  # the only one that training.py uses
    return data
