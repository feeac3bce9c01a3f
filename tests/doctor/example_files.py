"""Small images and masks that the doctor's tests write, and what they ask of a diagnosis."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from hydra import compose, initialize_config_dir
from numpy.typing import NDArray
from omegaconf import DictConfig

from unetkit.doctor import Diagnosis, Finding, Machine, Severity, write_experiment

ROOT = Path(__file__).parents[2]
CPU = Machine("a CPU", False, 8 * 2**30)
GPU = Machine("a GPU", True, 24 * 2**30)
H, W = 36, 48

Array = NDArray[Any]


def disc(rng: np.random.Generator, height: int = H, width: int = W) -> NDArray[np.bool_]:
    y, x = np.mgrid[:height, :width]
    return np.asarray((y - rng.integers(8, height - 8)) ** 2 + (x - rng.integers(8, width - 8)) ** 2 < 36)


def image_of(rng: np.random.Generator, mask: NDArray[np.bool_]) -> Array:
    """Soft clouds with a bright object where the mask is."""
    clouds = cv2.resize(rng.integers(0, 160, (5, 6, 3), dtype=np.uint8), mask.shape[::-1])
    clouds[mask] = 230
    return clouds


def binary(mask: NDArray[np.bool_]) -> Array:
    return mask.astype(np.uint8) * 255


def make_pairs(count: int, seed: int = 0, size: tuple[int, int] = (H, W)) -> tuple[dict[str, Array], dict[str, Array]]:
    """Images and masks called p00, p01, ..."""
    rng = np.random.default_rng(seed)
    masks = {f"p{i:02}": disc(rng, *size) for i in range(count)}
    return {id: image_of(rng, mask) for id, mask in masks.items()}, {id: binary(mask) for id, mask in masks.items()}


def masks_in_stripes(values: list[int], count: int = 24) -> dict[str, Array]:
    """Masks with each value in a stripe, the last one only in every second mask."""
    masks = {}
    for i in range(count):
        held = np.array(values if i % 2 == 0 else values[:-1], np.uint16 if max(values) > 255 else np.uint8)
        masks[f"p{i:02}"] = np.repeat(held, -(-H // len(held)))[:H, None].repeat(W, 1)
    return masks


def save(path: Path, array: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        assert cv2.imwrite(str(path), array)


def save_pairs(root: Path, images: dict[str, Array], masks: dict[str, Array], mask_suffix: str = "") -> Path:
    for name, image in images.items():
        save(root / "images" / f"{name}.png", image)
    for name, mask in masks.items():
        save(root / "masks" / f"{name}{mask_suffix}.png", mask)
    return root


def findings_of(diagnosis: Diagnosis, severity: Severity) -> list[Finding]:
    return [finding for finding in diagnosis.findings if finding.severity == severity]


def finding_on(diagnosis: Diagnosis, what: str) -> Finding:
    (finding,) = [finding for finding in diagnosis.findings if what in finding.what]
    return finding


def compose_proposal(diagnosis: Diagnosis, output: Path, *typed: str) -> DictConfig:
    assert diagnosis.experiment is not None
    name = write_experiment(diagnosis.experiment, output)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("train", [f"hydra.searchpath=[file://{output}]", f"experiment={name}", "run_dir=unused", *typed])
