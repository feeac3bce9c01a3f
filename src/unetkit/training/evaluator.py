"""The evaluation of a batch with its truth, in training and testing: predicted as `predict` predicts it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from unetkit.data import VOID, Batch
from unetkit.models import classify, logits_of, probabilities
from unetkit.prediction.predictor import Predictor, at_size, rows_at_size
from unetkit.prediction.tiling import strips
from unetkit.training.batch_loss import loss_of, truth_of


@dataclass(frozen=True)
class Evaluated:
    """Images with their truth, prediction and loss.

    Attributes:
        loss: The loss, a scalar.
        prediction: Predicted class indices, or labels as bits, (B, H, W) uint8.
        target: True ones, of the same size.
        valid: Valid pixels, booleans of the same size.
        index: The index (B,) of each image among all pairs.
    """

    loss: Tensor
    prediction: Tensor
    target: Tensor
    valid: Tensor
    index: Tensor


@dataclass
class Evaluator:
    """Evaluate batches whole; large images in strips and volumes in tiles, in little memory.

    Attributes:
        forward: Maps images (B, C, H, W) uint8 to logits.
        predictor: Predicts large images and volumes.
        loss: The loss.
        num_classes: Channels of the network's logits.
        is_whole: Whether the logits are as large as the image, and not only for its centre.
    """

    forward: Callable[[Tensor], Tensor]
    predictor: Predictor
    loss: nn.Module
    num_classes: int
    is_whole: bool

    def evaluate(self, batch: Batch) -> Iterator[Evaluated]:
        """Yield the images of a batch, all together or, of large ones, one by one."""
        size = batch["image"].shape[2:]
        if self.is_whole and len(size) == 2 and max(size) > self.predictor.tile:
            for item in range(len(batch["index"])):
                one: Any = {key: value[item : item + 1] for key, value in batch.items() if isinstance(value, Tensor)}
                yield self._in_strips(one)
        else:
            yield self._at_once(batch)

    def _at_once(self, batch: Batch) -> Evaluated:
        predictor, preprocessing = self.predictor, self.predictor.preprocessing
        is_tiled = batch["mask"].ndim == 4 and preprocessing.patch_size is not None
        logits = self._tiled_logits(batch["image"]) if is_tiled else self.forward(batch["image"])
        probability = probabilities(logits, is_multilabel=predictor.is_multilabel)
        if preprocessing.resize is not None:  # as in prediction, scored at the size of the files
            sizes = zip(batch["mask"].shape[1:], logits.shape[2:], batch["image"].shape[2:], strict=True)
            size = [round(whole * scored / given) for whole, scored, given in sizes]  # smaller without mirror_border
            logits, probability = (at_size(x, size) for x in (logits, probability))
        target, valid = truth_of(batch, logits)
        loss = loss_of(self.loss, batch, logits, target, valid)
        prediction = classify(probability, predictor.threshold, is_multilabel=predictor.is_multilabel)
        return Evaluated(loss, prediction, target, valid, batch["index"])

    def _tiled_logits(self, images: Tensor) -> Tensor:
        """Return logits (B, num_classes, D, H, W) of volumes, tile by tile as in prediction."""
        volumes = images.movedim(1, -1).cpu().numpy()
        tiled = torch.stack([torch.cat(list(self.predictor.rows(volume)), dim=1) for volume in volumes])
        return logits_of(tiled.to(images.device), self.num_classes, is_multilabel=self.predictor.is_multilabel)

    def _in_strips(self, batch: Batch) -> Evaluated:
        """Evaluate one image that `predict` would cut into tiles.

        Its loss is the mean over strips of the height of a tile, weighted by their valid pixels.
        """
        masks, is_multilabel = batch["mask"], self.predictor.is_multilabel
        total, count, top, classes = masks.new_zeros((), dtype=torch.float32), 0, 0, torch.empty_like(masks)
        for probability in strips(self._rows(batch), self.predictor.tile):
            part = slice(top, top := top + probability.shape[1])
            given = probability[None].to(masks.device)
            classes[:, part] = classify(given, self.predictor.threshold, is_multilabel=is_multilabel)
            strip: Batch = {**batch, "mask": masks[:, part]}
            if "weight" in batch:
                strip["weight"] = batch["weight"][:, part]
            logits = logits_of(given, self.num_classes, is_multilabel=is_multilabel)
            target, valid = truth_of(strip, logits)
            if pixels := int(valid.sum()):
                total += pixels * loss_of(self.loss, strip, logits, target, valid)
                count += pixels
        return Evaluated(total / max(count, 1), classes, masks, masks != VOID, batch["index"])

    def _rows(self, batch: Batch) -> Iterator[Tensor]:
        """Return probabilities (1 or C, rows, W) of the only image of a batch at the size of its mask."""
        preprocessing = self.predictor.preprocessing
        predictor = replace(self.predictor, preprocessing=replace(preprocessing, resize=None))  # the loader resized it
        rows = predictor.rows(batch["image"][0].movedim(0, -1).cpu().numpy())
        if preprocessing.resize is None:
            return rows
        return rows_at_size(torch.cat(list(rows), dim=1), *batch["mask"].shape[1:])
