"""Every file below a folder, or in a zip, with the names of the folders that lead to it."""

import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unetkit.data.files import SUFFIXES, FileRef, zip_members
from unetkit.data.layout.words import meaning_of
from unetkit.data.zarrs import ZARR
from unetkit.errors import UserError, readable

MAX_DEPTH = 8  # folders below the root
MAX_FOLDERS = 20_000  # folders that are looked into; links can make many of few
# What systems, viewers and network drives leave behind, in small letters.
OF_SYSTEMS = (
    *("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "@eadir", "$recycle.bin", "lost+found"),
    "system volume information",
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, and the folders between the root and it.

    Attributes:
        ref: The file.
        folders: The names of the folders, the outermost first; a zip counts as a folder of its name.
        is_image: Whether the name says that it is an image or a mask of a kind that is read.
    """

    ref: FileRef
    folders: tuple[str, ...]
    is_image: bool = False

    @property
    def path(self) -> str:
        """The path below the root, with `/` between the names."""
        return "/".join([*self.folders, self.ref.last])


def list_entries(root: Path, kinds: tuple[str, ...] = SUFFIXES) -> list[Entry]:
    """List all files below a folder or in a zip, sorted by path, without hidden ones.

    Zips that lie in the folder itself are opened if their name says what they hold, as `train.zip` or `masks.zip`.

    Args:
        root: The folder or zip.
        kinds: Suffixes of the files that are read as images and masks.

    Raises:
        UserError: If it can't be read, is neither a folder nor a zip, or holds a zip beside its unpacked folder.
    """
    with readable(root):
        if root.is_dir():
            entries = list(_Walk(root, kinds).below(root, (), set()))
        elif root.is_file() and (zipfile.is_zipfile(root) or root.suffix.lower() == ".zip"):
            entries = _in_zip(root, (), kinds)
        else:
            fix = "give the folder that holds the images and masks"
            raise UserError(f"data.root={root}", "is neither a folder nor a complete zip file", fix)
    return sorted(entries, key=lambda entry: (entry.folders, entry.ref.last))


class _Walk:
    """Lists folders; links to folders are followed, as the images may lie on another disk."""

    def __init__(self, root: Path, kinds: tuple[str, ...]) -> None:
        self.root, self.kinds, self.folders = root, kinds, 0

    def below(self, folder: Path, folders: tuple[str, ...], outer: set[tuple[int, int]]) -> Iterator[Entry]:
        """List a folder and those in it; a link to a folder around it is not followed.

        Raises:
            UserError: If there are too many, or a folder and a zip have one name.
        """
        status = folder.stat()
        here = status.st_dev, status.st_ino
        if here in outer or len(folders) > MAX_DEPTH:
            return
        self.folders += 1
        if self.folders > MAX_FOLDERS:
            problem = f"has more than {MAX_FOLDERS:,} folders"
            raise UserError(f"data.root={self.root}", problem, "remove links to folders from it, or give a part of it")
        with os.scandir(folder) as found:  # says what is a folder without a look at each file
            items = sorted((item.name, _is_folder(item), item.is_symlink()) for item in found)
        prefix = str(folder / "_")[:-1]  # as a `Path` for each file takes long
        for name, is_folder, is_link in items:
            if _is_hidden(name):
                continue
            # A link that is called as an image is a mistake, and not a place of others: reading it says so.
            # A Zarr array is a folder.
            is_file = (is_link and Path(name).suffix.lower() in SUFFIXES) or name.lower().endswith(ZARR)
            if is_folder and not is_file:
                yield from self.below(folder / name, (*folders, name), outer | {here})
            elif not folders and name.lower().endswith(".zip") and meaning_of(Path(name).stem):
                path = folder / name
                if path.with_suffix("").is_dir():
                    raise UserError(
                        f"{path.with_suffix('')} and {path}", "are a folder and a zip of one name", "keep one"
                    )
                yield from _in_zip(path, (path.stem,), self.kinds)
            else:
                ref = FileRef(prefix + name)
                yield Entry(ref, folders, ref.suffix in self.kinds)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in OF_SYSTEMS


def _is_folder(item: "os.DirEntry[str]") -> bool:
    """Return whether an entry of a folder is one; a link that leads to itself is none, and reading it says so."""
    try:
        return item.is_dir()
    except OSError:
        return False


def _in_zip(path: Path, folders: tuple[str, ...], kinds: tuple[str, ...]) -> list[Entry]:
    members = [ref for ref in zip_members(path) if not (ref.member or "").endswith(("/", "\\"))]
    inner = [(ref, tuple(part for part in ref.name.parent.parts if part not in ("/", "..", "."))) for ref in members]
    return [
        Entry(ref, (*folders, *parts), ref.suffix in kinds)
        for ref, parts in inner
        if not any(map(_is_hidden, (*parts, ref.last)))
    ]
