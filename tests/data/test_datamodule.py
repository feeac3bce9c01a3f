"""From files to batches: what is found, split, decoded once, and served."""

import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from conftest import Array, WriteImage, WritePairs
from torch.utils.data import DataLoader

from unetkit.data import VOID, Augmentation, Batch, SegmentationDataModule, folder_pairs, tgs_salt_pairs
from unetkit.data.dataset import EpochSampler
from unetkit.data.serving import ServingOptions
from unetkit.data.types import Item
from unetkit.errors import UserError

COUNT, HEIGHT, WIDTH = 20, 24, 20
Make = Callable[..., SegmentationDataModule]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a module of a folder, prepared for as many channels as it found."""

    def make(root: Path, find: Any = folder_pairs, channels: Any = "auto", **options: Any) -> Any:
        augmentation = Augmentation({"flip": A.HorizontalFlip(p=0.5)}, seed=0)
        module = SegmentationDataModule(
            name="test",
            pairs=partial(find, root),
            augmentation=options.pop("augmentation", augmentation),
            cache_dir=tmp_path / "cache",
            channels=channels,
            **({"batch_size": 4, "num_workers": 0} | options),
        )
        module.prepare(module.channels)
        return module

    return make


@pytest.fixture
def tgs(write_pairs: WritePairs, tmp_path: Path) -> Path:
    """A folder like TGS Salt's: grey images stored as RGB, 16-bit masks, some empty."""
    rng = np.random.default_rng(0)
    images = {f"{i:02d}": np.repeat(rng.integers(0, 256, (HEIGHT, WIDTH, 1), np.uint8), 3, 2) for i in range(COUNT)}
    masks = {name: (image[..., 0] > 40 * (int(name) % 8)).astype(np.uint16) * 65535 for name, image in images.items()}
    return write_pairs(tmp_path / "tgs", images, masks)


def batches_of(loader: DataLoader[Item], epoch: int = 0) -> Iterator[Batch]:
    assert isinstance(loader.sampler, EpochSampler)
    loader.sampler.set_epoch(epoch)
    yield from loader


def images_of(loader: DataLoader[Item], epoch: int = 0) -> torch.Tensor:
    return torch.cat([batch["image"] for batch in batches_of(loader, epoch)])


def indices_of(loader: DataLoader[Item], epoch: int = 0) -> list[int]:
    return [index for batch in batches_of(loader, epoch) for index in batch["index"].tolist()]


def write_set(write_image: WriteImage, root: Path, images: list[Array], suffix: str = ".png") -> Path:
    """Images with masks that are 1 in their upper half."""
    for i, image in enumerate(images):
        mask = np.zeros(image.shape[:2], np.uint8)
        mask[: len(mask) // 2] = 1
        write_image(root / "images" / f"{i:02d}{suffix}", image)
        write_image(root / "masks" / f"{i:02d}.png", mask)
    return root


def random_images(*shape: int, count: int = 5, dtype: type = np.uint8, high: int = 256) -> list[Array]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, high, shape).astype(dtype) for _ in range(count)]


