"""Which pair trains, which validates: deterministic by seed, stratified by how much of a mask is foreground."""

import csv
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unetkit.errors import UserError

Split = list[str]  # "train", "val", "test" or "unused" for each pair

FOLDS = ("kfold", "contiguous", "mosaic")  # the methods that heed `folds` and `fold`
STRATA = 20  # of coverage, at most, for groups

RECREATION_SEED, RECREATION_SIZE = 47, 3200


def assign_split(
    method: str,
    ids: Sequence[str],
    coverage: NDArray[np.float64],
    *,
    val_fraction: float,
    folds: int,
    fold: int,
    seed: int,
    groups: NDArray[np.int64] | None = None,
) -> Split:
    """`train` or `val` (or, from a CSV, `test` or `unused`) for each pair.

    Args:
        method: `fraction` (stratified), `kfold` (stratified), `contiguous` (folds of neighbours in the order of
            names, for slices of a volume), `mosaic` (stratified folds of whole groups), `recreation`
            (U_net_recreation's), or the path of a CSV (id,split), such as the `split.csv` of an earlier run.
        ids: Names of the pairs, sorted.
        coverage: Share of foreground of each mask, in [0, 1].
        val_fraction: Share of validation pairs, for `fraction`.
        folds: Number of folds, for those of `FOLDS`.
        fold: The fold that validates, from 0.
        seed: Of the random order within equal coverage.
        groups: What belongs together, as a number for each pair, for `mosaic`.

    Raises:
        UserError: If an argument does not fit, or a side of the split would be empty.
    """
    if method in FOLDS and not (isinstance(fold, int) and 0 <= fold < folds <= len(ids)):
        raise UserError(f"data.fold={fold} of data.folds={folds} does not fit {len(ids)} pairs; folds count from 0")
    if method in ("fraction", "recreation") and fold != 0:
        raise UserError(f"data.fold={fold}, but data.split={method} has no folds; set data.split=kfold")
    if method == "fraction":
        split = _mark(_systematic_sample(coverage, val_fraction, seed))
    elif method == "kfold":
        split = _mark(stratified_folds(coverage, folds, seed) == fold)
    elif method == "contiguous":
        split = _mark(np.arange(len(ids)) * folds // len(ids) == fold)
    elif method == "mosaic":
        assert groups is not None  # the caller has the pixels
        split = _mark(grouped_folds(coverage, groups, folds, seed) == fold)
    elif method == "recreation":
        split = _recreation(ids)
    elif method.endswith(".csv"):
        split = _read(Path(method), ids)
    else:
        known = ", ".join(("fraction", *FOLDS))
        raise UserError(f"data.split={method} must be {known}, recreation or the path of a .csv")
    for side in ("train", "val"):
        if side not in split:
            raise UserError(f"data.split={method} leaves no pair for {side}; there are {len(ids)} pairs in all")
    return split


def stratified_folds(coverage: NDArray[np.float64], folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each pair, so that every fold has the same spread of coverage."""
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.permutation(len(coverage)), coverage))
    result = np.empty(len(coverage), np.int64)
    for start in range(0, len(order), folds):
        block = order[start : start + folds]
        result[block] = rng.permutation(folds)[: len(block)]
    return result


def grouped_folds(coverage: NDArray[np.float64], groups: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each pair, so that no group is torn apart and every fold has about the same spread of coverage.

    The largest groups come first; each goes to the fold that has least of its strata of coverage so far.

    Raises:
        UserError: If there are fewer groups than folds.
    """
    _, groups, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) < folds:
        raise UserError(f"data.folds={folds}, but the pairs belong to only {len(sizes)} groups; lower data.folds")
    rng = np.random.default_rng(seed)
    strata = min(STRATA, len(coverage) // folds)
    contents = np.zeros((len(sizes), strata), np.int64)
    order = np.lexsort((rng.permutation(len(coverage)), coverage))
    np.add.at(contents, (groups[order], np.arange(len(order)) * strata // len(order)), 1)
    filled = np.zeros((folds, strata), np.int64)
    chosen = np.empty(len(sizes), np.int64)
    for group in np.lexsort((rng.permutation(len(sizes)), -sizes)):
        ties = rng.permutation(folds)
        chosen[group] = np.lexsort((ties, filled.sum(1), filled @ contents[group]))[0]
        filled[chosen[group]] += contents[group]
    return chosen[groups]


def write_split(path: Path, ids: Sequence[str], split: Split) -> None:
    """Write `id,split`, which `data.split=PATH` reads back."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "split"])
        writer.writerows(zip(ids, split, strict=True))


def read_split(path: Path) -> dict[str, str]:
    """The side of each id, as `write_split` or a spreadsheet wrote them.

    Raises:
        OSError, KeyError, ValueError, csv.Error: If it is no such file, or an id stands there twice.
    """
    sides: dict[str, str] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            if row["id"] in sides:
                raise ValueError(f"{row['id']} stands there twice")
            sides[row["id"]] = row["split"] or ""
    return sides


def _mark(validates: NDArray[np.bool_]) -> Split:
    return ["val" if v else "train" for v in validates]


def _systematic_sample(coverage: NDArray[np.float64], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Every (1 / fraction)-th pair in the order of coverage, from a random start."""
    if not (isinstance(fraction, int | float) and 0 < fraction < 1):
        raise UserError(f"data.val_fraction={fraction} must be between 0 and 1")
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.permutation(len(coverage)), coverage))
    marks = np.floor(np.arange(len(order) + 1) * fraction + rng.random())
    chosen = np.zeros(len(order), np.bool_)
    chosen[order] = np.diff(marks) > 0
    if len(order) > 1 and chosen.any() == chosen.all():  # of few pairs, one goes to the side that is empty
        chosen[rng.integers(len(order))] ^= True
    return chosen


def _recreation(ids: Sequence[str]) -> Split:
    """U_net_recreation's: names sorted, `random.seed(47)`, `random.sample(names, 3200)` train, the rest validates.

    It is defined by the names, so it is that split only for all 4,000 images of TGS Salt.
    """
    if len(ids) <= RECREATION_SIZE:
        raise UserError(
            f"data.split=recreation draws {RECREATION_SIZE} of TGS Salt's 4,000 images, but there are only {len(ids)}; "
            "use data.split=fraction"
        )
    names = sorted(ids)
    train = set(random.Random(RECREATION_SEED).sample(names, RECREATION_SIZE))
    return ["train" if id in train else "val" for id in ids]


def _read(path: Path, ids: Sequence[str]) -> Split:
    try:
        rows = read_split(path.expanduser())
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise UserError(f"data.split={path} can't be read as a CSV with the columns id,split ({error})") from error
    unknown = sorted(rows.keys() - set(ids))
    wrong = sorted(set(rows.values()) - {"train", "val", "test", "unused"})
    if unknown:
        raise UserError(f"data.split={path} names {len(unknown)} ids that are not in the data, such as {unknown[0]}")
    if wrong:
        raise UserError(f"data.split={path} holds the split {wrong[0]!r}; train, val, test or unused are known")
    return [rows.get(id, "unused") for id in ids]
