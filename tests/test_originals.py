"""Parity with other projects, run if UNETKIT_ORIGINALS is a folder with clones of them; one test needs TGS Salt."""

import importlib
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from unetkit.checkpoints.importing import import_network

ORIGINALS = Path(os.environ.get("UNETKIT_ORIGINALS", "originals"))
DATA = Path(os.environ.get("UNETKIT_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
MILESIAL, BRAIN = ORIGINALS / "Pytorch-UNet", ORIGINALS / "brain-segmentation-pytorch"
RECREATION = ORIGINALS / "U_net_recreation"
SMALL = RECREATION / "best_performing_models/version_9/checkpoints/epoch=299-step=24000.ckpt"

pytestmark = pytest.mark.skipif(not ORIGINALS.is_dir(), reason="UNETKIT_ORIGINALS holds no clones")


def theirs(clone: Path, module: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(clone))
    for name in [name for name in sys.modules if name.split(".")[0] == module.split(".")[0]]:
        monkeypatch.delitem(sys.modules, name)
    return importlib.import_module(module)


@torch.no_grad()
def check_same_logits(
    network: nn.Module, file: Path, size: tuple[int, int], final: Any = lambda logits: logits
) -> None:
    network.train()
    for _ in range(2):  # which changes the running statistics of BatchNorm
        network(torch.rand(2, 3, *size))
    network.eval()
    torch.save(network.state_dict(), file)
    x = torch.rand(1, 3, *size)
    ours = final(import_network(file).network.eval()(x))
    torch.testing.assert_close(ours, network(x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("bilinear", [False, True])
def test_logits_are_those_of_milesial(bilinear: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = theirs(MILESIAL, "unet", monkeypatch).UNet(3, 2, bilinear)
    check_same_logits(network, tmp_path / "x.pth", (96, 128))


def test_logits_are_those_of_mateuszbuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_same_logits(theirs(BRAIN, "unet", monkeypatch).UNet(), tmp_path / "x.pt", (96, 128), torch.sigmoid)


@pytest.mark.parametrize("name", ["U_net_reducedV1", "U_net_reducedV3"])
def test_logits_are_those_of_the_recreation(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = getattr(theirs(RECREATION, "U_net_recreation.model", monkeypatch), name)()
    check_same_logits(network, tmp_path / "x.ckpt", (104, 104))


@pytest.mark.skipif(not (DATA / "tgs-salt/train.zip").exists(), reason="the real data are not here")
@torch.inference_mode()
def test_the_loss_of_the_recreation_on_its_training_images() -> None:
    """Binary cross-entropy 0.2045: RGB, resized to 104 by Pillow, soft masks, the 64x64 pixels in the middle."""
    network = import_network(SMALL).network.eval()
    archive = zipfile.ZipFile(DATA / "tgs-salt/train.zip")
    names = sorted(name for name in archive.namelist() if "images/" in name and name.endswith(".png"))
    assert len(names) == 3200

    def resized(name: str, flags: int) -> NDArray[np.float32]:
        image = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), flags)
        assert image is not None
        small = Image.fromarray(image).resize((104, 104), Image.Resampling.BILINEAR)
        return (np.asarray(small) / 255).astype(np.float32)

    total = 0.0
    for start in range(0, len(names), 40):
        batch = names[start : start + 40]
        images = np.stack([resized(name, cv2.IMREAD_COLOR) for name in batch]).transpose(0, 3, 1, 2)
        masks = np.stack([resized(name.replace("images/", "masks/"), cv2.IMREAD_GRAYSCALE) for name in batch])
        logits = network(torch.from_numpy(images.copy()))[:, 0]
        truth = torch.from_numpy(masks[:, 20:84, 20:84].copy())
        total += F.binary_cross_entropy_with_logits(logits, truth, reduction="sum").item() / 64**2
    assert total / len(names) == pytest.approx(0.2045, abs=5e-5)
