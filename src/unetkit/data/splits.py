"""Which pair trains and which validates: deterministic by seed, stratified by how much of a mask is foreground."""

import csv
import hashlib
import logging
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unetkit.data.compact import Pairs
from unetkit.data.folds import grouped_folds, stratified_folds, systematic_sample
from unetkit.data.tables import read_rows
from unetkit.errors import UserError, check
from unetkit.paths import expanded, path_of, whole_file

log = logging.getLogger(__name__)

FOLDS = ("kfold", "contiguous", "mosaic")  # the methods that use `folds` and `fold`
SIDES = ("train", "val", "test", "unused")
RECREATION_SEED, RECREATION_SIZE = 47, 3200
MAX_BYTES = 2**26  # of a CSV that says the sides: a million images


@dataclass(frozen=True)
class SplitOptions:
    """How to split pairs whose folders don't say which part they belong to.

    Attributes:
        method: `fraction` (stratified), `kfold` (stratified), `contiguous` (folds of neighbours in the order of
            names, for slices of a volume), `mosaic` (stratified folds of whole groups), `recreation` (the split of
            U_net_recreation), or the path of a CSV (id,split), such as the `split.csv` of an earlier run.
        val_fraction: Share of validation pairs, for `fraction`.
        folds: Number of folds, for the methods in `FOLDS`.
        fold: The fold that validates, from 0.
        seed: Seed of the random order of pairs of equal coverage.

    Raises:
        UserError: If a value has a wrong type.
    """

    method: str = "fraction"
    val_fraction: float = 0.2
    folds: int = 5
    fold: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        is_name = isinstance(self.method, str)
        check("data.split", self.method, is_name, "the name of a way to split, or the path of a .csv")
        is_count = isinstance(self.folds, int) and self.folds >= 1
        check("data.folds", self.folds, is_count, "a whole number of at least 1")
        check("data.seed", self.seed, isinstance(self.seed, int) and self.seed >= 0, "a whole number of at least 0")

    def unused(self, is_given: bool) -> dict[str, object]:
        """Return the values, other than the defaults, that have no effect; `is_given` if folders say all sides."""
        used = ("val_fraction",) if self.method == "fraction" else ("folds", "fold") if self.method in FOLDS else ()
        given = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return {
            name: given[name][0]
            for name in ("val_fraction", "folds", "fold")
            if given[name][0] != given[name][1] and (is_given or name not in used)
        }

    @property
    def is_csv(self) -> bool:
        """Whether a CSV says the side of each pair."""
        return self.method.endswith(".csv")


@dataclass(frozen=True)
class Split:
    """The side of each pair.

    Attributes:
        ids: The name of each pair.
        sides: `train`, `val`, `test` or `unused` for each pair.
        is_given: Whether the folders say the side of every pair.
        mosaics: The number of the mosaic of each pair whose folder does not say its side, for `mosaic`; else None.
    """

    ids: Sequence[str]
    sides: tuple[str, ...]
    is_given: bool = False
    mosaics: NDArray[np.int64] | None = None

    def indices(self, side: str) -> list[int]:
        """Return the indices of the pairs on a side."""
        return [i for i, other in enumerate(self.sides) if other == side]

    @property
    def digest(self) -> str:
        """A short text that differs when a pair changes sides."""
        sides = [f"{id}:{side}" for id, side in zip(self.ids, self.sides, strict=True)]
        return hashlib.sha256(" ".join(sides).encode()).hexdigest()[:16]

    def write(self, path: Path) -> None:
        """Write a CSV (id,split), which `data.split=PATH` reads back."""
        with whole_file(path) as part, part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "split"])
            writer.writerows(zip(self.ids, self.sides, strict=True))


def split_pairs(
    pairs: Pairs,
    coverage: NDArray[np.float64],
    options: SplitOptions,
    find_mosaics: Callable[[], NDArray[np.int64]],
) -> Split:
    """Split pairs by their folders train/, val/ and test/, or else by the options; a CSV overrides the folders.

    Args:
        pairs: The pairs, sorted by id.
        coverage: Share (N,) of foreground of each mask, in [0, 1].
        options: How pairs are split whose folders don't say it.
        find_mosaics: Finds the number (N,) of the mosaic that each pair belongs to; called for `mosaic` only.

    Raises:
        UserError: If an option does not fit, or no pair would train or validate.
    """
    sides: list[str | None] = [None] * len(pairs) if options.is_csv else list(pairs.splits)
    free = [i for i, side in enumerate(sides) if side is None]
    mosaics = None
    if free:
        mosaics = find_mosaics()[free] if options.method == "mosaic" else None
        chosen = assign_sides(options, [pairs.ids[i] for i in free], coverage[free], mosaics)
        for i, side in zip(free, chosen, strict=True):
            sides[i] = side
    return Split(pairs.ids, tuple(sys.intern(str(side)) for side in sides), not free, mosaics)


