"""Image files on disk, loose or in a zip: naming and finding them."""

import os
import posixpath
import re
import unicodedata
import zipfile
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Self

from unetkit.data import zarrs
from unetkit.data.limits import check_bytes, check_regular
from unetkit.data.zarrs import ZARR
from unetkit.errors import UserError, readable
from unetkit.paths import printable

MEDICAL_SUFFIXES = (".nii", ".nii.gz", ".dcm")
SUFFIXES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".tif",
    ".tiff",
    ".bmp",
    ".npy",
    ".gif",
    ".webp",
    ".avif",
    ".heic",
    ".heif",
    ZARR,
    *MEDICAL_SUFFIXES,
)
SEGY_SUFFIXES = (".sgy", ".segy")
VOLUME_SUFFIXES = (*MEDICAL_SUFFIXES, ".npy", ZARR, ".tif", ".tiff", *SEGY_SUFFIXES)
CHANNEL = re.compile(r"_\d{4}$")  # in names, where each channel of an image has a file (nnU-Net)


@dataclass(frozen=True, slots=True, init=False)
class FileRef:
    """A file in a folder, or a member of a zip.

    Attributes:
        location: The path of the file, or of the zip, as text: a `Path` takes five times the memory, which counts
            where files are many.
        member: The name within the zip; None for a file in a folder.
        page: The number of the image in a file of several, from 0; None for the whole file.
        channels: The files of the further channels of an image that has a file for each; none for others.
        slices: The files of the further slices of a DICOM series, which is called as its folder; none for others.
    """

    location: str
    member: str | None
    page: int | None
    channels: tuple["FileRef", ...]
    slices: tuple["FileRef", ...]

    def __init__(
        self,
        location: str | Path,
        member: str | None = None,
        page: int | None = None,
        channels: tuple["FileRef", ...] = (),
        slices: tuple["FileRef", ...] = (),
    ) -> None:
        object.__setattr__(self, "location", str(location))  # the class is frozen
        object.__setattr__(self, "member", member)
        object.__setattr__(self, "page", page)
        object.__setattr__(self, "channels", channels)
        object.__setattr__(self, "slices", slices)

    def __str__(self) -> str:
        name = f"{self.location}/{self.member}" if self.member else self.location
        return printable(name if self.page is None else f"{name}, image {self.page}")

    @property
    def path(self) -> Path:
        """The path of the file, or of the zip."""
        return Path(self.location)

    @property
    def name(self) -> PurePosixPath:
        """The path within the zip, or the whole path."""
        return PurePosixPath(_with_slashes(self.member) if self.member else self.path.as_posix())

    @property
    def last(self) -> str:
        """The last part of the name, found without parsing a path, which counts where files are many."""
        path, separator = self.location, os.sep
        if self.member:
            path, separator = _with_slashes(self.member).rstrip("/"), "/"
        return path[path.rfind(separator) + 1 :]

    @property
    def stem(self) -> str:
        """The name without suffix as text, in Unicode's composed form: macOS stores accents as separate characters.

        An image that has a file for each channel is called as they are, without the number of the channel.
        """
        name = self.last
        if self.slices:
            return printable(unicodedata.normalize("NFC", self.name.parent.name))
        stem = name[: -len(_suffix(name)) or None]
        stem = CHANNEL.sub("", stem) if self.channels else stem
        return stem if stem.isascii() else printable(unicodedata.normalize("NFC", stem))

    @property
    def suffix(self) -> str:
        """The suffix in small letters, as `.png` or `.nii.gz`; empty if there is none."""
        return _suffix(self.last)

    def read(self) -> bytes:
        """Read the content.

        Raises:
            UserError: If it is too large, or no regular file.
        """
        if self.member:
            archive = _open_zip(self.path)
            check_bytes(archive.getinfo(self.member).file_size, str(self))
            return archive.read(self.member)
        check_regular(self.path)
        return self.path.read_bytes()

    @property
    def files(self) -> tuple["FileRef", ...]:
        """Each file by itself: this one, and those of further channels or slices."""
        others = self.channels or self.slices
        return (FileRef(self.location, self.member, self.page), *others) if others else (self,)

    def at(self, page: int) -> Self:
        """Return one image of a file of several; where each channel has a file, of each of them."""
        return replace(self, page=page, channels=tuple(replace(ref, page=page) for ref in self.channels))

    def fingerprint(self) -> str:
        """Return name, size and checksum (in a zip) or time of change, which differ when the content does.

        Raises:
            UserError: If there is no such file, as where a link is broken.
        """
        if self.channels or self.slices:
            return " ".join(ref.fingerprint() for ref in self.files)
        if self.member:
            info = _open_zip(self.path).getinfo(self.member)
            return f"{self}|{info.file_size}|{info.CRC}"
        if self.suffix == ZARR and self.path.is_dir():
            return zarrs.fingerprint(self.path)
        try:
            stat = os.stat(self.location)  # noqa: PTH116  # without parsing the path
        except OSError as error:
            raise UserError(str(self), f"can't be read ({error.strerror})", "replace or remove it") from error
        return f"{self}|{stat.st_size}|{stat.st_mtime_ns}"


