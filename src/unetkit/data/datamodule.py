"""The LightningDataModule: finds pairs, splits them, decodes them once, and serves batches."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from unetkit.data.augment import Augmentation
from unetkit.data.borders import BorderWeights, balancing_weights, border_map
from unetkit.data.dataset import EpochSampler, PairDataset, collate
from unetkit.data.device_augment import DeviceAugmentation, WithParams
from unetkit.data.device_cache import DeviceCache, IndexBatch, IndexDataset, unchanged
from unetkit.data.files import read_image
from unetkit.data.mask_encoding import MaskEncoding, class_names_of
from unetkit.data.masks import read_mask
from unetkit.data.mosaic import VERSION, find_mosaics
from unetkit.data.preprocessing import Preprocessing, find_value_range, mean_and_std, probe
from unetkit.data.sources import Pair
from unetkit.data.splits import Split, assign_split
from unetkit.data.store import ArrayStore, cached_arrays, cached_json
from unetkit.data.types import VOID
from unetkit.errors import UserError, check
from unetkit.paths import path_of

CACHE_SHARE = 1 / 8  # of a GPU's free memory that the pairs may take without being asked


class SegmentationDataModule(L.LightningDataModule):
    """Pairs of image and mask, from files to batches.

    `inspect` finds out about the files; `decode` then makes arrays for a network with so many channels. Arrays and
    what was found are kept in `cache_dir` under a key that changes with the files.

    Args:
        name: Of the data set, for the records.
        pairs: Gives the pairs.
        augmentation: Of training pairs.
        cache_dir: Where decoded images are kept.
        split: See `unetkit.data.splits.assign_split`; it and the next three rule unless the pairs say their split.
        val_fraction: Share of validation pairs, for `split="fraction"`.
        folds: Number of folds, for `kfold`, `contiguous` and `mosaic`.
        fold: The validation fold, from 0.
        mask_values: Values in the mask files that stand for class 0, 1, ...; None for binary masks, or for 0 to
            `num_classes` - 1 where these are more than 2.
        mask_colours: Colours (R, G, B) in the mask files that stand for class 0, 1, ..., instead of values.
        ignore_index: The value (or colour) in the mask files of void pixels, which count nowhere; None without.
        class_names: Of class 0, 1, ...; None for `background`, `foreground` or `class 1`, ...
        channels: Expected of the images, or `auto`.
        num_classes: Of the masks (1 = binary; 2 = binary too, through a softmax), or `auto`.
        crop_size: Side of the squares to train on, in pixels, where images are larger; None for whole images.
        border_weight: `w0` and `sigma` (pixels) of the U-Net paper's weight map, for `compute_border_weights`.
        batch_size: Images in a batch.
        num_workers: Processes that load, or `auto`: none when training on a CPU, where they would take the network's
            cores, else up to 8.
        seed: Of the split.
        cache_on_device: Whether all pairs are kept in the device's memory, or `auto`: on a GPU, where that is possible.
        shuffle_seed: Seed of the order of training pairs, and of their crops.
        **_: Keys of the configuration that belong to `pairs`.
    """

    def __init__(
        self,
        *,
        name: str,
        pairs: Callable[[], Sequence[Pair]],
        augmentation: Augmentation | DeviceAugmentation,
        cache_dir: str | Path,
        split: str = "fraction",
        val_fraction: float = 0.2,
        folds: int = 5,
        fold: int = 0,
        mask_values: Sequence[int] | None = None,
        mask_colours: Sequence[Sequence[int]] | None = None,
        ignore_index: int | Sequence[int] | None = None,
        class_names: Sequence[str] | None = None,
        channels: int | Literal["auto"] = "auto",
        num_classes: int | Literal["auto"] = "auto",
        crop_size: int | None = None,
        border_weight: Mapping[str, float] | None = None,
        batch_size: int = 32,
        num_workers: int | Literal["auto"] = "auto",
        cache_on_device: bool | Literal["auto"] = "auto",
        seed: int = 0,
        shuffle_seed: int = 0,
        **_: Any,
    ) -> None:
        super().__init__()
        for key, value in (("batch_size", batch_size), ("folds", folds), ("crop_size", crop_size)):
            if not (isinstance(value, int) and value >= 1) and not (key == "crop_size" and value is None):
                raise UserError(f"data.{key}={value} must be a whole number of at least 1")
        for key, value in (("seed", seed), ("shuffle_seed", shuffle_seed)):
            check(f"data.{key}", value, isinstance(value, int) and value >= 0, "a whole number of at least 0")
        check("data.split", split, isinstance(split, str), "the name of a way to split, or the path of a .csv")
        if num_workers != "auto" and not (isinstance(num_workers, int) and num_workers >= 0):
            raise UserError(f"data.num_workers={num_workers} must be auto or a whole number of at least 0")
        is_known = cache_on_device in ("auto", True, False)
        check("data.cache_on_device", cache_on_device, is_known, "auto, true or false")
        self.name = name
        self.find_pairs = pairs
        self.augmentation = augmentation
        self.cache_dir = path_of("data.cache_dir", cache_dir)
        self.split_options: dict[str, Any] = {
            "val_fraction": val_fraction,
            "folds": folds,
            "fold": fold,
            "seed": seed,
        }
        self.split_method = split
        self.mosaics: NDArray[np.int64] | None = None  # by pair, where asked for
        self.mask_encoding = MaskEncoding.of_keys(num_classes, mask_values, mask_colours, ignore_index)
        self.given_names = class_names
        self.expected = {"channels": channels, "num_classes": num_classes}
        self.crop_size = crop_size
        self.border_weight = border_weight
        self.borders: BorderWeights | None = None
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.cache_on_device = cache_on_device
        self.shuffle_seed = shuffle_seed
        self.first_epoch = 0  # of the training; a later one where a run goes on

    def inspect(self) -> None:
        """Find pairs, channels, value range and classes, read the masks, and split.

        Sets `pairs`, `split`, `masks`, `pixels` (of each mask and class), `coverage` (share of foreground of each
        mask, nan where all is void), `channels`, `num_classes` and `class_names`. Void pixels are left out of all.

        Raises:
            UserError: If files are missing, unreadable or contradict the configuration.
        """
        self.pairs = sorted(self.find_pairs(), key=lambda pair: pair.id)
        if not self.pairs:
            raise UserError(f"data={self.name} found no image")
        files = [ref.fingerprint() for pair in self.pairs for ref in (pair.image, pair.mask) if ref is not None]
        self._key = [files, [pair.rle for pair in self.pairs]]
        self._probes = cached_json(
            self.cache_dir,
            self._key,
            lambda: [probe(read_image(pair.image)) for pair in self.pairs],
            "probes",
        )
        self.masks = self._decode_masks()
        self.pixels = self._count_pixels()
        if not self.pixels.any():
            raise UserError("every pixel of every mask is void; does data.ignore_index mark the right value?")
        with np.errstate(invalid="ignore"):
            self.coverage = self.pixels[:, 1:].sum(1) / self.pixels.sum(1)
        self.split = self._split()
        indices = self._indices("train")
        train = [self._probes[i] for i in indices]
        self._value_range = find_value_range(train, [str(self.pairs[i].image) for i in indices])
        self.channels = self._agree("channels", max(p["channels"] for p in train))
        self.num_classes = self._agree("num_classes", self.mask_encoding.num_classes)
        self.class_names = class_names_of(self.given_names, max(self.num_classes, 2))

    def decode(self, channels: int) -> None:
        """Decode all images to uint8 for a network of so many channels, and take the training images' statistics.

        Sets `images` and `preprocessing`.

        Raises:
            UserError: If an image can't be turned into so many channels.
        """
        base = Preprocessing(channels, self._value_range)
        key = [*self._key, channels, self._value_range]

        def decoded() -> Any:
            return (base.to_uint8(read_image(pair.image), str(pair.image)) for pair in self.pairs)

        self.images = cached_arrays(self.cache_dir, key, decoded, len(self.pairs), "images")
        train = self._indices("train")
        mean, std = cached_json(
            self.cache_dir, [*key, train], lambda: mean_and_std(self.images[i] for i in train), "statistics"
        )
        self.preprocessing = Preprocessing(channels, self._value_range, tuple(mean), tuple(std))

    def compute_border_weights(self) -> None:
        """Let batches carry `weight`, the map that `border_weight` describes, made once for each mask.

        Raises:
            UserError: If `border_weight` is not given, or out of range.
        """
        given = self.border_weight if isinstance(self.border_weight, Mapping) else {}
        w0, sigma = (given.get(key, 0) for key in ("w0", "sigma"))
        if not (isinstance(w0, int | float) and isinstance(sigma, int | float) and w0 >= 0 and sigma > 0):
            raise UserError(
                f"data.border_weight={self.border_weight}, but the loss wants a weight map, of w0 at least 0 and "
                "sigma above 0; the U-Net paper has data.border_weight={w0:10,sigma:5}"
            )

        def maps() -> Any:
            return (border_map(self.masks[i], sigma, VOID) for i in range(len(self.pairs)))

        stored = cached_arrays(self.cache_dir, [self.masks.path.name, sigma], maps, len(self.pairs), "borders")
        train = (self.masks[i] for i in self._indices("train"))
        self.borders = BorderWeights(stored, balancing_weights(train, VOID), w0)

    def dataset(self, part: str, *, augment: bool = False) -> PairDataset:
        """The pairs of `train`, `val` or `test`; with `augment`, cropped and augmented as in training."""
        augmentation, crop_size = (self.augmentation, self.crop_size) if augment else (None, None)
        indices = self._indices(part)
        return PairDataset(self.images, self.masks, indices, augmentation, crop_size, self.borders, self.shuffle_seed)

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled batches; a `DeviceAugmentation` changes them when the Trainer has moved them to the device."""
        dataset = self.dataset("train", augment=True)
        if isinstance(self.augmentation, DeviceAugmentation):
            dataset.augmentation = None
        return self._loader(dataset, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Whole images in the order of their names."""
        return self._loader(self.dataset("val"), shuffle=False)

    def test_dataloader(self) -> DataLoader[Any]:
        """Whole images in the order of their names."""
        return self._loader(self.dataset("test"), shuffle=False)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Draw, on the CPU, what a `DeviceAugmentation` does to a training batch."""
        if not (isinstance(self.augmentation, DeviceAugmentation) and self.trainer and self.trainer.training):
            return batch
        is_cached = isinstance(batch, IndexBatch)
        indices = batch.indices if is_cached else batch["index"]
        size = self._device_cache.size if is_cached else batch["mask"].shape[1:]
        params = self.augmentation.sample_params(self.trainer.current_epoch, indices.numpy(), *size)
        return WithParams(batch, params)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Fetch the pairs, if they are cached on the device, and augment them as drawn."""
        batch, params = batch if isinstance(batch, WithParams) else (batch, None)
        if isinstance(batch, IndexBatch):
            batch = self._device_cache.fetch(batch)
        if params is None:
            return batch
        assert isinstance(self.augmentation, DeviceAugmentation)  # narrows the type for mypy
        return self.augmentation.apply(batch, params)

    @property
    def has_test(self) -> bool:
        """Whether there is a test part."""
        return "test" in self.split

    @property
    def split_digest(self) -> str:
        """Differs when a pair changes sides."""
        sides = [f"{pair.id}:{side}" for pair, side in zip(self.pairs, self.split, strict=True)]
        return hashlib.sha256(" ".join(sides).encode()).hexdigest()[:16]

    def describe(self) -> dict[str, Any]:
        """What the run's records say of the data."""
        return {
            "name": self.name,
            **({"split": self.split_method, **self.split_options} if self._is_split_by_us else {"split": "folders"}),
            **({} if self.mosaics is None else {"mosaics": len(np.unique(self.mosaics))}),
            **{part: self.split.count(part) for part in ("train", "val", "test")},
            "empty_masks": round(float(np.mean(self.coverage == 0)), 4),
            "foreground": round(float(np.nanmean(self.coverage)), 4),
            "class_names": self.class_names,
            "class_shares": dict(zip(self.class_names, self.class_shares, strict=True)),
        }

    @property
    def class_shares(self) -> list[float]:
        """The share of each class in the pixels that count, of all masks."""
        pixels = self.pixels.sum(0)
        return [round(float(share), 4) for share in pixels / pixels.sum()]

    def _loader(self, dataset: PairDataset, *, shuffle: bool) -> DataLoader[Any]:
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        on_gpu = device.type == "cuda"
        sampler = EpochSampler(
            len(dataset),
            shuffle=shuffle,
            seed=self.shuffle_seed,
            rank=rank,
            world_size=world_size,
            epoch=self.first_epoch,
        )
        generator = torch.Generator().manual_seed(self.shuffle_seed)  # or starting to read would disturb dropout
        if self._is_cached_on(device):
            self._device_cache.move_to(device)
            indices = IndexDataset(dataset.indices)
            return DataLoader(indices, self.batch_size, sampler=sampler, collate_fn=unchanged, generator=generator)
        automatic = min(8, torch.get_num_threads()) if on_gpu else 0
        workers = automatic if self.num_workers == "auto" else self.num_workers
        # Where training takes crops of larger images, these go whole, one by one.
        is_cropped = self.crop_size is not None and any(
            max(self.masks.shapes[i]) > self.crop_size for i in dataset.indices
        )
        return DataLoader(
            dataset,
            batch_size=self.batch_size if shuffle or not is_cropped else 1,
            sampler=sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=collate,
            generator=generator,
            pin_memory=on_gpu,
        )

    @cached_property
    def _device_cache(self) -> DeviceCache:
        return DeviceCache(self.images, self.masks)

    def _is_cached_on(self, device: torch.device) -> bool:
        """Whether all pairs go to the device's memory once, instead of batch by batch."""
        hindrances = {
            "images of one size": len(set(self.masks.shapes)) > 1,
            "data.crop_size=null": self.crop_size is not None,
            "a loss without border weights": self.borders is not None,
            "augment=none, elastic_device, mild_device or strong_device": isinstance(self.augmentation, Augmentation)
            and self.augmentation.compose is not None,
        }
        lacking = [wanted for wanted, is_missing in hindrances.items() if is_missing]
        if self.cache_on_device == "auto":
            fits = device.type == "cuda" and self.images.nbytes < CACHE_SHARE * torch.cuda.mem_get_info(device)[0]
            return fits and not lacking
        if self.cache_on_device and lacking:
            raise UserError("data.cache_on_device=true", f"wants {lacking[0]}", "or set data.cache_on_device=false")
        return self.cache_on_device

    def _indices(self, part: str) -> list[int]:
        return [i for i, side in enumerate(self.split) if side == part]

    def _decode_masks(self) -> ArrayStore:
        def masks() -> Any:
            for pair, found in zip(self.pairs, self._probes, strict=True):
                yield read_mask(pair, tuple(found["shape"]), self.mask_encoding, self.pairs)

        return cached_arrays(self.cache_dir, [*self._key, *self.mask_encoding.key], masks, len(self.pairs), "masks")

    def _count_pixels(self) -> NDArray[np.int64]:
        classes = max(self.mask_encoding.num_classes, 2)

        def counted() -> list[list[int]]:
            masks = (self.masks[i].ravel() for i in range(len(self.pairs)))
            return [np.bincount(mask, minlength=classes)[:classes].tolist() for mask in masks]

        return np.array(cached_json(self.cache_dir, [*self._key, *self.mask_encoding.key], counted, "pixels"), np.int64)

    def _split(self) -> Split:
        """By folders where there are train/ and val/, else as the options say; a CSV rules over all."""
        from_csv = self.split_method.endswith(".csv")
        given = [None if from_csv else pair.split for pair in self.pairs]
        free = [i for i, side in enumerate(given) if side is None]
        self._is_split_by_us = bool(free)
        if free:
            ids = [self.pairs[i].id for i in free]
            if self.split_method == "mosaic":
                self.mosaics = self._find_mosaics()[free]
            chosen = assign_split(
                self.split_method, ids, self.coverage[free], groups=self.mosaics, **self.split_options
            )
            for i, side in zip(free, chosen, strict=True):
                given[i] = side
        return [str(side) for side in given]

    def _find_mosaics(self) -> NDArray[np.int64]:
        def found() -> Any:
            return find_mosaics((pair.id, read_image(pair.image)) for pair in self.pairs).tolist()

        return np.array(cached_json(self.cache_dir, [*self._key, VERSION], found, "mosaics"), np.int64)

    def _agree(self, key: str, found: int) -> int:
        expected = self.expected[key]
        is_subset = found == 1 and (key == "channels" or expected == 2)  # grey as RGB; two logits for binary masks
        if expected not in ("auto", found) and not is_subset:
            raise UserError(f"data.{key}={expected}, but the files have {found}; set data.{key}=auto or {found}")
        return found if expected == "auto" else int(expected)
