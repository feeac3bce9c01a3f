"""What can be typed where names leave it open which files are images, channels or masks."""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from string import ascii_letters, digits

from unetkit.data.layout.item import Item
from unetkit.data.layout.naming import common_start

FOLDERS_SHOWN = 3
NUMBER = re.compile(r"\d+")
LAST_WORD = re.compile(r"(.*[_\-. ])([^_\-. ]+)")  # of a name, with what comes before it


def patterns_of_channels(images: Sequence[Item], masks: Sequence[Item]) -> list[str]:
    """Return patterns of the images that share a mask, and of the mask, the last one; none if names don't tell.

    The files of one mask lie in a folder and have names of the same ends (BraTS), or have equal names but for the last
    word (Potsdam).
    """
    for ends_of in (_ends_in_folders(images, masks), _last_words(images, masks)):
        ends = {tuple(sorted(of_images) + of_masks) for of_images, of_masks in ends_of}
        is_one = all(len(of_masks) == 1 < len(of_images) for of_images, of_masks in ends_of)
        if is_one and len(ends) == 1 and len(ends_of) == len(masks) > 1:
            return [f"**/*{end}" for end in ends.pop()]
    return []


def _ends_in_folders(images: Sequence[Item], masks: Sequence[Item]) -> list[tuple[list[str], list[str]]]:
    """Return what differs in the names of the images, and of the masks, of each folder."""
    in_folder = _grouped(images, masks, lambda item: item.folder.place)
    found = []
    for held in in_folder:
        start = common_start([item.name for items in held for item in items]).rstrip(ascii_letters + digits)
        mark = start[-1:]  # that t1 is not found at the end of another word
        of_images, of_masks = ([mark + item.name[len(start) :] + item.ref.suffix for item in items] for items in held)
        found.append((of_images, of_masks))
    return found


def _last_words(images: Sequence[Item], masks: Sequence[Item]) -> list[tuple[list[str], list[str]]]:
    """Return the last words of the images, and of the masks, whose names are equal before them."""

    def start(item: Item) -> object:
        found = LAST_WORD.fullmatch(item.name)
        return item.folder.place, found[1] if found else item.name

    found = []
    for held in _grouped(images, masks, start):
        parts = [[(LAST_WORD.fullmatch(item.name), item.ref.suffix) for item in items] for items in held]
        of_images, of_masks = ([f"{p[1][-1]}{p[2]}{suffix}" for p, suffix in items if p] for items in parts)
        found.append((of_images, of_masks))
    return found


def _grouped(
    images: Sequence[Item], masks: Sequence[Item], key: Callable[[Item], object]
) -> list[tuple[list[Item], list[Item]]]:
    groups: dict[object, tuple[list[Item], list[Item]]] = defaultdict(lambda: ([], []))
    for kind, items in enumerate((images, masks)):
        for item in items:
            groups[item.folder.split, key(item)][kind].append(item)
    return list(groups.values())


def choices_of_masks(masks: Sequence[Item]) -> list[str]:
    """Return folders that each hold one of several masks of an image, or patterns by the ends of names."""
    if len({mask.folder.place for mask in masks}) == len(masks):
        return [mask.folder.place or "." for mask in masks]
    start = len(common_start([mask.name for mask in masks]).rstrip(ascii_letters + digits))
    return [f"**/*{mask.name[start:]}{mask.ref.suffix}" for mask in masks]


def choices_of_images(clashes: Sequence[Sequence[Item]], count: int) -> list[str]:
    """Return the folders of which each holds all images, as for two dates or several bands; none otherwise.

    Args:
        clashes: Groups of images of one name.
        count: Number of names of images.
    """
    places = {tuple(sorted(item.folder.place for item in held)) for held in clashes}
    names = {tuple(place.rpartition("/")[2] for place in held) for held in places}
    if len(names) != 1 or len(clashes) < count or len(set(last := names.pop())) < len(last):
        return []
    return list(places.pop()) if len(places) == 1 else [f"**/{name}" for name in last]


def choices_among(images: Sequence[Item]) -> list[str]:
    """Return the keys that say which of several folders, or groups of names, that belong together are the masks."""
    names: dict[str, set[str]] = defaultdict(set)
    kinds: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for image in images:
        names[image.folder.home].add(image.name)
        kinds[NUMBER.sub("*", image.name) + image.ref.suffix].add(tuple(NUMBER.findall(image.name)))
    if 1 < len(names) <= FOLDERS_SHOWN and len(set(map(frozenset, names.values()))) == 1:
        of_images = {image.folder.home for image in images if image.folder.word}
        return [f"data.masks={home or '.'}" for home in sorted(names.keys() - of_images or names)]
    if 1 < len(kinds) <= FOLDERS_SHOWN and len(set(map(frozenset, kinds.values()))) == 1:
        return [f'data.masks="**/{kind}"' for kind in sorted(kinds)]
    return []
