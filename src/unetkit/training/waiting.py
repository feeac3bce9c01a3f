"""Say which part of loading the network waited for, and which setting shortens it."""

from typing import Any

import lightning as L
import torch

from unetkit.data import SegmentationDataModule
from unetkit.paths import usable_cores

NOTABLE = 0.05  # share of the time spent waiting for data from which there is something to say


def waiting_line(summary: dict[str, Any], trainer: L.Trainer) -> str | None:
    """Return a line on the time that the network waited for data; None if it is short, or no setting would help.

    Args:
        summary: The content of `summary.json`.
        trainer: The trainer of the run.
    """
    waited, parts = summary["data_wait"], summary["data_wait_parts"]
    if not parts or waited <= NOTABLE:
        return None
    data: SegmentationDataModule = getattr(trainer, "datamodule")  # noqa: B009  # set by fit, unknown to mypy
    settings = helpful_settings(max(parts, key=parts.__getitem__), data, trainer.strategy.root_device)
    shown = ", ".join(f"{part} {share:.0%}" for part, share in parts.items()).replace("%", " %")
    is_helped = f"shorter with {' or '.join(settings)}" if settings else None
    return is_helped and f"the network waited for data in {100 * waited:.0f} % of the time ({shown}): {is_helped}"


def helpful_settings(part: str, data: SegmentationDataModule, device: torch.device) -> list[str]:
    """Return the settings that shorten a part of loading, as they are typed; the best one first."""
    workers, cores = data.serving.workers(device), usable_cores()
    more = [f"data.num_workers={min(max(2 * workers, 1), cores)}"] if workers < cores else []
    if part == "augment":
        return ["augment=strong_device", *more] if data.changes_single_pairs else []
    cache = ["data.cache_on_device=true"] if can_be_cached(data, device) else []
    if part == "transfer":
        return cache
    crop = ["a smaller data.crop_size"] if data.serving.crop_size is not None else []
    return [*cache, *more, *crop]


def can_be_cached(data: SegmentationDataModule, device: torch.device) -> bool:
    """Return whether a device has the memory to keep all pairs, and they are not kept there yet."""
    has_room = device.type != "cuda" or data.prepared.whole.images.nbytes < torch.cuda.mem_get_info(device)[0] / 2
    return all(data.cache_needs.values()) and has_room and not data.is_cached_on(device)
