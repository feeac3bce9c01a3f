"""Importing the package is quick, and works where only torch, NumPy and OpenCV are installed."""

import subprocess
import sys

ABSENT = ("albumentations", "lightning", "hydra", "omegaconf", "torchmetrics", "scipy", "PIL", "tqdm", "matplotlib")


def test_the_data_package_works_without_what_only_training_needs() -> None:
    program = f"""
import sys
sys.modules.update(dict.fromkeys({ABSENT}))  # so that importing one of them fails
import numpy as np
from unetkit.data import VOID, DeviceAugmentation, Preprocessing, folder_pairs
from unetkit.data import files, masks, segy, splits, store
print(Preprocessing(3).to_uint8(np.zeros((4, 5), np.uint8)).shape)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("(4, 5, 3)\n", "")
