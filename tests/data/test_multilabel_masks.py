"""Masks of several labels: in folders, by patterns, as bit planes and as channels, read as bits of one mask."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import Array, WriteImage

from unetkit.data import SegmentationDataModule, folder_pairs
from unetkit.data.layout.labels import distinct_parts
from unetkit.errors import UserError

A, B = (np.indices((20, 24))[axis] > 8 for axis in (0, 1))
IMAGE = np.arange(480, dtype=np.uint8).reshape(20, 24)
BITS = A + 2 * B


def data_of(root: Path, **keys: object) -> SegmentationDataModule:
    names = keys.get("class_names")
    masks = keys.pop("masks", None)
    pairs = partial(folder_pairs, root, masks=masks, labels="multilabel", class_names=names)  # type: ignore[arg-type]
    return SegmentationDataModule(
        name="cells",
        pairs=pairs,
        augmentation=None,
        cache_dir=root.parent / "cache",
        labels="multilabel",
        **keys,  # type: ignore[arg-type]
    )


def write_all(write: WriteImage, root: Path, images: str, masks: dict[str, Array]) -> None:
    for i in range(2):
        write(root / images.format(i), IMAGE)
        for place, mask in masks.items():
            write(root / place.format(i), mask)


def white(mask: Array) -> Array:
    return mask * np.uint8(255)


LAYOUTS = {
    "a folder of each label": {"masks/a/{}.png": white(A), "masks/b/{}.png": white(B)},
    "masks of 0 and 1, one as TIFF": {"masks/a/{}.tif": A.astype(np.uint8), "masks/b/{}.png": B.astype(np.uint8)},
    "folders with names of masks": {"labels/a/{}_mask.png": white(A), "labels/b/{}_mask.png": white(B)},
}


@pytest.mark.parametrize("masks", LAYOUTS.values(), ids=LAYOUTS)
def test_folders_are_found_and_name_the_labels(
    masks: dict[str, Array], tmp_path: Path, write_image: WriteImage
) -> None:
    write_all(write_image, tmp_path / "cells", "images/{}.png", masks)
    data = data_of(tmp_path / "cells")
    assert data.class_names == ["a", "b"]
    assert all((mask == BITS).all() for mask in data.found.masks)
    assert data.found.pixels.tolist() == [[A.sum(), B.sum()]] * 2
    assert data.found.coverage == pytest.approx([(A | B).mean()] * 2)


def test_parts_of_the_data_keep_their_split(tmp_path: Path, write_image: WriteImage) -> None:
    for part in ("train", "val"):
        masks = {f"{part}/masks/a/{{}}.png": white(A), f"{part}/masks/b/{{}}.png": white(B)}
        write_all(write_image, tmp_path / "cells", f"{part}/images/{{}}.png", masks)
    data = data_of(tmp_path / "cells")
    assert data.split.sides == ("train", "train", "val", "val")


def test_names_set_the_order(tmp_path: Path, write_image: WriteImage) -> None:
    write_all(write_image, tmp_path / "cells", "images/{}.png", LAYOUTS["a folder of each label"])
    swapped = data_of(tmp_path / "cells", class_names=["b", "a"])
    assert (swapped.found.masks[0] == B + 2 * A).all()
    with pytest.raises(UserError, match=r"set data\.class_names=\[a,b\]"):
        _ = data_of(tmp_path / "cells", class_names=["b", "c"]).found


def test_patterns_name_the_masks_of_each_label(tmp_path: Path, write_image: WriteImage) -> None:
    masks = {"masks/{}_mito.png": white(A), "masks/{}_membrane.png": white(B)}
    write_all(write_image, tmp_path / "cells", "images/{}.png", masks)
    data = data_of(tmp_path / "cells", masks=["masks/*_mito.png", "masks/*_membrane.png"])
    assert data.class_names == ["mito", "membrane"]
    assert (data.found.masks[0] == BITS).all()


def test_labels_are_called_by_what_differs_in_their_places() -> None:
    assert distinct_parts(["masks/mito", "masks/membrane"]) == ["mito", "membrane"]
    assert distinct_parts(["nuclei/masks/*.png", "cells/masks/*.png"]) == ["nuclei", "cells"]


@pytest.mark.parametrize("suffix", ["png", "tif", "npy"])
def test_bit_planes_of_one_mask(suffix: str, tmp_path: Path, write_image: WriteImage) -> None:
    mask = np.where(np.indices(A.shape)[1] == 0, 255, BITS).astype(np.uint8)  # a void column
    write_all(write_image, tmp_path / "cells", "images/{}.png", {f"masks/{{}}.{suffix}": mask})
    data = data_of(tmp_path / "cells", class_names=["a", "b"], ignore_index=255)
    assert (data.found.masks[0] == mask).all()
    assert data.found.pixels[0].tolist() == [(A & (mask < 255)).sum(), (B & (mask < 255)).sum()]
    with pytest.raises(UserError, match="bit planes of 0 to 3"):
        _ = data_of(tmp_path / "cells", class_names=["a", "b"]).found


def test_a_channel_of_each_label(tmp_path: Path, write_image: WriteImage) -> None:
    channels = np.dstack([white(A), white(B), white(A & B)])
    write_all(write_image, tmp_path / "cells", "images/{}.png", {"masks/{}.png": channels})
    data = data_of(tmp_path / "cells", class_names=["a", "b", "both"])
    assert (data.found.masks[0] == BITS + 4 * (A & B)).all()


def test_void_of_one_label_is_void(tmp_path: Path, write_image: WriteImage) -> None:
    unsure = A.astype(np.uint8)
    unsure[:, 0] = 2
    masks = {"masks/a/{}.png": unsure, "masks/b/{}.png": B.astype(np.uint8)}
    write_all(write_image, tmp_path / "cells", "images/{}.png", masks)
    data = data_of(tmp_path / "cells", ignore_index=2)
    assert (data.found.masks[0][:, 0] == 255).all()
    assert (data.found.masks[0][:, 1:] == BITS[:, 1:]).all()


def test_what_is_not_clear_is_refused_in_one_line(tmp_path: Path, write_image: WriteImage) -> None:
    root = tmp_path / "cells"
    write_all(write_image, root, "images/{}.png", LAYOUTS["a folder of each label"])
    (root / "masks" / "b" / "1.png").unlink()
    with pytest.raises(UserError, match="has no mask"):
        data_of(root)
    write_all(write_image, tmp_path / "planes", "images/{}.png", {"masks/{}.png": BITS.astype(np.uint8)})
    with pytest.raises(UserError, match="name the labels"):
        data_of(tmp_path / "planes")
    with pytest.raises(UserError, match="2 to 7 different labels"):
        data_of(tmp_path / "planes", class_names=list("abcdefgh"))
    with pytest.raises(UserError, match="lists the masks of several labels"):
        folder_pairs(root, masks=["masks/a", "masks/b"])


def test_objects_in_folders_of_their_images_are_no_labels(tmp_path: Path, write_image: WriteImage) -> None:
    for i in range(2):
        write_image(tmp_path / "nuclei" / "images" / f"n{i}.png", IMAGE)
        write_image(tmp_path / "nuclei" / "masks" / f"n{i}" / "1.png", white(A))
        write_image(tmp_path / "nuclei" / "masks" / f"n{i}" / "2.png", white(B))
    assert len(folder_pairs(tmp_path / "nuclei")) == 2
    with pytest.raises(UserError, match="name the labels"):
        data_of(tmp_path / "nuclei")
