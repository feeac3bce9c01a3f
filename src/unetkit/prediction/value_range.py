"""Which values of 16-bit and float images become 0 and 255."""

import math

import numpy as np
from tqdm import tqdm

from unetkit.data.files import FileRef
from unetkit.data.nodata import is_nodata, nodata_values
from unetkit.errors import UserError
from unetkit.prediction.ensemble import Ensemble
from unetkit.prediction.tiling import Raster

SAMPLED = 2_000_000  # values of a file that are read to find its range


def scale_to(
    ref: FileRef, image: Raster, value_range: tuple[float, float] | str | None, ensemble: Ensemble
) -> Ensemble:
    """Return the ensemble that maps the ends of `value_range` to 0 and 255 in this image.

    Args:
        ref: The file, for messages.
        image: The image, or a part of it.
        value_range: See `OutputOptions`; it does not matter for an 8-bit image.
        ensemble: The networks, with the range used in training.

    Raises:
        UserError: If the networks were trained on 8-bit images, this one is another, and no range is given.
    """
    if image.dtype == np.uint8:
        return ensemble
    if value_range is None and any(member.preprocessing.value_range is None for member in ensemble.members):
        raise UserError(
            str(ref),
            f"is {image.dtype}, but the training images are 8-bit",
            "say which values become 0 and 255 with value_range=[LOW,HIGH], or value_range=auto for amplitudes about "
            "zero",
        )
    if not isinstance(value_range, str):
        return ensemble.with_value_range(value_range)
    if image.dtype.kind == "u":
        problem = f"is {image.dtype}, but value_range=auto is for amplitudes about zero"
        raise UserError(str(ref), problem, "give value_range=[LOW,HIGH]")
    low, high = amplitude_range(image)
    tqdm.write(f"{ref}: {low:.6g} to {high:.6g} become 0 to 255 (99th percentile of the absolute values)")
    return ensemble.with_value_range((low, high))


def amplitude_range(image: Raster) -> tuple[float, float]:
    """Return minus and plus the 99th percentile of the absolute values, so that zero lies in the middle."""
    step = math.ceil(math.sqrt(math.prod(image.shape[: max(len(image.shape) - 1, 2)]) / SAMPLED))
    sample = image[slice(None, None, step), slice(None, None, step)]
    values = sample[~is_nodata(sample, nodata_values(sample))].astype(np.float64)
    limit = float(np.quantile(np.abs(values), 0.99)) if values.size else 0.0
    limit = limit or 1.0
    return -limit, limit
