"""What was decoded once is kept, until what it depends on changes."""

import mmap
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from unetkit.data.compact import Repeated, Texts
from unetkit.data.store import LARGE, ArrayStore, cached_arrays, cached_json, memory_mapped
from unetkit.errors import UserError

RNG = np.random.default_rng(0)
ARRAYS: list[NDArray[Any]] = [RNG.integers(0, 256, shape, np.uint8) for shape in [(4, 5, 3), (7, 2, 1), (1, 1, 3)]]
ARRAYS += [RNG.integers(0, 60_000, (3, 5)).astype(dtype) for dtype in (np.uint16, ">u2", np.float64, np.uint8)]
Decoder = Callable[[], Iterator[NDArray[Any]]]


class Decoding:
    """Counts how often it is asked to decode."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> Iterator[NDArray[Any]]:
        self.count += 1
        yield from ARRAYS


def stored(cache_dir: Path, decode: Decoder, key: object = "key", what: str = "images") -> ArrayStore:
    return cached_arrays(cache_dir, [key, None, [1, "a"]], decode, len(ARRAYS), what)


def assert_equal(store: ArrayStore) -> None:
    assert len(store) == len(ARRAYS)
    for i, array in enumerate(ARRAYS):
        np.testing.assert_array_equal(store[i], array)
        assert (store.shapes[i], store[i].dtype) == (array.shape, array.dtype)


def test_arrays_of_mixed_shapes_and_dtypes_read_as_written_in_any_order(tmp_path: Path) -> None:
    store = stored(tmp_path / "deep" / "cache", Decoding())
    assert_equal(store)
    np.testing.assert_array_equal(store[0], ARRAYS[0])
    np.testing.assert_array_equal(store[-1], ARRAYS[-1])


def test_they_are_decoded_once(tmp_path: Path) -> None:
    decode = Decoding()
    for _ in range(3):
        assert_equal(stored(tmp_path, decode))
    assert decode.count == 1


def test_another_key_or_kind_is_decoded_anew(tmp_path: Path) -> None:
    decode = Decoding()
    stored(tmp_path, decode)
    stored(tmp_path, decode, key="other")
    stored(tmp_path, decode, what="masks")
    assert decode.count == 3
    stored(tmp_path, decode)
    assert decode.count == 3


@pytest.mark.parametrize("suffix", [".bin", ".json"])
@pytest.mark.parametrize("damage", ["gone", "cut", "empty", "longer", "other", "none", "null", "kinds"])
def test_a_broken_file_is_made_anew(suffix: str, damage: str, tmp_path: Path) -> None:
    decode = Decoding()
    stored(tmp_path, decode)
    (path,) = tmp_path.glob(f"*{suffix}")
    content = path.read_bytes()
    damages = {"cut": content[:-5], "empty": b"", "longer": content + b"123", "other": b"[]"}
    damages |= {"none": b'[[0, [4], "|u1"]]', "null": b"null", "kinds": b'[[1, [4], "no dtype"]]'}
    path.unlink()
    if damage in damages:
        path.write_bytes(damages[damage])
    assert_equal(stored(tmp_path, decode))
    assert decode.count == 2


def test_decoding_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Iterator[NDArray[np.uint8]]:
        yield ARRAYS[0]
        raise UserError("b.png", "can't be read")

    with pytest.raises(UserError, match=r"b\.png"):
        stored(tmp_path, broken)
    assert list(tmp_path.iterdir()) == []
    assert_equal(stored(tmp_path, Decoding()))


def test_a_cache_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    for cache_dir in (file, file / "cache"):
        with pytest.raises(UserError, match=rf"data\.cache_dir={cache_dir} can't be written .*; give another"):
            stored(cache_dir, Decoding())
        with pytest.raises(UserError, match=r"data\.cache_dir="):
            cached_json(cache_dir, ["key"], dict, "probes")


def test_workers_get_the_path_not_the_pixels(tmp_path: Path) -> None:
    big = [np.full((500, 500), i, np.uint8) for i in range(4)]
    pickled = pickle.dumps(cached_arrays(tmp_path, ["big"], lambda: big, 4, "images"))
    assert len(pickled) < 1000
    np.testing.assert_array_equal(pickle.loads(pickled)[3], big[3])


def test_the_stored_arrays_can_not_be_changed(tmp_path: Path) -> None:
    store = stored(tmp_path, Decoding())
    with pytest.raises(ValueError, match="read-only"):
        store[0][:] = 0


def test_plain_data_is_made_once_for_each_key(tmp_path: Path) -> None:
    made = iter(range(10))
    first = [cached_json(tmp_path, [key], lambda: {"values": [next(made), 0.5, None]}, "probes") for key in "aab"]
    assert first == [{"values": [n, 0.5, None]} for n in (0, 0, 1)]
    for path in tmp_path.iterdir():
        path.write_text("{broken")
    assert cached_json(tmp_path, ["a"], lambda: next(made), "probes") == 2


def test_a_file_that_windows_holds_for_another_run_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(part: Path, path: Path) -> None:
        if is_written_by_another:
            path.write_bytes(part.read_bytes())
        raise PermissionError(13, "Access is denied")

    monkeypatch.setattr(Path, "replace", refuse)
    is_written_by_another = True
    assert_equal(stored(tmp_path, Decoding()))
    assert cached_json(tmp_path, ["key"], lambda: 5, "probes") == 5
    assert len(list(tmp_path.iterdir())) == 3
    is_written_by_another = False
    with pytest.raises(UserError, match=r"data\.cache_dir=.* can't be written"):
        stored(tmp_path / "other", Decoding())


def test_many_arrays_of_one_kind_take_few_bytes_beside_their_content(tmp_path: Path) -> None:
    arrays = [np.full((4, 4), i % 200, np.uint8) for i in range(3000)] + [np.zeros((2, 3), np.uint16)]
    store = cached_arrays(tmp_path, ["many"], lambda: arrays, len(arrays), "tiles")
    assert store.path.with_suffix(".json").stat().st_size < 100
    assert len({id(shape) for shape in store.shapes}) == 2
    for i in (0, 1, 1999, 2999, 3000):
        np.testing.assert_array_equal(store[i], arrays[i])


def is_mapped(array: NDArray[Any]) -> bool:
    base: Any = array
    while isinstance(base, np.ndarray | memoryview):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    return isinstance(base, mmap.mmap)


def long_lists() -> tuple[Texts, Repeated[str], NDArray[np.int64]]:
    names = [f"tile {i:07}" for i in range(LARGE // 12)]
    return Texts(names), Repeated.of(name[-1] for name in names), np.arange(len(names))


def assert_equal_lists(lists: tuple[Texts, Repeated[str], NDArray[np.int64]]) -> None:
    texts, kinds, numbers = long_lists()
    assert [*lists[0]] == [*texts]
    assert [*lists[1]] == [*kinds]
    assert (lists[0][1234], lists[1][1234]) == (texts[1234], kinds[1234])
    np.testing.assert_array_equal(lists[2], numbers)


def test_long_lists_lie_in_one_file_whose_pages_processes_share(tmp_path: Path) -> None:
    first, second = (memory_mapped(long_lists(), tmp_path, "pairs") for _ in range(2))
    for texts, kinds, numbers in (first, second):
        assert all(map(is_mapped, (texts._content, texts._starts, kinds.places, numbers)))
        assert_equal_lists((texts, kinds, numbers))
    assert len([*tmp_path.glob("pairs-*.bin")]) == 1
    with pytest.raises(ValueError, match="read-only"):
        first[2][0] = 5


def test_short_lists_make_no_file(tmp_path: Path) -> None:
    assert list(memory_mapped(Texts(["a", "b"]), tmp_path, "pairs")) == ["a", "b"]
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_lists_are_right_though_their_file_is_damaged(damage: str, tmp_path: Path) -> None:
    memory_mapped(long_lists(), tmp_path, "pairs")
    (file,) = tmp_path.glob("pairs-*.bin")
    content = bytearray(file.read_bytes())
    content[20_000] ^= 1
    file.unlink()  # no file that may be mapped is written to
    file.write_bytes(content[:-100] if damage == "cut" else content)
    assert_equal_lists(memory_mapped(long_lists(), tmp_path, "pairs"))


def test_lists_stay_in_memory_where_the_cache_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert_equal_lists(memory_mapped(long_lists(), tmp_path / "file", "pairs"))
