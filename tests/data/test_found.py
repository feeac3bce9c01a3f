"""Each file of a data set is decoded once, and not at all where the cache knows it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Array, WriteImage, WritePairs

from unetkit.data import SegmentationDataModule, folder_pairs
from unetkit.data.decode import read_image
from unetkit.data.files import FileRef

RNG = np.random.default_rng(0)
COUNT, SIZE = 8, (20, 24)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose content was read, in order."""
    names: list[str] = []
    read = FileRef.read

    def noted(ref: FileRef) -> bytes:
        names.append("/".join(ref.name.parts[-2:]))
        return read(ref)

    monkeypatch.setattr(FileRef, "read", noted)
    return names


def write_kind(write_pairs: WritePairs, root: Path, kind: str) -> tuple[Path, list[str]]:
    """Write pairs whose images are of a kind; return the folder and the names of its files."""
    suffix = ".npy" if kind == "float" else ".png"
    grey = [RNG.integers(0, 256, SIZE, np.uint8) for _ in range(COUNT)]
    as_kind: dict[str, Callable[[Array], Array]] = {
        "grey": lambda image: image,
        "rgb": lambda image: np.dstack([image, image // 2, 255 - image]),
        "16-bit": lambda image: image.astype(np.uint16) * 200,
        "float": lambda image: image.astype(np.float32) - 7,
    }
    images: dict[str, Array] = {f"{i}": as_kind[kind](image) for i, image in enumerate(grey)}
    masks: dict[str, Array] = {f"{i}": (image > 99).astype(np.uint8) for i, image in enumerate(grey)}
    files = [name for i in range(COUNT) for name in (f"images/{i}{suffix}", f"masks/{i}.png")]
    return write_pairs(root, images, masks, suffix), sorted(files)


def prepared(root: Path, channels: int, **options: Any) -> SegmentationDataModule:
    data = SegmentationDataModule(
        name="test",
        pairs=partial(folder_pairs, root),
        augmentation=None,
        cache_dir=root / "cache",
        **options,
    )
    data.prepare(channels)
    return data


@pytest.mark.parametrize("kind", ["grey", "rgb", "16-bit", "float"])
def test_each_file_is_read_once_whatever_is_asked_of_it(
    kind: str, reads: list[str], write_pairs: WritePairs, tmp_path: Path
) -> None:
    root, files = write_kind(write_pairs, tmp_path, kind)
    several: list[dict[str, Any]] = [{}, {"split": "mosaic", "folds": 2}, {"split": "kfold", "fold": 1}]
    for options in several:
        for channels in (1, 3):
            data = prepared(root, channels, **options)
            assert {shape[2] for shape in data.prepared.whole.images.shapes} == {channels}
            assert data.found.image(0).shape[:2] == SIZE
    assert sorted(reads) == files


def test_a_changed_mask_leaves_the_decoded_images_alone(
    reads: list[str], write_pairs: WritePairs, write_image: WriteImage, tmp_path: Path
) -> None:
    root, files = write_kind(write_pairs, tmp_path, "grey")
    prepared(root, 1)
    write_image(root / "masks" / "3.png", np.full(SIZE, 255, np.uint8))
    reads.clear()
    assert (prepared(root, 1).found.masks[3] == 1).all()
    assert sorted(reads) == [name for name in files if name.startswith("masks")]


@pytest.mark.parametrize("kind", ["grey", "rgb", "16-bit", "float"])
def test_decoded_images_are_those_of_the_files(kind: str, write_pairs: WritePairs, tmp_path: Path) -> None:
    root, _ = write_kind(write_pairs, tmp_path, kind)
    found = prepared(root, 3 if kind == "rgb" else 1).found
    for i, pair in enumerate(found.pairs):
        expected = read_image(pair.image)
        assert found.image(i).dtype == expected.dtype
        np.testing.assert_array_equal(found.image(i), expected)
