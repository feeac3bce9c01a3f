"""Writes a Hydra experiment for train.py that fits the files, with the reason for each line."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetkit.data.mask_encoding import MaskEncoding
from unetkit.doctor.checks.sequence import is_sequence, is_sorted_by_number
from unetkit.doctor.layout import FoundFiles
from unetkit.doctor.masks.plan import MaskPlan
from unetkit.doctor.proposal.machine import Machine
from unetkit.doctor.proposal.sizing import BatchSize, choose_batch, choose_channels, choose_side
from unetkit.doctor.proposal.weights import RARE, RareClasses
from unetkit.doctor.survey.pairs import PairStats
from unetkit.paths import printable, write_text

NAME = "my_data"  # of the experiment
MIN_BATCH_FOR_BATCH_NORM = 4
IMAGES_SEEN = 150_000  # in all epochs of a training, each time augmented in another way
EPOCHS = (30, 500)  # least and most
ELASTIC = 3 / 101  # displacement in sides of the image

Pixels = dict[str, NDArray[np.int64]]  # pixels of each class, by the pair's id


@dataclass(frozen=True)
class Line:
    """A key of the configuration, its value, and why."""

    key: str
    value: Any
    reason: str

    def __str__(self) -> str:
        return f"{self.key}: {json.dumps(self.value)}  # {self.reason}"


def propose(
    layout: FoundFiles,
    stats: Sequence[PairStats],
    plan: MaskPlan,
    pixels: Pixels,
    machine: Machine,
    rare: RareClasses | None,
) -> str:
    """Return the text of an experiment.

    Args:
        layout: Folders and names of the files.
        stats: Facts about each pair.
        plan: How masks are read.
        pixels: Pixels of each class in the mask of each usable pair.
        machine: The machine that will train.
        rare: The rare classes, if there are any.
    """
    usable = [pair for pair in stats if pair.pair.id in pixels]
    side, count, channels = choose_side(usable), _training_images(usable), _image_channels(usable)
    network = choose_channels(side, machine)
    batch = choose_batch(channels, plan.num_classes, network, side, count, machine)
    loss, loss_reason = _loss(np.sum(list(pixels.values()), axis=0), plan, rare)
    model, model_reason = _model(machine)
    return "\n".join(
        [
            "# @package _global_",
            f"# Proposed by `unetkit doctor` for {layout.place} ({len(usable):,} pairs), on {machine.name}.",
            "# Change what you know better; `unetkit train --cfg job` shows all keys that can be set here.",
            "defaults:",
            f"  - override /data: {layout.source}",
            "  - override /augment: strong_device  # flips, elastic deformation, zoom and brightness, for few images",
            f"  - override /model: {model}  # {model_reason}",
            f"  - override /loss: {loss}  # {loss_reason}",
            "data:",
            *(f"  {line}" for line in _data_lines(layout, usable, plan, channels, side)),
            f"  {Line('batch_size', batch.size, _batch_reason(batch, count, machine))}",
            "model:",
            f"  {Line('channels', list(network), _depth_reason(network, side))}",
            "  padding: reflect  # mirrors borders: masks get the image's size, without artefacts of padding by zeros",
            *(f"  {line}" for line in _norm_lines(batch)),
            "augment:",
            f"  displacement_px: {max(round(ELASTIC * side, 1), 0.5)}  # in proportion to 3 px in images of 101 px",
            "trainer:",
            f"  {_epochs(count)}",
            *(["  precision: 16  # mixed precision: faster on a GPU, and half the memory"] if machine.is_gpu else []),
            "",
        ]
    )


def write_experiment(text: str, output: Path) -> str:
    """Write an experiment where `--config-dir OUTPUT experiment=NAME` finds it, and return its name."""
    write_text(output / "experiment" / f"{NAME}.yaml", printable(text))
    return NAME


def _data_lines(layout: FoundFiles, stats: Sequence[PairStats], plan: MaskPlan, channels: int, side: int) -> list[Line]:
    lines = [
        Line("name", layout.name, "shown in the records of the run"),
        Line("root", layout.root and str(layout.root), layout.description),
        *(Line(key, value, "as it was typed") for key, value in layout.keys.items()),
    ]
    classes = "binary: one output with a sigmoid" if plan.num_classes == 1 else plan.description
    return [
        *lines,
        Line("channels", channels, _channels_reason(stats, channels)),
        Line("num_classes", plan.num_classes, classes),
        *_encoding_lines(plan.encoding),
        *_background_lines(plan),
        *([Line("class_names", list(plan.class_names), "as the files call them")] if plan.class_names else []),
        _crop_line(stats, side),
        *_split_lines(stats),
    ]


def _encoding_lines(encoding: MaskEncoding) -> list[Line]:
    reasons = {
        "instances": "masks number objects: inside and boundary are learnt, to split objects that touch",
        "labels": "each pixel may be of several labels, or of none",
        "mask_values": "the values in the masks, of class 0, 1, ...",
        "mask_colours": "the colours in the masks, of class 0 (the background), 1, ...",
        "ignore_index": f"{_void_sign(encoding)} marks void pixels, which are ignored",
    }
    return [Line(key, value, reasons[key]) for key, value in encoding.stated_by.items() if key in reasons]


def _background_lines(plan: MaskPlan) -> list[Line]:
    if plan.background is not None:
        return []
    name = plan.class_names[0] if plan.class_names else "a class like the others"
    return [Line("background", None, f"class 0 is {name}, no background: scores, legends and overlays count it")]


def _void_sign(encoding: MaskEncoding) -> str:
    return "this colour (that of PASCAL VOC)" if encoding.is_colour else "this value"


def _channels_reason(stats: Sequence[PairStats], channels: int) -> str:
    if channels == 1 and any(pair.image and pair.image.stored_channels > 1 for pair in stats):
        return "grey, although stored with several channels: all are equal"
    return {1: "grey", 3: "RGB"}.get(channels, "as in the images")


def _crop_line(stats: Sequence[PairStats], side: int) -> Line:
    longest = max(max(pair.image.shape) for pair in stats if pair.image)
    if side < longest:
        return Line(
            "crop_size", side, f"images of up to {longest} px: trains on random squares, validates whole images"
        )
    return Line("crop_size", None, f"trains on whole images, of up to {longest} px")


def choose_split(stats: Sequence[PairStats]) -> str:
    """Return the value of `data.split` for pairs whose folders don't say what validates."""
    return "contiguous" if is_sequence(stats) and is_sorted_by_number(stats) else "fraction"


