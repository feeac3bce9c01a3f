"""Files that several tests write, and commands that they type."""

import logging
import os
import socket
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from unetkit.checkpoints.checkpoint import save_weights
from unetkit.checkpoints.metadata import Metadata
from unetkit.cli.main import main
from unetkit.data import Preprocessing
from unetkit.models import UNet

os.environ.setdefault("OMP_NUM_THREADS", "1")  # pytest's workers share the cores

Array = NDArray[Any]
WriteImage = Callable[[Path, Array], Path]
WritePairs = Callable[..., Path]


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def zipped(path: Path, *members: tuple[str, bytes]) -> Path:
    """Write a zip of members, each by its name and content; gives the path."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


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


class Done(NamedTuple):
    """What a command leaves: its exit status, and what it wrote."""

    status: int
    stdout: str
    stderr: str


Unetkit = Callable[..., Done]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Return a checkpoint of a fresh network, for the commands that read one."""
    model = {"_target_": "unetkit.models.UNet", "in_channels": 1, "num_classes": 1, "channels": [4, 8]}
    torch.manual_seed(0)
    save_weights(tmp_path / "net.ckpt", Metadata(model, Preprocessing(1)), UNet(1, 1, [4, 8]).state_dict())
    return tmp_path / "net.ckpt"


@pytest.fixture
def unetkit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Unetkit]:
    """Runs `unetkit ...` in this process; what the program sets for itself is taken back after the test."""
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")  # chosen by the user, so it keeps the allocator's settings
    root = logging.getLogger()
    level, handlers = root.level, [*root.handlers]
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def run(*typed: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["unetkit", *typed])
        status: object = 0
        said = ""
        try:
            main()
        except SystemExit as end:
            status = end.code
            if isinstance(status, str):  # as `sys.exit("...")` writes to stderr
                status, said = 1, f"{status}\n"
        stdout, stderr = capsys.readouterr()
        return Done(int(str(status or 0)), stdout, stderr + said)

    yield run
    root.setLevel(level)
    root.handlers[:] = handlers
    for logger in logging.Logger.manager.loggerDict.values():  # all of which Hydra disables
        if isinstance(logger, logging.Logger):
            logger.disabled = False
