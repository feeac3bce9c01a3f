"""Several networks whose probabilities are averaged."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unetkit.data.resampling import rows_at
from unetkit.prediction.inputs import as_array, volume_of
from unetkit.prediction.predictor import Prediction, Predictor
from unetkit.prediction.tiling import AT_ONCE, Array, Raster, blended_rows, cut

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass
class Ensemble:
    """Predictors whose probabilities are averaged, each with its own preprocessing; one alone is allowed.

    Attributes:
        members: The predictors, of equal classes; `tile` and `overlap` of the first one are used.
        threshold: Probability above which a pixel is foreground.
        classes: Number of classes, background included; at least 2.
        min_area: Masks with fewer pixels than this are made empty.
        has_background: Whether class 0 is background, which overlays leave as it is.
        labels: Names of the labels of multi-label networks; none for others.
    """

    members: Sequence[Predictor]
    threshold: float = 0.5
    classes: int = 2
    min_area: int = 0
    has_background: bool = True
    labels: Sequence[str] = ()

    def __call__(self, image: "str | Path | Array | Tensor | Image") -> Prediction:
        """Predict an image, as `Predictor` does.

        Raises:
            UserError: If it can't be read, or dtype or channels are not those of the training images.
        """
        if self.has_volumes:
            volume = volume_of(image, self.members[0].preprocessing)
            rows = self.rows_of_volume(volume.values, volume.spacing)
        else:
            rows = self.rows(as_array(image, self.members[0].preprocessing))
        probability = torch.cat(list(rows), dim=1)
        return Prediction.of(probability, self.threshold, self.min_area, is_multilabel=self.is_multilabel)

    @property
    def is_multilabel(self) -> bool:
        """Whether the classes are labels that may overlap."""
        return bool(self.labels)

    @property
    def tile(self) -> int:
        """Side in pixels above which an image is predicted in tiles."""
        return self.members[0].tile

    @property
    def stride(self) -> int:
        """Largest stride of the members, see `Predictor.stride`."""
        return max(member.stride for member in self.members)

    @property
    def channels(self) -> int:
        """Number of channels that the first member takes, by which it is decided whether an alpha channel is read."""
        return self.members[0].preprocessing.channels

    @property
    def channel_files(self) -> int:
        """Number of files of each image: above 1 if it has a file for each channel, as in training."""
        return self.members[0].preprocessing.channel_files

    def to_pixels(self, image: Array) -> NDArray[np.uint8]:
        """Return an image (H, W, channels) uint8 as the first member gets it, for pictures."""
        return self.members[0].preprocessing.to_uint8(image)

    def with_value_range(self, value_range: tuple[float, float] | None) -> "Ensemble":
        """Return the ensemble for 16-bit or float images, in which these values become 0 and 255.

        None changes nothing.
        """
        if value_range is None:
            return self
        kinds = [replace(m.preprocessing, value_range=value_range, channel_ranges=None) for m in self.members]
        members = [replace(m, preprocessing=kind) for m, kind in zip(self.members, kinds, strict=True)]
        return replace(self, members=members)

    def rows(self, image: Raster, count_tile: Callable[[], object] = lambda: None) -> Iterator[Tensor]:
        """Yield probabilities (1 or C, rows, W) of an image of any size, from top to bottom, tile by tile.

        Args:
            image: The image, or a volume at the spacing of training.
            count_tile: Called after each of the tiles, whose number `tiles` gives.

        Raises:
            UserError: If dtype or channels are not those of the training images.
        """
        first = self.members[0]
        if self.resizes:
            return self._resized_rows(self.prepare(image[slice(None), slice(None)]), count_tile)
        margin = max(member.margin for member in self.members)

        def predict(window: Array) -> Tensor:
            probabilities = self.probabilities([self.prepare(window)], margin)[0]
            count_tile()
            return probabilities

        return blended_rows(image, predict, *first.tiling, self.stride, margin, gaussian=self.has_volumes)

    def rows_of_volume(
        self, values: Array, spacing: Sequence[float] | None, count_tile: Callable[[], object] = lambda: None
    ) -> Iterator[Tensor]:
        """Yield probabilities (1 or C, d, H, W) of a volume, predicted at the spacing of training, from top to bottom.

        Args:
            values: The volume (D, H, W, C).
            spacing: Its spacing (z, y, x) in mm; None if it is not known, and taken as that of training.
            count_tile: See `rows`.

        Raises:
            UserError: If dtype or channels are not those of the training volumes.
        """
        wanted = self.members[0].preprocessing.spacing
        return rows_at(values, spacing, wanted, lambda image: self.rows(image, count_tile))

    @property
    def has_volumes(self) -> bool:
        """Whether the networks are for volumes."""
        return self.members[0].has_volumes

    def _resized_rows(self, prepared: list[NDArray[np.uint8]], count_tile: Callable[[], object]) -> Iterator[Tensor]:
        """Do what `rows` does with members that resize, each as it was trained, so that an image is read as a whole."""
        each = [member.rows(pixels, count_tile) for member, pixels in zip(self.members, prepared, strict=True)]
        if len(each) == 1:
            return each[0]
        maps = [torch.cat(list(rows), dim=1) for rows in each]
        return iter(torch.split(torch.stack(maps).mean(0), AT_ONCE, dim=1))

    @property
    def resizes(self) -> bool:
        """Whether a member resizes images."""
        return any(member.preprocessing.resize is not None for member in self.members)

    def tiles(self, *size: int) -> int:
        """Return the number of tiles of an image (H, W), or of a volume (D, H, W) at the spacing of training."""
        if self.resizes:
            sizes = [member.preprocessing.working_size(*size) for member in self.members]
            return sum(self._tiles(working) for working in sizes)
        return self._tiles(size)

    def _tiles(self, size: Sequence[int]) -> int:
        axes = zip(size, *self.members[0].tiling, strict=True)
        return math.prod(len(cut(side, tile, overlap, self.stride).starts) for side, tile, overlap in axes)

    def prepare(self, image: Array) -> list[NDArray[np.uint8]]:
        """Return an image (H, W, channels) uint8 as each of the members needs it.

        Raises:
            UserError: If dtype or channels are not those of the training images.
        """
        return [member.preprocessing.to_uint8(image) for member in self.members]

    def probabilities(self, prepared: Sequence[list[NDArray[np.uint8]]], margin: int = 0) -> Tensor:
        """Return probabilities (B, 1 or C, H, W) of prepared images of one size, without tiles and without resizing.

        Args:
            prepared: Result of `prepare` for each image, with `margin` more pixels on each side.
            margin: Pixels of surroundings that the images come with, or 0 to have them mirrored.
        """
        each = [
            member.probabilities(np.stack(pixels), margin)
            for member, pixels in zip(self.members, zip(*prepared, strict=True), strict=True)
        ]
        return torch.stack(each).mean(0) if len(each) > 1 else each[0]
