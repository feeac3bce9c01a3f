"""Where pairs of image and mask come from: one function a data set, each giving a list of `Pair`."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from unetkit.data import synthetic, synthetic_multiclass
from unetkit.data.files import FileRef, find_folder
from unetkit.errors import UserError, check, writable
from unetkit.paths import path_of

# What the parts' folders are called, here and by other tools.
SPLIT_FOLDERS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
OTHER_NAMES = {other: split for split, (_, *others) in SPLIT_FOLDERS.items() for other in others}
SMALLEST = 16  # side of the sections that are made, in pixels


@dataclass(frozen=True)
class Pair:
    """An image and its mask, from a file, from Kaggle's run-length code, or both."""

    id: str
    image: FileRef
    mask: FileRef | None
    rle: str | None = None
    split: str | None = None


def tgs_salt_pairs(root: str | Path | None) -> list[Pair]:
    """TGS Salt as downloaded from Kaggle (2018, tgs-salt-identification-challenge).

    4,000 grey seismic tiles of 101x101, stored as RGB with equal channels; 16-bit masks, 65535 = salt.
    `root` holds `train.zip`, `train/`, or `images/` and `masks/`; `train.csv` (id,rle_mask) stands in where a mask
    file is missing, and is checked against the masks that are there. `depths.csv` is not needed.

    Raises:
        UserError: If `root` is not given, or holds no such files, or an image has no mask.
    """
    root = existing_root(root, "run `python scripts/prepare_tgs.py` to get TGS Salt")
    container = next((c for c in (root / "train.zip", root / "train", root) if find_folder(c, "images")), None)
    if container is None:
        raise UserError(
            f"data.root={root} holds none of train.zip, train/images/ and images/; give the folder of Kaggle's "
            "download, or run `python scripts/prepare_tgs.py`"
        )
    codes = _read_codes(root / "train.csv")
    images = _by_id(find_folder(container, "images"))
    masks = _by_id(find_folder(container, "masks"))
    missing = sorted(images.keys() - masks.keys() - codes.keys())
    if missing:
        raise UserError(
            f"{len(missing)} images of {container} have neither a mask file nor a line in {root / 'train.csv'}, "
            f"such as {missing[0]}"
        )
    return [Pair(id, image, masks.get(id), codes.get(id)) for id, image in images.items()]


def folder_pairs(root: str | Path | None, mask_suffix: str | int = "") -> list[Pair]:
    """Your own images: `images/` and `masks/` with equal names, or these two in `train/`, `val/` and `test/`.

    PNG, JPEG, TIFF, BMP or NPY, loose or zipped (`root` or each of the three may be a zip).

    Args:
        root: The folder or zip.
        mask_suffix: What a mask's name has after the image's, e.g. `_mask` for cat.jpg and cat_mask.png.

    Raises:
        UserError: If there are no such folders, or an image or a mask stands alone.
    """
    mask_suffix = suffix_of(mask_suffix)
    root = existing_root(root, "give the folder that holds images/ and masks/")
    parts = _given_parts(root)
    if not parts and (find_folder(root, "images") is None or find_folder(root, "masks") is None):
        raise UserError(
            f"data.root={root}", "must hold images/ and masks/, or train/ (and val/, test/) that hold these two"
        )
    has_validation = "val" in parts
    pairs = []
    for split, container in (parts or {"train": root}).items():
        images = _by_id(find_folder(container, "images"))
        masks = _by_id(find_folder(container, "masks"), mask_suffix)
        _check_no_orphans(container, images, masks, mask_suffix)
        given = split if has_validation or split == "test" else None
        prefix = f"{split}/" if len(parts) > 1 else ""
        pairs += [Pair(prefix + id, image, masks[id], split=given) for id, image in images.items()]
    return pairs


def suffix_of(given: object) -> str:
    """The `data.mask_suffix` that was typed; Hydra reads digits as a number.

    Raises:
        UserError: If it is no text.
    """
    is_text = isinstance(given, str | int) and not isinstance(given, bool)
    check("data.mask_suffix", given, is_text, "what a mask's name has after the image's; '' if nothing")
    return str(given)


