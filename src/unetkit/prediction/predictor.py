"""From an image as read to its mask: any size, in tiles if large, averaged over flips and over networks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unetkit.data import Preprocessing
from unetkit.errors import UserError
from unetkit.models import classify, predict_full_frame, probabilities
from unetkit.prediction.tiling import Array, Raster, blended_rows

# The views that are averaged: quarter turns, and whether mirrored left to right after them.
TTA: dict[str, list[tuple[int, bool]]] = {
    "none": [(0, False)],
    "flip": [(0, False), (0, True)],
    "d4": [(turns, mirrored) for turns in range(4) for mirrored in (False, True)],
}


@dataclass(frozen=True)
class Prediction:
    """What a network says of an image.

    Attributes:
        probability: Of the foreground (H, W) float32 in [0, 1], or of each of more classes (C, H, W).
        mask: Class indices (H, W) uint8; 1 is the foreground.
    """

    probability: NDArray[np.float32]
    mask: NDArray[np.uint8]

    @classmethod
    def of(cls, probability: Tensor, threshold: float, min_area: int = 0) -> "Prediction":
        """Of probabilities (1 or C, H, W); a mask of fewer pixels than `min_area` is made empty."""
        array = probability.numpy()
        mask = classify(probability[None], threshold)[0].numpy()
        if np.count_nonzero(mask) < min_area:
            mask[:] = 0
        return cls(array[0] if len(array) == 1 else array, mask)


@dataclass
class Predictor:
    """A network ready for images as read from files.

    Attributes:
        network: Images (B, C, H, W) to logits.
        preprocessing: That it was trained with.
        threshold: Probability above which a pixel is foreground.
        tta: Views whose predictions are averaged: `none`, `flip` (the mirror image too) or `d4` (all eight).
        tile: Side in pixels above which an image is predicted in tiles.
        overlap: Pixels that neighbouring tiles share and blend over.
        min_area: Pixels below which a mask is made empty.
    """

    network: nn.Module
    preprocessing: Preprocessing
    threshold: float = 0.5
    tta: str = "none"
    tile: int = 1024
    overlap: int = 128
    min_area: int = 0

    def __post_init__(self) -> None:
        if self.tta not in TTA:
            raise UserError(f"tta={self.tta}", f"must be one of {', '.join(TTA)}")
        if not 0 <= self.overlap < self.tile:
            raise UserError(f"overlap={self.overlap}", f"must be at least 0 and smaller than tile={self.tile}")

    def __call__(self, image: Array) -> Prediction:
        """Predict an image (H, W) or (H, W, C), of the dtype of the training images.

        Raises:
            UserError: If dtype or channels are not those of the training images.
        """
        return self.predict_prepared(self.preprocessing.to_uint8(image))

    def predict_prepared(self, pixels: NDArray[np.uint8]) -> Prediction:
        """Predict an image (H, W, channels) uint8 that went through `Preprocessing.to_uint8`."""

        def predict(window: Array) -> Tensor:
            return self.probabilities(window[None], self.margin)[0]

        rows = blended_rows(pixels, predict, self.tile, self.overlap, self.stride, self.margin)
        return Prediction.of(torch.cat(list(rows), dim=1), self.threshold, self.min_area)

    @property
    def margin(self) -> int:
        """Pixels that the network loses on each side, for which a tile needs its surroundings."""
        return int(getattr(self.network, "margin", 0))

    @property
    def stride(self) -> int:
        """Pixels that the network's smallest feature map has one for; 32 if it doesn't say."""
        return int(2 ** getattr(self.network, "num_downsamplings", 5))

    @torch.inference_mode()
    def probabilities(self, pixels: NDArray[np.uint8], margin: int = 0) -> Tensor:
        """Probabilities (B, 1 or C, H, W) on the CPU of prepared images, without tiles.

        Args:
            pixels: (B, H + 2 margin, W + 2 margin, channels).
            margin: Surroundings that the pixels come with; at least `self.margin`, or 0 to have them mirrored.
        """
        self.network.eval()
        spare = max(margin - self.margin, 0)
        pixels = pixels[:, spare : pixels.shape[1] - spare, spare : pixels.shape[2] - spare]
        device = next(self.network.parameters()).device
        images = torch.from_numpy(np.ascontiguousarray(pixels)).to(device).permute(0, 3, 1, 2)
        x = self.preprocessing.normalise(images)
        views = TTA[self.tta]
        total = self._view(x, margin, *views[0])
        for view in views[1:]:
            total += self._view(x, margin, *view)
        return (total / len(views)).cpu()

    def _view(self, x: Tensor, margin: int, turns: int, mirrored: bool) -> Tensor:
        x = x.rot90(turns, (-2, -1))
        x = x.flip(-1) if mirrored else x
        y = probabilities(self.network(x) if margin else predict_full_frame(self.network, x))
        y = y.flip(-1) if mirrored else y
        return y.rot90(-turns, (-2, -1))


@dataclass
class Ensemble:
    """Predictors whose probabilities are averaged, each with its own preprocessing; also of one alone.

    Attributes:
        members: With the same classes; tile and overlap are the first one's.
        threshold: Probability above which a pixel is foreground.
        classes: That are told apart, background included.
        min_area: Pixels below which a mask is made empty, as cross-validation found it best.
    """

    members: Sequence[Predictor]
    threshold: float = 0.5
    classes: int = 2
    min_area: int = 0

    def __call__(self, image: Array) -> Prediction:
        """Predict an image (H, W) or (H, W, C).

        Raises:
            UserError: If dtype or channels are not those of the training images.
        """
        return Prediction.of(torch.cat(list(self.rows(image)), dim=1), self.threshold, self.min_area)

    @property
    def tile(self) -> int:
        """Side in pixels above which an image is predicted in tiles."""
        return self.members[0].tile

    def to_pixels(self, image: Array) -> NDArray[np.uint8]:
        """An image as the first member wants it, (H, W, channels) uint8, for pictures."""
        return self.members[0].preprocessing.to_uint8(image)

    def with_value_range(self, value_range: tuple[float, float] | None) -> "Ensemble":
        """The same for 16-bit or float images of which these values become 0 and 255; None changes nothing."""
        if value_range is None:
            return self
        return replace(
            self,
            members=[replace(m, preprocessing=replace(m.preprocessing, value_range=value_range)) for m in self.members],
        )

    def rows(self, image: Raster) -> Iterator[Tensor]:
        """Probabilities (1 or C, rows, W) of an image of any size, from top to bottom, in the memory of some tiles.

        Raises:
            UserError: If dtype or channels are not those of the training images.
        """
        first = self.members[0]
        margin = max(member.margin for member in self.members)
        stride = max(member.stride for member in self.members)

        def predict(window: Array) -> Tensor:
            return self.probabilities([self.prepare(window)], margin)[0]

        return blended_rows(image, predict, first.tile, first.overlap, stride, margin)

    def prepare(self, image: Array) -> list[NDArray[np.uint8]]:
        """An image as each of the members wants it, (H, W, channels) uint8.

        Raises:
            UserError: If dtype or channels are not those of the training images.
        """
        return [member.preprocessing.to_uint8(image) for member in self.members]

    def probabilities(self, prepared: Sequence[list[NDArray[np.uint8]]], margin: int = 0) -> Tensor:
        """Probabilities (B, 1 or C, H, W) of prepared images of one size, without tiles.

        Args:
            prepared: Of each image what `prepare` gives, with `margin` pixels more on each side.
            margin: Surroundings that the images come with, or 0 to have them mirrored.
        """
        each = [
            member.probabilities(np.stack(pixels), margin)
            for member, pixels in zip(self.members, zip(*prepared, strict=True), strict=True)
        ]
        return torch.stack(each).mean(0) if len(each) > 1 else each[0]
