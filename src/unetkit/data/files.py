"""Files on disk, loose or in a zip: finding them and decoding them."""

import glob
import io
import posixpath
import struct
import unicodedata
import warnings
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from unetkit.errors import UserError
from unetkit.paths import matching

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".npy")
SEGY_SUFFIXES = (".sgy", ".segy")
# What a broken file, or a broken or encrypted member of a zip, raises.
UNREADABLE = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, cv2.error)

Array = NDArray[Any]

# How to bring pixels upright, by the orientation that a camera notes (EXIF 2.3, tag 0x0112); 1 is upright.
TURNS: dict[int, Callable[[Array], Array]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, 3),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: np.rot90,
}
SAMPLES, BITS, PHOTOMETRIC, PLANAR, EXTRA = 277, 258, 262, 284, 338  # tags of TIFF 6.0


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

    @property
    def stem(self) -> str:
        """The name without suffix, its accents as one sign each: macOS takes them apart."""
        return unicodedata.normalize("NFC", self.name.stem)

    def read(self) -> bytes:
        """The content."""
        return _open_zip(self.path).read(self.member) if self.member else self.path.read_bytes()

    def fingerprint(self) -> str:
        """Name, size and checksum (in a zip) or time of change: differs when the content does.

        Raises:
            UserError: If there is no such file, as where a link leads nowhere.
        """
        if self.member:
            info = _open_zip(self.path).getinfo(self.member)
            return f"{self}|{info.file_size}|{info.CRC}"
        try:
            stat = self.path.stat()
        except OSError as error:
            raise UserError(str(self), f"can't be read ({error.strerror})", "replace or remove it") from error
        return f"{self}|{stat.st_size}|{stat.st_mtime_ns}"


@lru_cache(maxsize=8)
def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise UserError(str(path), f"is not a complete zip file ({error})", "download it again") from error


def find_folder(container: Path, folder: str, suffixes: tuple[str, ...] = SUFFIXES) -> list[FileRef] | None:
    """Sorted files with a known suffix of `folder` in a directory or zip; None where there is no such folder.

    A zip may hold the folder at any depth, as archives of a parent folder do.

    Raises:
        UserError: If a zip is broken, or holds several such folders.
    """
    if container.is_dir():
        place = container / folder
        refs = [FileRef(path) for path in place.iterdir()] if place.is_dir() else None
    elif container.is_file():
        members = [FileRef(container, name) for name in _open_zip(container).namelist() if "__MACOSX" not in name]
        found = [member for member in members if member.name.parent.name == folder]
        folders = sorted({str(ref.name.parent) for ref in found})
        if len(folders) > 1:
            raise UserError(str(container), f"holds {' and '.join(folders)}", "unpack it, or make a zip of each")
        refs = found or None
    else:
        refs = None
    return None if refs is None else _known(refs, suffixes)


def read_image(ref: FileRef) -> Array:
    """Decode to (H, W) or (H, W, C), RGB order, in the file's own dtype, as viewers show it; without alpha channel.

    Raises:
        UserError: If the file can't be decoded, or is not one image of numbers.
    """
    try:
        content = ref.read()
        if not content:
            raise UserError(str(ref), "is empty (0 bytes)", "replace or remove it")
        if ref.name.suffix.lower() == ".npy":
            image: Array | None = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
        else:
            _check_tiff(content, str(ref))
            # Two pages are asked for, so that a stack is noticed instead of read as its first page.
            _, pages = cv2.imdecodemulti(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED, range=(0, 2))
            if len(pages) > 1:
                raise UserError(str(ref), "is a stack of several images", "save each as a file of its own")
            image = _upright(pages[0], content) if pages else None
    except UserError:
        raise
    except UNREADABLE as error:
        raise UserError(str(ref), f"can't be read as an image ({error})", "replace or remove it") from error
    if image is None:
        raise UserError(str(ref), "can't be read as an image", "replace or remove it")
    _check(image, str(ref))
    _check_finite(image, str(ref))
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
    except UNREADABLE as error:
        raise UserError(str(ref), f"can't be read as an image ({error})", "replace or remove it") from error
    from PIL import Image  # here, because Pillow takes long to import and most files don't need it

    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            colours = np.reshape(image.getpalette() or [], (-1, 3))
            return None if (colours == colours[:, :1]).all() else np.array(image)
    except (*UNREADABLE, SyntaxError, Image.DecompressionBombError) as error:  # SyntaxError: of broken chunks
        raise UserError(str(ref), f"can't be read as an image ({error})", "replace or remove it") from error


