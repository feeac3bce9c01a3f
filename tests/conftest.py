"""Files that several tests write."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

os.environ.setdefault("OMP_NUM_THREADS", "1")  # pytest's workers share the cores

Array = NDArray[Any]
WriteImage = Callable[[Path, Array], Path]
WritePairs = Callable[..., Path]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder for decoded images, shared by runs on the same data."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def write_image() -> WriteImage:
    """Writes an array, in RGB(A) order, as what the path's suffix says; gives the path."""

    def write(path: Path, image: Array) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".npy":
            np.save(path, image)
            return path
        if image.ndim == 3:
            image = np.ascontiguousarray(image[..., [2, 1, 0, 3][: image.shape[2]]])
        assert cv2.imwrite(str(path), image)
        return path

    return write


@pytest.fixture
def write_pairs(write_image: WriteImage) -> WritePairs:
    """Writes `images/` and `masks/` of equal names, from arrays by name, under a folder; gives the folder."""

    def write(
        root: Path, images: dict[str, Array], masks: dict[str, Array], suffix: str = ".png", mask_suffix: str = ""
    ) -> Path:
        for name, image in images.items():
            write_image(root / "images" / f"{name}{suffix}", image)
        for name, mask in masks.items():
            write_image(root / "masks" / f"{name}{mask_suffix}.png", mask)
        return root

    return write
