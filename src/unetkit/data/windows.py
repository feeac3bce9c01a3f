"""Large TIFF files read window by window through rasterio, so that memory does not hold them whole."""

from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from unetkit.data.files import FileRef
from unetkit.data.headers import TIFF
from unetkit.data.layers import Array
from unetkit.data.nodata import is_nodata
from unetkit.data.tiff_tags import image_tags, is_plain

LARGE = 2**26  # values above which a TIFF is read by windows
KEPT_ROWS = 1536  # whose blocks GDAL keeps decoded, as the tiles of a row read the same strips again and again
LEAST_KEPT = 2**25  # bytes
AT_ONCE = 512  # rows that are read for every second, third, ... of them


class TiffImage:
    """A TIFF that is read window by window.

    Attributes:
        shape: (H, W) or (H, W, C), without an alpha channel unless it is asked for.
        dtype: The dtype of the windows.

    Args:
        path: The file.
        channels: Number of channels that are asked for: an alpha channel is left out unless it makes up that number.
    """

    def __init__(self, path: Path, channels: int | None = None) -> None:
        import rasterio
        from rasterio.enums import ColorInterp, MaskFlags

        self._files = ExitStack()
        self._file = self._files.enter_context(rasterio.open(path, driver="GTiff"))
        alpha = [k for k, kind in enumerate(self._file.colorinterp, 1) if kind == ColorInterp.alpha]
        bands = [band for band in self._file.indexes if band not in alpha[:1]]
        self._bands = [*bands, *alpha[:1]] if channels == len(bands) + 1 else bands
        size = self._file.height, self._file.width
        self.shape: tuple[int, ...] = size if len(self._bands) == 1 else (*size, len(self._bands))
        self.dtype = np.dtype(self._file.dtypes[0])
        row = self._file.width * self._file.count * self.dtype.itemsize
        self._files.enter_context(rasterio.Env(GDAL_CACHEMAX=max(KEPT_ROWS * row, LEAST_KEPT)))
        self._has_mask = not alpha and any(MaskFlags.per_dataset in flags for flags in self._file.mask_flag_enums)

    def __getitem__(self, window: tuple[slice, ...]) -> Array:
        (top, bottom, step), (left, right, stride) = (
            part.indices(side) for part, side in zip(window, self.shape, strict=False)
        )
        height = max(AT_ONCE // step, 1) * step
        parts = [
            self._read(start, min(start + height, bottom), left, right)[::step, ::stride]
            for start in range(top, bottom, height)
        ]
        return np.concatenate(parts) if len(parts) > 1 else np.ascontiguousarray(parts[0])

    def _read(self, top: int, bottom: int, left: int, right: int) -> Array:
        bands: Array = self._file.read(self._bands, window=((top, bottom), (left, right)))
        return bands[0] if len(bands) == 1 else np.moveaxis(bands, 0, -1)

    def void_rows(self, top: int, bottom: int, data_from: float, data_to: float) -> Array | None:
        """Return which pixels of some rows have no data, as the file's mask or number says; None if all have.

        Args:
            top: The first row.
            bottom: The row after the last one.
            data_from: A number from this one on, up to `data_to`, is data, whatever the file says.
            data_to: See `data_from`.
        """
        void = np.zeros((bottom - top, self.shape[1]), np.bool_)
        if self._has_mask:
            void |= self._file.dataset_mask(window=((top, bottom), (0, self.shape[1]))) == 0
        if self._file.nodata is not None and not data_from <= self._file.nodata <= data_to:
            values = self._read(top, bottom, 0, self.shape[1])
            void |= is_nodata(values.reshape(*void.shape, -1), [self._file.nodata]).all(-1)
        return void if void.any() else None

    def close(self) -> None:
        """Close the file."""
        self._files.close()


def is_read_by_windows(ref: FileRef) -> bool:
    """Return whether a file is a large TIFF of one image on disk that rasterio, if it is there, reads as we do."""
    if ref.suffix not in (".tif", ".tiff") or ref.member or ref.page is not None or ref.channels:
        return False
    with ref.path.open("rb") as stream:
        if not stream.read(4).startswith(TIFF):
            return False
        found: list[dict[int, Any]] = image_tags(stream)
    if len(found) != 1 or not is_plain(found[0], LARGE):
        return False
    return find_spec("rasterio") is not None