class TestTgs:
    def test_what_is_found(self, tgs: Path, make: Make) -> None:
        module = make(tgs, tgs_salt_pairs)
        assert (module.channels, module.num_classes) == (1, 1)
        assert module.split.sides.count("val") == 4
        assert not module.has_test
        told = module.describe()
        assert (told["name"], told["train"], told["val"], told["test"]) == ("test", 16, 4, 0)
        masks = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted((tgs / "masks").iterdir())]
        coverage = [float(np.mean(np.asarray(mask) > 0)) for mask in masks]
        np.testing.assert_allclose(module.found.coverage, coverage)
        assert told["foreground"] == pytest.approx(np.mean(coverage), abs=1e-4)
        assert told["empty_masks"] == coverage.count(0.0) / COUNT

    def test_batches_are_uint8_and_cover_the_training_pairs_once(self, tgs: Path, make: Make) -> None:
        module = make(tgs, tgs_salt_pairs, batch_size=5)
        loader = module.train_dataloader()
        batches = list(batches_of(loader))
        assert [len(batch["image"]) for batch in batches] == [5, 5, 5, 1]
        for batch in batches:
            assert batch["image"].shape[1:] == (1, HEIGHT, WIDTH)
            assert batch["mask"].shape[1:] == (HEIGHT, WIDTH)
            assert batch["image"].dtype == batch["mask"].dtype == torch.uint8
            assert set(batch["mask"].flatten().tolist()) <= {0, 1}
        train = [i for i, part in enumerate(module.split.sides) if part == "train"]
        assert sorted(indices_of(loader)) == train
        assert indices_of(loader, epoch=1) != indices_of(loader)

    def test_validation_is_whole_in_order_and_never_augmented(self, tgs: Path, make: Make) -> None:
        module = make(tgs, tgs_salt_pairs)
        loader = module.val_dataloader()
        assert indices_of(loader) == [i for i, part in enumerate(module.split.sides) if part == "val"]
        for epoch in (0, 1):
            for batch in batches_of(loader, epoch):
                for image, mask, index in zip(batch["image"], batch["mask"], batch["index"], strict=True):
                    stored = cv2.imread(str(module.found.pairs[index].image.path), cv2.IMREAD_GRAYSCALE)
                    np.testing.assert_array_equal(image[0], stored)
                    np.testing.assert_array_equal(mask, module.found.masks[index])

    def test_workers_change_nothing(self, tgs: Path, make: Make) -> None:
        loaders = [make(tgs, tgs_salt_pairs, crop_size=16, num_workers=n).train_dataloader() for n in (0, 2)]
        for epoch in (0, 3):
            for a, b in zip(*(batches_of(loader, epoch) for loader in loaders), strict=True):
                for key in ("image", "mask", "index"):
                    assert torch.equal(a[key], b[key])

    def test_augmentation_differs_between_epochs_but_not_between_runs(self, tgs: Path, make: Make) -> None:
        def by_index(loader: DataLoader[Item], epoch: int) -> torch.Tensor:
            order = torch.tensor(indices_of(loader, epoch)).argsort()
            return images_of(loader, epoch)[order]

        first, again = (make(tgs, tgs_salt_pairs).train_dataloader() for _ in range(2))
        assert torch.equal(by_index(first, 2), by_index(again, 2))
        assert not torch.equal(by_index(first, 0), by_index(first, 1))
        for a, b in zip(by_index(first, 0), by_index(first, 1), strict=True):
            assert torch.equal(a, b) or torch.equal(a, b.flip(-1))

    def test_reading_leaves_torch_s_draws_alone(self, tgs: Path, make: Make) -> None:
        loader = make(tgs, tgs_salt_pairs).train_dataloader()
        before = torch.get_rng_state()
        images_of(loader)
        assert torch.equal(torch.get_rng_state(), before)

    def test_images_are_decoded_once(self, tgs: Path, make: Make) -> None:
        before = images_of(make(tgs, tgs_salt_pairs).val_dataloader())
        for path in tgs.rglob("*.png"):  # unreadable now, but of the same size and time
            stat = path.stat()
            path.write_bytes(b"x" * stat.st_size)
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert torch.equal(images_of(make(tgs, tgs_salt_pairs).val_dataloader()), before)
        (tgs / "images" / "03.png").write_bytes(b"another size")
        with pytest.raises(UserError, match=r"\.png can't be read"):
            make(tgs, tgs_salt_pairs)

    def test_a_changed_file_is_decoded_anew(self, tgs: Path, make: Make, write_image: WriteImage) -> None:
        make(tgs, tgs_salt_pairs)
        write_image(tgs / "images" / "07.png", np.full((HEIGHT, WIDTH), 77, np.uint8))
        assert (make(tgs, tgs_salt_pairs).prepared.whole.images[7] == 77).all()

    def test_a_written_split_gives_the_same_parts(self, tgs: Path, make: Make, tmp_path: Path) -> None:
        module = make(tgs, tgs_salt_pairs, split="kfold", fold=2, seed=5)
        module.split.write(tmp_path / "split.csv")
        again = make(tgs, tgs_salt_pairs, split=str(tmp_path / "split.csv"))
        assert again.split.sides == module.split.sides
        assert module.split.sides != make(tgs, tgs_salt_pairs, split="kfold", fold=3, seed=5).split.sides


