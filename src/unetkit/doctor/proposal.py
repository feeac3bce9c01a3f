"""From what was found to a Hydra experiment that train.py runs, with the reason for each line."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unetkit.doctor.duplicates import is_sequence, is_sorted_by_number
from unetkit.doctor.findings import Finding, Severity, of_files
from unetkit.doctor.layout import Layout
from unetkit.doctor.masks import MaskPlan
from unetkit.doctor.survey import PairStats
from unetkit.models import UNet, activation_bytes

NAME = "my_data"  # of the experiment
SMALL, LARGE = (8, 16, 24, 32, 40), (64, 128, 256, 512, 1024)  # channels of plain_small and unet_large
DEEPEST = 6  # pixels that the shortest side has at least on the deepest level
LONGEST = 384  # pixels of a side up to which whole images are trained on
CROP = 256
LOOKS = 150_000  # training images seen in a run, each time another view of one
EPOCHS = (30, 500)
BATCH = 32
RARE = 0.03  # share of the foreground, or of the rarest class, below which the loss must look after it
SPARE = 0.5  # share of the free memory that activations may take; their gradients and the rest take as much again
ELASTIC = 3 / 101  # displacement in sides of the image
PROBE = 64  # side of the image on which memory is measured


Pixels = dict[str, NDArray[np.int64]]


@dataclass(frozen=True)
class Machine:
    """What training will run on: `name`, whether it `is_gpu`, and `memory` in bytes that are free or may be."""

    name: str
    is_gpu: bool
    memory: int

    @classmethod
    def here(cls) -> "Machine":
        """This one."""
        if torch.cuda.is_available():
            return cls(torch.cuda.get_device_name(), True, torch.cuda.mem_get_info()[0])
        return cls(f"CPU with {torch.get_num_threads()} threads", False, _free_ram())


@dataclass(frozen=True)
class Line:
    """A key, its value and why."""

    key: str
    value: Any
    reason: str

    def __str__(self) -> str:
        return f"{self.key}: {json.dumps(self.value)}  # {self.reason}"


def propose(layout: Layout, looks: Sequence[PairStats], plan: MaskPlan, pixels: Pixels, machine: Machine) -> str:
    """The text of the experiment."""
    usable = [look for look in looks if look.pair.id in pixels]
    size = _size(usable)
    count = _training_images(usable)
    channels = max(look.image.channels for look in usable if look.image)
    network = (LARGE if machine.is_gpu else SMALL)[: _levels(size)]
    batch, batch_reason = _batch_size(channels, plan.num_classes, network, size, count, machine)
    group = "unet_large" if machine.is_gpu else "plain_small"
    loss, loss_reason = _loss(np.sum(list(pixels.values()), axis=0), plan)
    return "\n".join(
        [
            "# @package _global_",
            f"# Proposed by scripts/doctor.py for {layout.root} ({len(usable):,} pairs), on {machine.name}.",
            "# Change what you know better; every key of `python train.py --cfg job` may stand here.",
            "defaults:",
            f"  - override /data: {layout.source}",
            "  - override /augment: strong_device  # flips, elastic deformation, zoom, brightness: views of few images",
            f"  - override /model: {group}  # {'the classic' if machine.is_gpu else 'narrow, as there is no GPU'}",
            f"  - override /loss: {loss}  # {loss_reason}",
            "data:",
            *(f"  {line}" for line in _data_lines(layout, usable, plan, channels, size)),
            f"  {Line('batch_size', batch, batch_reason)}",
            "model:",
            f"  {Line('channels', list(network), _depth_reason(network, size))}",
            "  padding: reflect  # mirrored borders: a mask of the image's size, and no dark rim of zeros",
            *_norm(batch),
            "augment:",
            f"  displacement_px: {max(round(ELASTIC * size, 1), 0.5)}  # 3 px at a side of 101, in proportion",
            "trainer:",
            f"  {_epochs(count)}",
            *(["  precision: 16  # mixed: faster on a GPU, and half the memory"] if machine.is_gpu else []),
            "",
        ]
    )


def check_memory(looks: Sequence[PairStats], machine: Machine) -> list[Finding]:
    """Images so large that validation, which sees them whole, may not fit."""
    width = LARGE[0] if machine.is_gpu else SMALL[0]
    # At full size the network holds about four arrays of its first level's features, fp32.
    need = {look: 4 * 4 * width * look.image.shape[0] * look.image.shape[1] for look in looks if look.image}
    large = [look for look, size in need.items() if size > machine.memory]
    return of_files(
        Severity.WARNING,
        f"{{n}} image{{s}} may not fit into the {machine.memory / 2**30:.0f} GiB of memory when validated whole",
        "cut images and masks into tiles of at most 2048 px",
        (look.pair.id for look in large),
        (look.pair.id for look in large),
    )


def write_experiment(text: str, output: Path) -> str:
    """Write it where `--config-dir OUTPUT experiment=NAME` finds it; gives the name."""
    path = output / "experiment" / f"{NAME}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return NAME


def _data_lines(layout: Layout, looks: Sequence[PairStats], plan: MaskPlan, channels: int, size: int) -> list[Line]:
    lines = [
        Line("name", layout.root.stem, "for the records of the run"),
        Line("root", str(layout.root), "as given, absolute"),
    ]
    if layout.mask_suffix:
        lines.append(Line("mask_suffix", layout.mask_suffix, "what masks' names have after the images'"))
    grey_as_rgb = any(look.image and look.image.stored > look.image.channels for look in looks) and channels == 1
    grey = "grey" + (", though stored as RGB: all channels are equal" if grey_as_rgb else "")
    lines.append(Line("channels", channels, {1: grey, 3: "RGB"}.get(channels, "as the images have")))
    reason = "binary: one logit, a sigmoid" if plan.num_classes == 1 else f"in the masks: {plan.kind}"
    lines.append(Line("num_classes", plan.num_classes, reason))
    lines += [Line(key, value, reason) for key, (value, reason) in plan.keys.items()]
    shapes = {look.image.shape for look in looks if look.image}
    shown = f"images of up to {max(map(max, shapes))} px"
    if size < max(map(max, shapes)):
        lines.append(Line("crop_size", size, f"{shown}: train on random squares; whole images validate"))
    else:
        lines.append(Line("crop_size", None, f"{shown} go in whole"))
    return [*lines, *_split_lines(looks)]


def _split_lines(looks: Sequence[PairStats]) -> list[Line]:
    if any(look.pair.split == "val" for look in looks):
        return []  # given by folders
    if is_sequence(looks) and is_sorted_by_number(looks):
        reason = "numbered images whose neighbours are alike (slices, frames): blocks keep neighbours on one side"
        return [Line("split", "contiguous", reason)]
    return [Line("split", "fraction", "a random fifth validates, with the same spread of coverage as the rest")]


def _size(looks: Sequence[PairStats]) -> int:
    """Side in pixels of what the network sees: of the largest image, or of a crop where that is large."""
    longest = max(max(look.image.shape) for look in looks if look.image)
    return longest if longest <= LONGEST else CROP


def _training_images(looks: Sequence[PairStats]) -> int:
    if any(look.pair.split == "val" for look in looks):
        return sum(look.pair.split == "train" for look in looks)
    free = sum(look.pair.split != "test" for look in looks)
    return max(round(0.8 * free), 1)


def _levels(size: int) -> int:
    return int(np.clip(np.log2(max(size / DEEPEST, 1)) + 1, 2, len(LARGE)))


def _depth_reason(network: Sequence[int], size: int) -> str:
    return f"{len(network)} levels: {size} px become {-(-size // 2 ** (len(network) - 1))} on the deepest"


def _batch_size(
    channels: int, num_classes: int, network: Sequence[int], size: int, count: int, machine: Machine
) -> tuple[int, str]:
    """The largest power of two that memory holds, and that leaves four steps or more to an epoch."""
    bilinear = network[0] == SMALL[0]
    net = UNet(channels, num_classes, network, padding="reflect", upsampling="bilinear" if bilinear else "transposed")
    side = -(-size // 16) * 16
    one = activation_bytes(net, torch.zeros(1, channels, PROBE, PROBE)) * (side / PROBE) ** 2
    fixed = 4 * 4 * sum(p.numel() for p in net.parameters())  # weights, gradients, and Adam's two averages, fp32
    fits = max((SPARE * machine.memory - fixed) / one, 1)
    batch = min(BATCH, 2 ** int(np.log2(fits)), 2 ** int(np.log2(max(count / 4, 1))))
    reason = (
        f"keeps about {batch * one / 2**30:.2g} GiB for the backward pass (fp32) of {machine.memory / 2**30:.0f} GiB"
    )
    return batch, reason + (
        f"; few steps an epoch with {count} images otherwise" if batch < min(BATCH, fits / 2) else ""
    )


def _norm(batch: int) -> list[str]:
    return ["  norm: group  # BatchNorm's averages are too rough in so small batches"] if batch < 4 else []


def _loss(pixels: NDArray[np.int64], plan: MaskPlan) -> tuple[str, str]:
    shares = pixels / max(pixels.sum(), 1)
    share, what = float(shares[1:].sum()), "foreground"
    if plan.num_classes > 1:
        share, what = float(shares.min()), "the rarest class"
    if share >= RARE:
        return "dice_bce", f"{what} has {share:.0%} of the pixels: no need of more than Dice and cross-entropy"
    return "dice_focal", f"{what} has {share:.2%} of the pixels: focal turns away from the easy rest, Dice counts it"


def _epochs(count: int) -> Line:
    low, high = EPOCHS
    epochs = int(np.clip(round(LOOKS / count, -1), low, high))
    reason = f"{count:,} images to train on, {epochs * count:,} views in all; for a first look try trainer.max_epochs=5"
    return Line("max_epochs", epochs, reason)


def _free_ram() -> int:
    """Bytes; of Linux what is available, elsewhere half of all there is (8 GiB where that is unknown)."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        line = next(
            line for line in meminfo.read_text(encoding="utf-8").splitlines() if line.startswith("MemAvailable")
        )
        return int(line.split()[1]) * 1024
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" in names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return 4 * 2**30
