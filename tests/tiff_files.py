"""TIFF files as other programs write them, with any bands and tags, which OpenCV and Pillow can't write."""

import struct
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

KINDS = {"u": 1, "i": 2, "f": 3}


def write_tiff(
    path: Path,
    bands: NDArray[Any],
    *,
    extra: tuple[int, ...] = (),
    rgb: bool = True,
    planar: bool = False,
    tile: int = 0,
    predictor: int = 1,
    nodata: str = "",
    orientation: int = 1,
    order: Literal["<", ">"] = "<",
) -> Path:
    """Write bands (H, W, C), compressed by Deflate, in strips of 16 rows or in tiles.

    Args:
        path: The file.
        bands: The bands.
        extra: The tag ExtraSamples.
        rgb: Whether the first three bands are called RGB, or the first one grey.
        planar: Whether one band comes after the other.
        tile: Side of the tiles, or 0 for strips.
        predictor: 2 to store differences of neighbours.
        nodata: GDAL's text for pixels without data.
        orientation: The tag of this name.
        order: `<` or `>`: which byte of a number comes first.
    """
    height, width, count = bands.shape
    step_y, step_x = (tile, tile) if tile else (16, width)
    parts = []
    for plane in np.moveaxis(bands, 2, 0)[..., None] if planar else [bands]:
        for top in range(0, height, step_y):
            for left in range(0, width, step_x):
                part = plane[top : top + step_y, left : left + step_x]
                if tile:
                    part = np.pad(part, ((0, tile - part.shape[0]), (0, tile - part.shape[1]), (0, 0)))
                if predictor == 2:  # of the bits, also of floats
                    part = np.ascontiguousarray(part).view(f"u{part.dtype.itemsize}")
                    part = np.diff(part, axis=1, prepend=np.zeros_like(part[:, :1]))
                parts.append(zlib.compress(np.ascontiguousarray(part, part.dtype.newbyteorder(order)).tobytes()))
    content = bytearray((b"II*\0" if order == "<" else b"MM\0*") + bytes(4))
    offsets = []
    for packed in parts:
        offsets.append(len(content))
        content += packed
    sizes = list(map(len, parts))
    size, kind = bands.dtype.itemsize * 8, KINDS[bands.dtype.kind]
    tags: dict[int, tuple[str, list[int]]] = {
        **{256: ("I", [width]), 257: ("I", [height]), 258: ("H", [size] * count), 259: ("H", [8])},
        **{262: ("H", [2 if rgb else 1]), 274: ("H", [orientation]), 277: ("H", [count])},
        **{284: ("H", [2 if planar else 1]), 317: ("H", [predictor]), 339: ("H", [kind] * count)},
        **({322: ("I", [tile]), 323: ("I", [tile]), 324: ("I", offsets), 325: ("I", sizes)} if tile else {}),
        **({} if tile else {273: ("I", offsets), 278: ("I", [step_y]), 279: ("I", sizes)}),
        **({338: ("H", list(extra))} if extra else {}),
        **({42113: ("B", [*nodata.encode(), 0])} if nodata else {}),
    }
    records = b""
    for tag, (letter, values) in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(packed) > 4:
            content += bytes(len(content) % 2)
            place = len(content)
            content += packed
            packed = struct.pack(order + "I", place)
        code = {"B": 2, "H": 3, "I": 4}[letter]
        records += struct.pack(order + "HHI", tag, code, len(values)) + packed.ljust(4, b"\0")
    content += bytes(len(content) % 2)
    content[4:8] = struct.pack(order + "I", len(content))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content + struct.pack(order + "H", len(tags)) + records + bytes(4))
    return path
