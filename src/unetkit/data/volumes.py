"""Volumes (D, H, W) in NIfTI, TIFF stacks, .npy and SEG-Y: read with their spacing, and resampled to a stated one."""

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetkit.data.decode import one_line, read_content
from unetkit.data.dicom import series_as_nifti
from unetkit.data.files import SEGY_SUFFIXES, VOLUME_SUFFIXES, FileRef
from unetkit.data.headers import NPY, TIFF
from unetkit.data.limits import check_kind, check_voxels
from unetkit.data.medical import Orientation, decode_volume, is_medical, is_nifti
from unetkit.data.resampling import resampled, size_at
from unetkit.data.segy import SegyFile
from unetkit.data.tiff import decode_tiff
from unetkit.data.tiff_tags import count_pages, read_pages
from unetkit.data.zarrs import ZARR, read_zarr
from unetkit.errors import UserError

Spacing = tuple[float, float, float]
MOST_CHANNELS = 16  # of a .npy with four axes; more are rather the slices of a volume in another order
DESCRIPTION, X_RESOLUTION, Y_RESOLUTION, UNIT = 270, 282, 283, 296  # tags of TIFF 6.0
UNITS = {"nm": 1e-6, "µm": 1e-3, "um": 1e-3, "micron": 1e-3, "microns": 1e-3, "\\u00b5m": 1e-3, "cm": 10.0}  # in mm


@dataclass(frozen=True)
class VolumeRef(FileRef):
    """A file that is read as one volume, and not as slices.

    Attributes:
        spacing: Spacing (z, y, x) in mm that it is resampled to when it is read for training; None for its own.
    """

    spacing: Spacing | None = None

    def fingerprint(self) -> str:
        """Return what differs when the content, or the spacing that is asked for, does."""
        return f"{super().fingerprint()}|volume {self.spacing}"


@dataclass(frozen=True)
class Volume:
    """The content of a file.

    Attributes:
        values: (D, H, W, C), in the file's own dtype. NIfTI is turned so that its axes lead up, forwards and right.
        spacing: Distance of neighbouring voxels along (D, H, W), in mm; None if the file does not say.
        orientation: How a NIfTI volume was turned; None for other files, and if its header does not say.
    """

    values: NDArray[Any]
    spacing: Spacing | None = None
    orientation: Orientation | None = None


def as_volume(ref: FileRef, spacing: Spacing | None = None) -> VolumeRef:
    """Return a reference to the same file as a volume."""
    channels = tuple(replace(file, page=None) for file in ref.channels)
    return VolumeRef(ref.location, ref.member, None, channels, ref.slices, spacing)


def read_volume_content(ref: FileRef) -> bytes:
    """Read the bytes of a volume, which are those of a NIfTI file where its slices are a DICOM series.

    Raises:
        UserError: If they can't be read.
    """
    if not ref.slices:
        return read_content(ref)
    contents = [read_content(file) for file in ref.files]
    with one_line(ref):
        return series_as_nifti(contents, str(ref))


def read_volume(ref: FileRef, like: Orientation | None = None) -> Volume:
    """Read a file as a volume, at its own spacing.

    Args:
        ref: The file.
        like: Orientation of the image, for a mask whose own header says none.

    Raises:
        UserError: If it can't be read, holds no volume of numbers, or is too large.
    """
    if ref.channels:
        return _joined(ref)
    if ref.suffix in SEGY_SUFFIXES:
        volume = _read_segy(ref)
    elif ref.suffix == ZARR:
        with one_line(ref):
            found = read_zarr(ref.path)
            volume = Volume(_with_channels(found.values, str(ref)), found.spacing)
    else:
        content = read_volume_content(ref)
        with one_line(ref):
            volume = _decode(content, ref, like)
    values = volume.values
    if values.ndim != 4 or values.size == 0 or values.dtype.kind not in "buif":
        problem = f"holds {values.dtype} of shape {values.shape[:3] if values.shape[-1:] == (1,) else values.shape}"
        raise UserError(str(ref), problem, "save it as numbers of shape (D, H, W) or (D, H, W, C)")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UserError(str(ref), "holds NaN or infinite values", "replace them with numbers")
    return replace(volume, values=values.astype(np.uint8)) if values.dtype == np.bool_ else volume


