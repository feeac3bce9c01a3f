"""Finds files that hold volumes, which can be trained on as a whole instead of slice by slice."""

from contextlib import suppress

from unetkit.data.decode import one_line, read_content
from unetkit.data.files import FileRef
from unetkit.data.findings import Finding, Severity
from unetkit.data.headers import TIFF
from unetkit.data.limits import check_npy_file
from unetkit.data.tiff_tags import count_pages
from unetkit.data.volumes import MOST_CHANNELS, as_volume
from unetkit.data.zarrs import ZARR, zarr_shape
from unetkit.doctor.layout import FoundFiles
from unetkit.errors import UserError
from unetkit.paths import as_typed, command_line
from unetkit.prediction.options import is_nifti

LOOKED_AT = 50  # files of .npy and TIFF


def check_volumes(layout: FoundFiles) -> list[Finding]:
    """Report that most files are volumes, with the command that trains on them, where there are enough for that."""
    files = list(dict.fromkeys(as_volume(pair.image) for pair in layout.pairs))
    if len(files) < 2:  # one to learn from, and one to be validated on
        return []
    of_slices = {as_volume(pair.image) for pair in layout.pairs if pair.image.page is not None and is_nifti(pair.image)}
    others = [ref for ref in files if ref not in of_slices]
    sample = others[:: max(len(others) // LOOKED_AT, 1)]
    stacks = [] if layout.keys.get("stacks") else [ref for ref in sample if _is_stack(ref)]
    if 2 * (len(of_slices) + len(stacks)) <= len(of_slices) + len(sample):
        return []
    keys = [f"data.{key}={as_typed(value)}" for key, value in layout.keys.items() if key != "stacks"]
    root = [] if layout.root is None else [f"data.root={layout.root}"]
    command = command_line("train", "model=unet_3d", "data=volumes", *root, *keys)
    what = f"the {len(files):,} files are volumes"
    if stacks:
        return [Finding(Severity.WARNING, what, "train on them as volumes", command=command)]
    fix = "to learn from whole volumes, and not from single slices, train with a network in three dimensions"
    return [Finding(Severity.NOTE, what, fix, command=command)]


def _is_stack(ref: FileRef) -> bool:
    """Return whether a .npy or Zarr array has three axes, none of them of channels, or a TIFF several pages."""
    with suppress(UserError, OSError):
        if ref.suffix == ".npy" and ref.member is None:
            return _is_volume(check_npy_file(ref.path))
        if ref.suffix == ZARR:
            with one_line(ref):
                return _is_volume(zarr_shape(ref.path))
        content = read_content(ref) if ref.suffix in (".tif", ".tiff") else b""
        return content.startswith(TIFF) and count_pages(content) > 1
    return False


def _is_volume(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 or (len(shape) == 3 and shape[2] > MOST_CHANNELS)
