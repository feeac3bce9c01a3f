"""Images on which an exported network is calibrated and compared, as the file takes them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetkit.checkpoints.exported import raw_values
from unetkit.data import Preprocessing
from unetkit.data.decode import read_image
from unetkit.data.files import FileRef

SAMPLES = 200  # images that are read, evenly spread over those that are there
SIDE = 512  # of larger images the middle is taken, in pixels


def read_samples(refs: Sequence[FileRef], preprocessing: Preprocessing) -> list[NDArray[Any]]:
    """Read images (H, W, channels), resized as in training, with the values of files.

    Args:
        refs: Files, at least one.
        preprocessing: Preprocessing used in training.

    Raises:
        UserError: If one can't be read, or is not of the kind of the training images.
    """
    chosen = np.unique(np.linspace(0, len(refs) - 1, min(SAMPLES, len(refs))).round().astype(int))
    samples = []
    for ref in (refs[number] for number in chosen):
        pixels = preprocessing.resized(preprocessing.to_uint8(read_image(ref, preprocessing.channels), str(ref)))
        top, left = (max(side - SIDE, 0) // 2 for side in pixels.shape[:2])
        samples.append(raw_values(pixels[top : top + SIDE, left : left + SIDE], preprocessing))
    return samples
