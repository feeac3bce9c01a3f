"""How pairs are served: in which batches, by how many processes, from which memory."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from unetkit.data.crops import Size, crops_of_sizes
from unetkit.errors import UserError, check
from unetkit.paths import usable_cores

CACHE_SHARE = 1 / 8  # largest share of a GPU's free memory that the pairs take with cache_on_device=auto
MOST_PADDING = 16  # times the pixels of its images that a batch may have
LITTLE = 2**24  # pixels of a batch up to which padding does not matter
MAX_WORKERS = 8  # processes that load for a GPU, unless more are asked for


@dataclass(frozen=True)
class ServingOptions:
    """How pairs are served.

    Attributes:
        batch_size: Number of images in a batch.
        num_workers: Number of processes that load, or `auto`: none when training on a CPU, where they would take the
            network's cores, else up to 8.
        crop_size: Side of the squares to train on, or height and width of the rectangles, in pixels, where images are
            larger; of volumes depth, height and width of the patches; None for whole images.
        cache_on_device: Whether all pairs are kept in the device's memory, or `auto`: on a GPU, where that is possible.
        shuffle_seed: Seed of the order of training pairs, and of their crops.
        shuffle: Whether training pairs come in another order in each epoch; else in that of their names.
        crops_per_image: Number of crops of each image in an epoch, or `auto`: as many as have the image's area.
        foreground_crops: Share of the crops that are centred on a pixel of the foreground.

    Raises:
        UserError: If a value is out of range.
    """

    batch_size: int = 32
    num_workers: int | Literal["auto"] = "auto"
    crop_size: int | Sequence[int] | None = None
    cache_on_device: bool | Literal["auto"] = "auto"
    shuffle_seed: int = 0
    shuffle: bool = True
    crops_per_image: int | Literal["auto"] = 1
    foreground_crops: float = 0.0

    def __post_init__(self) -> None:
        def is_whole(value: object, least: int) -> bool:
            return isinstance(value, int) and value >= least

        check("data.batch_size", self.batch_size, is_whole(self.batch_size, 1), "a whole number of at least 1")
        is_count = self.num_workers == "auto" or is_whole(self.num_workers, 0)
        check("data.num_workers", self.num_workers, is_count, "auto or a whole number of at least 0")
        sides = self.crop_size if isinstance(self.crop_size, Sequence) else [self.crop_size] * 2
        is_crop = self.crop_size is None or (len(sides) in (2, 3) and all(is_whole(side, 1) for side in sides))
        wanted = "null, a whole number of at least 1, or two: [HEIGHT,WIDTH]"
        check("data.crop_size", self.crop_size, is_crop, wanted)
        is_known = self.cache_on_device in ("auto", True, False)
        check("data.cache_on_device", self.cache_on_device, is_known, "auto, true or false")
        is_count = self.crops_per_image == "auto" or is_whole(self.crops_per_image, 1)
        check("data.crops_per_image", self.crops_per_image, is_count, "auto or a whole number of at least 1")
        if self.crop_size is None and self.crops_per_image not in ("auto", 1):
            needs = "needs data.crop_size, which is null"
            raise UserError(f"data.crops_per_image={self.crops_per_image}", needs, "set data.crop_size=256")
        share = self.foreground_crops
        is_share = isinstance(share, int | float) and not isinstance(share, bool) and 0 <= share <= 1
        check("data.foreground_crops", share, is_share, "a share from 0 to 1")
        check("data.shuffle_seed", self.shuffle_seed, is_whole(self.shuffle_seed, 0), "a whole number of at least 0")
        check("data.shuffle", self.shuffle, isinstance(self.shuffle, bool), "true or false")

    @property
    def crop(self) -> Size | None:
        """Height and width of the parts to train on, or depth, height and width; None for whole images."""
        if self.crop_size is None or isinstance(self.crop_size, int):
            return None if self.crop_size is None else (self.crop_size, self.crop_size)
        return tuple(self.crop_size)

    def crops_any(self, sizes: Sequence[Size]) -> bool:
        """Return whether one of some images of these sizes, (H, W) or (D, H, W), is larger than a part to train on."""
        crop = self.crop
        return crop is not None and any(side > most for size in sizes for side, most in zip(size, crop, strict=True))

    def crops_of(self, sizes: Sequence[Size]) -> NDArray[np.int64]:
        """Return how many parts of each of some images of these sizes an epoch has; 1 where images are not cropped."""
        if self.crop is None:
            return np.ones(len(sizes), np.int64)
        return crops_of_sizes(sizes, self.crop, self.crops_per_image)

    def describe_epoch(self, sizes: Sequence[Size]) -> str:
        """Return the length of an epoch of images of these sizes, for people."""
        count, what = int(self.crops_of(sizes).sum()), "images"
        if self.crop is not None:
            what = f"crops of {' x '.join(map(str, self.crop))} from {len(sizes):,} images"
        batches = math.ceil(count / self.batch_size)
        return f"{count:,} {what}, in {batches:,} batch{'es' * (batches > 1)} of up to {self.batch_size}"

    def needless_padding(self, sizes: Sequence[Size]) -> str:
        """Return how much a batch of images of these sizes, (H, W) or (D, H, W), may be padded; nothing if bearable.

        Of all batches that a random order can bring together, the one with most padding is looked at: the tallest
        image, the widest one, and the smallest ones.
        """
        largest = [max(sides) for sides in zip(*sizes, strict=True)]
        areas = {index: math.prod(sides) for index, sides in enumerate(sizes)}
        extreme = {max(areas, key=lambda index: sizes[index][axis]) for axis in range(len(largest))}
        count = min(self.batch_size, len(sizes))
        small = sorted(area for index, area in areas.items() if index not in extreme)[: max(count - len(extreme), 0)]
        pixels, own = count * math.prod(largest), sum(areas[index] for index in extreme) + sum(small)
        if count == 1 or pixels <= max(LITTLE, MOST_PADDING * own):
            return ""
        shown = " x ".join(f"{side:,}" for side in (count, *largest))
        return f"pads batches to {shown} pixels, {pixels / own:,.0f} times those of the images"

    def serves_singly(self, sizes: Sequence[Size], *, are_resized: bool) -> bool:
        """Return whether whole images of these sizes validate one by one, and not in batches.

        They do if training takes crops of them, if batches would be padding, or if images of several sizes are resized,
        as the masks of a batch, which are not, must fit its logits.
        """
        return self.crops_any(sizes) or (are_resized and len(set(sizes)) > 1) or bool(self.needless_padding(sizes))

    def check_padding(self, sizes: Sequence[Size]) -> None:
        """Check that training batches of images of these sizes (H, W), or volumes, are not mainly padding.

        Raises:
            UserError: If they may be.
        """
        if self.crop is not None:
            sizes = [tuple(map(min, size, self.crop)) for size in sizes]
        if problem := self.needless_padding(sizes):
            parts = {2: "crop_size=256, to train on squares", 3: "patch_size=[32,64,64], to train on patches"}
            fix = f"set data.{parts[len(sizes[0])]}, or data.batch_size=1"
            raise UserError(f"data.batch_size={self.batch_size}", problem, fix)

    def workers(self, device: torch.device) -> int:
        """Return the number of processes that load for a device."""
        if self.num_workers != "auto":
            return self.num_workers
        return min(MAX_WORKERS, usable_cores()) if device.type == "cuda" else 0

    def caches_on(self, device: torch.device, nbytes: int, needs: dict[str, bool]) -> bool:
        """Return whether all pairs are moved to a device's memory once, instead of batch by batch.

        Args:
            device: The device that trains.
            nbytes: Memory that the images take.
            needs: Needs of the cache, in the words of the error message, and whether each is fulfilled.

        Raises:
            UserError: If the cache is asked for, but something that it needs is missing.
        """
        missing = [need for need, is_met in needs.items() if not is_met]
        if self.cache_on_device == "auto":
            if device.type != "cuda" or missing:
                return False
            return nbytes < CACHE_SHARE * torch.cuda.mem_get_info(device)[0]
        if self.cache_on_device and missing:
            raise UserError("data.cache_on_device=true", f"needs {missing[0]}", "or set data.cache_on_device=false")
        return self.cache_on_device
