"""Where pairs of image and mask come from: each function finds the pairs of one kind of data set."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from unetkit.data import synthetic, synthetic_multiclass
from unetkit.data.files import FileRef, find_folder
from unetkit.data.tables import read_rows
from unetkit.errors import UserError, check, readable, writable
from unetkit.paths import command_line, path_of

# Names of the folders of each part: ours first, then those of other tools.
SPLIT_FOLDERS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
OTHER_NAMES = {other: split for split, (_, *others) in SPLIT_FOLDERS.items() for other in others}
MIN_SIZE = 16  # smallest side of the sections that are made, in pixels


@dataclass(frozen=True)
class Pair:
    """An image and its mask.

    Attributes:
        id: The name of the pair.
        image: The file of the image.
        mask: The file of the mask; None where only the run-length code holds it.
        rle: Kaggle's run-length code of the mask; None where there is none.
        split: `train`, `val` or `test` where the folders say it; else None.
    """

    id: str
    image: FileRef
    mask: FileRef | None
    rle: str | None = None
    split: str | None = None


def tgs_salt_pairs(root: str | Path | None) -> list[Pair]:
    """Find TGS Salt as downloaded from Kaggle (2018, tgs-salt-identification-challenge).

    It has 4,000 grey seismic tiles of 101x101, stored as RGB with equal channels, and 16-bit masks, 65535 = salt.

    Args:
        root: The folder that holds `train.zip`, `train/`, or `images/` and `masks/`. The run-length code in `train.csv`
            (id,rle_mask) is used where a mask file is missing, and compared with the mask files. `depths.csv` is not
            needed.

    Raises:
        UserError: If `root` is not given, or holds no such files, or an image has no mask.
    """
    root = existing_root(root, f"run `{command_line('prepare-tgs')}` to get TGS Salt")
    container = next((c for c in (root / "train.zip", root / "train", root) if find_folder(c, "images")), None)
    if container is None:
        problem = "holds none of train.zip, train/images/ and images/"
        fix = f"give the folder of Kaggle's download, or run `{command_line('prepare-tgs')}`"
        raise UserError(f"data.root={root}", problem, fix)
    codes = _read_codes(root / "train.csv")
    images = _by_id(find_folder(container, "images"))
    masks = _by_id(find_folder(container, "masks"))
    missing = sorted(images.keys() - masks.keys() - codes.keys())
    if missing:
        problem = f"have neither a mask file nor a line in {root / 'train.csv'}, such as {missing[0]}"
        raise UserError(f"{len(missing)} images of {container}", problem, "add the masks, or remove the images")
    return [Pair(id, image, masks.get(id), codes.get(id)) for id, image in images.items()]


def folder_pairs(root: str | Path | None, mask_suffix: str | int = "") -> list[Pair]:
    """Find your own images: `images/` and `masks/` with equal names, or these two in `train/`, `val/` and `test/`.

    Files are PNG, JPEG, TIFF, BMP or NPY, loose or zipped: `root` or each of the three may be a zip.

    Args:
        root: The folder or zip.
        mask_suffix: The end that masks' names have after the images', e.g. `_mask` for cat.jpg and cat_mask.png.

    Raises:
        UserError: If there are no such folders, or an image has no mask, or a mask no image.
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
    """Return `data.mask_suffix` as text; Hydra reads digits as a number.

    Raises:
        UserError: If it is neither.
    """
    is_text = isinstance(given, str | int) and not isinstance(given, bool)
    check("data.mask_suffix", given, is_text, "what a mask's name has after the image's; '' if nothing")
    return str(given)


def synthetic_pairs(root: str | Path, count: int, size: int, seed: int) -> list[Pair]:
    """Find the pairs of synthetic seismic sections; `unetkit.data.synthetic` makes them if they are not there yet."""
    folder = _embedded(root, f"synthetic-v{synthetic.VERSION}", synthetic.write, count, size, seed)
    return tgs_salt_pairs(folder)


