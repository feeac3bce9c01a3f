"""Question `predict`: prediction of small images in batches and of large images in tiles."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.answers import Answer
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
    ways = {"unetkit": (our_tiles, our_section), "MONAI": (monai_tiles, monai_section)}
    try:
        peer("monai.inferers")
    except UserError as error:
        del ways["MONAI"]
        left_out.append(f"left out: {error}")
    made = {n: (model, device, tile, overlap, n == "unetkit") for n in ways}
    ensembles = {n: random_ensemble(*arguments) for n, arguments in made.items()}
    pixels = np.random.default_rng(0).integers(0, 256, (images, 101, 101, 1), np.uint8)
    said = {n: tiles(ensembles[n], pixels[:batch], batch) for n, (tiles, _) in ways.items()}
    rounding = 1e-4 if device.type == "cpu" else 1e-2  # GPUs round the inputs of a convolution
    if any(not torch.allclose(said["unetkit"], other, atol=rounding) for other in said.values()):
        raise UserError(f"--model {model}", "can't be compared, since the probabilities differ", "choose another")
    runs: dict[str, Callable[[], object]] = {
        n: partial(tiles, ensembles[n], pixels, batch) for n, (tiles, _) in ways.items()
    }
    peaks = {n: peak_mib(device, alone, tiles, made[n], pixels, batch) for n, (tiles, _) in ways.items()}
    measured = paired(runs, rounds, device, images)
    rows = [{"images": f"{images} of 101x101", "by": n, "peak MiB": peaks[n], **row} for n, row in measured.items()]
    with tempfile.TemporaryDirectory() as folder:
        for side in section:
            path = Path(folder) / f"{side}.npy"
            write_section(path, side)
            outputs = {n: Path(folder) / f"{side}-{n}" for n in ways}
            runs = {n: partial(ways[n][1], ensembles[n], path, outputs[n]) for n in ways}
            peaks = {n: peak_mib(device, alone, ways[n][1], made[n], path, outputs[n]) for n in ways}
            measured = paired(runs, rounds, device)
            masks = {n: np.load(next(output.rglob("*.npy")), mmap_mode="r") for n, output in outputs.items()}
            if any((mask.shape, mask.dtype) != ((side, side), np.uint8) for mask in masks.values()):
                raise UserError(f"--section {side}", "can't be compared, since the masks differ in shape or type")
            name = f"{side}x{side}"
            rows += [{"images": name, "by": n, "peak MiB": peaks[n], **row} for n, row in measured.items()]
    return rows, left_out


def random_ensemble(model: str, device: torch.device, tile: int, overlap: int, fused: bool) -> Ensemble:
    """Make an ensemble of one network with random weights; if `fused`, with BatchNorm fused, as `unetkit.load` does."""
    torch.manual_seed(0)
    network = from_conf(model, None).eval()
    network = fuse_conv_bn(network) if fused else network
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    preprocessing = Preprocessing(1, mean=(0.5,), std=(0.3,))
    return Ensemble([Predictor(network, preprocessing, tile=tile, overlap=overlap)])


def alone(work: Callable[..., object], made: tuple[Any, ...], *arguments: Any) -> None:
    """Do the work with a new ensemble."""
    work(random_ensemble(*made), *arguments)


def write_section(path: Path, side: int) -> None:
    """Write noise (side, side) to a .npy file, strip by strip."""
    file = np.lib.format.open_memmap(path, "w+", np.uint8, (side, side))
    draw = np.random.default_rng(0)
    for top in range(0, side, 256):
        file[top : top + 256] = draw.integers(0, 256, file[top : top + 256].shape, np.uint8)
    file.flush()


def our_tiles(ensemble: Ensemble, pixels: np.ndarray[Any, Any], batch: int) -> Tensor:
    """Predict small images by unetkit; returns the probabilities (B, 1, H, W) of the last batch."""
    for start in range(0, len(pixels), batch):
        said = ensemble.probabilities([ensemble.prepare(image) for image in pixels[start : start + batch]])
    return said


@torch.inference_mode()
def monai_tiles(ensemble: Ensemble, pixels: np.ndarray[Any, Any], batch: int) -> Tensor:
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
    np.save(output / "mask.npy", classify(probability, 0.5)[0].numpy().astype(np.uint8) * 255)


def slide(ensemble: Ensemble, pixels: np.ndarray[Any, Any], tile: int, batch: int) -> Tensor:
    """Predict probabilities (B, 1, H, W), on the CPU, of pixels (B, H, W, 1) by MONAI, with the ensemble's overlap."""
    member = ensemble.members[0]
    device = next(member.network.parameters()).device
    x = member.preprocessing.normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2).to(device))
    share = member.overlap / tile if tile < pixels.shape[1] else 0
    logits = peer("monai.inferers").sliding_window_inference(x, (tile, tile), batch, member.network, overlap=share)
    return probabilities(logits).cpu()
