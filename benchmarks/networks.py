"""Question `networks`: the table of docs/networks.md."""

import gc
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from benchmarks.composing import composed, every_network
from unetkit.errors import UserError
from unetkit.models import activation_bytes, mirror_pad
from unetkit.training.mistakes import library_mistakes
from unetkit.training.run import train

REFERENCE = "unet_milesial"
SIDE, BATCH = 128, 2  # side and number of the images on which a network is timed


def networks(models: list[str], epochs: int, count: int, rounds: int, output: Path) -> None:
    """Write a row for each network, in Markdown and JSON; rows in the folder with the same settings are kept.

    Raises:
        UserError: If a network is unknown.
    """
    if unknown := set(models) - set(every_network()):
        raise UserError(f"--models {' '.join(unknown)}", f"must be of {' '.join(every_network())}")
    settings = {"epochs": epochs, "count": count, "rounds": rounds}
    rows = {}
    for name in (bar := tqdm(models, unit="network")):
        bar.set_postfix_str(name)
        file = output / name / "row.json"
        stored = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        if stored.get("settings") != settings:
            stored = {"settings": settings, "row": measure(name, settings, output / name)}
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")
        rows[name] = stored["row"]
    (output / "networks.json").write_text(
        json.dumps({"settings": settings, "networks": rows}, indent=2) + "\n", encoding="utf-8"
    )
    (output / "networks.md").write_text(markdown(rows, settings), encoding="utf-8")
    print(f"wrote {output / 'networks.md'} and {output / 'networks.json'}")


def measure(name: str, settings: dict[str, int], folder: Path) -> dict[str, Any]:
    """Measure the figures of a network, or say why it is left out."""
    run = [f"trainer.max_epochs={settings['epochs']}", f"data.count={settings['count']}", "trainer.precision=16"]
    try:
        network, x = network_and_image(name)
        return {
            "parameters": sum(p.numel() for p in network.parameters()),
            "multiply_adds": multiply_adds(network, x),
            "speed": relative_speed(network, x, settings["rounds"]),
            "kept_bytes": activation_bytes(network, x),
            "val_iou": train(composed(name, *run, f"run_dir={folder / 'run'}"))["val/iou"],
        }
    except UserError as error:
        return {"skipped": str(error)}


def network_and_image(name: str) -> tuple[nn.Module, Tensor]:
    """Build a network and an image (1, in_channels, SIDE, SIDE), mirrored by the margin of unpadded convolutions.

    Raises:
        UserError: If it needs an extra that is not installed, or is for volumes.
    """
    cfg = composed(name)
    if cfg.model.get("spatial_dims", 2) != 2:
        raise UserError(f"model={name}", "is for volumes, but the table is of images", "leave it out")
    with library_mistakes():
        network: nn.Module = instantiate(cfg.model, _convert_="all")
    margin = (int(getattr(network, "margin", 0)),) * 2
    return network, mirror_pad(torch.randn(1, cfg.model.in_channels, SIDE, SIDE), margin, margin)


def multiply_adds(network: nn.Module, x: Tensor) -> int:
    """Count the multiply-adds of convolutions and matrix products in a forward pass, with those of attention."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network.eval()(x)
    network.train()
    return int(counter.get_total_flops()) // 2


def relative_speed(network: nn.Module, x: Tensor, rounds: int) -> float:
    """Measure training images per second relative to the reference: the median of paired rounds, after a warm-up."""
    reference, y = network_and_image(REFERENCE)
    x, y = x.repeat(BATCH, 1, 1, 1), y.repeat(BATCH, 1, 1, 1)
    optimizers = {n: torch.optim.AdamW(n.parameters()) for n in (network, reference)}
    ratios = [
        one_step(reference, y, optimizers[reference]) / one_step(network, x, optimizers[network])
        for _ in range(rounds + 1)
    ]
    network.zero_grad(set_to_none=True)
    return statistics.median(ratios[1:])


def one_step(network: nn.Module, x: Tensor, optimizer: torch.optim.Optimizer) -> float:
    """Return the seconds of a forward pass, a backward pass and the optimiser's step."""
    gc.collect()
    started = time.perf_counter()
    network(x).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    return time.perf_counter() - started


def markdown(rows: dict[str, dict[str, Any]], settings: dict[str, int]) -> str:
    """Format the table, with a paragraph that says how it was measured."""
    lines = [
        f"| network | parameters | multiply-adds at {SIDE}x{SIDE} | training speed | kept, MiB | validation IoU |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, row in rows.items():
        if "skipped" not in row:
            figures = (f"{row['parameters']:,}", f"{row['multiply_adds'] / 1e9:.2f} G", f"{row['speed']:.2f}")
            kept = f"{row['kept_bytes'] / 2**20:.1f}"
            lines.append(f"| `{name}` | {' | '.join(figures)} | {kept} | {row['val_iou']:.3f} |")
    lines += ["", *(f"`{name}` is left out: {row['skipped']}." for name, row in rows.items() if "skipped" in row)]
    epochs, count, rounds = (settings[key] for key in ("epochs", "count", "rounds"))
    lines += [
        f"`python scripts/benchmark.py networks --epochs {epochs} --count {count} --rounds {rounds}`, "
        f"{time.strftime('%Y-%m-%d')}, torch {torch.__version__}, {torch.get_num_threads()} CPU threads. "
        "Multiply-adds: half of torch's FlopCounterMode, one image. Training speed: images/s of forward, backward and "
        f"AdamW on {BATCH} images in fp32, of `{REFERENCE}`'s in the same run, median of paired rounds. Kept: for the "
        f"backward pass of one image. IoU: after {epochs} epochs on {count} images of data=synthetic, of which a fifth "
        "validates, trainer.precision=16, all else as in conf/train.yaml; one seed.",
    ]
    return "\n".join(lines) + "\n"
