"""Splits depend on seed and names alone, cover every pair once, and spread coverage evenly."""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from unetkit.data.folds import stratified_folds
from unetkit.data.splits import Split, SplitOptions, assign_sides
from unetkit.errors import UserError

Coverage = NDArray[np.float64]
RNG = np.random.default_rng(0)


def salt_like(size: int) -> Coverage:
    """39 % empty masks, the others spread out."""
    return np.where(RNG.random(size) < 0.39, 0.0, RNG.random(size) ** 2)


def split_of(method: str, coverage: Coverage, **options: Any) -> list[str]:
    ids = [f"{i:05d}" for i in range(len(coverage))]
    return assign_sides(SplitOptions(method, **options), ids, coverage)


def validates(split: list[str]) -> NDArray[np.bool_]:
    return np.array([side == "val" for side in split])


@pytest.mark.parametrize("method", ["fraction", "kfold", "contiguous"])
def test_the_same_seed_gives_the_same_split_of_every_pair(method: str) -> None:
    coverage = salt_like(203)
    split = split_of(method, coverage)
    assert split == split_of(method, coverage)
    assert set(split) == {"train", "val"}
    assert len(split) == 203
    if method != "contiguous":
        assert split != split_of(method, coverage, seed=1)


@pytest.mark.parametrize(("size", "fraction"), [(200, 0.2), (203, 0.2), (100, 0.5), (1000, 0.03), (50, 0.9)])
def test_the_fraction_is_met(size: int, fraction: float) -> None:
    count = validates(split_of("fraction", salt_like(size), val_fraction=fraction)).sum()
    assert abs(count - size * fraction) < 1


