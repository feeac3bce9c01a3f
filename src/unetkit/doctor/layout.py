"""Finds the images and masks of a user's folder or zip as training does, and which choice of `data` reads it."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unetkit.data.files import find_folder
from unetkit.data.findings import Finding, Severity
from unetkit.data.layout.find import find_layout
from unetkit.data.layout.labels import find_labels
from unetkit.data.mask_encoding import CLASSES, MULTILABEL
from unetkit.data.pair import Pair
from unetkit.data.sources import layout_of
from unetkit.data.tables import read_rows
from unetkit.errors import UserError, readable
from unetkit.paths import command_line, expanded, real_path


@dataclass(frozen=True)
class FoundFiles:
    """What a user's folder or zip holds.

    Attributes:
        root: Its absolute path; None if only `keys` say where the files are.
        source: The choice of the configuration's group `data` that reads it: `folder` or `tgs_salt`.
        keys: The keys under `data` that were typed, with their values.
        description: What was recognised, in one line.
        pairs: All images, also those without a mask.
        findings: Findings about folders and names.
    """

    root: Path | None
    source: str
    keys: dict[str, Any]
    description: str
    pairs: tuple[Pair, ...]
    findings: tuple[Finding, ...]

    @property
    def place(self) -> str:
        """Where the files are, for people."""
        return str(self.root) if self.root else f"{self.keys['images']} and {self.keys['masks']}"

    @property
    def name(self) -> str:
        """A name for the data set: that of its folder."""
        return self.root.stem if self.root else "my_data"


def find_files(
    root: str | Path | None,
    mask_suffix: str | int = "",
    images: str | Sequence[str] | None = None,
    masks: str | Sequence[str] | None = None,
    stacks: bool = False,
) -> FoundFiles:
    """Find images and masks under a folder or zip; the arguments are the keys under `data` of these names.

    Raises:
        UserError: If there is no image.
    """
    path = None if root is None else real_path(expanded(root))
    given = {"mask_suffix": str(mask_suffix), "images": images, "masks": masks, "stacks": stacks}
    keys: dict[str, Any] = {key: value for key, value in given.items() if value}
    codes, unread = ({}, ()) if keys or path is None else _read_kaggle_table(path / "train.csv")
    if path is not None and codes:
        return _with_codes(path, codes)
    has_labels = isinstance(masks, Sequence) and not isinstance(masks, str)
    if path is not None and path.exists() and not masks:
        labelled = find_labels(path, str(mask_suffix), images, stacks=stacks)
        has_labels = labelled is not None and bool(labelled.pairs)
    labels = MULTILABEL if has_labels else CLASSES
    try:
        layout = layout_of(root, mask_suffix, images, masks, stacks=stacks, labels=labels)
    except UserError:
        _check_for_volumes(root)
        raise
    if not layout.pairs or any(finding.severity == Severity.FAULT for finding in layout.findings):
        _check_for_volumes(root, only_series=bool(layout.pairs))
    return FoundFiles(path, "folder", keys, layout.description, layout.pairs, (*unread, *layout.findings))


def _check_for_volumes(root: str | Path | None, *, only_series: bool = False) -> None:
    """Raise a `UserError` with the command if a folder without usable images holds volumes, as SEG-Y or DICOM."""
    pairs: tuple[Pair, ...] = ()
    with suppress(UserError):
        layout = layout_of(root, volumes=True)
        can_train = all(finding.severity != Severity.FAULT for finding in layout.findings)
        pairs = layout.pairs if can_train or not any(pair.mask for pair in layout.pairs) else ()
    are_series = any(pair.image.slices and pair.mask for pair in pairs)
    if pairs and (are_series or not only_series):
        command = command_line("train", "model=unet_3d", "data=volumes", f"data.root={root}")
        held = "DICOM series, which are volumes" if are_series else "volumes and no images"
        raise UserError(f"data.root={root}", f"holds {held}", f"train on them with `{command}`")


def _with_codes(root: Path, codes: dict[str, str]) -> FoundFiles:
    """Find TGS Salt's images and masks in train.zip, train/ or the folder itself; run-length codes stand for masks."""
    container = next((c for c in (root / "train.zip", root / "train", root) if find_folder(c, "images")), root)
    layout = find_layout(container, codes=codes)
    description = f"{layout.description}, and TGS Salt's run-length codes in train.csv"
    return FoundFiles(root, "tgs_salt", {}, description, layout.pairs, layout.findings)


def _read_kaggle_table(path: Path) -> tuple[dict[str, str], tuple[Finding, ...]]:
    """Read TGS Salt's run-length codes by id, if there is such a table, with a finding if it can't be read."""
    with readable(path.parent):
        if not path.exists():
            return {}, ()
    try:
        return {row["id"] or "": row["rle_mask"] or "" for _, row in read_rows(path, ("id", "rle_mask"))}, ()
    except UserError as error:
        what = f"{path.name} {error.problem}, so it is not read"
        fix = error.fix or "leave it, unless it is Kaggle's table of TGS Salt"
        return {}, (Finding(Severity.WARNING, what, fix),)