class TestKinds:
    """Images of other kinds than TGS Salt's."""

    def test_colour_images_have_three_channels(self, make: Make, write_image: WriteImage, tmp_path: Path) -> None:
        images = random_images(8, 9, 3)
        module = make(write_set(write_image, tmp_path, images))
        assert module.channels == 3
        assert len(module.prepared.preprocessing.mean) == len(module.prepared.preprocessing.std) == 3
        for i, image in enumerate(images):
            np.testing.assert_array_equal(module.prepared.whole.images[i], image)

    def test_colour_images_can_be_read_as_grey(self, make: Make, write_image: WriteImage, tmp_path: Path) -> None:
        module = make(write_set(write_image, tmp_path, random_images(8, 9, 3)))
        module.prepare(1)
        assert {shape[2] for shape in module.prepared.whole.images.shapes} == {1}
        assert len(module.prepared.preprocessing.mean) == 1

    def test_grey_images_may_stand_in_for_colour(self, make: Make, tgs: Path) -> None:
        module = make(tgs, tgs_salt_pairs, channels=3)
        assert module.channels == 3
        assert {shape[2] for shape in module.prepared.whole.images.shapes} == {3}
        assert (module.prepared.whole.images[0] == module.prepared.whole.images[0][..., :1]).all()

    def test_16_bit_images_fill_the_8_bits(self, make: Make, write_image: WriteImage, tmp_path: Path) -> None:
        images = [(image + 1000).astype(np.uint16) for image in random_images(40, 40, dtype=np.int64, high=1001)]
        module = make(write_set(write_image, tmp_path, images))
        low, high = module.prepared.preprocessing.value_range or (0, 0)
        assert (low, high) == pytest.approx((1000, 2000), abs=5)
        for i, image in enumerate(images):
            scaled = (image.astype(float) - 1000) * 255 / 1000
            assert np.abs(module.prepared.whole.images[i][..., 0] - scaled).max() < 2

    def test_float_arrays(self, make: Make, write_image: WriteImage, tmp_path: Path) -> None:
        images = [np.random.default_rng(i).normal(-3, 0.1, (30, 31)).astype(np.float32) for i in range(5)]
        module = make(write_set(write_image, tmp_path, images, suffix=".npy"))
        assert module.channels == 1
        assert module.prepared.preprocessing.mean[0] == pytest.approx(0.5, abs=0.1)
        for i, image in enumerate(images):
            assert np.corrcoef(module.prepared.whole.images[i].ravel(), image.ravel())[0, 1] > 0.99

    def test_mixed_sizes_are_padded_with_void(self, make: Make, write_image: WriteImage, tmp_path: Path) -> None:
        sizes = [(20, 24), (12, 30), (8, 8), (16, 9), (30, 5)]
        images = [np.full(size, 9, np.uint8) for size in sizes]
        module = make(write_set(write_image, tmp_path, images), batch_size=10)
        (batch,) = batches_of(module.train_dataloader())
        chosen = [sizes[i] for i in batch["index"]]
        height, width = np.max(chosen, 0)
        assert batch["image"].shape == (4, 1, height, width)
        assert (batch["image"] == 9).all()
        assert (batch["mask"] != VOID).sum((1, 2)).tolist() == [h * w for h, w in chosen]

    def test_batches_that_would_be_padding_are_refused_and_the_advice_works(
        self, make: Make, write_image: WriteImage, tmp_path: Path
    ) -> None:
        shapes = [(3, 5000), (5000, 3)] * 4
        images = [np.full(shape, 10 * i, np.uint8) for i, shape in enumerate(shapes)]
        root = write_set(write_image, tmp_path, images)
        said = r"data\.batch_size=8 pads batches to \d x 5,000 x 5,000 pixels, \d,\d\d\d times those of the images; set"
        with pytest.raises(UserError, match=said + r" data\.crop_size=256, to train on squares, or data\.batch_size=1"):
            make(root, val_fraction=0.4, batch_size=8)
        cropped = make(root, val_fraction=0.4, batch_size=8, crop_size=256)
        assert max(batch["image"].shape[2:].numel() for batch in cropped.train_dataloader()) <= 256**2
        single = make(root, val_fraction=0.4, batch_size=1)
        for module in (cropped, single):
            assert {tuple(batch["image"].shape[2:]) for batch in module.val_dataloader()} <= {*shapes}

    def test_images_of_usual_sizes_share_batches(self) -> None:
        usual = ServingOptions(batch_size=32)
        for sizes in (
            [(500, 375), (375, 500)] * 40,
            [(101, 101)] * 100,
            [(256, 256)] * 334 + [(1040, 1388)] * 16,  # the cells of DSB2018
            [(60, 80)] * 40 + [(480, 640)],
        ):
            assert usual.needless_padding(sizes) == ""
        assert usual.needless_padding([(64, 64)] * 40 + [(4000, 4000)]) != ""  # a large one among small ones
        assert ServingOptions(batch_size=1).needless_padding([(3, 20_000), (20_000, 3)]) == ""

    def test_training_crops_and_whole_validation(self, make: Make, write_image: WriteImage, tmp_path: Path) -> None:
        sizes = [(20, 24), (12, 30), (8, 8), (16, 19), (30, 25)]
        images = [np.full(size, 9, np.uint8) for size in sizes]
        module = make(write_set(write_image, tmp_path, images), crop_size=12, val_fraction=0.5)
        assert {batch["image"].shape[-2:] for batch in batches_of(module.train_dataloader())} == {(12, 12)}
        for batch in batches_of(module.val_dataloader()):
            (index,) = batch["index"].tolist()
            assert batch["image"].shape == (1, 1, *sizes[index])

    def test_classes_of_stated_values(self, make: Make, write_image: WriteImage, tmp_path: Path) -> None:
        root = write_set(write_image, tmp_path, random_images(8, 9))
        for path in (root / "masks").iterdir():
            write_image(path, np.resize(np.array([0, 100, 200], np.uint8), (8, 9)))
        module = make(root, mask_values=[0, 100, 200])
        assert module.num_classes == 3
        assert set(np.unique(module.found.masks[0])) == {0, 1, 2}
        with pytest.raises(UserError, match=r"data\.mask_values=\[0,100,200\]"):
            make(root)
        with pytest.raises(
            UserError, match=r"data\.num_classes=1 contradicts the masks, which have 3; set data\.num_classes=auto or 3"
        ):
            make(root, mask_values=[0, 100, 200], num_classes=1)


