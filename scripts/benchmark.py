"""Measurements: `python scripts/benchmark.py memory`."""

import argparse
import gc
import statistics
import time

import torch

from unetkit.models import UNet, activation_bytes

LARGE = (64, 128, 256, 512, 1024)


def main() -> None:
    """Run the measurement that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("question", choices=["memory"])
    parser.add_argument("--size", type=int, default=256, help="side of the image, in pixels")
    parser.add_argument("--channels", type=int, nargs="+", default=LARGE, help="of each level")
    parser.add_argument("--rounds", type=int, default=5, help="paired rounds; the median is shown")
    arguments = parser.parse_args()
    memory(arguments.size, arguments.channels, arguments.rounds)


def memory(size: int, channels: list[int], rounds: int) -> None:
    """Bytes kept for the backward pass, and time of a step, at each setting of gradient_checkpointing."""
    settings: list[int | str] = ["none", *range(1, len(channels)), "all"]
    x = torch.randn(1, 1, size, size)
    network = {s: UNet(1, 1, channels, gradient_checkpointing=s) for s in settings}
    kept = {s: activation_bytes(network[s], x) for s in settings}
    seconds: dict[int | str, list[float]] = {s: [] for s in settings}
    for _ in range(rounds):  # each round runs every setting, so that a slow moment strikes all alike
        for s in settings:
            seconds[s].append(step(network[s], x))
    print(f"UNet({list(channels)}), one image of {size}x{size}, {torch.get_num_threads()} CPU threads, fp32")
    print(f"{'gradient_checkpointing':<24}{'kept, MiB':>10}{'of none':>10}{'time of none':>14}")
    for s in settings:
        ratio = statistics.median(a / b for a, b in zip(seconds[s], seconds["none"], strict=True))
        print(f"{s!s:<24}{kept[s] / 2**20:>10.1f}{kept[s] / kept['none']:>10.0%}{ratio:>13.2f}x")


def step(network: UNet, x: torch.Tensor) -> float:
    """Seconds of a forward and a backward pass."""
    gc.collect()
    started = time.perf_counter()
    network(x).square().mean().backward()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
