"""Which mask belongs to which image, by their folders and names."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from unetkit.data.layout.item import Item
from unetkit.data.layout.words import role_of_name

DIGITS = re.compile(r"\d+")
MARKS = re.compile(r"[\W_]")
MIN_SHARE = 0.5  # of the masks, which names by a rule must pair if they are not equal

Key = tuple[object, ...]
KeyOf = Callable[[str], str]


@dataclass
class Matched:
    """Which masks belong to which image.

    Attributes:
        masks_of: The masks of each image, in the order of images; usually one, or none.
        rule: How names of masks differ from those of their images; empty if they are equal.
        orphans: Masks without an image.
        clashes: Groups of images that would have the same name.
        merges: Whether several masks of an image show one object each.
    """

    masks_of: list[tuple[Item, list[Item]]]
    rule: str
    orphans: list[Item]
    clashes: list[list[Item]] = field(default_factory=list)
    merges: bool = False

    @property
    def score(self) -> tuple[int, int, int]:
        """How well a rule fits: first by the images with a mask, then by masks that are left over or too many."""
        several = sum(len(masks) > 1 for _, masks in self.masks_of) * (not self.merges)
        return self.count - len(self.clashes), -len(self.orphans), -several

    @property
    def count(self) -> int:
        """The number of images with a mask."""
        return sum(bool(masks) for _, masks in self.masks_of)


@dataclass(frozen=True)
class Rule:
    """Names are equal after these functions; `text` says so in words; `merges` is that of `Matched`."""

    text: str
    image_key: KeyOf
    mask_key: KeyOf
    merges: bool = False


def match_splits(images: Sequence[Item], masks: Sequence[Item], suffix: str = "") -> Matched:
    """Pair the images and masks of each split, whose names may differ in another way each.

    Args:
        images: Files of images.
        masks: Files of masks.
        suffix: Text in the name of a mask after the name of its image; if it is given, no other rule is tried.
    """
    parts = []
    for split in dict.fromkeys(item.folder.split for item in (*images, *masks)):
        held_images, held_masks = ([item for item in items if item.folder.split == split] for items in (images, masks))
        matched = match(held_images, held_masks, suffix)
        objects = match_objects(held_images, held_masks) if matched.score < (len(held_images), 0, 0) else None
        fits = 2 * matched.count >= len(held_images) and not (objects and _are_counted(objects))
        parts.append(matched if fits else objects or matched)
    return Matched(
        [pair for part in parts for pair in part.masks_of],
        "; ".join(dict.fromkeys(part.rule for part in parts if part.rule)),
        [mask for part in parts for mask in part.orphans],
        [clash for part in parts for clash in part.clashes],
        all(part.merges or all(len(masks) < 2 for _, masks in part.masks_of) for part in parts),
    )


def match(images: Sequence[Item], masks: Sequence[Item], suffix: str = "") -> Matched:
    """Pair images and masks of one split by the rule that pairs most of them, the simplest first.

    Folders must be equal, too, unless names alone pair more.

    Args:
        images: Files of images.
        masks: Files of masks.
        suffix: Text in the name of a mask after the name of its image; if it is given, no other rule is tried.
    """
    tried: list[Matched] = []
    for matched in _tries(images, masks, suffix):
        tried.append(matched)
        if matched.score == (len(images), 0, 0):  # no later rule can pair more, and each takes long for many files
            break
    best = max(tried, key=lambda matched: matched.score)
    return best if best.rule == tried[0].rule or len(best.orphans) < MIN_SHARE * len(masks) else tried[0]


def _tries(images: Sequence[Item], masks: Sequence[Item], suffix: str) -> Iterator[Matched]:
    """Yield how images and masks pair by each rule, first in equal folders, then in any."""
    rules = [_with_suffix(suffix)] if suffix else _rules(images, masks)
    used = []
    for rule in rules:
        used.append(rule)
        yield _apply(rule, images, masks, lambda item: item.folder.group)
    if len({item.folder.group for item in (*images, *masks)}) > 1:
        for rule in used:
            yield _apply(rule, images, masks, lambda item: ())


def match_objects(images: Sequence[Item], masks: Sequence[Item]) -> Matched | None:
    """Pair each image with all masks of one folder, where each mask shows one object; None for another layout.

    The folder is that of the image, which holds no other image (DSB2018), or is called like the image.
    """
    by_folder = {(image.folder.split, image.folder.group): image for image in images}
    by_name = {(image.folder.split, (*image.folder.group, image.name)): image for image in images}
    for image_of in (by_folder, by_name):
        masks_of: dict[Key, list[Item]] = defaultdict(list)
        for mask in masks:
            masks_of[mask.folder.split, mask.folder.group].append(mask)
        paired = [masks_of.get(key, []) for key in image_of]
        if len(image_of) == len(images) and any(paired) and () not in {key[1] for key in masks_of}:
            orphans = [mask for key, found in masks_of.items() if key not in image_of for mask in found]
            text = "all masks in the folder of an image are merged"
            merges = not _have_same_words(paired)  # as label.png and label_viz.png of each image, which are no objects
            return Matched(list(zip(image_of.values(), paired, strict=True)), text, orphans, merges=merges)
    return None


def _have_same_words(masks_of: Sequence[Sequence[Item]]) -> bool:
    """Whether each of several images has the same several masks by name, which has no number."""
    names = [frozenset(mask.name for mask in masks) for masks in masks_of]
    return len(names) > 1 == len(set(names)) and len(names[0]) > 1 and not any(map(DIGITS.search, names[0]))


def _are_counted(objects: Matched) -> bool:
    """Whether each image has masks, and those of an image have one name but for numbers, as 1.png and 2.png."""
    names = [{DIGITS.sub("", mask.name) for mask in masks} for _, masks in objects.masks_of]
    return not objects.orphans and all(len(of_image) == 1 for of_image in names)


def _apply(rule: Rule, images: Sequence[Item], masks: Sequence[Item], group: Callable[[Item], object]) -> Matched:
    masks_of: dict[Key, list[Item]] = defaultdict(list)
    image_of: dict[Key, Item] = {}
    clashes: dict[Key, list[Item]] = {}
    for mask in masks:
        masks_of[mask.folder.split, group(mask), rule.mask_key(mask.name)].append(mask)
    for image in images:
        key = image.folder.split, group(image), rule.image_key(image.name)
        first = image_of.setdefault(key, image)
        if first is not image:
            clashes.setdefault(key, [first]).append(image)
    orphans = [mask for key, held in masks_of.items() if key not in image_of for mask in held]
    pairs = [(image, masks_of.get(key, [])) for key, image in image_of.items()]
    return Matched(pairs, rule.text, orphans, list(clashes.values()), rule.merges)


def _rules(images: Sequence[Item], masks: Sequence[Item]) -> Iterator[Rule]:
    """Yield the ways in which names may correspond, the simplest first."""
    image_names, mask_names = {item.name for item in images}, {item.name for item in masks}
    yield Rule("", str, str)
    yield Rule("upper and lower case differ", str.lower, str.lower)
    if suffix := common_suffix(image_names, mask_names - image_names)[0]:
        yield _with_suffix(suffix)
        yield Rule(f"names of masks end in {suffix} and perhaps a number", str, _before(suffix), merges=True)
    if prefix := common_prefix(image_names, mask_names - image_names):
        yield Rule(f"names of masks begin with {prefix}", str, lambda name: name.removeprefix(prefix))
    yield Rule("words such as image and mask differ", _without_role, _without_role)
    if ends := _several_ends(image_names, mask_names):
        shown = " or ".join(sorted(ends))
        yield Rule(f"names of masks end in {shown}", str, lambda name: _start_of(name, image_names) or name)
    image_affix, mask_affix = _affix(image_names), _affix(mask_names)
    text = "zeros before numbers differ"
    if image_affix != mask_affix:
        text = f"{image_affix[0]}*{image_affix[1]} has the mask {mask_affix[0]}*{mask_affix[1]}"
        yield Rule(text, _between(*image_affix), _between(*mask_affix))
        text = f"{text}, apart from zeros before numbers"
    yield Rule(text, _number(_between(*image_affix)), _number(_between(*mask_affix)))


def common_suffix(images: Iterable[str], names: Iterable[str]) -> tuple[str, int]:
    """Return what most names have after the name of an image, and how many have it; numbers don't count."""
    images = set(images)
    found = Counter(
        name[end:] for name in names for end in range(1, len(name)) if name[:end] in images and not name[end:].isdigit()
    )
    return found.most_common(1)[0] if found else ("", 0)


