"""Which files of a data set are images and which are masks, by the names of folders, of files, or as the user says."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from unetkit.data.findings import Finding, Severity, finding_on
from unetkit.data.layout.item import Folder, Item
from unetkit.data.layout.naming import MIN_SHARE, common_suffix
from unetkit.data.layout.tree import Entry
from unetkit.data.layout.words import FIRST_OBSERVER, SECOND_OBSERVER, guess_meaning_of, meaning_of, role_of_name

FIELD_OF_VIEW = ("mask", "masks")  # beside the masks of observers (DRIVE, HRF)
SEVERAL_FILES = ("_labelTrainIds", "_labelIds")  # of an image in Cityscapes; the first that is there is read


@dataclass
class Roles:
    """The images and masks of a data set.

    Attributes:
        images: The images that need a mask.
        masks: The masks.
        unlabelled: Images of a split that has no masks.
        findings: What is not read, and why.
        is_mixed: Whether images and masks lie in the same folders.
    """

    images: list[Item]
    masks: list[Item]
    unlabelled: list[Item] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    is_mixed: bool = False


def placed(entry: Entry, *, guesses: bool = False) -> tuple[Item, str | None]:
    """Return a file with what its folders say, or may say if `guesses`, and its role: `image`, `mask` or None."""
    folder, role = _said_by(entry.folders, guesses)
    return Item(entry.ref, entry.ref.stem, folder), role


@lru_cache(maxsize=1024)  # files of a folder come one after the other
def _said_by(folders: tuple[str, ...], guesses: bool) -> tuple[Folder, str | None]:
    """Return what the names of folders, the outermost first, say of the files in the last, and their role."""
    split = role = None
    word = ""
    place = home = "/".join(folders)
    outer: list[str] = []
    inner: list[str] = []
    for depth, name in enumerate(folders, 1):
        meaning = guess_meaning_of(name) if guesses else meaning_of(name)
        if meaning is None:
            (inner if role else outer).append(name)
            continue
        split = meaning.split or split
        if meaning.role:
            outer, inner = [*outer, *inner, *([meaning.rest] if meaning.rest else [])], []
            role, word, home = meaning.role, meaning.word, "/".join(folders[:depth])
    group = (*outer, *inner)
    return Folder(group, split, place, word, home, tuple(outer) if role else ()), role


def sort_roles(entries: Iterable[Entry]) -> Roles:
    """Sort files into images and masks by the names of their folders, or else by their own names."""
    entries = list(entries)
    by_role = by_folders(entries)
    if by_role["mask"]:
        return _sort_by_folders(by_role)
    roles = _sort_by_name([*by_role["image"], *by_role[None]])
    if roles.is_mixed:
        return roles
    guessed = by_folders(entries, guesses=True)
    return _sort_by_folders(guessed) if guessed["image"] and guessed["mask"] else roles


def by_folders(entries: Iterable[Entry], *, guesses: bool = False) -> dict[str | None, list[Item]]:
    """Return the files by the role that their folders say, or may say if `guesses`: `image`, `mask` or None."""
    by_role: dict[str | None, list[Item]] = {"image": [], "mask": [], None: []}
    for entry in entries:
        item, role = placed(entry, guesses=guesses)
        by_role[role].append(item)
    return by_role


def _sort_by_folders(by_role: dict[str | None, list[Item]]) -> Roles:
    """Sort files where the names of folders say which are masks."""
    images, masks, loose = by_role["image"], by_role["mask"], by_role[None]
    with_images, with_masks = ({item.folder.split for item in items} for items in (images, masks))
    # A split that has masks, but no folder of images, has its images in the split's folder itself (CamVid).
    beside = [item for item in loose if item.folder.split in with_masks - with_images]
    folders = {(mask.folder.split, mask.folder.group) for mask in masks}
    near = [item for item in beside if (item.folder.split, item.folder.group) in folders] or beside
    unlabelled = [item for item in loose if item.folder.split is not None and item.folder.split not in with_masks]
    read = {item.ref for item in (*near, *unlabelled)}
    left = [item for item in loose if item.ref not in read]
    without = [item for item in left if item.folder.split in with_masks - with_images]
    found = _not_read("{n} image{s} {is} not read: there are no masks for this folder", without)
    others = [item for item in left if item.folder.split not in with_masks - with_images]
    found += _not_read("{n} file{s} {is} not read: no folder says images or masks", others, Severity.NOTE)
    roles = Roles([*images, *near, *unlabelled], masks, findings=found)
    for narrow in (_in_given_splits, _in_upper_folders, _with_one_word, _one_file_of_several):
        roles = narrow(roles)
    return roles


def _in_given_splits(roles: Roles) -> Roles:
    """Leave out images of splits without masks, and files outside the splits where there are some."""
    splits = {mask.folder.split for mask in roles.masks}
    if splits != {None}:
        outside = [item for item in (*roles.images, *roles.masks) if item.folder.split is None]
        splits -= {None}
        what = f"{{n}} file{{s}} {{is}} not read: the masks lie in {'/, '.join(sorted(map(str, splits)))}/"
        roles.findings += _not_read(what, outside)
    roles.unlabelled += [
        item for item in roles.images if item.folder.split is not None and item.folder.split not in splits
    ]
    return replace(
        roles,
        images=[item for item in roles.images if item.folder.split in splits],
        masks=[item for item in roles.masks if item.folder.split in splits],
    )


def _in_upper_folders(roles: Roles) -> Roles:
    """Leave out folders below one that has images and masks itself, such as copies and predictions."""
    image_outers, mask_outers = (
        {item.folder.outer for item in roles.images},
        {item.folder.outer for item in roles.masks},
    )
    complete = {outer for outer in mask_outers if outer in image_outers}

    below = [item for item in (*roles.images, *roles.masks) if below_others(item, complete)]
    what = "{n} file{s} {is} not read: a folder above has images and masks of its own"
    roles.findings += _not_read(what, below)
    return replace(
        roles,
        images=[item for item in roles.images if not below_others(item, complete)],
        masks=[item for item in roles.masks if not below_others(item, complete)],
    )


def below_others(item: Item, outers: Collection[tuple[str, ...]]) -> bool:
    """Return whether a file lies below one of the folders `outers`, and not in it."""
    return any(item.folder.outer[: len(outer)] == outer and item.folder.outer != outer for outer in outers)


def _with_one_word(roles: Roles) -> Roles:
    """Where a folder has several folders of masks, or of images, take the right one, or say that none can be chosen."""
    return replace(
        roles,
        images=_choose_word(roles.images, "images", roles.findings),
        masks=_choose_word(roles.masks, "masks", roles.findings),
    )


def _choose_word(items: Sequence[Item], kind: str, findings: list[Finding]) -> list[Item]:
    by_place: dict[tuple[object, ...], dict[str, list[Item]]] = defaultdict(lambda: defaultdict(list))
    for item in items:
        by_place[item.folder.split, item.folder.outer][item.folder.word].append(item)
    kept: list[Item] = []
    for by_word in by_place.values():
        chosen = _right_word(list(by_word), kind) if len(by_word) > 1 else next(iter(by_word))
        if chosen is None:
            homes = sorted({found[0].folder.home or "." for found in by_word.values()})
            fix = "say which: " + " or ".join(f"data.{kind}={home}" for home in homes)
            findings.append(Finding(Severity.FAULT, f"{' and '.join(homes)} may both hold the {kind}", fix))
            continue
        kept += by_word.pop(chosen)
        for word, others in by_word.items():
            why = "the field of view, not objects" if chosen in FIRST_OBSERVER and word in FIELD_OF_VIEW else ""
            read, other = kept[-1].folder.home or ".", others[0].folder.home or "."
            what = f"{other} is not read" + (f": it holds {why}" if why else "")
            fix = f"{read} holds the {kind}; to read the other, set data.{kind}={other}"
            findings.append(Finding(Severity.NOTE, what, fix))
    return kept


def _right_word(words: Sequence[str], kind: str) -> str | None:
    """Return the word of the folder to read; None if it can't be told."""
    first = [word for word in words if word in FIRST_OBSERVER]
    if len(first) == 1 and all(word in (*FIELD_OF_VIEW, *SECOND_OBSERVER) for word in words if word not in first):
        return first[0]
    usual = [word for word in words if word == kind] or [word for word in words if word == kind.removesuffix("s")]
    if usual and not (first or set(words) & set(SECOND_OBSERVER)):
        return usual[0]
    named = [word for word in words if word]  # a folder that is called so, rather than files beside it
    return named[0] if len(named) == 1 else None


