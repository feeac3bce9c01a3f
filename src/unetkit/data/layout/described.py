"""The classes of a data set as its own `dataset.json` names them: nnU-Net, Medical Segmentation Decathlon."""

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unetkit.data.files import FileRef, zip_members
from unetkit.data.mask_encoding import MaskEncoding
from unetkit.errors import readable
from unetkit.paths import path_of

FILE = "dataset.json"
VOID_NAME = "ignore"  # of the pixels that nobody labelled (nnU-Net)


@dataclass(frozen=True)
class DescribedClasses:
    """The classes that a description names, or that are known of a public data set.

    Attributes:
        names: Names of class 0, 1, ...
        void: Value of void pixels in the masks; None if there are none.
        values: Values of class 0, 1, ... in the masks; None if they are 0, 1, ...
        background: The class that scores leave out, 0; None if class 0 is a class like the others.
        source: What says so: the file, or the name of the data set.
        advice: What else to do; empty if nothing.
    """

    names: tuple[str, ...]
    void: int | None = None
    values: tuple[int, ...] | None = None
    background: int | None = 0
    source: str = FILE
    advice: str = ""

    @property
    def encoding(self) -> MaskEncoding:
        """The meaning of the values in the masks."""
        plain = tuple(range(len(self.names))) if len(self.names) > 2 else None
        return MaskEncoding(self.values or plain, self.void)

    @property
    def known_values(self) -> set[int]:
        """All values that the masks may hold."""
        values = self.values or range(len(self.names))
        return {*values, *(() if self.void is None else (self.void,))}


def described_classes(root: str | Path | None) -> DescribedClasses | None:
    """Return the classes that the description of a data set names; None without one that names each value once.

    Args:
        root: The folder, also one that holds just the folder of the data set, or a zip.

    Raises:
        UserError: If the folder can't be read.
    """
    if root is None:
        return None
    with readable(root):
        found = {_classes_of(ref) for ref in _descriptions(path_of("data.root", root))} - {None}
    return found.pop() if len(found) == 1 else None


def _descriptions(root: Path) -> Iterator[FileRef]:
    if root.is_dir():
        yield from (FileRef(path) for path in (root / FILE, *root.glob(f"*/{FILE}")) if path.is_file())
    elif root.is_file() and zipfile.is_zipfile(root):
        yield from (ref for ref in zip_members(root) if ref.last == FILE)


def _classes_of(ref: FileRef) -> DescribedClasses | None:
    try:
        content = json.loads(ref.read())
    except (ValueError, RecursionError):
        return None
    labels = content.get("labels") if isinstance(content, dict) else None
    values = _values(labels) if isinstance(labels, dict) else {}
    void = values.pop(VOID_NAME, None)
    names = sorted(values, key=values.__getitem__)
    if len(names) < 2 or [values[name] for name in names] != list(range(len(names))):
        return None
    return DescribedClasses(tuple(names), void)


def _values(labels: dict[Any, Any]) -> dict[str, int]:
    """Return the value of each name, given as `"liver": 1`, or as `"1": "liver"`.

    A region of several values, as `[1, 2]`, is no class; then nothing is returned.
    """
    if all(isinstance(name, str) and str(value).isdecimal() for value, name in labels.items()):
        pairs = [(name, value) for value, name in labels.items()]
    else:
        pairs = list(labels.items())
    if not all(isinstance(value, int | str) and str(value).isdecimal() for _, value in pairs):
        return {}
    return {str(name): int(value) for name, value in pairs}
