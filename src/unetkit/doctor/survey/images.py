"""What the doctor keeps of an image: size, kind, and fingerprints by which copies are found."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from unetkit.data.decode import read_layers
from unetkit.data.files import FileRef
from unetkit.data.nodata import is_nodata, nodata_values
from unetkit.data.preprocessing import drop_equal_channels

THUMBNAIL = 16  # pixels of its side
MIN_CONTRAST = 1 / 1000  # standard deviation of a thumbnail, as a share of the image's range, below which it is flat


@dataclass(frozen=True, eq=False)
class ImageStats:
    """Size, kind and content of an image.

    Attributes:
        shape: (H, W).
        channels: Number of channels, 1 if all are equal.
        stored_channels: Number of channels in the file.
        dtype: NumPy's name of the type, e.g. `uint8`.
        value_range: Lowest and highest value of pixels with data.
        digest: Hash of the pixels.
        thumbnail: (256,) float32 with mean 0 and standard deviation 1, or None if the image has no contrast.
        has_varying_alpha: Whether it has an alpha channel that is not the same everywhere, which is not read.
        nodata: The numbers that stand for pixels without data.
        is_masked: Whether a mask within the file says where there are data.
    """

    shape: tuple[int, int]
    channels: int
    stored_channels: int
    dtype: str
    value_range: tuple[float, float]
    digest: bytes
    thumbnail: NDArray[np.float32] | None
    has_varying_alpha: bool
    nodata: tuple[float, ...]
    is_masked: bool


def measure_image(ref: FileRef) -> ImageStats:
    """Read and measure an image.

    Raises:
        UserError: If it can't be read.
    """
    layers = read_layers(ref)
    image = layers.pixels
    nodata = nodata_values(image, layers.nodata)
    data = image if layers.valid is None else image[layers.valid]
    values = data[~is_nodata(data, nodata)] if nodata else data
    values = values if values.size else np.zeros(1)
    return ImageStats(
        shape=image.shape[:2],
        channels=drop_equal_channels(image).shape[2],
        stored_channels=1 if image.ndim == 2 else image.shape[2],
        dtype=str(image.dtype),
        value_range=(float(values.min()), float(values.max())),
        digest=digest(image),
        thumbnail=_thumbnail(np.where(is_nodata(image, nodata), values.min(), image) if nodata else image),
        has_varying_alpha=layers.has_varying_alpha,
        nodata=tuple(nodata),
        is_masked=layers.valid is not None,
    )


def digest(array: NDArray[Any]) -> bytes:
    """Hash the shape, type and content of an array."""
    kind = f"{array.shape}{array.dtype}".encode()
    return blake2b(np.ascontiguousarray(array).data, digest_size=16, key=kind[:64]).digest()


def _thumbnail(image: NDArray[Any]) -> NDArray[np.float32] | None:
    plain = image[..., :3] if image.ndim == 3 else image
    plain = plain if plain.dtype in (np.uint8, np.uint16) else _from_0_to_1(plain)
    small = cv2.resize(np.ascontiguousarray(plain), (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    grey = small.astype(np.float32) if small.ndim == 2 else small.astype(np.float32).mean(2)
    centred = grey.ravel() - grey.mean()
    deviation = float(centred.std())
    least = max(float(np.ptp(plain)), 1e-12) * MIN_CONTRAST
    return None if deviation <= least else centred / np.float32(deviation)


def _from_0_to_1(image: NDArray[Any]) -> NDArray[np.float32]:
    """Scale values to [0, 1]; squares of values such as 1e38 are more than float32 holds."""
    halves = image.astype(np.float64) / 2  # whose differences do not overflow
    low, high = halves.min(), halves.max()
    return np.asarray((halves - low) / max(high - low, np.finfo(np.float64).tiny), np.float32)