def _one_file_of_several(roles: Roles) -> Roles:
    """Of the several files for each image in Cityscapes, take that with the classes."""
    for ending in SEVERAL_FILES:
        chosen = [mask for mask in roles.masks if mask.name.endswith(ending)]
        if chosen:
            return replace(roles, masks=chosen)
    return roles


def _sort_by_name(items: Sequence[Item]) -> Roles:
    """Sort files that lie together into images and masks by their names."""
    masks = masks_by_name(items)
    if not masks:
        return Roles(list(items), [])
    items, masks = _with_named_split(items), _with_named_split(masks)
    folders = {(mask.folder.split, mask.folder.group) for mask in masks}
    refs = {mask.ref for mask in masks}
    images = [item for item in items if item.ref not in refs]
    others = [item for item in images if (item.folder.split, item.folder.group) not in folders]
    unlabelled = [item for item in others if item.folder.split is not None]
    found = _not_read("{n} image{s} {is} not read: there is no mask in the same folder", set(others) - set(unlabelled))
    near = [item for item in images if (item.folder.split, item.folder.group) in folders]
    if not near:  # masks have folders of their own, as labels-ah/im0001.ah.png beside images/im0001.png
        return _in_given_splits(Roles(images, masks))
    return Roles(near, masks, unlabelled, found, is_mixed=True)


