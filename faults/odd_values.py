"""Data sets with odd values in images or masks, and keys of a configuration with odd values."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from faults.odd_bytes import Array, encoded, npy
from faults.odd_sets import ODD, OddSet, image, mask, write_pairs

SQUARE = mask(3) > 0


def pairs_with(folder: str, values: Array, everywhere: bool, typed: list[str], root: Path) -> list[str]:
    """Write good pairs, of which one image or mask, or each, has other values."""
    write_pairs(root)
    for number in range(6) if everywhere else [3]:
        (root / folder / f"p{number}.png").unlink()
        is_png = values.dtype in (np.uint8, np.uint16)
        file = root / folder / f"p{number}.{'png' if is_png else 'npy'}"
        file.write_bytes(encoded(values) if is_png else npy(values))
    return typed


def grades(*numbers: float) -> Array:
    """Return a mask whose rows take the numbers in turn."""
    rows = np.resize(np.array(numbers), 16)
    return np.repeat(rows[:, None], 16, 1)


def only_alpha() -> Array:
    """Return an image that is black, with the mask in its alpha channel."""
    return np.stack([*3 * [np.zeros((16, 16), np.uint8)], mask(3)], -1)


def pixels(*colours: tuple[int, int, int]) -> Array:
    """Return a mask of these colours."""
    return np.resize(np.array(colours, np.uint8), (16, 16, 3))


# Name: what must be done, the values, whether all pairs have them, and what is typed.
MASKS: dict[str, tuple[str, Array, bool, list[str]]] = {
    "0 and 1": ("accept", SQUARE.astype(np.uint8), True, []),
    "0 and 65535": ("accept", SQUARE * np.uint16(65535), True, []),
    "0 and 128": ("refuse", SQUARE * np.uint8(128), True, []),
    "0 and 128, as stated": ("accept", SQUARE * np.uint8(128), True, ["data.mask_values=[0,128]"]),
    "0 and 254 in one": ("refuse", SQUARE * np.uint8(254), False, []),
    "0, 1 and 255": ("refuse", grades(0, 1, 255).astype(np.uint8), True, []),
    "0, 1 and 255, which is void": ("accept", grades(0, 1, 255).astype(np.uint8), True, ["data.ignore_index=255"]),
    "160 grades": ("refuse", np.arange(256, dtype=np.uint8).reshape(16, 16), False, []),
    "0 and 0.5": ("refuse", SQUARE * 0.5, True, []),
    "-1, 0 and 1": ("refuse", grades(-1, 0, 1), True, []),
    "NaN": ("refuse", grades(0, np.nan), False, []),
    "10^18": ("refuse", SQUARE * 10**18, False, []),
    "all empty": ("refuse", np.zeros((16, 16), np.uint8), True, []),
    "all full": ("refuse", np.full((16, 16), 255, np.uint8), True, []),
    "all void": ("refuse", np.full((16, 16), 7, np.uint8), True, ["data.ignore_index=7"]),
    "one void": ("accept", np.full((16, 16), 7, np.uint8), False, ["data.ignore_index=7"]),
    "only in the alpha channel": ("accept", only_alpha(), False, []),
    "red and blue": ("refuse", pixels((255, 0, 0), (0, 0, 255)), False, []),
    "two colours, as stated": (
        "accept",
        pixels((0, 0, 0), (0, 0, 255)),
        True,
        ["data.mask_colours=[[0,0,0],[255,0,0]]"],
    ),
    "a class beyond the last": ("refuse", grades(0, 1, 2, 3).astype(np.uint8), False, ["data.num_classes=3"]),
}
IMAGES: dict[str, tuple[str, Array, bool, list[str]]] = {
    "all equal": ("accept", np.full((16, 16), 7, np.uint8), True, []),
    "all black": ("accept", np.zeros((16, 16), np.uint8), True, []),
    "one NaN in each": ("refuse", np.where(np.arange(256).reshape(16, 16) == 5, np.nan, 0.5 * image(1)), True, []),
    "all NaN": ("refuse", np.full((16, 16), np.nan), True, []),
    "one is all NaN": ("refuse", np.full((16, 16), np.nan), False, []),
    "infinities": ("refuse", np.where(image(1) > 9, np.inf, 0.0), True, []),
    "up to 10^300": ("either", image(1) * 1e300, True, []),
    "from 10^-300": ("either", image(1) * 1e-300, True, []),
    "negative": ("accept", -1.0 * image(1), True, []),
    "uint64 up to 2^63": ("either", image(1).astype(np.uint64) << np.uint64(55), True, []),
    "16 bit": ("accept", image(1) * np.uint16(257), True, []),
    "RGB": ("accept", np.stack([image(1), image(2), image(3)], -1), True, []),
    "8-bit among float": ("either", 1.0 * image(1), False, []),
}


def odd_values() -> Iterator[OddSet]:
    """Yield sets whose images or masks have odd values."""
    for folder, table in (("masks", MASKS), ("images", IMAGES)):
        for name, (must, values, everywhere, typed) in table.items():
            build = partial(pairs_with, folder, values, everywhere, typed)
            yield OddSet("values", f"{folder}: {name}", must, build, (ODD, f"{folder}/", "data.", "data="))


# What is typed, and what must be done.
KEYS = {
    "data.val_fraction=0": "refuse",
    "data.val_fraction=1": "refuse",
    "data.val_fraction=-0.5": "refuse",
    "data.val_fraction=nan": "refuse",
    "data.val_fraction=half": "refuse",
    "data.batch_size=0": "refuse",
    "data.batch_size=2.5": "refuse",
    "data.batch_size=1000000000": "either",
    "data.num_workers=-1": "refuse",
    "data.crop_size=-16": "refuse",
    "data.crop_size=0": "refuse",
    "data.crop_size=1000": "either",
    "data.split=nonsense": "refuse",
    "data.split=kfold data.folds=1": "refuse",
    "data.split=kfold data.folds=100": "refuse",
    "data.split=kfold data.fold=9": "refuse",
    "data.channels=0": "refuse",
    "data.channels=3": "either",
    "data.num_classes=0": "refuse",
    "data.num_classes=1000": "refuse",
    "data.class_names=[a]": "refuse",
    "data.mask_values=[0]": "refuse",
    "data.mask_values=[0,0]": "refuse",
    "data.mask_values=[0,red]": "refuse",
    "data.mask_colours=[[0,0,0],[1,2]]": "refuse",
    "data.ignore_index=0": "refuse",
    "data.value_range=[5,1]": "refuse",
    "data.value_range=[0,inf]": "refuse",
    "data.seed=-1": "refuse",
    "data.nonsense=1": "refuse",
    "data.mask_suffix=[a]": "refuse",
    "data=nonsense": "refuse",
    "optimizer.lr=nan": "refuse",
    "optimizer.lr=-1": "refuse",
    "threshold=2": "refuse",
    "trainer.max_epochs=many": "refuse",
    "trainer.accelerator=quantum": "refuse",
    "trainer.precision=7": "refuse",
    "trainer.max_time=never": "refuse",
    "model=nonsense": "refuse",
    "model.channels=[]": "refuse",
    "model.channels=[0,8]": "refuse",
    "model.channels=[-4,8]": "refuse",
    "seed=-1": "refuse",
    "seed=1e99": "refuse",
    "data.root=[": "refuse",
    "data.root=${oc.env:NOWHERE}": "refuse",
    "monitor=val/nonsense": "refuse",
}


def good(typed: list[str], root: Path) -> list[str]:
    """Write good pairs."""
    write_pairs(root)
    return typed


def odd_keys() -> Iterator[OddSet]:
    """Yield good sets with odd values of keys."""
    for text, must in KEYS.items():
        typed = text.split()
        keys = [word.partition("=")[0] for word in typed]
        yield OddSet("keys", text, must, partial(good, typed), (*keys, keys[-1].rpartition(".")[2], "NOWHERE"))
