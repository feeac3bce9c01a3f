"""Which files to predict: the images of a folder or zip in any layout, a file, or what a pattern matches."""

import glob
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

from unetkit.data.files import SEGY_SUFFIXES, SUFFIXES, FileRef, result_names
from unetkit.data.layout.channels import join_inputs
from unetkit.data.layout.roles import below_others, by_folders, masks_by_name, sort_roles
from unetkit.data.layout.series import join_series, refuse_unnamed
from unetkit.data.layout.tree import Entry, list_entries
from unetkit.data.zarrs import ZARR
from unetkit.errors import UserError, readable
from unetkit.paths import matching

KINDS = SUFFIXES + SEGY_SUFFIXES


def find_images(place: Path | Sequence[Path], channel_files: int = 1, *, volumes: bool = False) -> list[FileRef]:
    """Return the files to predict, by name: one file, those that a pattern matches, or those of a folder or zip.

    Of a folder or zip, these are the files in folders that are called `images` or the like (see `words.py`); without
    such folders those directly in it, or else all files below it. Masks are left out.

    Args:
        place: The file, folder, zip or pattern; or several of them, in whose order the files come, each once.
        channel_files: Number of files of each image; above 1 where each channel has a file.
        volumes: Whether the network is for volumes, so that a folder with a DICOM series is one.

    Raises:
        UserError: If there is no file of a known kind, it can't be read, an image has not so many files, or results
            would get the same name.
    """
    found: list[FileRef] = []
    for each in [place] if isinstance(place, Path) else place:
        with readable(f"input={each}"):
            refs = _find_images(each, volumes)
            refs = join_inputs(refs, channel_files) if channel_files > 1 else refs
        earlier = set(map(_place, found))
        found += [ref for ref in refs if not earlier or _place(ref) not in earlier]
    _check_different_results(found)
    return found


def _place(ref: FileRef) -> tuple[str, str | None]:
    return os.path.abspath(ref.location), ref.member  # noqa: PTH100  # a link is another file than what it leads to


def _find_images(place: Path, volumes: bool) -> list[FileRef]:
    if not place.exists() and glob.has_magic(str(place)):
        named = [FileRef(path) for path in matching(str(place)) if not path.name.startswith(".")]
        refs = [ref for ref in named if ref.suffix in KINDS]
    elif not place.exists():
        raise UserError(f"input={place}", "does not exist", "give an image, or a folder, pattern or zip of images")
    elif (place.is_dir() and place.suffix.lower() != ZARR) or (
        place.is_file() and (zipfile.is_zipfile(place) or place.suffix.lower() == ".zip")
    ):
        entries = join_series(list_entries(place)) if volumes else list_entries(place)
        refs = images_among([entry for entry in entries if entry.ref.suffix in KINDS])
        if not refs:
            refuse_unnamed(place, entries)
    else:
        return [FileRef(place)]  # also a pipe, which is refused when it is read
    if not refs:
        raise UserError(f"input={place}", f"holds no image ({', '.join(KINDS)})")
    return sorted(refs, key=lambda ref: ref.name)


def images_among(entries: Sequence[Entry]) -> list[FileRef]:
    """Return the images among files, by the names of their folders, or else by their own."""
    by_role = by_folders(entries)
    if not by_role["image"] and not by_role["mask"]:  # as training finds masks by their own names, or less usual words
        roles = sort_roles(entries)
        if roles.masks:
            return [item.ref for item in (*roles.images, *roles.unlabelled)]
    if by_role["image"]:
        outers, splits = ({getattr(item.folder, key) for item in by_role["image"]} for key in ("outer", "split"))
        others = [
            item.ref for item in by_role[None] if item.folder.split is not None and item.folder.split not in splits
        ]
        return [item.ref for item in by_role["image"] if not below_others(item, outers)] + others
    direct = [item for item in by_role[None] if not item.folder.place] or by_role[None]
    masks = masks_by_name(direct)
    return [item.ref for item in direct if item not in masks]


def _check_different_results(refs: list[FileRef]) -> None:
    named: dict[object, FileRef] = {}
    for ref, name in zip(refs, result_names(refs), strict=True):
        if name in named:
            raise UserError(f"{ref} and {named[name].name.name}", "would give masks of the same name", "rename one")
        named[name] = ref
