"""A file of images or masks, with what its path says of it."""

from dataclasses import dataclass, replace
from typing import Any

from unetkit.data.files import FileRef


@dataclass(frozen=True, slots=True)
class Folder:
    """What the path of a folder says of its files.

    Attributes:
        group: Names of the folders that neither say `images` or `masks` nor a split, such as a patient's.
        split: `train`, `val`, `test` or None.
        place: Its path below the root, for messages.
        word: The word in its path that says that these are images, or masks; empty if there is none.
        home: The path below the root of the folder with this word; its own path if there is none.
        outer: The part of `group` that comes before this word.
    """

    group: tuple[str, ...] = ()
    split: str | None = None
    place: str = ""
    word: str = ""
    home: str = ""
    outer: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """A file of images or masks, and what its path says.

    Attributes:
        ref: The file.
        name: Its name without suffix, or what stands for it in a pattern.
        folder: What the path of its folder says; one object for all files of a folder, which may be a million.
    """

    ref: FileRef
    name: str
    folder: Folder

    @property
    def shown(self) -> str:
        """The path below the root."""
        return f"{self.folder.place}/{self.ref.name.name}" if self.folder.place else self.ref.name.name

    def in_folder(self, **said: Any) -> "Item":
        """Return the same file, where its folder says something else."""
        return replace(self, folder=replace(self.folder, **said))
