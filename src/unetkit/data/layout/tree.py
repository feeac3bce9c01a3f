"""Every file below a folder, or in a zip, with the names of the folders that lead to it."""

import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from unetkit.data.files import SUFFIXES, FileRef, zip_members
from unetkit.data.layout.words import meaning_of
from unetkit.errors import UserError, readable

MAX_DEPTH = 8  # folders below the root
OF_SYSTEMS = ("__MACOSX", "Thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class Entry:
    """A file, and the folders between the root and it.

    Attributes:
        ref: The file.
        folders: The names of the folders, the outermost first; a zip counts as a folder of its name.
        kinds: Suffixes of the files that are read.
    """

    ref: FileRef
    folders: tuple[str, ...]
    kinds: tuple[str, ...] = SUFFIXES

    @property
    def is_image(self) -> bool:
        """Whether the name says that it is an image or a mask of a kind that is read."""
        return self.ref.suffix in self.kinds

    @property
    def path(self) -> str:
        """The path below the root, with `/` between the names."""
        return "/".join([*self.folders, self.ref.name.name])


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
            entries = list(_walk(root, (), set()))
        elif root.is_file() and (zipfile.is_zipfile(root) or root.suffix.lower() == ".zip"):
            entries = _in_zip(root, ())
        else:
            fix = "give the folder that holds the images and masks"
            raise UserError(f"data.root={root}", "is neither a folder nor a complete zip file", fix)
    entries = [replace(entry, kinds=kinds) for entry in entries]
    return sorted(entries, key=lambda entry: (entry.folders, entry.ref.name.name))


def _walk(folder: Path, folders: tuple[str, ...], outer: set[Path]) -> Iterator[Entry]:
    """List a folder and those in it; a link to a folder around it is not followed."""
    real = Path(os.path.realpath(folder))
    if real in outer or len(folders) > MAX_DEPTH:
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in OF_SYSTEMS:
            continue
        if path.is_dir():
            yield from _walk(path, (*folders, path.name), outer | {real})
        elif path.suffix.lower() == ".zip" and not folders and meaning_of(path.stem):
            if path.with_suffix("").is_dir():
                raise UserError(f"{path.with_suffix('')} and {path}", "are a folder and a zip of one name", "keep one")
            yield from _in_zip(path, (path.stem,))
        else:
            yield Entry(FileRef(path), folders)


def _in_zip(path: Path, folders: tuple[str, ...]) -> list[Entry]:
    members = [ref for ref in zip_members(path) if not (ref.member or "").endswith("/")]
    inner = [(ref, tuple(part for part in ref.name.parent.parts if part not in ("/", "..", "."))) for ref in members]
    return [Entry(ref, (*folders, *parts)) for ref, parts in inner if not ref.name.name.startswith(".")]
