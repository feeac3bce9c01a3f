"""Writes masks as tiled GeoTIFFs through rasterio, block by block, so that memory does not hold them whole."""

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from unetkit.data.files import FileRef
from unetkit.prediction.writers import Mask, Writer, mask_scale

BLOCK = 512  # pixels a side, as GDAL's own driver for COG has them
OPTIONS = {"compress": "deflate", "bigtiff": "if_safer"}


class MaskGeoTiff(Writer):
    """Writes the values of `MaskPng` to a tiled TIFF that lies where the image lies.

    Args:
        path: The TIFF.
        height: Its height.
        width: Its width.
        files: Closes the file.
        ref: The image; its coordinate system is taken over if it is a GeoTIFF.
        is_cog: Whether it becomes a cloud-optimised GeoTIFF, with overviews.
    """

    def __init__(
        self, path: Path, height: int, width: int, files: ExitStack, ref: FileRef | None, *, is_cog: bool = False
    ) -> None:
        import rasterio

        self.path, self.is_cog = path, is_cog
        self.tiled = path.with_name(f"{path.name}.tiles") if is_cog else path
        if is_cog:
            files.callback(self.tiled.unlink, missing_ok=True)
        shape = {"height": height, "width": width, "count": 1, "dtype": "uint8"}
        blocks = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK}
        with _quiet():
            self.file = rasterio.open(self.tiled, "w", driver="GTiff", **shape, **blocks, **OPTIONS, **_place(ref))
        files.callback(self.file.close)
        self.rows = np.zeros((0, width), np.uint8)
        self.top = 0

    def append(self, probability: Tensor, mask: Mask) -> None:
        """Take the next rows, and write them where they fill blocks."""
        self.rows = np.concatenate([self.rows, mask * mask_scale(probability)])
        whole = len(self.rows) // BLOCK * BLOCK
        if whole:
            self._write(self.rows[:whole])
            self.rows = self.rows[whole:].copy()

    def clear_mask(self) -> None:
        """Make the mask empty."""
        end, self.top = self.top, 0
        while self.top < end:
            self._write(np.zeros((BLOCK, self.rows.shape[1]), np.uint8))
        self.rows[:] = 0

    def finish(self) -> None:
        """Write the last rows, and the overviews of a cloud-optimised file."""
        if len(self.rows):
            self._write(self.rows)
        self.file.close()
        if self.is_cog:
            from rasterio.shutil import copy

            with _quiet():
                copy(self.tiled, self.path, driver="COG", overview_resampling="nearest", blocksize=BLOCK, **OPTIONS)

    def _write(self, rows: Mask) -> None:
        self.file.write(rows, 1, window=((self.top, self.top + len(rows)), (0, rows.shape[1])))
        self.top += len(rows)


def _place(ref: FileRef | None) -> dict[str, Any]:
    """Return where an image lies, in the words of rasterio; nothing if it does not say."""
    if ref is None or ref.suffix not in (".tif", ".tiff"):
        return {}
    import rasterio
    from rasterio.io import MemoryFile

    with ExitStack() as files:
        files.enter_context(_quiet())
        if ref.member:
            image = files.enter_context(files.enter_context(MemoryFile(ref.read())).open())
        else:
            image = files.enter_context(rasterio.open(ref.path))
        points, crs_of_points = image.gcps
        if points:
            return {"gcps": points, "crs": crs_of_points}
        is_placed = not image.transform.is_identity
        place = {"crs": image.crs, "transform": image.transform if is_placed else None, "rpcs": image.rpcs}
    return {key: value for key, value in place.items() if value is not None}


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out the warning about files that lie nowhere."""
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning):
        yield
