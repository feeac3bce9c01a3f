"""Reads each file once and keeps what the checks need; errors are collected, not raised."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from unetkit.data.drawn import DrawnMask
from unetkit.data.files import FileRef
from unetkit.data.pair import Pair
from unetkit.doctor.survey.images import ImageStats, measure_image
from unetkit.doctor.survey.masks import MaskStats, measure_mask
from unetkit.errors import UserError


class FileError(NamedTuple):
    """Why a file can't be used: its name, the problem as a verb phrase, and the fix."""

    name: str
    problem: str
    fix: str


@dataclass(frozen=True, eq=False)
class PairStats:
    """What is known of a pair: `image` or `mask` is None if it can't be read, `mask` also if it is missing."""

    pair: Pair
    image: ImageStats | None
    mask: MaskStats | None
    errors: tuple[FileError, ...]


def survey(pairs: Iterable[Pair]) -> Iterator[PairStats]:
    """Measure pairs one by one."""
    for pair in pairs:
        errors: list[FileError] = []
        image = mask = None
        try:
            image = measure_image(pair.image)
        except UserError as error:
            errors.append(_file_error(pair.image, error))
        try:
            mask = measure_mask(pair, image.shape if image else None)
        except UserError as error:
            errors.append(_file_error(pair.mask or pair.image, error))
        yield PairStats(pair, image, mask, tuple(errors))


def _file_error(ref: FileRef | DrawnMask, error: UserError) -> FileError:
    # The words of the library that reads the file differ from file to file; without them, such files are one finding.
    problem = "can't be read as an image" if _comes_from_a_library(error) else error.problem
    return FileError(f"{ref.name.parent.name}/{ref.name.name}", problem, error.fix or "correct it, or remove it")


def _comes_from_a_library(error: UserError) -> bool:
    return error.__cause__ is not None and not isinstance(error.__cause__, UserError)
