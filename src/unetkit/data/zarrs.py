"""Zarr: arrays that are a folder of chunks, also those of OME-Zarr (NGFF 0.4 and 0.5), which say axes and spacing."""

import math
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unetkit.data.limits import check_voxels
from unetkit.errors import UserError

ZARR = ".zarr"
TO_MM = {"nanometer": 1e-6, "micrometer": 1e-3, "millimeter": 1.0, "centimeter": 10.0, "meter": 1e3}


class ZarrArray(NamedTuple):
    """The content of a Zarr array.

    Attributes:
        values: As stored; of OME-Zarr (H, W), (H, W, C), (D, H, W) or (D, H, W, C).
        spacing: Distance of neighbouring voxels along (D, H, W), in mm; None if it is not known.
    """

    values: NDArray[Any]
    spacing: tuple[float, float, float] | None = None


def read_zarr(path: Path) -> ZarrArray:
    """Read an array, or the finest one of an OME-Zarr image.

    Raises:
        UserError: If zarr is not installed, or it holds no single array.
        Exception: Of many kinds, if it is damaged.
    """
    array, order, spacing = _described(path)
    check_voxels(array.shape, 1, str(path))
    values = np.asarray(array[...])
    rest = [axis for axis in range(values.ndim) if axis not in order]
    values = values.transpose([*rest, *order]).reshape([values.shape[axis] for axis in order])
    return ZarrArray(values, spacing)


def zarr_shape(path: Path) -> tuple[int, ...]:
    """Return the shape of what `read_zarr` gives, without reading it.

    Raises:
        UserError: If zarr is not installed, or it holds no single array.
        Exception: Of many kinds, if it is damaged.
    """
    array, order, _ = _described(path)
    return tuple(array.shape[axis] for axis in order)


def _described(path: Path) -> tuple[Any, list[int], tuple[float, float, float] | None]:
    """Return an array, not yet read; its axes in the order of `ZarrArray`, of which others have size 1; its spacing."""
    node: Any = _open(path)
    if hasattr(node, "shape"):
        return node, list(range(len(node.shape))), None
    attributes = dict(node.attrs)
    images = (attributes.get("ome") or attributes).get("multiscales")
    if not images:
        names = ", ".join(sorted(node.array_keys())) or "none"
        raise UserError(str(path), f"is a group of arrays ({names})", "give one of them, in a folder called NAME.zarr")
    finest = images[0]["datasets"][0]
    array = node[finest["path"]]
    axes = [axis["name"] for axis in images[0]["axes"]]
    kept = [axis for axis in axes if axis in "zyx"]
    if any(side > 1 for axis, side in zip(axes, array.shape, strict=True) if axis not in ("c", *kept)):
        raise UserError(str(path), f"has the axes {', '.join(axes)} of sizes {array.shape}", "save one time alone")
    order = [axes.index(axis) for axis in (*kept, "c") if axis in axes]
    return array, order, _spacing(images[0]["axes"], finest)


def fingerprint(path: Path) -> str:
    """Return a text that differs when a chunk does: names, sizes and times of change of all files."""
    found = blake2b(digest_size=16)
    for file in sorted(path.rglob("*")):
        facts = file.stat()
        found.update(f"{file}|{facts.st_size}|{facts.st_mtime_ns}".encode(errors="surrogateescape"))
    return f"{path}|{found.hexdigest()}"


def _open(path: Path) -> Any:
    try:
        import zarr
    except ImportError as error:
        raise UserError(str(path), "is a Zarr array", 'pip install "unetkit[zarr]" to read it') from error
    return zarr.open(str(path), mode="r")


def _spacing(axes: list[dict[str, Any]], level: dict[str, Any]) -> tuple[float, float, float] | None:
    scale = next(
        (part["scale"] for part in level.get("coordinateTransformations", ()) if part["type"] == "scale"), None
    )
    sides = {
        axis["name"]: side * TO_MM.get(axis.get("unit", ""), math.nan)
        for axis, side in zip(axes, scale or (), strict=False)
    }
    found = [float(sides.get(name, math.nan)) for name in "zyx"]
    return (found[0], found[1], found[2]) if all(0 < side < math.inf for side in found) else None
