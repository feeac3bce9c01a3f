"""Predicted masks where images have no data."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Unetkit, WriteImage

from unetkit.checkpoints.checkpoint import save_weights
from unetkit.checkpoints.metadata import Metadata
from unetkit.data import Preprocessing
from unetkit.data.decode import read_image
from unetkit.data.files import FileRef
from unetkit.models import UNet


@pytest.mark.parametrize(("outputs", "void"), [(1, 0), (3, 255)])
@pytest.mark.parametrize("tile", [1024, 32])
def test_pixels_without_data_are_marked(
    outputs: int, void: int, tile: int, tmp_path: Path, write_image: WriteImage, unetkit: Unetkit
) -> None:
    model = {"_target_": "unetkit.models.UNet", "in_channels": 1, "num_classes": outputs, "channels": [4, 8]}
    torch.manual_seed(0)
    network = UNet(1, outputs, [4, 8])
    head = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)][-1]
    assert head.bias is not None
    head.bias.data += torch.arange(outputs) * 100 + 100.0  # all is foreground
    save_weights(tmp_path / "net.ckpt", Metadata(model, Preprocessing(1, (0.0, 1.0))), network.state_dict())
    image = np.random.default_rng(0).random((48, 40), np.float32)
    image[5:20, 7:30] = -9999
    write_image(tmp_path / "scans" / "a.tif", image)
    typed = [f"checkpoint={tmp_path / 'net.ckpt'}", f"input={tmp_path / 'scans'}", f"output={tmp_path / 'out'}"]
    done = unetkit("predict", *typed, f"tile={tile}", "overlap=8", "device=cpu")
    assert done.status == 0, done.stderr
    mask = read_image(FileRef(tmp_path / "out" / "masks" / "a.png"))
    assert (mask[image == -9999] == void).all()
    assert (mask[image != -9999] == (255 if outputs == 1 else 2)).all()