def _with_named_split(items: Sequence[Item]) -> list[Item]:
    """Return items with the split that is all of their name besides the role, as in ISBI's train-volume.tif."""

    def split_of(item: Item) -> str | None:
        found = role_of_name(item.name)
        meaning = meaning_of(found[1]) if found else None
        return meaning.split if meaning and not meaning.role else item.folder.split

    return [item.in_folder(split=split_of(item)) for item in items]


def masks_by_name(items: Sequence[Item]) -> list[Item]:
    """Return those of some files whose names say that they are masks of others; none if no name does."""
    for is_mask in (_says_mask, _suffix_test(items), _twin_test(items)):
        masks = [item for item in items if is_mask(item)]
        if 0 < len(masks) < len(items):
            return masks
    return []


def _says_mask(item: Item) -> bool:
    found = role_of_name(item.name)
    return found is not None and found[0] == "mask"


def _suffix_test(items: Sequence[Item]) -> Callable[[Item], bool]:
    """Return whether an item is a mask by the end of its name that names have after those of others."""
    names = {item.name for item in items}
    suffix, count = common_suffix(names, names)
    if not suffix or 2 * count < MIN_SHARE * len(names):
        return lambda item: False
    return lambda item: item.name.endswith(suffix)


def _twin_test(items: Sequence[Item]) -> Callable[[Item], bool]:
    """Return whether an item is the PNG beside a JPEG of the same name."""
    kinds: dict[tuple[object, ...], Counter[str]] = defaultdict(Counter)
    for item in items:
        kinds[item.folder.split, item.folder.group, item.name][item.ref.name.suffix.lower().replace("jpeg", "jpg")] += 1
    if not all(held == {".jpg": 1, ".png": 1} for held in kinds.values()):
        return lambda item: False
    return lambda item: item.ref.name.suffix.lower() == ".png"


def _not_read(what: str, items: Iterable[Item], severity: Severity = Severity.WARNING) -> list[Finding]:
    fix = 'to read them, say which files are the images and masks, as in data.images="**/images" data.masks="**/masks"'
    return finding_on(severity, what, fix, (item.shown for item in items))