def synthetic_multiclass_pairs(root: str | Path, count: int, size: int, seed: int) -> list[Pair]:
    """Find the pairs of synthetic sections of four classes, made in the same way by `synthetic_multiclass`."""
    name = f"synthetic-multiclass-v{synthetic_multiclass.VERSION}"
    return folder_pairs(_embedded(root, name, synthetic_multiclass.write, count, size, seed))


def _embedded(root: str | Path, name: str, write: Callable[..., Path], count: int, size: int, seed: int) -> Path:
    enough = isinstance(count, int) and count >= 2
    check("data.count", count, enough, "at least 2, one section to train on and one to validate")
    is_size = isinstance(size, int) and size >= MIN_SIZE
    check("data.size", size, is_size, f"a whole number of pixels, at least {MIN_SIZE}")
    check("data.sections_seed", seed, isinstance(seed, int) and seed >= 0, "a whole number of at least 0")
    folder = path_of("data.cache_dir", root) / f"{name}-{count}x{size}-seed{seed}"
    with writable("data.cache_dir", root):
        return write(folder, count=count, size=size, seed=seed)


def existing_root(root: str | Path | None, advice: str) -> Path:
    """Return the path of an existing folder or zip.

    Raises:
        UserError: If it is not given, does not exist or can't be read.
    """
    if root is None:
        raise UserError("data.root", "is not set", advice)
    path = path_of("data.root", root)
    with readable(f"data.root={root}"):
        if not path.exists():
            raise UserError(f"data.root={root}", "does not exist", advice)
        if path.is_dir():
            next(path.iterdir(), None)
    return path


def _given_parts(root: Path) -> dict[str, Path]:
    parts: dict[str, Path] = {}
    for path in sorted(root.iterdir()) if root.is_dir() else []:
        right = OTHER_NAMES.get(path.stem.lower())
        if right and (path.is_dir() or path.suffix == ".zip") and find_folder(path, "masks") is not None:
            raise UserError(str(path), f"holds masks, but must be called {right}{path.suffix}", "rename it")
    for split in SPLIT_FOLDERS:
        found = [c for c in (root / split, root / f"{split}.zip") if find_folder(c, "masks") is not None]
        if len(found) > 1:
            raise UserError(f"{found[0]} and {found[1]}", "both hold masks", "keep one")
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
            raise UserError(f"{files[id]} and {ref}", "have the same name", "keep one")
        files[id] = ref
    return files


def _check_no_orphans(container: Path, images: dict[str, FileRef], masks: dict[str, FileRef], mask_suffix: str) -> None:
    for kind, other, lonely in (
        ("image", "mask", sorted(images.keys() - masks.keys())),
        ("mask", "image", sorted(masks.keys() - images.keys())),
    ):
        if lonely:
            problem = f"have no {other} of the same name, such as {(images | masks)[lonely[0]].name.name}"
            fix = f"add or remove them (data.mask_suffix={mask_suffix!r} is what a mask's name has after the image's)"
            raise UserError(f"{len(lonely)} {kind}s in {container}", problem, fix)
    if not images:
        raise UserError(f"{container}/images", "holds no image (PNG, JPEG, TIFF, BMP or NPY)")


def _read_codes(path: Path) -> dict[str, str]:
    """Return the run lengths by id of Kaggle's train.csv; none if there is no such file.

    Raises:
        UserError: If it can't be read, a line is cut short, or an id comes twice with different run lengths.
    """
    codes: dict[str, str] = {}
    for line, row in read_rows(path, ("id", "rle_mask")) if path.exists() else ():
        id, code, place = row["id"] or "", row["rle_mask"], f"{path}, line {line}"
        if code is None:
            raise UserError(place, f"is cut short: {id} has no rle_mask", "an empty mask is written as `id,`")
        if codes.setdefault(id, code) != code:
            raise UserError(place, f"gives {id} another mask than an earlier line", "remove one of them")
    return codes
