"""A pair of image and mask, before either is read."""

from dataclasses import dataclass

from unetkit.data.drawn import DrawnMask
from unetkit.data.files import FileRef


@dataclass(frozen=True, slots=True)
class Pair:
    """An image and its mask.

    Attributes:
        id: The name of the pair.
        image: The file of the image.
        mask: The file of the mask, or what it is drawn from; None where only the run-length code holds it.
        rle: Kaggle's run-length code of the mask; None where there is none.
        split: `train`, `val` or `test` where the folders say it; else None.
    """

    id: str
    image: FileRef
    mask: FileRef | DrawnMask | None
    rle: str | None = None
    split: str | None = None