def _with_slashes(member: str) -> str:
    """Return the name within a zip with slashes, for which some programs on Windows write backslashes."""
    return member if member.startswith(".") else member.replace("\\", "/")  # one that leads out stays a hidden name


def _suffix(name: str) -> str:
    dot = name.rfind(".")
    suffix = name[dot:].lower() if 0 < dot < len(name) - 1 else ""
    return ".nii.gz" if suffix == ".gz" and name.lower().endswith(".nii.gz") else suffix


def find_folder(container: Path, folder: str, suffixes: tuple[str, ...] = SUFFIXES) -> list[FileRef] | None:
    """Return the sorted files with a known suffix of `folder` in a directory or zip; None if there is no such folder.

    A zip may hold the folder at any depth, as archives of a parent folder do.

    Raises:
        UserError: If it can't be read, or a zip is broken, or holds several such folders.
    """
    with readable(container):
        return _find_folder(container, folder, suffixes)


def _find_folder(container: Path, folder: str, suffixes: tuple[str, ...]) -> list[FileRef] | None:
    if container.is_dir():
        place = container / folder
        refs = [FileRef(path) for path in place.iterdir()] if place.is_dir() else None
    elif container.is_file():
        found = [member for member in zip_members(container) if member.name.parent.name == folder]
        folders = sorted({str(ref.name.parent) for ref in found})
        if len(folders) > 1:
            raise UserError(str(container), f"holds {' and '.join(folders)}", "unpack it, or make a zip of each")
        refs = found or None
    else:
        refs = None
    return None if refs is None else _known(refs, suffixes)


def result_names(refs: list[FileRef]) -> list[PurePosixPath]:
    """Return names for the results of files: their paths below the folder that holds all of them, without suffix.

    A zip counts as a folder of its name.
    """
    whole = [PurePosixPath(*_inner_parts(ref)) for ref in refs]
    paths = [path.parent if ref.slices else path for path, ref in zip(whole, refs, strict=True)]
    folder = posixpath.commonpath([str(path.parent) for path in paths])
    inner = [path.relative_to(folder) for path in paths]
    return [path.with_name(_without_ends(path.name, ref)) for path, ref in zip(inner, refs, strict=True)]


def _without_ends(name: str, ref: FileRef) -> str:
    if ref.slices:  # the name is that of the folder
        return name
    stem = name[: -len(ref.suffix) or None]
    return CHANNEL.sub("", stem) if ref.channels else stem


def _inner_parts(ref: FileRef) -> list[str]:
    """Return the parts of an absolute path; in a zip, those that lead into it: members may be `/a`, `../a` or `C:a`."""
    path = Path(os.path.abspath(ref.location))  # noqa: PTH100  # the folder of a link, not of what it leads to
    parts = [path.drive.rstrip(":"), *path.relative_to(path.anchor).parts]
    if not ref.member:
        return parts
    name = ref.member.replace("\\", "/").replace(":", "/")  # which are letters like others in the name of a file
    inner = [part for part in PurePosixPath(name).parts if part not in ("/", "//", "..")]
    return [*parts[:-1], path.stem, *inner]


def _known(refs: list[FileRef], suffixes: tuple[str, ...]) -> list[FileRef]:
    known = [ref for ref in refs if ref.suffix in suffixes and not ref.last.startswith(".")]
    return sorted(known, key=lambda ref: ref.name)


def zip_members(path: Path) -> list[FileRef]:
    """Return the members of a zip, without the copies of metadata that macOS adds."""
    return [FileRef(path, name) for name in _open_zip(path).namelist() if "__MACOSX" not in name]


@lru_cache(maxsize=8)
def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise UserError(str(path), f"is not a complete zip file ({error})", "download it again") from error


if hasattr(os, "register_at_fork"):  # not on Windows; a copied process would share the position in the file
    os.register_at_fork(after_in_child=_open_zip.cache_clear)