def _joined(ref: FileRef) -> Volume:
    """Read a volume that has a file for each channel.

    Raises:
        UserError: If one can't be read, or does not lie where the first lies.
    """
    first, *others = (read_volume(file) for file in ref.files)
    for file, volume in zip(ref.channels, others, strict=True):
        check_same_place(str(file), volume, first)
    return replace(first, values=np.concatenate([volume.values for volume in (first, *others)], axis=3))


def read_for_training(ref: VolumeRef) -> NDArray[Any]:
    """Read an image (D, H, W, C) at the spacing that its reference asks for.

    Raises:
        UserError: If it can't be read, or does not say its own spacing, which resampling needs.
    """
    volume = read_volume(ref)
    return resampled(volume.values, _size(ref, volume))


def read_mask_for_training(mask: VolumeRef, image: VolumeRef) -> NDArray[Any]:
    """Read the values (D, H, W) of a mask where the voxels of its image are, as `read_for_training` gives it.

    Raises:
        UserError: If it can't be read, or does not lie where its image lies.
    """
    place = read_volume(image)
    volume = read_volume(mask, place.orientation)
    if volume.values.shape[3] != 1:
        raise UserError(str(mask), f"holds {volume.values.shape[3]} channels", "save one value for each voxel")
    check_same_place(str(mask), volume, place)
    return resampled(volume.values, _size(image, place), nearest=True)[..., 0]


def check_same_place(name: str, mask: Volume, image: Volume) -> None:
    """Check that a mask has the size of its image, and lies where it lies.

    Raises:
        UserError: If not.
    """
    sizes = [volume.values.shape[:3] for volume in (mask, image)]
    if sizes[0] != sizes[1]:
        shown = ["x".join(map(str, size)) for size in sizes]
        raise UserError(name, f"is {shown[0]}, its image {shown[1]}", "export the mask again on the image's grid")
    if mask.orientation is not None and image.orientation is not None:
        gap = mask.orientation.distance(image.orientation, sizes[0])
        if gap > max(image.spacing or (1.0,)):
            problem = f"lies up to {gap:.1f} mm away from its image, as their affines say"
            raise UserError(name, problem, "resample it onto the image's grid, or give it the image's affine")


def decoded_spacing(ref: FileRef) -> Spacing | None:
    """Return the spacing of what `read_for_training` gives; None if it is not known, or the file is an image."""
    if not isinstance(ref, VolumeRef):
        return None
    return ref.spacing or read_volume(ref).spacing


def spacing_of_refs(refs: Iterable[FileRef]) -> Spacing | None:
    """Return the spacing that volumes are resampled to; None for images, and where volumes keep their own."""
    return next((ref.spacing for ref in refs if isinstance(ref, VolumeRef)), None)


def _size(ref: VolumeRef, volume: Volume) -> tuple[int, int, int]:
    """Return the size of a volume at the spacing that its reference asks for.

    Raises:
        UserError: If the file does not say its own spacing, or the volume would have too many voxels.
    """
    depth, height, width = volume.values.shape[:3]
    if ref.spacing is None:
        return depth, height, width
    if volume.spacing is None:
        wanted = ",".join(f"{side:g}" for side in ref.spacing)
        problem = f"does not say its spacing, so it can't be resampled to data.spacing=[{wanted}]"
        raise UserError(str(ref), problem, "set data.spacing=null, or save it as NIfTI")
    size = size_at((depth, height, width), volume.spacing, ref.spacing)
    check_voxels(size, volume.values.dtype.itemsize * volume.values.shape[3], f"{ref} at data.spacing")
    return size


def _decode(content: bytes, ref: FileRef, like: Orientation | None) -> Volume:
    if is_nifti(content):
        return Volume(*decode_volume(content, str(ref), like))
    if is_medical(content):
        fix = "put the files of its series into one folder, or convert them with dcm2niix"
        raise UserError(str(ref), "is a single DICOM file, which is not read as a volume", fix)
    if content.startswith(TIFF):
        return _decode_tiff(content, str(ref))
    if content.startswith(NPY):
        values = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
        return Volume(_with_channels(values, str(ref)))
    raise UserError(str(ref), "is no volume", f"give one of {', '.join(VOLUME_SUFFIXES)}")