def _split_lines(stats: Sequence[PairStats]) -> list[Line]:
    if any(pair.pair.split == "val" for pair in stats):
        return []  # given by folders
    if choose_split(stats) == "contiguous":
        reason = "neighbouring images are alike (slices, frames?): a block of neighbours validates"
        return [Line("split", "contiguous", reason)]
    return [Line("split", "fraction", "a random fifth validates, with about the same coverage by foreground")]


def _image_channels(stats: Sequence[PairStats]) -> int:
    """Return the most common number of channels; grey images can be read among those of several channels."""
    counts = Counter(pair.image.channels for pair in stats if pair.image and pair.image.channels > 1)
    return counts.most_common(1)[0][0] if counts else 1


def _training_images(stats: Sequence[PairStats]) -> int:
    splits = Counter(pair.pair.split for pair in stats)
    if "val" in splits:
        return splits["train"]
    return max(round(0.8 * (len(stats) - splits["test"])), 1)


def _model(machine: Machine) -> tuple[str, str]:
    return ("unet_large", "the original channels") if machine.is_gpu else ("plain_small", "few channels: no GPU")


def _depth_reason(network: Sequence[int], side: int) -> str:
    deepest = -(-side // 2 ** (len(network) - 1))
    return f"{len(network)} levels: {side} px become {deepest} px on the deepest"


def _batch_reason(batch: BatchSize, count: int, machine: Machine) -> str:
    memory = f"{batch.gibibytes:.2g} of {machine.memory / 2**30:.0f} GiB of memory for activations (float32)"
    return memory + (
        f"; more would leave few steps in an epoch of {count} images" if batch.is_limited_by_images else ""
    )


def _norm_lines(batch: BatchSize) -> list[Line]:
    if batch.size >= MIN_BATCH_FOR_BATCH_NORM:
        return []
    return [Line("norm", "group", "the averages of BatchNorm are too noisy in batches this small")]


def _loss(pixels: NDArray[np.int64], plan: MaskPlan, rare: RareClasses | None) -> tuple[str, str]:
    """Return the choice of the group `loss`, and why, by the pixels (K,) of each class."""
    if plan.encoding.labels:
        return "dice_bce", "a sigmoid, Dice and cross-entropy for each label"
    share = float(pixels[1:].sum() / max(pixels.sum(), 1))
    if rare is not None:
        shown = f"few pixels are of {rare.shown}"
        return "dice_focal", f"{shown}: the focal loss down-weights easy pixels; {rare.typed} is another way"
    if plan.encoding.instances and share < RARE:
        return "dice_focal", f"objects have only {share:.2%} of the pixels: the focal loss down-weights easy pixels"
    return "dice_bce", f"no class has less than {RARE:.0%} of the pixels: Dice and cross-entropy are enough"


def _epochs(count: int) -> Line:
    epochs = int(np.clip(round(IMAGES_SEEN / count, -1), *EPOCHS))
    reason = f"{count:,} training images, {epochs * count:,} in all epochs; for a first try add trainer.max_epochs=5"
    return Line("max_epochs", epochs, reason)
