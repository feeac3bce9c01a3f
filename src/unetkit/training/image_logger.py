"""Pictures of a run: training pairs, and predictions for the loggers and the run directory."""

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from unetkit.data import SegmentationDataModule
from unetkit.data.types import VOID, Item, SampleKey, of_label
from unetkit.errors import UserError
from unetkit.metrics import confusion, iou, label_confusion
from unetkit.plots import images as pictures
from unetkit.plots.orthogonal import Place, flat_image, flat_mask, flat_probability, place_of
from unetkit.plots.ranking import evenly, three_groups
from unetkit.prediction.predictor import Prediction, Predictor
from unetkit.training.module import SegmentationModule
from unetkit.training.remote import send_picture

SHOWN = 640  # pixels of the longer side from which on not every pixel is shown


class ImageLogger(L.Callback):
    """Write `training_pairs.png` before training; send some predictions to W&B, TensorBoard and MLflow.

    Args:
        folder: Folder of the pictures.
        shown: Number of validation images that are sent after each validation.
    """

    def __init__(self, folder: Path, shown: int = 4) -> None:
        self.folder = folder
        self.shown = shown

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw some training pairs, as they are and augmented."""
        if trainer.is_global_zero:
            pictures.write_png(self.folder / "training_pairs.png", draw_training_pairs(_data_of(trainer)))

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Send predictions to the loggers that take pictures."""
        loggers = [x for x in trainer.loggers if isinstance(x, WandbLogger | TensorBoardLogger | MLFlowLogger)]
        if not loggers or trainer.sanity_checking or not trainer.is_global_zero:
            return
        data = _data_of(trainer)
        dataset = data.dataset("val")
        assert isinstance(pl_module, SegmentationModule)  # narrows the type for mypy
        predictor = pl_module.predictor()
        step = trainer.fit_loop.epoch_loop._batches_that_stepped  # at which Lightning logs the scores
        for item in evenly(len(dataset), self.shown):
            pair = dataset[item]
            try:
                prediction = predict_shown(predictor, pair, data)
            except UserError:  # NaN, with stop_on_nan=false
                return
            for logger in loggers:
                key = f"predictions/{item}"
                log_prediction(logger, key, pair, prediction, step, data)


def draw_training_pairs(data: SegmentationDataModule, rows: int = 8, epochs: int = 4) -> pictures.Image:
    """Draw a sheet of training pairs: as they are, then as each of the first epochs augments them."""
    plain, augmented = data.dataset("train"), data.dataset("train", augment=True)
    items = evenly(len(plain), rows)
    drawn = []
    for item in items:
        first = augmented.first_item(item)
        versions = [plain[item], *(augmented[SampleKey(epoch, first)] for epoch in range(epochs))]
        flat = [_flat(pair, data) for pair in versions]
        whole = flat[0]["image"]
        drawn.append([_overlay(data, pair["image"], pair["mask"], whole) for pair in flat])
    headings = ["as it is", *(f"epoch {epoch}" for epoch in range(epochs))]
    names = [data.found.pairs[plain.indices[item]].id for item in items]
    return pictures.sheet(drawn, headings, names, _legend(data))


def draw_best_median_worst(
    predictor: Predictor, data: SegmentationDataModule, ranking: list[tuple[float, int]], each: int = 3
) -> pictures.Image:
    """Draw a sheet of the validation pairs with the best, median and worst IoU.

    Args:
        predictor: The trained network.
        data: The data it was trained on.
        ranking: IoU and index of validation pairs, best first, see `SegmentationModule.ranking`; if it is empty, as no
            image was validated, as many pairs as are shown are predicted for it.
        each: Number of pairs of each of the three kinds.
    """
    dataset = data.dataset("val")
    items = {index: item for item, index in enumerate(dataset.indices)}
    rows, captions = [], []
    groups = three_groups(ranking or rank(predictor, data, 3 * each), each)
    for group, members in zip(("best", "median", "worst"), groups, strict=True):
        for score, index in members:
            pair = dataset[items[index]]
            place, prediction = _place(pair, data), predict_shown(predictor, pair, data)
            flat = _flat(pair, data)
            image = flat["image"]
            probability = prediction.probability if prediction.is_binary else prediction.probability.max(0)
            masks = [flat["mask"], flat_mask(prediction.mask, place)]
            probability = flat_probability(probability, place)
            drawn = [_overlay(data, image, mask) for mask in masks]
            rows.append([pictures.visible(image), *drawn, pictures.heatmap(probability)])
            captions.append(f"{group}: IoU {score:.3f}, {data.found.pairs[pair['index']].id}")
    is_binary = data.num_classes <= 2 and not data.is_multilabel
    last = "probability" if is_binary else "confidence"  # the probability of the predicted class
    return pictures.sheet(rows, ("image", "truth", "prediction", last), captions, _legend(data))


