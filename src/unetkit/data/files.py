"""Files on disk, loose or in a zip: finding them and decoding them."""

import io
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unetkit.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".npy")
# What a broken file, or a broken or encrypted member of a zip, raises.
UNREADABLE = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, cv2.error)

Array = NDArray[Any]


@dataclass(frozen=True)
class FileRef:
    """A file in a folder, or a member of a zip."""

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        return f"{self.path}/{self.member}" if self.member else str(self.path)

    @property
    def name(self) -> PurePosixPath:
        """The path within the zip, or the whole path."""
        return PurePosixPath(self.member or self.path.as_posix())

    def read(self) -> bytes:
        """The content."""
        return _open_zip(self.path).read(self.member) if self.member else self.path.read_bytes()

    def fingerprint(self) -> str:
        """Name, size and checksum (in a zip) or time of change: differs when the content does."""
        if self.member:
            info = _open_zip(self.path).getinfo(self.member)
            return f"{self}|{info.file_size}|{info.CRC}"
        stat = self.path.stat()
        return f"{self}|{stat.st_size}|{stat.st_mtime_ns}"


@lru_cache(maxsize=8)
def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise UserError(f"{path} is not a whole zip file ({error}); download it again") from error


def find_folder(container: Path, folder: str) -> list[FileRef] | None:
    """Sorted files with a known suffix of `folder` in a directory or zip; None where there is no such folder.

    A zip may hold the folder at any depth, as archives of a parent folder do.

    Raises:
        UserError: If a zip is broken, or holds several such folders.
    """
    if container.is_dir():
        place = container / folder
        refs = [FileRef(path) for path in place.iterdir()] if place.is_dir() else None
    elif container.is_file():
        members = [PurePosixPath(name) for name in _open_zip(container).namelist() if "__MACOSX" not in name]
        found = [FileRef(container, str(member)) for member in members if member.parent.name == folder]
        folders = sorted({str(ref.name.parent) for ref in found})
        if len(folders) > 1:
            raise UserError(f"{container} holds {' and '.join(folders)}; unpack it, or make a zip of each")
        refs = found or None
    else:
        refs = None
    return None if refs is None else _known(refs)


def read_image(ref: FileRef) -> Array:
    """Decode to (H, W) or (H, W, C), RGB order, in the file's own dtype; an alpha channel is dropped.

    Raises:
        UserError: If the file can't be decoded, or is not one image of numbers.
    """
    try:
        content = ref.read()
        if ref.name.suffix.lower() == ".npy":
            image: Array | None = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
        else:
            # Two pages are asked for, so that a stack is noticed instead of read as its first page.
            _, pages = cv2.imdecodemulti(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED, range=(0, 2))
            if len(pages) > 1:
                raise UserError(f"{ref} is a stack of several images; save each as a file of its own")
            image = pages[0] if pages else None
    except UserError:
        raise
    except UNREADABLE as error:
        raise UserError(f"{ref} can't be read as an image ({error}); replace or remove it") from error
    if image is None:
        raise UserError(f"{ref} can't be read as an image; replace or remove it")
    if image.ndim not in (2, 3) or image.size == 0 or image.dtype.kind not in "buif":
        raise UserError(f"{ref} holds {image.dtype} of shape {image.shape}; (H, W) or (H, W, C) numbers are wanted")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise UserError(f"{ref} holds NaN or infinite values; replace them with numbers")
    if image.dtype == np.bool_:
        image = image.astype(np.uint8)
    if image.ndim == 3 and ref.name.suffix.lower() != ".npy":
        image = np.ascontiguousarray(image[..., 2::-1])  # BGR or BGRA of any dtype, which cv2.cvtColor does not take
    return image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image


def read_palette_indices(ref: FileRef) -> Array | None:
    """The indices (H, W) uint8 of a palette PNG, whose colours `read_image` gives; None for any other file.

    None too where the whole palette is grey: some programs save any grey image so, with indices that mean nothing.

    Raises:
        UserError: If the file can't be decoded.
    """
    try:
        content = ref.read()
        if not content.startswith(b"\x89PNG") or content[25:26] != b"\x03":  # colour type 3: indexed
            return None
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            colours = np.reshape(image.getpalette() or [], (-1, 3))
            return None if (colours == colours[:, :1]).all() else np.array(image)
    except (*UNREADABLE, SyntaxError) as error:  # which Pillow raises of broken chunks
        raise UserError(f"{ref} can't be read as an image ({error}); replace or remove it") from error


def find_images(place: Path) -> list[FileRef]:
    """The images to predict: a single file, or those of a folder or zip (of its images/ if it has one), by name.

    Raises:
        UserError: If there is nothing there, or nothing of a known kind.
    """
    if not place.exists():
        raise UserError(f"input={place} does not exist; give an image, or a folder or zip of images")
    if place.is_dir():
        refs = [FileRef(path) for path in place.iterdir()]
    elif zipfile.is_zipfile(place):
        refs = [FileRef(place, name) for name in _open_zip(place).namelist() if "__MACOSX" not in name]
    else:
        return [FileRef(place)]
    images = find_folder(place, "images") or _known(refs)
    if not images:
        raise UserError(f"input={place} holds no image ({', '.join(SUFFIXES)})")
    names = {ref.name.stem: ref for ref in images}
    twice = next((ref for ref in images if names[ref.name.stem] != ref), None)
    if twice is not None:
        raise UserError(f"{twice} and {names[twice.name.stem]} would give masks of one name; rename one")
    return images


def _known(refs: list[FileRef]) -> list[FileRef]:
    known = [ref for ref in refs if ref.name.suffix.lower() in SUFFIXES and not ref.name.name.startswith(".")]
    return sorted(known, key=lambda ref: ref.name)