@pytest.mark.parametrize("method", ["kfold", "contiguous"])
@pytest.mark.parametrize(("size", "folds"), [(100, 5), (103, 5), (7, 7), (30, 2)])
def test_folds_partition_the_pairs(method: str, size: int, folds: int) -> None:
    coverage = salt_like(size)
    parts = [validates(split_of(method, coverage, folds=folds, fold=fold)) for fold in range(folds)]
    np.testing.assert_array_equal(np.sum(parts, 0), 1)
    sizes = [part.sum() for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_contiguous_folds_are_blocks_of_neighbours() -> None:
    assert split_of("contiguous", np.zeros(6), folds=3, fold=1) == ["train", "train", "val", "val", "train", "train"]


@pytest.mark.parametrize("size", [200, 1000, 4000])
def test_every_part_has_the_same_spread_of_coverage(size: int) -> None:
    coverage = salt_like(size)
    folds = stratified_folds(coverage, 5, seed=3)
    parts = [folds == fold for fold in range(5)]
    parts.append(validates(split_of("fraction", coverage)))
    for part in parts:
        assert abs(coverage[part].mean() - coverage.mean()) < 2 / size
        assert abs((coverage[part] == 0).sum() - (coverage == 0).sum() / 5) <= 1


def test_pairs_of_equal_coverage_are_drawn_at_random() -> None:
    positions = np.flatnonzero(validates(split_of("fraction", np.zeros(1000))))
    assert len(set(np.diff(positions))) > 5
    assert abs(positions.mean() - 500) < 60


def test_the_recreation_s_split_is_its_own_code_s() -> None:
    names = [f"{number:010x}" for number in np.random.default_rng(1).permutation(4000)]
    random.seed(47)
    train = set(random.sample(sorted(names), 3200))
    split = assign_sides(SplitOptions("recreation", seed=1), names, np.zeros(4000))
    assert {name for name, side in zip(names, split, strict=True) if side == "train"} == train
    assert split.count("val") == 800


@pytest.mark.parametrize("size", [1, 500, 3200])
def test_the_recreation_s_split_needs_all_of_tgs(size: int) -> None:
    with pytest.raises(UserError, match=rf"recreation draws 3200 .* only {size}; use data\.split=fraction"):
        split_of("recreation", np.zeros(size))


def test_a_written_split_reads_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ids = ["train/a, b", "train/ü", "val/c", "d", "e"]
    split = ["train", "val", "test", "unused", "train"]
    Split(tuple(ids), tuple(split)).write(tmp_path / "split.csv")
    options = SplitOptions(str(tmp_path / "split.csv"))
    assert assign_sides(options, ids, np.zeros(5)) == split
    table = (tmp_path / "split.csv").read_text(encoding="utf-8")
    (tmp_path / "split.csv").write_text(table, encoding="utf-8-sig")  # as spreadsheets write it
    more = [*ids, "new"]
    assert caplog.text == ""
    assert assign_sides(options, more, np.zeros(6)) == [*split, "unused"]
    assert f"does not list 1 of the 6 pairs, such as {more[-1]}: they are not used" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,side\n00000,train\n", r"must have the columns id,split, not name,side"),
        ("id,split\n00000,train\nzzz,val\n", r"names 1 ids that the data does not have, such as zzz"),
        ("id,split\n00000,train\n00001,dev\n", r"holds the split 'dev'; train, val, test and unused are known"),
        ("id,split\n00000,train\n00001\n00002,dev\n", r"holds the split"),
        ("id,split\n00000,train\n00001,val\n00000,val\n", r"names 00000 again in line 4; remove one of the lines"),
        ("id,split\n00000,train\n", r"leaves no pair for val"),
        ("", r"must have the columns id,split, not"),
        ("id,split\n00000,train\n".encode("utf-16"), r"is not UTF-8 text; save it as CSV in UTF-8"),
        ("id,split\nä,train\n".encode("latin-1"), r"is not UTF-8 text"),
        ("id,split\n" + 200_000 * "a" + ",train\n", r"can't be read \(field larger than field limit"),
        ("id,split\n0000\0,train\n", r"names 1 ids that the data does not have"),
        (Path.mkdir, r"is a folder"),
        *([(os.mkfifo, r"is a pipe or device")] if hasattr(os, "mkfifo") else []),
    ],
)
def test_a_wrong_csv_is_named(content: str | bytes | Callable[[Path], object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "split.csv"
    if callable(content):
        content(path)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UserError, match=rf"data\.split=.*split\.csv {message}"):
        split_of(str(path), np.zeros(3))


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (
            "random",
            {},
            r"data\.split=random must be fraction, kfold, contiguous, mosaic, recreation or the",
        ),
        ("missing.csv", {}, r"data\.split=missing\.csv can't be read \(No such file"),
        ("fraction", {"val_fraction": 0.0}, r"data\.val_fraction=0\.0 must be between 0 and 1"),
        ("fraction", {"val_fraction": 1.0}, r"data\.val_fraction=1\.0 must be between 0 and 1"),
        ("kfold", {"fold": 5}, r"data\.fold=5 of data\.folds=5 does not fit 10 pairs; folds count from 0"),
        ("fraction", {"fold": 1}, r"data\.fold=1 has no use: data\.split=fraction has no folds; set data\.split=kfold"),
        ("kfold", {"fold": -1}, r"data\.fold=-1 of"),
        ("contiguous", {"folds": 11}, r"data\.folds=11 does not fit 10 pairs"),
        ("kfold", {"folds": 1}, r"leaves no pair for train"),
    ],
)
def test_wrong_arguments_are_named(method: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        split_of(method, np.zeros(10), **options)


@pytest.mark.parametrize("size", [2, 3, 4, 5])
@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.9])
def test_a_fraction_of_few_pairs_leaves_one_on_either_side(size: int, fraction: float) -> None:
    for seed in range(5):
        assert set(split_of("fraction", np.zeros(size), val_fraction=fraction, seed=seed)) == {"train", "val"}


def test_a_single_pair_can_not_be_split() -> None:
    with pytest.raises(UserError, match=r"data\.split=fraction leaves no pair for val; the data has 1 in all"):
        split_of("fraction", np.zeros(1), val_fraction=0.01)


def test_values_that_the_split_does_not_use_are_found() -> None:
    assert SplitOptions("kfold", 0.5, folds=3).unused(False) == {"val_fraction": 0.5}
    assert SplitOptions("fraction", 0.5, folds=3).unused(False) == {"folds": 3}
    assert SplitOptions("split.csv", 0.5, folds=3, fold=2).unused(False) == {"val_fraction": 0.5, "folds": 3, "fold": 2}
    assert SplitOptions("fraction", 0.5).unused(True) == {"val_fraction": 0.5}
    for method in ("fraction", "kfold", "contiguous", "mosaic", "recreation", "split.csv"):
        assert SplitOptions(method).unused(False) == {}