class NpyImage:
    """A .npy file of which only the windows that are asked for are read, so that memory does not hold it whole.

    Raises:
        UserError: Where it is opened, as `read_image`; values that are no numbers are found in their window.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            array = self._open()
        except UNREADABLE as error:
            raise UserError(str(path), f"can't be read as an image ({error})", "replace or remove it") from error
        _check(array, str(path))
        self.shape: tuple[int, ...] = array.shape
        self.dtype = np.dtype(np.uint8) if array.dtype == np.bool_ else array.dtype

    def __getitem__(self, window: tuple[slice, slice]) -> Array:
        part = np.array(self._open()[window], self.dtype)  # opened anew, as pages of an open map stay in memory
        _check_finite(part, str(self.path))
        return part

    def _open(self) -> Array:
        return np.lib.format.open_memmap(self.path, mode="r")


def open_image(ref: FileRef) -> "NpyImage | Array":
    """As `read_image`, but of a .npy file that lies in a folder only what is asked for is read."""
    return read_image(ref) if ref.member or ref.name.suffix.lower() != ".npy" else NpyImage(ref.path)


def find_images(place: Path) -> list[FileRef]:
    """What to predict, by name: a file, those that a pattern matches, or those of a folder or zip.

    Of a folder or zip that has a folder `images`, those in there; else all of the zip, or those directly in the folder.

    Raises:
        UserError: If there is nothing there, nothing of a known kind, or results would get the same name.
    """
    kinds = SUFFIXES + SEGY_SUFFIXES
    if not place.exists() and glob.has_magic(str(place)):
        refs = _known([FileRef(path) for path in matching(str(place))], kinds)
    elif not place.exists():
        raise UserError(f"input={place}", "does not exist", "give an image, or a folder, pattern or zip of images")
    elif place.is_dir():
        refs = find_folder(place, "images", kinds) or _known([FileRef(path) for path in place.iterdir()], kinds)
    elif zipfile.is_zipfile(place) or place.suffix.lower() == ".zip":
        members = [FileRef(place, name) for name in _open_zip(place).namelist() if "__MACOSX" not in name]
        refs = find_folder(place, "images", kinds) or _known(members, kinds)
    else:
        return [FileRef(place)]
    if not refs:
        raise UserError(f"input={place}", f"holds no image ({', '.join(kinds)})")
    named: dict[PurePosixPath, FileRef] = {}
    for ref, name in zip(refs, result_names(refs), strict=True):
        if name in named:
            raise UserError(f"{ref} and {named[name].name.name}", "would give masks of the same name", "rename one")
        named[name] = ref
    return refs


def result_names(refs: list[FileRef]) -> list[PurePosixPath]:
    """What to call the results of files: their paths below the folder that holds all of them, without suffix."""
    # A zip may name members "/a.png" or "../a.png", which must not lead out of the output folder.
    paths = [PurePosixPath(*(part for part in ref.name.parts if part not in ("/", ".."))) for ref in refs]
    folder = posixpath.commonpath([str(path.parent) for path in paths])
    return [path.relative_to(folder).with_suffix("") for path in paths]


def _upright(image: Array, content: bytes) -> Array:
    """Turn a photograph as its camera noted that it was held; OpenCV doesn't where it is to keep depth and channels."""
    if not content.startswith(b"\xff\xd8"):  # JPEG
        return image
    from PIL import Image

    turn = None
    with suppress(Exception), Image.open(io.BytesIO(content), formats=["JPEG"]) as file:  # a broken note is none
        turn = TURNS.get(file.getexif().get(0x0112, 1))
    return image if turn is None else np.ascontiguousarray(turn(image))


def _check_tiff(content: bytes, name: str) -> None:
    """Refuse the TIFFs that OpenCV reads wrongly without a word: bands not as RGB, pixel by pixel; 0 as white.

    What it reads well: RGB, with alpha or not; grey with alpha, of 8 bits; three bands of 32 bits; 8-bit 0 as white.
    """
    if content[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return
    from PIL import TiffImagePlugin

    stream = io.BytesIO(content)
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(stream.read(16 if b"+" in content[:4] else 8))
        stream.seek(tags.next)
        with warnings.catch_warnings(action="ignore"):
            tags.load(stream)
    except (*UNREADABLE, SyntaxError, struct.error):
        return  # of a broken file, which is told when it is decoded
    samples, photometric, bits = tags.get(SAMPLES, 1), tags.get(PHOTOMETRIC, 1), np.max(tags.get(BITS, 1))
    is_grey = photometric in (0, 1)
    is_planar = tags.get(PLANAR, 1) == 2 and bits > 8
    reads_well = (samples == 2 and bits == 8 and EXTRA in tags) or (samples == 3 and bits == 32)
    if samples > 1 and (is_planar or (is_grey and not reads_well)):
        problem = f"is a TIFF of {samples} bands that are not stored as RGB, pixel by pixel"
        raise UserError(name, problem, "save it so, or as .npy of (H, W, C)")
    if photometric == 0 and bits > 8:
        raise UserError(name, f"is a TIFF of {bits} bits whose 0 is white", "save it with 0 as black, or as .npy")


def _known(refs: list[FileRef], suffixes: tuple[str, ...]) -> list[FileRef]:
    known = [ref for ref in refs if ref.name.suffix.lower() in suffixes and not ref.name.name.startswith(".")]
    return sorted(known, key=lambda ref: ref.name)


def _check(image: Array, name: str) -> None:
    if image.ndim not in (2, 3) or image.size == 0 or image.dtype.kind not in "buif":
        problem = f"holds {image.dtype} of shape {image.shape}"
        raise UserError(name, problem, "save it as numbers of shape (H, W) or (H, W, C)")


def _check_finite(image: Array, name: str) -> None:
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise UserError(name, "holds NaN or infinite values", "replace them with numbers")
