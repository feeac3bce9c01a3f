"""Where pairs of image and mask come from: each function finds the pairs of one kind of data set."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from unetkit.data import synthetic, synthetic_multiclass
from unetkit.data.files import FileRef, find_folder
from unetkit.data.findings import Severity, first_names
from unetkit.data.layout.find import Layout, find_layout
from unetkit.data.layout.labels import find_labels
from unetkit.data.mask_encoding import CLASSES, LABELS, MULTILABEL
from unetkit.data.pair import Pair
from unetkit.data.tables import read_rows
from unetkit.data.volumes import as_volume
from unetkit.errors import UserError, check, is_whole, readable, writable
from unetkit.paths import command_line, path_of

log = logging.getLogger(__name__)

MIN_SIZE = 16  # smallest side of the sections that are made, in pixels


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


def folder_pairs(
    root: str | Path | None,
    mask_suffix: str | int = "",
    images: str | int | Sequence[str | int] | None = None,
    masks: str | int | Sequence[str | int] | None = None,
    *,
    stacks: bool = False,
    labels: str = CLASSES,
    class_names: Sequence[str] | None = None,
) -> list[Pair]:
    """Find your own images and masks in any usual layout, and log in one line what was recognised.

    Args:
        root: The folder or zip; None where `images` and `masks` say it all.
        mask_suffix: The end that masks' names have after the images', e.g. `_mask` for cat.jpg and cat_mask.png; found
            by itself if empty.
        images: Folder or pattern of the images, where they can't be found by themselves; a list of several where each
            channel has a file.
        masks: Folder or pattern of the masks; of multi-label masks one for each label, as a list.
        stacks: Whether each page of a TIFF or .npy file is an image; the slices of NIfTI and DICOM files always are.
        labels: `classes`, or `multilabel` where masks of several labels may overlap.
        class_names: Names of the labels, in their order; None for those of their folders.

    Raises:
        UserError: If there are no images, an image has no mask, a mask has no image, or several may belong to one.
    """
    layout = layout_of(root, mask_suffix, images, masks, stacks=stacks, labels=labels, class_names=class_names)
    return _without_faults(layout, root, images)


def _without_faults(
    layout: Layout, root: str | Path | None, images: str | int | Sequence[str | int] | None
) -> list[Pair]:
    """Return the pairs of a layout, and log what was recognised.

    Raises:
        UserError: If a finding stops training.
    """
    place = f"data.root={root}" if root is not None else f"data.images={images}"
    for finding in sorted(layout.findings, key=lambda finding: finding.severity):
        if finding.severity == Severity.FAULT:
            names = f" ({first_names(finding.names)})" if finding.names else ""
            raise UserError(place, f"can't be used: {finding.what}{names}", finding.fix)
        level = logging.WARNING if finding.severity == Severity.WARNING else logging.INFO
        log.log(level, "%s: %s; %s", place, finding.what, finding.fix)
    count = len(layout.pairs)
    log.info("%s: %d %s: %s", place, count, "pair" if count == 1 else "pairs", layout.description)
    return list(layout.pairs)


def volume_pairs(
    root: str | Path | None,
    mask_suffix: str | int = "",
    images: str | int | Sequence[str | int] | None = None,
    masks: str | int | None = None,
    *,
    spacing: Sequence[float] | None = None,
) -> list[Pair]:
    """Find your own volumes and their masks: NIfTI, TIFF stacks, .npy (D, H, W) or SEG-Y, a volume in each file.

    Args:
        root: See `folder_pairs`; so are the next three.
        mask_suffix: The end that masks' names have after the images'.
        images: Folder or pattern of the images.
        masks: Folder or pattern of the masks.
        spacing: Spacing (z, y, x) in mm to resample all volumes to; None for their own.

    Raises:
        UserError: As `folder_pairs`; or if a number is not above 0, or the mask of a volume is several files.
    """
    wanted = _spacing_of(spacing)
    layout = layout_of(root, mask_suffix, images, masks, volumes=True)
    found = []
    for pair in _without_faults(layout, root, images):
        if not isinstance(pair.mask, FileRef):
            raise UserError(str(pair.image), "has a mask of several files", "merge them to one volume")
        found.append(replace(pair, image=as_volume(pair.image, wanted), mask=as_volume(pair.mask, wanted)))
    return found


def _spacing_of(spacing: Sequence[float] | None) -> tuple[float, float, float] | None:
    numbers = list(spacing) if isinstance(spacing, Sequence) and not isinstance(spacing, str) else []
    are_three = len(numbers) == 3 and all(isinstance(x, int | float) and 0 < x < math.inf for x in numbers)
    wanted = "null, or three numbers of mm above 0 along z, y and x, as in [3,1,1]"
    check("data.spacing", spacing, spacing is None or are_three, wanted)
    return (float(numbers[0]), float(numbers[1]), float(numbers[2])) if numbers else None


def layout_of(
    root: str | Path | None,
    mask_suffix: str | int = "",
    images: str | int | Sequence[str | int] | None = None,
    masks: str | int | Sequence[str | int] | None = None,
    *,
    stacks: bool = False,
    volumes: bool = False,
    labels: str = CLASSES,
    class_names: Sequence[str] | None = None,
) -> Layout:
    """Find images and masks as `folder_pairs` or `volume_pairs` does, with all findings instead of an error.

    Raises:
        UserError: If there is no image.
    """
    suffix = suffix_of(mask_suffix)
    check("data.stacks", stacks, isinstance(stacks, bool), "true or false")
    check("data.labels", labels, labels in LABELS, " or ".join(LABELS))
    several = [] if masks is None or isinstance(masks, str | int) else list(masks)
    if several and labels != MULTILABEL:
        problem = "lists the masks of several labels"
        raise UserError(f"data.masks=[{','.join(map(str, several))}]", problem, f"set data.labels={MULTILABEL}")
    typed = [] if images is None else [images] if isinstance(images, str | int) else list(images)
    own_images = [str(path_of("data.images", value)) for value in typed]
    given = [masks] if isinstance(masks, str | int) else several
    own_masks = [str(path_of("data.masks", value)) for value in given]
    is_needed = root is not None or not own_images or not own_masks
    path = existing_root(root, "give the folder that holds images and masks") if is_needed else None
    if labels == MULTILABEL and (several or not own_masks):
        found = find_labels(path, suffix, own_images, own_masks, class_names or (), stacks=stacks)
        if found is not None:
            return found
    own_mask = own_masks[0] if own_masks else None
    return find_layout(path, suffix, own_images or None, own_mask, stacks=stacks, volumes=volumes)


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
    return list(layout_of(_embedded(root, name, synthetic_multiclass.write, count, size, seed)).pairs)


def _embedded(root: str | Path, name: str, write: Callable[..., Path], count: int, size: int, seed: int) -> Path:
    check("data.count", count, is_whole(count, 2), "at least 2, one section to train on and one to validate")
    check("data.size", size, is_whole(size, MIN_SIZE), f"a whole number of pixels, at least {MIN_SIZE}")
    check("data.sections_seed", seed, is_whole(seed, 0), "a whole number of at least 0")
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


def _by_id(refs: list[FileRef] | None) -> dict[str, FileRef]:
    files: dict[str, FileRef] = {}
    for ref in refs or []:
        if ref.stem in files:
            raise UserError(f"{files[ref.stem]} and {ref}", "have the same name", "keep one")
        files[ref.stem] = ref
    return files


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
