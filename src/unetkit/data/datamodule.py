"""The LightningDataModule: serves batches of the pairs that were found, split and prepared."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from unetkit.data.augment import Augmentation
from unetkit.data.borders import border_options
from unetkit.data.classes import read_classes
from unetkit.data.compact import Pairs
from unetkit.data.crops import Crops, find_foreground
from unetkit.data.dataset import EpochSampler, PairDataset
from unetkit.data.device_augment import DeviceAugmentation
from unetkit.data.device_cache import DeviceCache, IndexBatch, IndexDataset, unchanged
from unetkit.data.dimensions import check_dimensions
from unetkit.data.found import FoundData, find_data, find_objects
from unetkit.data.layout.described import described_classes
from unetkit.data.limits import decoding_at_most
from unetkit.data.loading_times import LoadingTimes
from unetkit.data.mask_encoding import CLASSES, MULTILABEL
from unetkit.data.pair import Pair
from unetkit.data.prepared import PreparedData, prepare_data
from unetkit.data.preprocessing import rising
from unetkit.data.resize import read_resize, working_size
from unetkit.data.serving import ServingOptions
from unetkit.data.splits import Split, SplitOptions, split_pairs
from unetkit.data.store import memory_mapped
from unetkit.data.types import Batch
from unetkit.errors import UserError, check
from unetkit.paths import as_typed, command_line, path_of

FILE_KEYS = (
    "root",
    "mask_suffix",
    "images",
    "masks",
    "stacks",
)  # of `data`, which the doctor takes too


class SegmentationDataModule(L.LightningDataModule):
    """Pairs of image and mask, from files to batches.

    What the files hold is `found` and `split`, which are read on first use. `prepare` then makes the images ready for a
    network, which the loaders need. Decoded files are kept in `cache_dir`, under a key that changes with the files.

    Args:
        name: Name of the data set, for the records.
        pairs: Finds the pairs.
        augmentation: Augmentation of the training pairs; None for none.
        cache_dir: Folder of decoded files.

        split: How to split pairs whose folders don't say it; this and the next four are those of `SplitOptions`.
        val_fraction: Share of validation pairs, for `split="fraction"`.
        folds: Number of folds, for `kfold`, `contiguous` and `mosaic`.
        fold: The fold that validates, from 0.
        seed: Seed of the split.

        mask_values: Values in the mask files that stand for class 0, 1, ...; None for binary masks, or for 0 to
            `num_classes` - 1 where these are more than 2.
        mask_colours: Colours (R, G, B) in the mask files that stand for class 0, 1, ..., instead of values.
        ignore_index: Value (or colour) of void pixels in the mask files; None if there are none.
        num_classes: Number of classes (1 = binary; 2 = binary too, through a softmax), or `auto`.
        class_names: Names of class 0, 1, ...; None for `background`, `foreground` or `class 1`, ...
        labels: `classes`, where each pixel is of one class; or `multilabel`, where it may be of several labels or
            none. Class names are those of the labels then, found in folders if None, and there is no background.
        instances: `foreground` or `boundary` where masks number objects, such as nuclei: one class for all of them, or
            their insides and boundaries, by which predicted objects are split; None where masks hold classes.
        background: The class that scores leave out, 0; None if class 0 is a class like the others.
        channels: Number of channels that the images must have, or `auto`. An alpha channel counts, and is read, only
            where it makes up this number, as with 4 for RGB and alpha.
        value_range: Lowest and highest value of 16-bit or float images, which become 0 and 255; None for those found
            in the training images.

        max_pixels: Number of pixels above which an image is refused before it is decoded; None for the limit that
            holds already, see `unetkit.data.limits.decoding_at_most`.

        resize: What images and masks are resized to before they are cropped: a scale such as 0.5, the side of squares
            in pixels, or height and width; None to leave them. Scores are those at the size of the files.

        border_weight: `w0` and `sigma` (pixels) of the U-Net paper's weight map, for a loss that wants it.

        batch_size: Number of images in a batch; this and the next seven are those of `ServingOptions`.
        num_workers: Number of processes that load, or `auto`.
        crop_size: Side of the squares to train on, or height and width, in pixels; of volumes three sides (D, H, W);
            None for whole images.
        crops_per_image: Number of crops of each image in an epoch, or `auto`: as many as have the image's area.
        foreground_crops: Share of the crops that are centred on foreground.
        cache_on_device: Whether all pairs are kept in the device's memory, or `auto`.
        shuffle_seed: Seed of the order of training pairs, and of their crops.
        shuffle: Whether training pairs come in another order in each epoch.
        **keys: Keys of the configuration that only `pairs` reads; here, errors name those that say where files are.

    Attributes:
        num_classes: Number of classes of the masks.
        class_names: Names of class 0, 1, ..., or of the labels.
        is_multilabel: Whether masks hold labels that may overlap, label k as bit k.
        has_background: Whether class 0 is left out of scores.
        first_epoch: The epoch with which training begins; above 0 in a resumed run.
        first_batch: The batch of that epoch with which it begins; above 0 if the run was interrupted within the epoch.
        surroundings: Pixels around each crop that training images come with, for a network that loses them.
        leaves_batches_to_step: Whether the training step itself calls `on_device`, as one that is captured does.
        times: Where the time of loading training batches goes.

    Raises:
        UserError: If an argument is out of range, or contradicts another.
    """

    def __init__(
        self,
        *,
        name: str,
        pairs: Callable[[], Sequence[Pair]],
        augmentation: Augmentation | DeviceAugmentation | None,
        cache_dir: str | Path,
        split: str = "fraction",
        val_fraction: float = 0.2,
        folds: int = 5,
        fold: int = 0,
        seed: int = 0,
        mask_values: Sequence[int] | None = None,
        mask_colours: Sequence[Sequence[int]] | None = None,
        ignore_index: int | Sequence[int] | None = None,
        num_classes: int | Literal["auto"] = "auto",
        class_names: Sequence[str] | None = None,
        labels: str = CLASSES,
        instances: str | None = None,
        background: int | None = 0,
        channels: int | Literal["auto"] = "auto",
        value_range: Sequence[float] | None = None,
        max_pixels: int | None = None,
        resize: float | int | Sequence[int] | None = None,
        border_weight: Mapping[str, float] | None = None,
        batch_size: int = 32,
        num_workers: int | Literal["auto"] = "auto",
        crop_size: int | Sequence[int] | None = None,
        crops_per_image: int | Literal["auto"] = 1,
        foreground_crops: float = 0.0,
        cache_on_device: bool | Literal["auto"] = "auto",
        shuffle_seed: int = 0,
        shuffle: bool = True,
        **keys: Any,
    ) -> None:
        super().__init__()
        self.name = name
        self.augmentation = augmentation
        self.cache_dir = path_of("data.cache_dir", cache_dir)
        self.serving = ServingOptions(
            batch_size,
            num_workers,
            crop_size,
            cache_on_device,
            shuffle_seed,
            shuffle,
            crops_per_image,
            foreground_crops,
        )
        self.split_options = SplitOptions(split, val_fraction, folds, fold, seed)
        # The next lines may look for names of labels in them.
        self._find_pairs = cache(
            lambda: memory_mapped(Pairs(sorted(pairs(), key=lambda pair: pair.id)), self.cache_dir, "pairs")
        )
        self.mask_encoding, self.num_classes, self.class_names = read_classes(
            self._find_pairs,
            num_classes=num_classes,
            class_names=class_names,
            mask_values=mask_values,
            mask_colours=mask_colours,
            ignore_index=ignore_index,
            labels=labels,
            instances=instances,
            described=described_classes(keys.get("root")),
        )
        self.is_multilabel = labels == MULTILABEL
        self.has_background = background is not None and not self.is_multilabel
        wanted = "0, or null if class 0 is a class like the others; data.mask_values says which value is class 0"
        check("data.background", background, background in (0, None) and background is not False, wanted)
        self.border_weight = border_weight
        self.first_epoch = 0
        self.first_batch = 0
        self.surroundings = 0
        self.leaves_batches_to_step = False
        self.times = LoadingTimes()
        self._transfer_began = 0.0
        self._files = [f"data.{key}={as_typed(keys[key])}" for key in FILE_KEYS if keys.get(key)]
        self._wanted_channels = channels
        wanted = "null or two rising numbers, as in [0,4095]"
        self.value_range = None if value_range is None else rising("data.value_range", value_range, wanted)
        self.max_pixels = max_pixels
        self.resize = read_resize(resize)
        self._prepared: PreparedData | None = None
        self._device_cache: DeviceCache | None = None

    @cached_property
    def found(self) -> FoundData:
        """The pairs and what their files hold.

        Raises:
            UserError: If files are missing, unreadable or contradict the configuration.
        """
        channels = None if self._wanted_channels == "auto" else self._wanted_channels
        limit = nullcontext() if self.max_pixels is None else decoding_at_most(self.max_pixels, "data.max_pixels")
        try:
            with limit:
                return find_data(
                    str(self.name), self._find_pairs, self.mask_encoding, self.cache_dir, channels, self.value_range
                )
        except UserError as error:
            raise self._with_hint(error) from error

    def _with_hint(self, error: UserError) -> UserError:
        """Return an error about the files with the command that checks all of them."""
        if not self._files or error.problem == "does not exist":
            return error
        hint = f"`{command_line('doctor', *self._files)}` checks all files"
        return type(error)(error.subject, error.problem, f"{error.fix}; {hint}" if error.fix else hint)

    @cached_property
    def objects(self) -> dict[int, NDArray[np.int32]]:
        """The number of the object of each pixel (H, W) of each mask that is scored, by the index of its pair.

        Raises:
            UserError: As `found`, or if masks do not number objects.
        """
        scored = [index for index, side in enumerate(self.split.sides) if side in ("val", "test")]
        return find_objects(self.found, scored, self.mask_encoding, self.cache_dir)

    @cached_property
    def split(self) -> Split:
        """Which pairs train, validate and test.

        Raises:
            UserError: As `found`, or if the split does not fit the pairs.
        """
        found = self.found
        return split_pairs(found.pairs, found.coverage, self.split_options, lambda: found.mosaics(self.cache_dir))

    @property
    def channels(self) -> int:
        """The number of channels of the training images.

        Raises:
            UserError: If it contradicts the configuration.
        """
        found, wanted = max(self.found.images.shapes[i][-1] for i in self.split.indices("train")), self._wanted_channels
        if wanted not in ("auto", found) and found != 1:  # a grey image can be read as RGB
            problem = f"contradicts the images, which have {found}"
            raise UserError(f"data.channels={wanted}", problem, f"set data.channels=auto or {found}")
        return found if wanted == "auto" else int(wanted)

    @property
    def scored_classes(self) -> list[int]:
        """The indices of the classes that scores are of."""
        return list(range(self.has_background, len(self.class_names)))

    @property
    def has_test(self) -> bool:
        """Whether there is a test part."""
        return "test" in self.split.sides

    @property
    def prepared(self) -> PreparedData:
        """What the loaders serve.

        Raises:
            RuntimeError: If `prepare` was not called.
        """
        if self._prepared is None:
            raise RuntimeError("call prepare(channels) first: what is served depends on the network")
        return self._prepared

    def prepare(self, channels: int, *, with_border_weights: bool = False) -> PreparedData:
        """Make the images ready for a network with so many input channels; sets `prepared`.

        Args:
            channels: Number of the network's input channels.
            with_border_weights: Whether batches carry `weight`, the map that `border_weight` describes.

        Raises:
            UserError: If an image can't be turned into so many channels, `border_weight` is needed and wrong, or images
                differ so much in size that batches would be padding.
        """
        borders = border_options(self.border_weight) if with_border_weights else None
        train = self.split.indices("train")
        check_dimensions(
            len(self.found.masks.shapes[0]),
            self.serving.crop,
            self.augmentation,
            changes_single_pairs=self.changes_single_pairs,
            is_resized=self.resize is not None,
            with_border_weights=with_border_weights,
        )
        self.serving.check_padding(self._training_sizes(train))
        patch: Any = self.serving.crop if self.has_volumes else None
        self._prepared = prepare_data(
            self.found, train, channels, borders, self.cache_dir, self.value_range, self.resize, patch
        )
        self._device_cache = None
        return self._prepared

    @property
    def has_volumes(self) -> bool:
        """Whether the images are volumes (D, H, W)."""
        return len(self.found.masks.shapes[0]) == 3

    def dataset(self, part: str, *, augment: bool = False) -> PairDataset:
        """Return the pairs of `train`, `val` or `test`; with `augment`, as in training: resized, cropped, augmented."""
        indices = self.split.indices(part)
        if not augment:
            images, masks, borders = self.prepared.whole
            return PairDataset(images, masks, indices, borders=borders)
        images, masks, borders = self.prepared.training
        counts = self.serving.crops_of(self._training_sizes(indices))
        return PairDataset(images, masks, indices, self.augmentation, self._crops, borders, counts)

    @property
    def epoch(self) -> str:
        """The length of an epoch, for people."""
        return self.serving.describe_epoch(self._training_sizes(self.split.indices("train")))

    @property
    def _crops(self) -> Crops | None:
        """The parts of images to train on; where foreground lies is counted only if that is needed."""
        serving, masks = self.serving, self.prepared.training.masks
        if serving.crop is None:
            return None
        crops = Crops(serving.crop, serving.shuffle_seed, self.surroundings)
        if not serving.foreground_crops or not serving.crops_any(masks.shapes):
            return crops
        first = int(self.has_background)
        foreground = find_foreground(masks, len(self.class_names), first, self.cache_dir)
        return replace(crops, share=serving.foreground_crops, foreground=foreground)

    def train_dataloader(self) -> DataLoader[Any]:
        """Return batches in the order that `shuffle` says; a `DeviceAugmentation` changes them on the device."""
        dataset = self.dataset("train", augment=True)
        dataset.times = self.times
        if isinstance(self.augmentation, DeviceAugmentation):
            dataset.augmentation = None
        return self._loader(dataset, trains=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Return whole images in the order of their names; those that are resized come with masks that are not."""
        return self._whole_images("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """Return whole images, as `val_dataloader`."""
        return self._whole_images("test")

    def _whole_images(self, part: str) -> DataLoader[Any]:
        dataset = self.dataset(part)
        dataset.resize = None if self.resize is None else self.prepared.preprocessing.resized
        return self._loader(dataset)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Note when the transfer of a batch begins."""
        self._transfer_began = time.perf_counter()
        return batch

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Make a batch on its device, unless the training step does it; see `on_device`."""
        if self.trainer is None or not self.trainer.training:
            return self.on_device(batch, None)
        self.times.add("transfer", time.perf_counter() - self._transfer_began)
        if self.leaves_batches_to_step:
            return batch
        with self.times.measured("augment"):
            return self.on_device(batch, self.trainer.current_epoch)

    def on_device(self, batch: IndexBatch | Batch, epoch: int | Tensor | None) -> Batch:
        """Fetch the pairs of a batch that is on the device, if they are cached there, and augment them.

        Args:
            batch: The batch that a loader gave, on the device.
            epoch: The epoch, or a scalar tensor that holds it, with which a `DeviceAugmentation` draws; None for none.
        """
        pairs = self._cached_pairs.fetch(batch) if isinstance(batch, IndexBatch) else batch
        if epoch is None or not isinstance(self.augmentation, DeviceAugmentation):
            return pairs
        draws = pairs.get("draw", pairs["index"])
        params = self.augmentation.sample_params(epoch, draws, *pairs["mask"].shape[1:])
        return self.augmentation.apply(pairs, params)

    def describe(self) -> dict[str, Any]:
        """Return what the run's records say of the data."""
        options, split, found = self.split_options, self.split, self.found
        chosen = {key: getattr(options, key) for key in ("val_fraction", "folds", "fold", "seed")}
        return {
            "name": self.name,
            **({"split": "folders"} if split.is_given else {"split": options.method, **chosen}),
            **({} if split.mosaics is None else {"mosaics": len(np.unique(split.mosaics))}),
            **{part: split.sides.count(part) for part in ("train", "val", "test")},
            "empty_masks": round(float(np.mean(found.coverage == 0)), 4),
            "foreground": round(float(np.nanmean(found.coverage)), 4),
            "class_names": self.class_names,
            "mask_keys": self._mask_keys(),
            "class_shares": dict(zip(self.class_names, found.class_shares, strict=True)),
        }

    def _mask_keys(self) -> dict[str, Any]:
        """Return the keys that masks of other images of the same kind are read with."""
        is_class = not self.has_background and not self.is_multilabel
        return self.mask_encoding.stated_by | ({"background": None} if is_class else {})

    @property
    def _cached_pairs(self) -> DeviceCache:
        if self._device_cache is None:
            self._device_cache = DeviceCache(self.prepared.whole.images, self.prepared.whole.masks)
        return self._device_cache

    def _loader(self, dataset: PairDataset, *, trains: bool = False) -> DataLoader[Any]:
        serving = self.serving
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        sampler = self._sampler(len(dataset), trains=trains)
        # Without a generator of its own, a loader takes a number from torch's, which would change dropout.
        generator = torch.Generator().manual_seed(serving.shuffle_seed)
        if self.is_cached_on(device):
            self._cached_pairs.move_to(device)
            pairs = IndexDataset(dataset.indices)
            return DataLoader(pairs, serving.batch_size, sampler=sampler, collate_fn=unchanged, generator=generator)
        workers = serving.workers(device)
        sizes, are_resized = self._sizes(dataset.indices), self.resize is not None
        is_single = not trains and serving.serves_singly(sizes, are_resized=are_resized)
        return DataLoader(
            dataset,
            batch_size=1 if is_single else serving.batch_size,
            sampler=sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=dataset.collate,
            generator=generator,
            pin_memory=device.type == "cuda",
        )

    def _sampler(self, size: int, *, trains: bool) -> EpochSampler:
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        seed, epoch = self.serving.shuffle_seed, self.first_epoch
        start = self.first_batch * self.serving.batch_size if trains else 0
        shuffle = trains and self.serving.shuffle
        return EpochSampler(
            size, shuffle=shuffle, seed=seed, rank=rank, world_size=world_size, epoch=epoch, start=start
        )

    def _sizes(self, indices: Iterable[int]) -> list[tuple[int, ...]]:
        """Return height and width of some pairs; depth, height and width of volumes."""
        return [self.found.masks.shapes[i] for i in indices]

    def _training_sizes(self, indices: Sequence[int]) -> list[tuple[int, ...]]:
        """Return height and width that some pairs are trained at, before they are cropped."""
        return [working_size(self.resize, *size) for size in self._sizes(indices)]

    @property
    def changes_single_pairs(self) -> bool:
        """Whether pairs are augmented one by one on the host."""
        return isinstance(self.augmentation, Augmentation) and self.augmentation.compose is not None

    @property
    def cache_needs(self) -> dict[str, bool]:
        """What `cache_on_device` needs, in the words of its error message, and whether each is fulfilled."""
        return {
            "images of one size": len(set(self.prepared.whole.masks.shapes)) == 1,
            "data.resize=null": self.resize is None,
            "data.crop_size=null": self.serving.crop_size is None,
            "a loss without border weights": self.prepared.whole.borders is None,
            "augment=none, elastic_device, mild_device or strong_device": not self.changes_single_pairs,
        }

    def is_cached_on(self, device: torch.device) -> bool:
        """Whether all pairs are moved to the device's memory once, instead of batch by batch."""
        return self.serving.caches_on(device, self.prepared.whole.images.nbytes, self.cache_needs)
