"""A checkpoint predicts on a machine that has torch, NumPy and OpenCV, and none of the other dependencies."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np

import unetkit

ROOT = Path(__file__).parents[2]
CHECKPOINT = ROOT / "checkpoints" / "unet_small.ckpt"
DEPLOYED = {"torch", "numpy", "opencv-python-headless", "unetkit"}

PREDICT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
import numpy as np
import unetkit, unetkit.data

image = np.load("image.npy")
np.save("one.npy", unetkit.load({checkpoint!r}, tta="flip")(image).probability)
np.save("two.npy", unetkit.load_ensemble([{checkpoint!r}] * 2)(image).probability)
"""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def missing_modules() -> set[str]:
    """Return the modules of all dependencies in pyproject.toml, extras included, except those that are deployed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    names = {canonical(re.split(r"[^\w.-]", line)[0]) for line in [*project["dependencies"], *extras]} - DEPLOYED
    found = packages_distributions().items()
    return {module for module, owners in found if names & {canonical(owner) for owner in owners}}


def test_prediction_needs_torch_numpy_and_opencv_only(tmp_path: Path) -> None:
    missing = missing_modules()
    assert {"hydra", "omegaconf", "lightning", "albumentations", "matplotlib", "PIL", "tqdm", "jinja2"} <= missing
    assert not {"torch", "numpy", "cv2", "unetkit"} & missing
    image = np.random.default_rng(0).integers(0, 256, (101, 90), np.uint8)
    np.save(tmp_path / "image.npy", image)
    code = PREDICT.format(missing=missing, checkpoint=str(CHECKPOINT))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    np.testing.assert_array_equal(
        np.load(tmp_path / "one.npy"), unetkit.load(CHECKPOINT, tta="flip")(image).probability
    )
    np.testing.assert_array_equal(np.load(tmp_path / "two.npy"), unetkit.load(CHECKPOINT)(image).probability)