def synthetic_pairs(root: str | Path, count: int, size: int, seed: int) -> list[Pair]:
    """The embedded data set: seismic sections made by `unetkit.data.synthetic`, read like TGS Salt."""
    folder = _embedded(root, f"synthetic-v{synthetic.VERSION}", synthetic.write, count, size, seed)
    return tgs_salt_pairs(folder)


def synthetic_multiclass_pairs(root: str | Path, count: int, size: int, seed: int) -> list[Pair]:
    """The embedded data set of four classes, made by `unetkit.data.synthetic_multiclass`."""
    name = f"synthetic-multiclass-v{synthetic_multiclass.VERSION}"
    return folder_pairs(_embedded(root, name, synthetic_multiclass.write, count, size, seed))


def _embedded(root: str | Path, name: str, write: Callable[..., Path], count: int, size: int, seed: int) -> Path:
    if not isinstance(count, int) or count < 2:
        raise UserError(f"data.count={count} must be at least 2, one section to train on and one to validate")
    if not isinstance(size, int) or size < SMALLEST:
        raise UserError(f"data.size={size} must be a whole number of pixels, at least {SMALLEST}")
    check("data.sections_seed", seed, isinstance(seed, int) and seed >= 0, "a whole number of at least 0")
    folder = path_of("data.root", root) / f"{name}-{count}x{size}-seed{seed}"
    with writable("data.cache_dir", root):  # which data.root is, unless given
        return write(folder, count=count, size=size, seed=seed)


def existing_root(root: str | Path | None, advice: str) -> Path:
    """The path, if it is there.

    Raises:
        UserError: If it is not given or does not exist.
    """
    if root is None:
        raise UserError("data.root", "is not set", advice)
    path = path_of("data.root", root)
    if not path.exists():
        raise UserError(f"data.root={root}", "does not exist", advice)
    return path


def _given_parts(root: Path) -> dict[str, Path]:
    parts: dict[str, Path] = {}
    for path in sorted(root.iterdir()) if root.is_dir() else []:
        right = OTHER_NAMES.get(path.stem.lower())
        if right and (path.is_dir() or path.suffix == ".zip") and find_folder(path, "masks") is not None:
            raise UserError(f"{path} holds masks, but is to be called {right}{path.suffix}; rename it")
    for split in SPLIT_FOLDERS:
        found = [c for c in (root / split, root / f"{split}.zip") if find_folder(c, "masks") is not None]
        if len(found) > 1:
            raise UserError(f"{found[0]} and {found[1]} both hold masks; keep one")
        if found:
            parts[split] = found[0]
    if parts and "train" not in parts:
        raise UserError(f"data.root={root}", f"has {' and '.join(parts)}, but no train/ that holds images/ and masks/")
    return parts


def _by_id(refs: list[FileRef] | None, suffix: str = "") -> dict[str, FileRef]:
    files: dict[str, FileRef] = {}
    for ref in refs or []:
        id = ref.stem.removesuffix(suffix)
        if id in files:
            raise UserError(f"{files[id]} and {ref} have the same name; keep one")
        files[id] = ref
    return files


def _check_no_orphans(container: Path, images: dict[str, FileRef], masks: dict[str, FileRef], mask_suffix: str) -> None:
    for kind, other, lonely in (
        ("image", "mask", sorted(images.keys() - masks.keys())),
        ("mask", "image", sorted(masks.keys() - images.keys())),
    ):
        if lonely:
            raise UserError(
                f"{len(lonely)} {kind}s in {container} have no {other} of the same name, such as "
                f"{(images | masks)[lonely[0]].name.name}; add or remove them (data.mask_suffix={mask_suffix!r} is "
                "what a mask's name has after the image's)"
            )
    if not images:
        raise UserError(f"{container}/images holds no image (PNG, JPEG, TIFF, BMP or NPY)")


def _read_codes(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if not {"id", "rle_mask"} <= set(reader.fieldnames or []):
            raise UserError(f"{path} must have the columns id,rle_mask, not {','.join(reader.fieldnames or [])}")
        return {row["id"]: row["rle_mask"] or "" for row in reader}