class TestClasses:
    """Masks of a few classes with void pixels."""

    NAMES = ("rock", "salt", "water")

    @pytest.fixture
    def root(self, write_image: WriteImage, tmp_path: Path) -> Path:
        """Six masks of 8 x 10 pixels; the first is void, of the others the first i rows; the rest is 0 and 2."""
        root = write_set(write_image, tmp_path / "void", random_images(8, 10, count=6))
        for i, path in enumerate(sorted((root / "masks").iterdir())):
            mask = np.zeros((8, 10), np.uint8)
            mask[:, 6:] = 2
            mask[: i or 8] = 255
            write_image(path, mask)
        return root

    def test_void_pixels_are_left_out_of_what_is_told(self, root: Path, make: Make) -> None:
        module = make(root, num_classes=3, ignore_index=255, class_names=self.NAMES)
        np.testing.assert_allclose(module.found.coverage, [np.nan, *[0.4] * 5])
        told = module.describe()
        assert told["foreground"] == pytest.approx(0.4)
        assert told["empty_masks"] == 0
        assert told["class_names"] == list(self.NAMES)
        assert told["class_shares"] == {"rock": 0.6, "salt": 0.0, "water": 0.4}
        assert json.loads(json.dumps(told)) == told

    def test_a_void_mask_is_not_an_empty_one(self, root: Path, make: Make, write_image: WriteImage) -> None:
        write_image(root / "masks" / "01.png", np.zeros((8, 10), np.uint8))
        assert make(root, num_classes=3, ignore_index=255).describe()["empty_masks"] == round(1 / 6, 4)

    @pytest.mark.parametrize("split", ["fraction", "kfold"])
    def test_masks_are_spread_by_what_counts(
        self, split: str, make: Make, write_image: WriteImage, tmp_path: Path
    ) -> None:
        """Half of the masks are half full; void alone tells the others apart, and must not."""
        root = write_set(write_image, tmp_path / "spread", random_images(8, 10, count=20))
        plain = make(root, split=split, val_fraction=0.5, folds=2)
        for path in sorted((root / "masks").iterdir())[::2]:
            mask = np.zeros((8, 10), np.uint8)
            mask[:4] = 1
            mask[:, : int(path.stem) % 7] = 9
            write_image(path, mask)
        assert make(root, split=split, val_fraction=0.5, folds=2, ignore_index=9).split.sides == plain.split.sides

    def test_batches_hold_classes_and_void(self, root: Path, make: Make) -> None:
        module = make(root, num_classes=3, ignore_index=255, crop_size=7, batch_size=1)
        for batch in batches_of(module.train_dataloader()):
            assert set(batch["mask"].flatten().tolist()) <= {0, 2, VOID}
        for batch in batches_of(module.val_dataloader()):
            rows = batch["index"].item() or 8
            assert (batch["mask"][0, :rows] == VOID).all()
            assert (batch["mask"][0, rows:] != VOID).all()

    def test_another_void_value_is_read_anew(self, root: Path, make: Make) -> None:
        module = make(root, mask_values=[0, 255], ignore_index=2)
        assert module.num_classes == 1
        foreground, background = 10 * np.array([8, 1, 2, 3, 4, 5]), 6 * np.array([0, 7, 6, 5, 4, 3])
        np.testing.assert_allclose(module.found.coverage, foreground / (foreground + background))
        with pytest.raises(UserError, match=r"holds the values 0, 2, 255, but .* set data\.mask_values=\[0,2\]"):
            make(root)

    def test_masks_without_a_pixel_that_counts_are_refused(
        self, make: Make, write_image: WriteImage, tmp_path: Path
    ) -> None:
        root = write_set(write_image, tmp_path, random_images(8, 9))
        for path in (root / "masks").iterdir():
            write_image(path, np.full((8, 9), 255, np.uint8))
        with pytest.raises(UserError, match=r"every pixel of every mask is void; does data\.ignore_index"):
            make(root, ignore_index=255)

    @pytest.mark.parametrize(
        ("keys", "names"),
        [
            ({"num_classes": 3, "ignore_index": 255}, ["background", "class 1", "class 2"]),
            ({"mask_values": [0, 2], "ignore_index": 255}, ["background", "foreground"]),
            ({"mask_values": [0, 2], "ignore_index": 255, "num_classes": 2}, ["background", "foreground"]),
        ],
    )
    def test_classes_without_names_get_some(
        self, keys: dict[str, Any], names: list[str], root: Path, make: Make
    ) -> None:
        module = make(root, **keys)
        assert module.class_names == names
        assert module.num_classes == keys.get("num_classes", 1)

    @pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "b"], ["a", "b", "c", "d"]])
    def test_each_class_has_a_name_of_its_own(self, names: list[str], root: Path, make: Make) -> None:
        with pytest.raises(UserError, match=r"data\.class_names=\[a,b.*\] must be 3 different names"):
            make(root, num_classes=3, ignore_index=255, class_names=names)


