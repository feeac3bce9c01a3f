"""The mean loss and the scores of a validation or a test, from its images to the values that are logged."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torchmetrics import ClasswiseWrapper

from unetkit.evaluation.primary import Primary, primary_metric
from unetkit.metrics import ClassIoU, LabelScore, MeanLoss, PooledIoU, segmentation_metrics
from unetkit.training.evaluator import Evaluated

NAMED = "named"  # with a number, within torchmetrics, as names of classes may hold a dot, which its keys may not


class PhaseScores(nn.Module):
    """Collect the loss and the scores of the images of a phase.

    Args:
        phase: `val` or `test`, which the names of the values begin with.
        num_classes: Channels of the network's logits.
        class_names: Names of class 0, 1, ...
        classes: Indices of the classes that scores are means over; None for all without the background, class 0.
        is_multilabel: Whether masks hold labels as bits.
        more: Scores that are computed even if they are not among those of every run.
    """

    def __init__(
        self,
        phase: str,
        num_classes: int,
        class_names: Sequence[str],
        classes: Sequence[int] | None,
        *,
        is_multilabel: bool,
        more: Sequence[Primary],
    ) -> None:
        super().__init__()
        self.phase = phase
        self.loss = MeanLoss()
        self.metrics = segmentation_metrics(num_classes, classes, is_multilabel=is_multilabel)
        names = [*self.metrics]
        if num_classes > 2 or is_multilabel:
            labels = range(num_classes)
            each = LabelScore(PooledIoU, labels, as_mean=False) if is_multilabel else ClassIoU(num_classes)
            self.metrics.add_metrics({"classes": ClasswiseWrapper(each, [*class_names], "iou/")})
            names += [f"iou/{name}" for name in class_names]
        self._named: dict[str, str] = {}  # names of scores by that in torchmetrics
        for score in more:
            if score.name not in names:
                self._named[key := f"{NAMED}{len(self._named)}"] = score.name
                computed = primary_metric(score, num_classes, class_names, classes, is_multilabel=is_multilabel)
                self.metrics.add_metrics({key: computed})
                names.append(score.name)
        self.names = [self.name_of(name) for name in ("loss", *names)]  # of all values

    def name_of(self, score: str) -> str:
        """Return the name under which a score of this phase is logged."""
        return f"{self.phase}/{score}"

    def update(
        self,
        images: Evaluated,
        spacings: Sequence[Sequence[float] | None] | None,
        objects: Mapping[int, NDArray[np.int32]] | None = None,
    ) -> None:
        """Add images.

        Args:
            images: The images.
            spacings: Distances in mm of the voxels of all volumes of the data, None where they are not known; None for
                images.
            objects: Numbers of the true objects of the pairs that are scored, by their index; None if none are scored.
        """
        self.loss.update(images.loss, images.valid)
        more: dict[str, Any] = {}
        if spacings is not None:
            more["spacings"] = [spacings[i] for i in images.index.tolist()]
        if objects is not None:
            more["objects"] = [objects[i] for i in images.index.tolist()]
        self.metrics.update(images.prediction, images.target, images.valid, **more)

    def compute(self) -> dict[str, Tensor]:
        """Compute the mean loss and the scores by name, and forget the images."""
        computed = {self._named.get(key, key): value for key, value in self.metrics.compute().items()}
        values = {self.name_of(name): value for name, value in {"loss": self.loss.compute(), **computed}.items()}
        self.loss.reset()
        self.metrics.reset()
        return values
