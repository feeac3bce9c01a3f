"""Finds which mask belongs to which image by their names, and what has to be renamed."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from unetkit.data.files import FileRef
from unetkit.data.sources import Pair
from unetkit.doctor.findings import Finding, Severity, finding_on

MIN_SHARE = 0.5  # of the masks without an image, which a rule must match to be taken


class Match(NamedTuple):
    """Pairs, and findings about names."""

    pairs: list[Pair]
    findings: list[Finding]


class Renaming(NamedTuple):
    """Ids of masks by the ids of the images that they seem to belong to, and the rule that says so."""

    mask_of: dict[str, str]
    rule: str


def common_suffix(images: set[str], names: set[str]) -> tuple[str, int]:
    """Return what most names have after the name of an image, and how many have it; numbers don't count."""
    found = Counter(
        name[end:] for name in names for end in range(1, len(name)) if name[:end] in images and not name[end:].isdigit()
    )
    return found.most_common(1)[0] if found else ("", 0)


def find_mask_suffix(images: set[str], masks: set[str]) -> str:
    """Return what names of masks have after names of images, if it pairs more of them than equal names do."""
    suffix, count = common_suffix(images, masks - images)
    return suffix if count > len(images & masks) and count >= MIN_SHARE * len(masks - images) else ""


def match(
    images: list[FileRef], masks: list[FileRef], suffix: str, rle_by_id: Mapping[str, str], split: str | None
) -> Match:
    """Pair the images and masks of one split.

    Args:
        images: Files of images.
        masks: Files of masks.
        suffix: Text in the name of a mask after the name of its image.
        rle_by_id: Run-length codes that stand for masks, by the id of the image.
        split: The split that the folder gives, or None.

    Returns:
        A pair for each image, also for those without a mask; and findings about names.
    """
    image_by_id, same_image = _by_id(images, "")
    mask_by_id, same_mask = _by_id(masks, suffix)
    without_mask = sorted(image_by_id.keys() - mask_by_id.keys() - rle_by_id.keys())
    without_image = sorted(mask_by_id.keys() - image_by_id.keys())
    renaming = _find_renaming(without_mask, without_image)
    mask_by_id |= {image: mask_by_id[mask] for image, mask in renaming.mask_of.items()}
    findings = [
        *_same_names(same_image + same_mask),
        *_to_rename(renaming, suffix),
        *_images_without_mask(
            [image_by_id[id] for id in without_mask if id not in renaming.mask_of], bool(masks or rle_by_id), split
        ),
        *_masks_without_image(
            [mask_by_id[id] for id in without_image if id not in renaming.mask_of.values()],
            suffix,
            split,
            # Training on TGS Salt ignores such masks.
            Severity.WARNING if rle_by_id else Severity.FAULT,
        ),
    ]
    prefix = f"{split}/" if split else ""
    pairs = [Pair(prefix + id, ref, mask_by_id.get(id), rle_by_id.get(id), split) for id, ref in image_by_id.items()]
    return Match(pairs, findings)


def _by_id(files: list[FileRef], suffix: str) -> tuple[dict[str, FileRef], list[FileRef]]:
    """Return files by their names without the suffix, and those whose name another one has."""
    by_id: dict[str, FileRef] = {}
    repeated = [file for file in files if by_id.setdefault(file.stem.removesuffix(suffix), file) is not file]
    return by_id, repeated


def _same_names(files: list[FileRef]) -> list[Finding]:
    return finding_on(
        Severity.FAULT,
        "{n} file{s} {has} the same name as another, apart from the file type",
        "keep one of each",
        (f"{file.name.parent.name}/{file.name.name}" for file in files),
    )


def _images_without_mask(files: list[FileRef], are_masks_there: bool, split: str | None) -> list[Finding]:
    what = f"{{n}} image{{s}}{_in_split(split)} {{has}} no mask"
    if are_masks_there:
        fix = "add masks of the same name (all black if there is nothing to find), or remove the images"
    else:
        what += ": there are no masks at all"
        fix = "put a mask with the same name for each image into masks/"
    return finding_on(Severity.FAULT, what, fix, (file.name.name for file in files))


def _masks_without_image(files: list[FileRef], suffix: str, split: str | None, severity: Severity) -> list[Finding]:
    fix = "add the images, or remove the masks"
    if suffix:
        fix += f" (a mask is called like its image, with {suffix} at the end)"
    what = f"{{n}} mask{{s}}{_in_split(split)} {{has}} no image"
    return finding_on(severity, what, fix, (file.name.name for file in files))


def _in_split(split: str | None) -> str:
    return f" in {split}/" if split else ""


def _find_renaming(images: Collection[str], masks: Collection[str]) -> Renaming:
    """Pair images without a mask and masks without an image by the first rule that matches enough of them."""
    for rule, key in RULES.items():
        mask_by_key = {key(mask): mask for mask in masks}
        mask_of = {image: mask_by_key[key(image)] for image in images if key(image) and key(image) in mask_by_key}
        if len(mask_of) == len(set(mask_of.values())) and len(mask_of) > MIN_SHARE * len(masks):
            return Renaming(mask_of, rule)
    return Renaming({}, "")


def _to_rename(renaming: Renaming, suffix: str) -> list[Finding]:
    image, mask = next(iter(renaming.mask_of.items()), ("", ""))
    return finding_on(
        Severity.FAULT,
        f"{{n}} mask{{s}} {{is}} not called like the image{{s}}: {renaming.rule}",
        f"give masks the names of their images, e.g. rename {mask}{suffix} to {image}{suffix}",
        (name + suffix for name in renaming.mask_of.values()),
    )


def _without_last_word(name: str) -> str:
    return re.sub(r"[_\-. ][^_\-. ]*$", "", name)


def _without_first_word(name: str) -> str:
    return re.sub(r"^[^_\-. ]*[_\-. ]", "", name)


def _last_number(name: str) -> str:
    numbers = re.findall(r"\d+", name)
    return str(int(numbers[-1])) if numbers else ""


# What differs between the names, and the part of a name that must be equal nevertheless.
RULES: dict[str, Callable[[str], str]] = {
    "upper and lower case differ": str.lower,
    "the last word differs": _without_last_word,
    "the first word differs": _without_first_word,
    "only the number is the same": _last_number,
}