class TestGivenParts:
    @pytest.fixture
    def root(self, write_image: WriteImage, tmp_path: Path) -> Path:
        """Dark training images, bright others."""
        root = tmp_path / "given"
        for part, (low, high), count in (("train", (0, 51), 4), ("val", (200, 256), 3), ("test", (200, 256), 2)):
            images = [np.resize(np.array([low, high - 1], np.uint8), (8, 10)) for _ in range(count)]
            write_set(write_image, root / part, images)
        return root

    def test_they_are_kept_whatever_the_split(self, root: Path, make: Make) -> None:
        module = make(root, split="kfold")
        assert [pair.id.split("/")[0] for pair in module.found.pairs] == list(module.split.sides)
        assert [module.split.sides.count(part) for part in ("train", "val", "test")] == [4, 3, 2]
        assert module.has_test
        assert len(indices_of(module.test_dataloader())) == 2

    def test_statistics_are_those_of_the_training_images(self, root: Path, make: Make) -> None:
        preprocessing = make(root).prepared.preprocessing  # half 0, half 50
        assert preprocessing.mean == pytest.approx((25 / 255,))
        assert preprocessing.std == pytest.approx((25 / 255,))

    def test_a_test_part_alone_leaves_the_others_to_the_split(self, root: Path, make: Make, tmp_path: Path) -> None:
        (root / "val").rename(tmp_path / "aside")
        module = make(root, val_fraction=0.5)
        assert [module.split.sides.count(part) for part in ("train", "val", "test")] == [2, 2, 2]
        assert all(
            part == "test"
            for part, pair in zip(module.split.sides, module.found.pairs, strict=True)
            if "test" in pair.id
        )

    def test_another_kind_than_in_training_is_named(self, root: Path, make: Make, write_image: WriteImage) -> None:
        write_image(root / "val" / "images" / "01.png", np.zeros((8, 10), np.uint16))
        with pytest.raises(UserError, match=r"val/images/01\.png is uint16, but the training images are 8-bit"):
            make(root)


