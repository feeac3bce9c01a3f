"""What the names of folders and files say: whether they hold images or masks, and of which part of the data."""

import re
from functools import cache
from typing import NamedTuple

# Without the marks between words, in small letters. The first word is unetkit's own.
IMAGE_WORDS = (
    *("images", "image", "imgs", "img", "inputs", "input", "scans", "scan", "frames", "frame", "photos", "photo"),
    *("originals", "original", "jpegimages", "leftimg8bit", "imgdir", "x"),
)
MASK_WORDS = (
    *("masks", "mask", "labels", "label", "labelmaps", "annotations", "annotation", "annots", "annot", "anndir"),
    *(
        "gt",
        "gts",
        "groundtruths",
        "groundtruth",
        "truths",
        "truth",
        "targets",
        "target",
        "trimaps",
        "gtfine",
        "gtcoarse",
    ),
    *("segmentations", "segmentation", "segs", "seg", "segmentationclass", "segmentationclassaug", "y"),
    *("manual", "manual1", "1stmanual", "manual2", "2ndmanual", "1stho", "2ndho"),
)
# Words that may say a role too: only believed where no folder says `masks`, and folders of both roles are found so.
GUESSED_IMAGE_WORDS = ("sat", "satellite", "rgb", "raw", "ortho", "top", "source", "tissue")
GUESSED_MASK_WORDS = ("map", "maps", "output", "outputs", "segmented", "semantic", "matte", "mattes")
FIRST_OBSERVER, SECOND_OBSERVER = ("manual", "manual1", "1stmanual"), ("manual2", "2ndmanual")
SPLIT_WORDS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
SHORT_SPLITS = {"tr": "train", "va": "val", "ts": "test"}  # only beside another word, as in imagesTr (nnU-Net)
NAME_WORDS = {"image": (*IMAGE_WORDS[:-1], "sat", "volume", "orig"), "mask": MASK_WORDS}  # at an end of a file's name

SIZES = r"(?:19|20)\d\d|64|128|256|512|1024"  # years and sides, as in train2017 and images_256
_SPLIT_OF = {word: split for split, words in SPLIT_WORDS.items() for word in words}


def _any(*words: str) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


_NAME = re.compile(
    rf"(?:stage\d)?(?P<before>{_any(*_SPLIT_OF)})?"
    rf"(?:(?P<mask>{_any(*MASK_WORDS)})(?:images?|imgs?|files?|maps?)?|(?P<image>{_any(*IMAGE_WORDS)}))?"
    rf"(?P<after>{_any(*_SPLIT_OF, *SHORT_SPLITS)})?(?:pngs?|jpe?gs?|tiffs?|tifs?|npys?)?(?:{SIZES})?"
)
# Compiled once, as each file's name is looked at.
_MARKS = re.compile(r"[\W_]+")
_LAST = re.compile(r"(.*?)[_\-. ]+([A-Za-z]+|[12](?:st|nd)[\W_]?(?:HO|manual)|manual[12])(?:[\W_]\d{1,3})?")
_FIRST = re.compile(r"([A-Za-z]+)[_\-. ]+(.*)")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]+")


class Meaning(NamedTuple):
    """What a folder's name says.

    Attributes:
        split: `train`, `val` or `test`, or None.
        role: `image` or `mask`, or None.
        word: The word that says the role, without marks and in small letters.
        rest: What the name has before these words, such as a patient's name.
    """

    split: str | None
    role: str | None
    word: str
    rest: str = ""


@cache
def meaning_of(name: str) -> Meaning | None:
    """Return what a folder's name says of its files, as `train_masks` or `imagesTr` does; None if it says nothing."""
    whole = _parse(_plain(name))
    if whole:
        return whole
    words = list(_WORD.finditer(name))
    for word in words[1:]:
        found = _parse(_plain(name[word.start() :]))
        if found and found.role and len(found.word) > 1:
            return found._replace(rest=name[: word.start()].strip("_-. "))
    return None


@cache
def guess_meaning_of(name: str) -> Meaning | None:
    """Return what a folder's name may say if its first word is believed, or a less usual one: `sat`, `masks_human`."""
    said = meaning_of(name)
    if said is not None and said.role:
        return said
    words = [word.lower() for word in _WORD.findall(name) if not word.isdigit()]
    split = next((_SPLIT_OF[word] for word in words if word in _SPLIT_OF), None)
    first = next((word for word in words if word not in _SPLIT_OF), "")
    for role, known in (("mask", MASK_WORDS + GUESSED_MASK_WORDS), ("image", IMAGE_WORDS + GUESSED_IMAGE_WORDS)):
        if len(first) > 1 and first in known:
            return Meaning(split, role, _plain(name))
    return said


def role_of_name(stem: str) -> tuple[str, str] | None:
    """Return the role that the first or last word of a file's name says, and the name without it; None if neither does.

    A number may follow, as in `benign (1)_mask_1`. The word may be the whole name, as in `ann/mask.png`.
    """
    for role, words in NAME_WORDS.items():
        if len(stem) > 1 and _plain(stem) in words:
            return role, ""
    last, first = _LAST.fullmatch(stem), _FIRST.fullmatch(stem)
    for found, word, rest in ((last, 2, 1), (first, 1, 2)):
        for role, words in NAME_WORDS.items():
            if found and _plain(found[word]) in words and len(found[word]) > 1:
                return role, found[rest]
    return None


def _plain(name: str) -> str:
    return _MARKS.sub("", name.lower())


def _parse(plain: str) -> Meaning | None:
    found = _NAME.fullmatch(plain)
    if found is None:
        part = _NAME.fullmatch(plain.removesuffix("data"))  # as in ISIC's Training_Data
        is_images = part is not None and part["before"] and not (part["mask"] or part["image"])
        return Meaning(_SPLIT_OF[part["before"]], "image", "data") if part and is_images else None
    before, after = found["before"], found["after"]
    split = _SPLIT_OF.get(before or after or "") or SHORT_SPLITS.get(after or "")
    role = "mask" if found["mask"] else "image" if found["image"] else None
    if role is None and (split is None or after in SHORT_SPLITS):
        return None
    return Meaning(split, role, found["mask"] or found["image"] or "")
