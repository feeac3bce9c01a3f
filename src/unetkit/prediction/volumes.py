"""Predict volumes slab by slab; the mask of each has the format of its file, and lies where it lies."""

import io
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from unetkit.data.decode import read_content
from unetkit.data.files import SEGY_SUFFIXES, FileRef
from unetkit.data.medical import write_volume_like
from unetkit.data.resampling import size_at
from unetkit.data.segy import segy_copy
from unetkit.data.volumes import Volume, read_volume, read_volume_content, write_tiff_like
from unetkit.data.zarrs import ZARR
from unetkit.models import classify
from unetkit.plots.images import overlay, write_png
from unetkit.plots.orthogonal import flat_mask, place_of, three_slices
from unetkit.prediction.ensemble import Ensemble
from unetkit.prediction.options import OutputOptions, is_nifti, mask_suffix
from unetkit.prediction.value_range import scale_to
from unetkit.prediction.writers import mask_scale, write_npy_header


def predict_volume(ref: FileRef, name: PurePosixPath, ensemble: Ensemble, options: OutputOptions) -> None:
    """Predict a volume: its mask as a volume, probabilities as .npy, and an overlay of three slices.

    Args:
        ref: The file.
        name: Name of the outputs, without suffix.
        ensemble: The networks, which are for volumes.
        options: Kinds of output, and their folder.

    Raises:
        UserError: If the file can't be read, or is not of the kind that the networks were trained on.
    """
    volume = read_volume(ref)
    scaled = scale_to(ref, volume.values, options.value_range, ensemble)
    with ExitStack() as files:
        probabilities = None
        if "probabilities" in options.write:
            probabilities = options.create_file(files, "probabilities", f"{name}.npy")
        mask, scale = _predict(ref, volume, scaled, probabilities)
        if "masks" in options.write:
            path = options.create_file(files, "masks", f"{name}{mask_suffix(ref)}")
            _write_mask(path, ref, mask, scale, options)
        if "overlays" in options.write:
            place = place_of(mask, volume.spacing)
            pixels = scaled.to_pixels(three_slices(volume.values, place))
            picture = overlay(pixels, flat_mask(mask, place), ensemble.has_background)
            write_png(options.create_file(files, "overlays", f"{name}.png"), picture)


def _predict(
    ref: FileRef, volume: Volume, ensemble: Ensemble, probabilities: Path | None
) -> tuple[NDArray[np.uint8], int]:
    """Return the mask (D, H, W), and what it is multiplied by in pictures; write probabilities as they come."""
    size, wanted = volume.values.shape[:3], ensemble.members[0].preprocessing.spacing
    working = size
    if wanted is not None and volume.spacing is None:
        tqdm.write(f"{ref}: does not say its spacing, which is taken as that of training, {list(wanted)}")
    elif wanted is not None and volume.spacing is not None:
        working = size_at(size, volume.spacing, wanted)
    mask, top, scale = np.zeros(size, np.uint8), 0, 1
    with ExitStack() as files:
        file = None
        if probabilities is not None:
            file = files.enter_context(probabilities.open("wb"))
            write_npy_header(file, size if ensemble.classes == 2 else (*size, ensemble.classes), np.float16)
        bar = files.enter_context(tqdm(total=ensemble.tiles(*working), unit="tile", desc=ref.stem, leave=False))
        for slab in ensemble.rows_of_volume(volume.values, volume.spacing, bar.update):
            mask[top : top + slab.shape[1]] = classify(
                slab[None], ensemble.threshold, is_multilabel=ensemble.is_multilabel
            )[0].numpy()
            top, scale = top + slab.shape[1], mask_scale(slab)
            if file is not None:
                file.write(slab.movedim(0, -1).numpy().astype(np.float16, order="C").data)
    if np.count_nonzero(mask) < ensemble.min_area:
        mask[:] = 0
    return mask, scale


def _write_mask(path: Path, ref: FileRef, mask: NDArray[np.uint8], scale: int, options: OutputOptions) -> None:
    """Write a mask in the format of its volume: class indices; in .npy and TIFF, 0 and 255 for a single foreground."""
    if ref.suffix in SEGY_SUFFIXES:
        with segy_copy(ref.path, path, options.segy_bytes) as file:
            for section, plane in zip(file.sections, mask, strict=True):
                file.write(section, plane)
    elif is_nifti(ref) or ref.slices:
        path.write_bytes(write_volume_like(read_volume_content(ref), mask, str(ref)))
    elif ref.suffix in (".npy", ZARR):
        buffer = io.BytesIO()
        np.save(buffer, mask * scale)
        path.write_bytes(buffer.getvalue())
    else:
        path.write_bytes(write_tiff_like(read_content(ref), mask * scale))