class TestMistakes:
    @pytest.mark.parametrize(("key", "value", "found"), [("channels", 1, 3), ("channels", 4, 3)])
    def test_a_contradiction_to_the_files_is_named(
        self, key: str, value: int, found: int, make: Make, write_image: WriteImage, tmp_path: Path
    ) -> None:
        root = write_set(write_image, tmp_path, random_images(8, 9, 3))
        message = rf"data\.{key}={value} contradicts the images, which have {found}; set data\.{key}=auto or {found}"
        with pytest.raises(UserError, match=message):
            make(root, **{key: value})

    def test_mixed_kinds_are_refused(self, make: Make, write_image: WriteImage, tmp_path: Path) -> None:
        images = random_images(8, 9, count=6)
        images[::2] = [image.astype(np.uint16) * 99 for image in images[::2]]
        with pytest.raises(UserError, match="mixes 8-bit images with 16-bit or float ones"):
            make(write_set(write_image, tmp_path, images))

    def test_broken_files_are_named(self, tgs: Path, make: Make) -> None:
        (tgs / "masks" / "05.png").write_bytes(b"broken")
        with pytest.raises(UserError, match=r"masks/05\.png can't be read as an image; replace or remove it"):
            make(tgs, tgs_salt_pairs)

    def test_nothing_found(self, make: Make, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"data=test found no image"):
            make(tmp_path, find=lambda _: [])

    @pytest.mark.parametrize("batch_size", [0, -1])
    def test_a_batch_holds_something(self, batch_size: int, make: Make, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=rf"data\.batch_size={batch_size} must be a whole number"):
            make(tmp_path, batch_size=batch_size)
