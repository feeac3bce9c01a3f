"""Tiny networks and an image for the tests of the demo."""

from pathlib import Path

import numpy as np
import torch

from unetkit.checkpoints.checkpoint import save_weights
from unetkit.checkpoints.metadata import Metadata
from unetkit.data import Preprocessing
from unetkit.demo import DemoModel
from unetkit.models import UNet
from unetkit.prediction.predictor import Predictor

EIGHT_BIT = Preprocessing(1, None, (0.5,), (0.25,))
SIXTEEN_BIT = Preprocessing(3, (100.0, 4000.0), (0.5,) * 3, (0.25,) * 3)
PIXELS = 40_000  # the largest image that is taken
SECTION = np.random.default_rng(0).integers(0, 256, (30, 50)).astype(np.uint8)


def network(classes: int = 1, channels: int = 1) -> UNet:
    torch.manual_seed(0)
    return UNet(channels, classes, [4, 8])


def model(classes: int = 1, preprocessing: Preprocessing = EIGHT_BIT) -> DemoModel:
    return DemoModel("a.ckpt", Predictor(network(classes, preprocessing.channels), preprocessing, 0.5), 100)


def saved(path: Path, classes: int) -> Path:
    config = {"_target_": "unetkit.models.UNet", "in_channels": 1, "num_classes": classes, "channels": [4, 8]}
    save_weights(path, Metadata(config, EIGHT_BIT, 0.6, {"name": "test"}), network(classes).state_dict())
    return path
