"""Predict a NIfTI volume slice by slice; its mask is a NIfTI volume that lies where it lies."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np
from tqdm import tqdm

from unetkit.data.decode import read_content, read_image
from unetkit.data.files import FileRef
from unetkit.data.medical import write_nifti_like
from unetkit.data.pages import pages_of
from unetkit.prediction.ensemble import Ensemble
from unetkit.prediction.options import OutputOptions
from unetkit.prediction.outputs import open_writers, write_rows
from unetkit.prediction.value_range import scale_to
from unetkit.prediction.writers import Mask, WholeMask


def predict_nifti(ref: FileRef, name: PurePosixPath, ensemble: Ensemble, options: OutputOptions) -> None:
    """Predict all slices of a volume: class indices in one volume, overlays and probabilities for each slice.

    Args:
        ref: The file.
        name: Name of the outputs, without suffix.
        ensemble: The networks.
        options: Kinds of output, and their folder.

    Raises:
        UserError: If the file can't be read.
    """
    per_slice = replace(options, write=[kind for kind in options.write if kind != "masks"])
    masks: list[Mask] = []
    with ExitStack() as files:
        for page in tqdm(pages_of(ref, stacks=False), unit="slice", desc=str(name), leave=False):
            image = read_image(page, ensemble.channels)
            scaled = scale_to(page, image, options.value_range, ensemble)
            whole = WholeMask(*image.shape[:2])
            place = str(name / f"{page.page or 0:04}")
            others = open_writers(per_slice, files, place, image, scaled.to_pixels, ensemble)
            write_rows([whole, *others], scaled.rows(image), ensemble)
            masks.append(whole.mask)
        if "masks" in options.write:
            content = write_nifti_like(read_content(ref), np.stack(masks), str(ref))
            options.create_file(files, "masks", f"{name}.nii.gz").write_bytes(content)
