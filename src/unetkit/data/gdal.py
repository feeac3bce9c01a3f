"""TIFF files that only GDAL reads, in their compressions or with blocks left out, through rasterio."""

import warnings
from typing import Any

import numpy as np

from unetkit.data.layers import Layers
from unetkit.errors import UserError

# Of the tag Compression: JPEG 2000, LERC, WebP, JPEG XL.
COMPRESSIONS = {34712: "JPEG 2000", 34887: "LERC", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL"}


def decode_with_gdal(content: bytes, kind: str, name: str) -> Layers:
    """Decode a TIFF of one image, never multiplied by its opacity.

    Args:
        content: The bytes.
        kind: What only GDAL reads, for errors.
        name: The name, for errors.

    Raises:
        UserError: If rasterio is not installed, or its GDAL can't read the file.
    """
    try:
        from rasterio.enums import ColorInterp
        from rasterio.errors import NotGeoreferencedWarning, RasterioError
        from rasterio.io import MemoryFile
    except ImportError as error:
        raise UserError(name, f"is a TIFF with {kind}", "pip install 'unetkit[geo]' to read it") from error
    try:
        with (
            warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning),
            MemoryFile(content) as memory,
            memory.open(driver="GTiff") as file,
        ):
            bands: np.ndarray[Any, Any] = np.moveaxis(file.read(), 0, 2)
            kinds, nodata = file.colorinterp, file.nodata
    except RasterioError as error:
        problem = f"can't be read as an image (a TIFF with {kind}: {error})"
        raise UserError(name, problem, "save it uncompressed or with LZW or Deflate") from error
    alpha = kinds.index(ColorInterp.alpha) if ColorInterp.alpha in kinds else None
    pixels = np.ascontiguousarray(bands if alpha is None else np.delete(bands, alpha, axis=2))
    return Layers(pixels, None if alpha is None else bands[..., alpha], nodata)
