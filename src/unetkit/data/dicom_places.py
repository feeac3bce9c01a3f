"""Where the slices of DICOM files lie in the patient, and the NIfTI volume that they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetkit.errors import UserError

UNEVEN = 0.9  # share of the largest distance of neighbouring slices that all must have
SAME = 1e-3  # difference of two directions up to which they are one, as files give them with few digits
SCANNER = 1  # NIfTI's code of a place in the coordinates of the scanner
NO_EXTRA = "pip install 'unetkit[medical]' to read it"


@dataclass(frozen=True)
class Place:
    """Where a slice lies in the patient.

    Attributes:
        spacing: Distance in mm of neighbouring columns, rows and slices.
        position: Centre of the first pixel in mm (3,), towards the left, the back and up; None if it is not known.
        axes: Directions (2, 3) in which the columns and the rows follow each other; None if they are not known.
    """

    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    position: NDArray[np.float64] | None = None
    axes: NDArray[np.float64] | None = None


def slices_as_nifti(values: NDArray[Any], places: Sequence[Place], name: str) -> bytes:
    """Return a NIfTI file of slices (N, H, W) that lies where they lie; it says no place if none of them does.

    Args:
        values: The slices, in any order if it is known where they lie.
        places: The place of each.
        name: The name, for errors.

    Raises:
        UserError: If nibabel is not installed, or the slices are not one volume.
    """
    try:
        import nibabel
    except ImportError as error:
        raise UserError(name, "is a DICOM image", NO_EXTRA) from error
    kind: Any = nibabel.Nifti1Image
    if not any(map(_is_known, places)):
        image = kind(values.transpose(2, 1, 0), None)
        image.header.set_zooms(places[0].spacing)
    else:
        order, affine = order_and_affine(places, name)
        image = kind(values[order].transpose(2, 1, 0), affine)
        image.set_sform(affine, SCANNER)
        if not _is_sheared(affine):  # which the other form can't say
            image.set_qform(affine, SCANNER)
    image.header.set_xyzt_units("mm")
    return bytes(image.to_bytes())


def order_and_affine(places: Sequence[Place], name: str) -> tuple[list[int], NDArray[np.float64]]:
    """Return the order of slices by their positions, and NIfTI's affine (4, 4) of the volume that they are.

    The affine leads from (column, row, slice) to mm towards the right, the front and up.

    Raises:
        UserError: If a place is not known, or they don't lie side by side at even distances.
    """
    if not all(map(_is_known, places)):
        raise UserError(name, "does not say where its slices lie in the patient", "convert it to NIfTI")
    first = places[0]
    assert first.axes is not None  # narrows the type for mypy
    if not all(_is_parallel(place, first) for place in places):
        problem = "and the other slices of its series lie in several directions, or have several spacings"
        raise UserError(name, problem, "give each volume a folder")
    along = np.cross(*first.axes)
    order = np.argsort([place.position @ along for place in places], kind="stable").tolist()
    corners = np.array([places[k].position for k in order])
    step = along * first.spacing[2]
    if len(places) > 1:
        _check_even(corners, along, name)
        step = (corners[-1] - corners[0]) / (len(corners) - 1)  # a tilted gantry moves slices sideways, too
    affine = np.eye(4)
    affine[:3] = np.column_stack([*(first.axes * np.reshape(first.spacing[:2], (2, 1))), step, corners[0]])
    affine[:2] *= -1  # DICOM's axes lead to the left and the back of the patient, NIfTI's to the right and the front
    return order, affine


def _check_even(corners: NDArray[np.float64], along: NDArray[np.float64], name: str) -> None:
    """Raise a `UserError` unless the first pixels (N, 3) of slices lie on a line, at even distances."""
    steps = np.diff(corners, axis=0)
    gaps = steps @ along
    is_bent = np.linalg.norm(steps - steps.mean(0), axis=1).max() > (1 - UNEVEN) * abs(gaps).max()
    if not 0 < UNEVEN * gaps.max() <= gaps.min() or is_bent:
        problem = f"and the other slices of its series lie {gaps.min():g} to {gaps.max():g} mm from each other"
        problem += ", not in one line" if is_bent and UNEVEN * gaps.max() <= gaps.min() else ""
        raise UserError(name, problem, "is a file missing, or there twice? else convert the series with dcm2niix")


def _is_parallel(place: Place, other: Place) -> bool:
    """Return whether two slices whose places are known have the same directions and distances of pixels."""
    assert place.axes is not None  # narrows the types for mypy
    assert other.axes is not None
    return np.allclose(place.axes, other.axes, atol=SAME) and np.allclose(place.spacing[:2], other.spacing[:2], SAME)


def _is_known(place: Place) -> bool:
    return place.position is not None and place.axes is not None


def _is_sheared(affine: NDArray[np.float64]) -> bool:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > SAME)


def places_of(dataset: Any, frames: int) -> list[Place]:
    """Return the place of each frame of a file of pydicom, as the file or the frame's functional groups say it."""
    return [_place(dataset, frame, frames) for frame in range(frames)]


def _place(dataset: Any, frame: int, frames: int) -> Place:
    def said(group: str, name: str) -> Any:
        for groups, number in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
            items = dataset.get(groups) or ()
            if len(items) > number and items[number].get(group):
                return items[number].get(group)[0].get(name)
        return dataset.get(name)

    measures = "PixelMeasuresSequence"
    rows, columns = said(measures, "PixelSpacing") or dataset.get("ImagerPixelSpacing") or (1, 1)
    between = said(measures, "SpacingBetweenSlices") or said(measures, "SliceThickness") or 1
    position = said("PlanePositionSequence", "ImagePositionPatient")
    axes = said("PlaneOrientationSequence", "ImageOrientationPatient")
    is_shared = frames > 1 and not dataset.get("PerFrameFunctionalGroupsSequence")  # one position cannot be that of all
    if not position or not axes or is_shared:
        position = axes = None
    return Place(
        (float(columns), float(rows), abs(float(between))),
        None if position is None else np.array(position, np.float64),
        None if axes is None else np.array(axes, np.float64).reshape(2, 3),
    )