def _several_ends(images: set[str], masks: set[str]) -> set[str]:
    """Return what names of masks have after the name of an image, where each image has the same several masks."""
    ends_of: dict[str, set[str]] = defaultdict(set)
    for name in masks:
        start = _start_of(name, images)
        if not start:
            return set()
        ends_of[start].add(name[len(start) :])
    ends = next(iter(ends_of.values()), set())
    return ends if len(ends) > 1 and all(found == ends for found in ends_of.values()) else set()


def _start_of(name: str, images: set[str]) -> str:
    """Return the longest name of an image with which a name begins, up to a mark; empty if there is none."""
    ends = (found.start() for found in MARKS.finditer(name))
    return next((name[:end] for end in sorted(ends, reverse=True) if name[:end] in images), "")


def common_prefix(images: Iterable[str], names: Iterable[str]) -> str:
    """Return what most names have before the name of an image; empty if none does."""
    images = set(images)
    found = Counter(
        name[:end] for name in names for end in range(1, len(name)) if name[end:] in images and not name[:end].isdigit()
    )
    return found.most_common(1)[0][0] if found else ""


def common_start(names: Iterable[str]) -> str:
    """Return the longest text that all names begin with."""
    first, last = min(names, default=""), max(names, default="")  # in the order of letters, the most different ones
    end = next((i for i, letters in enumerate(zip(first, last, strict=False)) if len(set(letters)) > 1), len(first))
    return first[:end]


def _with_suffix(suffix: str) -> Rule:
    return Rule(f"names of masks end in {suffix}", str, lambda name: name.removesuffix(suffix))


def _before(suffix: str) -> KeyOf:
    pattern = re.compile(re.escape(re.sub(r"[\W_]?\d+$", "", suffix) or suffix) + r"([\W_]?\d+)?$")
    return lambda name: pattern.sub("", name)


def _without_role(name: str) -> str:
    found = role_of_name(name)
    return found[1] if found else name


def _affix(names: set[str]) -> tuple[str, str]:
    """Return the prefix and the suffix that all names have, up to the first and after the last digit that varies."""
    prefix = common_start(names)
    suffix = common_start([name[len(prefix) :][::-1] for name in names])[::-1]
    if len(names) < 2:
        return prefix, suffix
    return re.sub(r"\d+$", "", prefix), re.sub(r"^\d+", "", suffix)


def _between(prefix: str, suffix: str) -> KeyOf:
    return lambda name: name.removeprefix(prefix).removesuffix(suffix).lower()


def _number(key: KeyOf) -> KeyOf:
    return lambda name: re.sub(r"\d+", lambda found: str(int(found[0])), key(name))
