"""Question `memory`: memory and time of gradient checkpointing."""

from functools import partial

import torch
from hydra.utils import instantiate
from torch import Tensor
from tqdm import tqdm

from benchmarks.answers import Answer, Row
from benchmarks.composing import composed
from benchmarks.contenders import Case, Training, kept_bytes, random_batch, unetkits
from benchmarks.measuring import paired, peak_mib
from unetkit.training.configuration import choose_precision


def memory(
    rounds: int, device: torch.device, model: str, sizes: list[int], timed: int, precision: str, batch: int
) -> Answer:
    """Measure, for each setting, the bytes kept at each size, and peak memory and time of a step at one size."""
    amp = choose_precision(precision, device.type) != "32-true"
    settings: list[int | str] = ["none", *range(1, len(composed(model).model.channels)), "all"]
    trainings = {s: checkpointing(model, s, amp, device) for s in settings}
    rows: list[Row] = []
    for size in tqdm(sorted({*sizes, timed}), unit="size", leave=False):
        x, y = images_of(model, batch, size, device)
        kept = {s: kept_bytes(training, x) for s, training in trainings.items()}
        measured: dict[str, Row] = {}
        if size == timed:
            measured = paired({str(s): partial(t, x, y) for s, t in trainings.items()}, rounds, device)
        for s in settings:
            row = {"pixels": size, "level": str(s), "kept MiB": kept[s] / 2**20, "of none": kept[s] / kept["none"]}
            row |= {"peak MiB": None, "seconds": None, "IQR": None, "time of none": None}
            if measured:
                seconds = measured[str(s)]
                row |= {"peak MiB": peak_mib(device, checkpointed_steps, model, s, amp, batch, size, device)}
                row |= {"seconds": seconds["seconds"], "IQR": seconds["IQR"], "rounds": seconds["rounds"]}
                row["time of none"] = seconds["time / unetkit's"]
            rows.append(row)
    return rows, [advice(rows, timed)]


def checkpointing(model: str, setting: int | str, amp: bool, device: torch.device) -> Training:
    """Build the training of a network with a setting of gradient_checkpointing."""
    torch.manual_seed(0)
    network = instantiate(composed(model, f"model.gradient_checkpointing={setting}").model, _convert_="all")
    return unetkits(network, device, None, amp)


def images_of(model: str, batch: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Make images (batch, C, size, size) and their class indices (batch, size, size)."""
    return random_batch(Case({}, channels=composed(model).model.in_channels), batch, size, device)


def checkpointed_steps(model: str, setting: int | str, amp: bool, batch: int, size: int, device: torch.device) -> None:
    """Make two steps of a new network."""
    training = checkpointing(model, setting, amp, device)
    x, y = images_of(model, batch, size, device)
    for _ in range(2):
        training(x, y)


def advice(rows: list[Row], size: int, most: float = 1.25) -> str:
    """Say which setting keeps the least memory for at most `most` times the time."""
    affordable = [row for row in rows if row["pixels"] == size and row["time of none"] <= most]
    best = min(affordable, key=lambda row: float(row["kept MiB"]))
    return (
        f"at {size} px, the least for at most {most:g}x the time: gradient_checkpointing={best['level']} keeps "
        f"{best['of none']:.0%} in {best['time of none']:.2f}x"
    )
