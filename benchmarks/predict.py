"""Question `predict`: prediction of small images in batches and of large images in tiles."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.answers import Answer, Row
from benchmarks.contenders import from_conf, peer
from benchmarks.measuring import paired, peak_mib
from unetkit.data import Preprocessing
from unetkit.data.files import FileRef
from unetkit.errors import UserError
from unetkit.models import classify, fuse_conv_bn, probabilities
from unetkit.prediction.ensemble import Ensemble
from unetkit.prediction.files import FilePredictor
from unetkit.prediction.options import OutputOptions
from unetkit.prediction.predictor import Predictor

Recipe = tuple[str, torch.device, int, int, bool]  # arguments of `random_ensemble`


def predict(
    rounds: int,
    device: torch.device,
    model: str,
    section: list[int],
    tile: int,
    overlap: int,
    images: int,
    batch: int,
) -> Answer:
    """Measure prediction by unetkit and by MONAI's sliding window, with the same network on the same pixels.

    Raises:
        UserError: If their results differ.
    """
    left_out = []
    names = ["unetkit", "MONAI"]
    try:
        peer("monai.inferers")
    except UserError as error:
        names.remove("MONAI")
        left_out.append(f"left out: {error}")
    recipes: dict[str, Recipe] = {n: (model, device, tile, overlap, n == "unetkit") for n in names}
    rows = small_images(rounds, recipes, images, batch)
    for side in section:
        rows += large_image(rounds, recipes, side)
    return rows, left_out


def small_images(rounds: int, recipes: dict[str, Recipe], images: int, batch: int) -> list[Row]:
    """Measure the prediction of small images in batches."""
    ensembles = {n: random_ensemble(*recipe) for n, recipe in recipes.items()}
    model, device, *_ = recipes["unetkit"]
    pixels = np.random.default_rng(0).integers(0, 256, (images, 101, 101, 1), np.uint8)
    said = {n: BATCHES[n](ensemble, pixels[:batch], batch) for n, ensemble in ensembles.items()}
    rounding = 1e-4 if device.type == "cpu" else 1e-2  # GPUs round the inputs of a convolution
    if any(not torch.allclose(said["unetkit"], other, atol=rounding) for other in said.values()):
        raise UserError(f"--model {model}", "can't be compared, since the probabilities differ", "choose another")
    peaks = {n: peak_mib(device, alone, BATCHES[n], recipe, pixels, batch) for n, recipe in recipes.items()}
    runs = {n: partial(BATCHES[n], ensemble, pixels, batch) for n, ensemble in ensembles.items()}
    measured = paired(runs, rounds, device, images)
    return [{"images": f"{images} of 101x101", "by": n, "peak MiB": peaks[n], **row} for n, row in measured.items()]


def large_image(rounds: int, recipes: dict[str, Recipe], side: int) -> list[Row]:
    """Measure the prediction of a large image in tiles, from file to file."""
    ensembles = {n: random_ensemble(*recipe) for n, recipe in recipes.items()}
    device = recipes["unetkit"][1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{side}.npy"
        write_section(path, side)
        outputs = {n: Path(folder) / n for n in recipes}
        runs = {n: partial(SECTIONS[n], ensemble, path, outputs[n]) for n, ensemble in ensembles.items()}
        peaks = {n: peak_mib(device, alone, SECTIONS[n], recipe, path, outputs[n]) for n, recipe in recipes.items()}
        measured = paired(runs, rounds, device)
        masks = {n: np.load(next(output.rglob("*.npy")), mmap_mode="r") for n, output in outputs.items()}
        if any((mask.shape, mask.dtype) != ((side, side), np.uint8) for mask in masks.values()):
            raise UserError(f"--section {side}", "can't be compared, since the masks differ in shape or type")
    return [{"images": f"{side}x{side}", "by": n, "peak MiB": peaks[n], **row} for n, row in measured.items()]


def random_ensemble(model: str, device: torch.device, tile: int, overlap: int, fused: bool) -> Ensemble:
    """Make an ensemble of one network with random weights; if `fused`, with BatchNorm fused, as `unetkit.load` does."""
    torch.manual_seed(0)
    network = from_conf(model, None).eval()
    network = fuse_conv_bn(network) if fused else network
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    preprocessing = Preprocessing(1, mean=(0.5,), std=(0.3,))
    return Ensemble([Predictor(network, preprocessing, tile=tile, overlap=overlap)])


def alone(work: Callable[..., object], recipe: Recipe, *arguments: Any) -> None:
    """Do the work with a new ensemble."""
    work(random_ensemble(*recipe), *arguments)


def write_section(path: Path, side: int) -> None:
    """Write noise (side, side) to a .npy file, strip by strip."""
    file = np.lib.format.open_memmap(path, "w+", np.uint8, (side, side))
    draw = np.random.default_rng(0)
    for top in range(0, side, 256):
        file[top : top + 256] = draw.integers(0, 256, file[top : top + 256].shape, np.uint8)
    file.flush()


def our_batches(ensemble: Ensemble, pixels: np.ndarray[Any, Any], batch: int) -> Tensor:
    """Predict small images by unetkit; returns the probabilities (B, 1, H, W) of the last batch."""
    for start in range(0, len(pixels), batch):
        said = ensemble.probabilities([ensemble.prepare(image) for image in pixels[start : start + batch]])
    return said


@torch.inference_mode()
def monai_batches(ensemble: Ensemble, pixels: np.ndarray[Any, Any], batch: int) -> Tensor:
    """Predict small images by MONAI; returns the probabilities (B, 1, H, W) of the last batch."""
    for start in range(0, len(pixels), batch):
        said = slide(ensemble, pixels[start : start + batch], pixels.shape[1], batch)
    return said


def our_section(ensemble: Ensemble, path: Path, output: Path) -> None:
    """Predict a large image by unetkit, from a .npy file to the .npy file of its mask.

    As scripts/predict.py does with write=masks mask_format=npy.
    """
    FilePredictor(ensemble, OutputOptions(output, ["masks"], "npy")).run([FileRef(path)])


@torch.inference_mode()
def monai_section(ensemble: Ensemble, path: Path, output: Path) -> None:
    """Predict a large image by MONAI, from a .npy file to the .npy file of its mask."""
    output.mkdir(exist_ok=True)
    probability = slide(ensemble, np.load(path)[None, ..., None], ensemble.tile, 1)
    np.save(output / "mask.npy", classify(probability, 0.5, is_multilabel=False)[0].numpy().astype(np.uint8) * 255)


def slide(ensemble: Ensemble, pixels: np.ndarray[Any, Any], tile: int, batch: int) -> Tensor:
    """Predict probabilities (B, 1, H, W), on the CPU, of pixels (B, H, W, 1) by MONAI, with the ensemble's overlap."""
    member = ensemble.members[0]
    device = next(member.network.parameters()).device
    x = member.preprocessing.normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2).to(device))
    share = member.overlap / tile if tile < pixels.shape[1] else 0
    logits = peer("monai.inferers").sliding_window_inference(x, (tile, tile), batch, member.network, overlap=share)
    return probabilities(logits, is_multilabel=False).cpu()


BATCHES = {"unetkit": our_batches, "MONAI": monai_batches}
SECTIONS = {"unetkit": our_section, "MONAI": monai_section}