def assign_sides(
    options: SplitOptions,
    ids: Sequence[str],
    coverage: NDArray[np.float64],
    groups: NDArray[np.int64] | None = None,
) -> list[str]:
    """Return `train` or `val` (or, from a CSV, `test` or `unused`) for each pair.

    Args:
        options: How to split.
        ids: The names of the pairs, sorted.
        coverage: Share (N,) of foreground of each mask, in [0, 1].
        groups: The number (N,) of the group of each pair, which stays together, for `mosaic`.

    Raises:
        UserError: If an option does not fit, or no pair would train or validate.
    """
    _check_fold(options, len(ids))
    if options.is_csv:
        sides = _read_sides(path_of("data.split", options.method), ids)
    elif options.method == "recreation":
        sides = _recreation_sides(ids)
    else:
        sides = ["val" if validates else "train" for validates in _validation(options, coverage, groups)]
    for side in ("train", "val"):
        if side not in sides:
            raise UserError(
                f"data.split={options.method}", f"leaves no pair for {side}", f"the data has {len(ids)} in all"
            )
    return sides


def _check_fold(options: SplitOptions, count: int) -> None:
    fold, folds, method = options.fold, options.folds, options.method
    if method in ("fraction", "recreation") and fold != 0:
        raise UserError(f"data.fold={fold}", f"has no use: data.split={method} has no folds", "set data.split=kfold")
    if method in FOLDS and not (isinstance(fold, int) and 0 <= fold < folds <= count):
        raise UserError(f"data.fold={fold} of data.folds={folds}", f"does not fit {count} pairs", "folds count from 0")


def _validation(
    options: SplitOptions, coverage: NDArray[np.float64], groups: NDArray[np.int64] | None
) -> NDArray[np.bool_]:
    """Return whether each pair validates (N,)."""
    if options.method == "fraction":
        return systematic_sample(coverage, options.val_fraction, options.seed)
    if options.method == "kfold":
        folds = stratified_folds(coverage, options.folds, options.seed)
    elif options.method == "contiguous":
        folds = np.arange(len(coverage)) * options.folds // len(coverage)
    elif options.method == "mosaic":
        assert groups is not None  # found by the caller, who has the pixels
        folds = grouped_folds(coverage, groups, options.folds, options.seed)
    else:
        known = ", ".join(("fraction", *FOLDS))
        raise UserError(f"data.split={options.method}", f"must be {known}, recreation or the path of a .csv")
    return np.asarray(folds == options.fold)


def read_split(path: Path) -> dict[str, str]:
    """Read the side of each id, as `Split.write` or a spreadsheet wrote it.

    Raises:
        UserError: If it is no such file, or an id comes twice.
    """
    sides: dict[str, str] = {}
    for line, row in read_rows(path, ("id", "split"), MAX_BYTES):
        id = row["id"] or ""
        if id in sides:
            raise UserError(str(path), f"names {id} again in line {line}", "remove one of the lines")
        sides[id] = row["split"] or ""
    return sides


def _recreation_sides(ids: Sequence[str]) -> list[str]:
    """Split as U_net_recreation does: `random.seed(47)`, and `random.sample(sorted names, 3200)` trains.

    The split is defined by the names, so it is the same one only for all 4,000 images of TGS Salt.
    """
    if len(ids) <= RECREATION_SIZE:
        problem = f"draws {RECREATION_SIZE} of TGS Salt's 4,000 images, but there are only {len(ids)}"
        raise UserError("data.split=recreation", problem, "use data.split=fraction")
    train = set(random.Random(RECREATION_SEED).sample(sorted(ids), RECREATION_SIZE))
    return ["train" if id in train else "val" for id in ids]


def _read_sides(path: Path, ids: Sequence[str]) -> list[str]:
    """Read the side of each pair from a CSV; `unused`, with a warning, for a pair that it does not name."""
    try:
        rows = read_split(expanded(path))
    except UserError as error:
        raise error.about(f"data.split={path}") from error
    unknown = sorted(rows.keys() - set(ids))
    wrong = sorted(set(rows.values()) - set(SIDES))
    if unknown:
        raise UserError(
            f"data.split={path}", f"names {len(unknown)} ids that the data does not have, such as {unknown[0]}"
        )
    if wrong:
        raise UserError(f"data.split={path}", f"holds the split {wrong[0]!r}", "train, val, test and unused are known")
    if unlisted := sorted(set(ids) - rows.keys()):
        log.warning(
            "data.split=%s does not list %d of the %d pairs, such as %s: they are not used; list them as train, val, "
            "test or unused",
            *(path, len(unlisted), len(ids), unlisted[0]),
        )
    return [rows.get(id, "unused") for id in ids]