def rank(predictor: Predictor, data: SegmentationDataModule, looked_at: int) -> list[tuple[float, int]]:
    """Return what `SegmentationModule.ranking` does, of a few images, for a network that was not validated."""
    dataset = data.dataset("val")
    ranking = []
    for item in evenly(len(dataset), looked_at):
        pair = dataset[item]
        masks = predict_shown(predictor, pair, data).mask, _thinned(pair, data)["mask"]
        mask, truth = (torch.from_numpy(x[None].copy()) for x in masks)
        if data.is_multilabel:
            counts = label_confusion(mask, truth, truth != VOID, data.num_classes)
        else:
            counts = confusion(mask, truth, truth != VOID, data.num_classes, data.scored_classes)
        if (counts.tp + counts.fp + counts.fn).any():
            ranking.append((iou(counts).mean().item(), pair["index"]))
    return sorted(ranking, reverse=True)


def log_prediction(
    logger: Logger, key: str, pair: Item, prediction: Prediction, step: int, data: SegmentationDataModule
) -> None:
    """Send image, truth and prediction to W&B (as mask overlays), TensorBoard or MLflow (drawn)."""
    image, truth, predicted = shown_pair(pair, prediction, data)
    if isinstance(logger, WandbLogger):
        logger.log_image(
            key, [image], step=step, masks=[masks_of_wandb(data, {"truth": truth, "prediction": predicted})]
        )
    else:
        whole = _flat(pair, data)["image"]
        drawn = [_overlay(data, whole, mask) for mask in (truth, predicted)]
        send_picture(logger, key, np.hstack([image, *drawn]), step)


def shown_pair(
    pair: Item, prediction: Prediction, data: SegmentationDataModule
) -> tuple[pictures.Image, pictures.Image, pictures.Image]:
    """Return an image as it is shown, its true mask and the predicted one, which `predict_shown` gives."""
    flat = _flat(pair, data)
    return pictures.visible(flat["image"]), flat["mask"], flat_mask(prediction.mask, _place(pair, data))


def _place(pair: Item, data: SegmentationDataModule) -> Place | None:
    """Return the slices of a volume that are shown; None for an image."""
    spacing = data.found.spacings[pair["index"]]
    return place_of(pair["mask"], spacing) if data.has_volumes else None


def predict_shown(predictor: Predictor, pair: Item, data: SegmentationDataModule) -> Prediction:
    """Predict the pixels of a pair that are shown; of a large image the others are dropped row by row."""
    step = _step(pair, data)
    if step == 1:
        return predictor.predict_prepared(pair["image"])
    kept, top = [], 0
    for rows in predictor.rows(pair["image"]):
        kept.append(rows[:, -top % step :: step, ::step].clone())  # a view would keep all
        top += rows.shape[1]
    return Prediction.of(torch.cat(kept, dim=1), predictor.threshold, is_multilabel=predictor.is_multilabel)


def _step(pair: Item, data: SegmentationDataModule) -> int:
    """Return the distance of the pixels of an image that are shown."""
    return 1 if data.has_volumes else max(max(pair["mask"].shape) // SHOWN, 1)


def _thinned(pair: Item, data: SegmentationDataModule) -> Item:
    """Return a pair with the pixels that are shown."""
    kept = (slice(None, None, _step(pair, data)),) * 2
    thinned: Item = {**pair, "image": pair["image"][kept], "mask": pair["mask"][kept]}
    return thinned


def _flat(pair: Item, data: SegmentationDataModule) -> Item:
    """Return a pair as it is shown: of a large image fewer pixels, and of volumes three slices."""
    place, pair = _place(pair, data), _thinned(pair, data)
    flat: Item = {**pair, "image": flat_image(pair["image"], place), "mask": flat_mask(pair["mask"], place)}
    return flat


def _legend(data: SegmentationDataModule) -> dict[str, tuple[int, int, int]]:
    """Return the colours by class, of three classes or more."""
    return pictures.class_colours(data.class_names, data.has_background, is_multilabel=data.is_multilabel)


def _overlay(
    data: SegmentationDataModule, image: pictures.Image, mask: pictures.Image, like: pictures.Image | None = None
) -> pictures.Image:
    return pictures.overlay(image, mask, data.has_background, like, is_multilabel=data.is_multilabel)


def masks_of_wandb(data: SegmentationDataModule, masks: dict[str, pictures.Image]) -> dict[str, dict[str, Any]]:
    """Return masks as W&B takes them: one of all classes, or one of each label."""
    if not data.is_multilabel:
        labels = {**dict(enumerate(data.class_names)), VOID: "void"}
        return {name: {"mask_data": mask, "class_labels": labels} for name, mask in masks.items()}
    return {
        f"{name} {label}": {
            "mask_data": of_label(mask, k),
            "class_labels": {1: label, VOID: "void"},
        }
        for name, mask in masks.items()
        for k, label in enumerate(data.class_names)
    }


def _data_of(trainer: L.Trainer) -> SegmentationDataModule:
    data = trainer.datamodule  # type: ignore[attr-defined]  # set by Trainer.fit
    assert isinstance(data, SegmentationDataModule)  # narrows the type for mypy
    return data