def _with_channels(values: NDArray[Any], name: str) -> NDArray[Any]:
    """Return an array (D, H, W) or (D, H, W, C) with an axis of channels."""
    check_voxels(values.shape[:3], 1, name)
    if values.ndim == 4 and values.shape[3] > MOST_CHANNELS:
        problem = f"holds an array of shape {values.shape}, whose last axis is too long for channels"
        raise UserError(name, problem, "save it as (D, H, W) or (D, H, W, C)")
    return values[..., None] if values.ndim == 3 else values


def write_tiff_like(content: bytes, mask: NDArray[np.uint8]) -> bytes:
    """Return a TIFF stack of a mask (D, H, W) with the resolution and the spacing of another stack."""
    from PIL import Image, TiffImagePlugin

    tags, theirs = TiffImagePlugin.ImageFileDirectory_v2(), next(read_pages(content), {})
    for tag in (DESCRIPTION, X_RESOLUTION, Y_RESOLUTION, UNIT):
        if tag in theirs:
            tags[tag] = theirs[tag]
    first, *rest = map(Image.fromarray, mask)
    buffer = io.BytesIO()
    first.save(buffer, "TIFF", save_all=True, append_images=rest, tiffinfo=tags, compression="tiff_adobe_deflate")
    return buffer.getvalue()


def _decode_tiff(content: bytes, name: str) -> Volume:
    tags = next(read_pages(content), {})
    count = count_pages(content)
    check_voxels((count, int(tags.get(257, 1)), int(tags.get(256, 1))), 1, name)
    pages = [layers.pixels for page in range(count) if (layers := decode_tiff(content, name, page)) is not None]
    if len(pages) < 2:
        raise UserError(name, "holds one image, and no volume", "save all slices as the pages of one TIFF")
    if len({(page.shape, page.dtype) for page in pages}) > 1:
        raise UserError(name, "has pages of several sizes or types", "save slices of one size")
    stacked = np.stack(pages)
    return Volume(stacked.reshape(*stacked.shape[:3], -1), _spacing_of_tiff(tags))


def _spacing_of_tiff(tags: dict[int, Any]) -> Spacing | None:
    """Return the spacing in mm that ImageJ, or OME, wrote into a TIFF; None if it is not there."""
    text = tags.get(DESCRIPTION, "")
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    sizes = [re.search(rf'PhysicalSize{axis}="([0-9.eE+-]+)"', text) for axis in "ZYX"]  # OME, in µm unless it says so
    if all(sizes):
        unit = re.search(r'PhysicalSizeXUnit="([^"]+)"', text)
        scale = UNITS.get(unit[1] if unit else "µm", 1.0)
        return _positive([float(size[1]) * scale for size in sizes if size])
    between = re.search(r"^spacing=([0-9.eE+-]+)", text, re.MULTILINE)
    per_unit = [tags.get(tag) for tag in (Y_RESOLUTION, X_RESOLUTION)]
    if not (text.startswith("ImageJ") and between and all(per_unit)):
        return None
    unit = re.search(r"^unit=(\S+)", text, re.MULTILINE)
    scale = UNITS.get(unit[1] if unit else "mm", 1.0)
    return _positive([float(between[1]) * scale, *(scale / float(number) for number in per_unit if number)])


def _positive(sides: Sequence[float]) -> Spacing | None:
    depth, height, width = map(float, sides)
    return (depth, height, width) if min(sides) > 0 and np.isfinite(sides).all() else None


def _read_segy(ref: FileRef) -> Volume:
    """Read the inlines of a SEG-Y cube as (inlines, samples, crosslines)."""
    if ref.member:
        raise UserError(str(ref), "is in a zip, but SEG-Y is read from disk", "unpack it")
    with one_line(ref):
        check_kind(ref.path)
    file = SegyFile(ref.path)
    try:
        lengths = {len(range(*section.indices(file.traces))) for section in file.sections}
        if len(file.sections) < 2 or len(lengths) > 1:
            problem = f"has {len(file.sections)} inlines of {min(lengths)} to {max(lengths)} traces, which form no cube"
            raise UserError(str(ref), problem, "cut it to a rectangle of inlines and crosslines")
        check_voxels((len(file.sections), file.samples, max(lengths)), 4, str(ref))
        return Volume(np.stack([file.read(section) for section in file.sections])[..., None])
    finally:
        file.close()
