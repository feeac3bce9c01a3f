"""Images with a file for each channel: `c_01_0000.png` and `c_01_0001.png` are one image, as in nnU-Net."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from unetkit.data.files import CHANNEL, FileRef
from unetkit.data.findings import Finding, Severity, finding_on
from unetkit.data.layout.item import Item
from unetkit.data.layout.roles import Roles
from unetkit.errors import UserError


def join_channels(roles: Roles, suffix: str, findings: list[Finding]) -> Roles:
    """Join the files of one image, where masks are called as images without the number of the channel.

    Args:
        roles: Files of images and masks.
        suffix: Text in the name of a mask after the name of its image.
        findings: Gets a fault if an image with a mask lacks a channel.
    """
    numbered = [item for item in roles.images if CHANNEL.search(item.name)]
    if not numbered:
        return roles
    names = {(mask.folder.split, mask.name.removesuffix(suffix)) for mask in roles.masks}
    places = {
        (item.folder.split, item.folder.place)
        for item in numbered
        if (item.folder.split, CHANNEL.sub("", item.name)) in names and (item.folder.split, item.name) not in names
    }
    groups = _grouped(item for item in roles.images if (item.folder.split, item.folder.place) in places)
    numbers = sorted({number for group in groups for number in group})
    if len(numbers) < 2:
        return roles
    lacking = [group for group in groups if "" not in group and len(group) < len(numbers)]
    missing = [name for group in lacking for name in _missing(group, numbers)]
    what = f"{{n}} image{{s}} {{has}} not all of the {len(numbers)} channels that others have"
    fix = f"add {missing[0]}, or remove the image" if missing else ""
    findings += finding_on(Severity.FAULT, what, fix, (next(iter(group.values())).shown for group in lacking))
    others = [item for item in roles.images if (item.folder.split, item.folder.place) not in places]
    unlabelled = [_joined(group) for group in _grouped(roles.unlabelled)]
    return replace(roles, images=[*others, *map(_joined, groups)], unlabelled=unlabelled)


def _grouped(items: Iterable[Item]) -> list[dict[str, Item]]:
    """Return the files of each image by the ends of their names, such as `_0001`, which are empty without a number."""
    groups: dict[Hashable, dict[str, Item]] = defaultdict(dict)
    for item in items:
        name = CHANNEL.sub("", item.name)
        groups[item.folder.split, item.folder.place, name, item.ref.suffix][item.name[len(name) :]] = item
    return list(groups.values())


def _missing(group: Mapping[str, Item], numbers: Sequence[str]) -> list[str]:
    first = next(iter(group.values()))
    return [f"{CHANNEL.sub('', first.name)}{number}{first.ref.suffix}" for number in numbers if number not in group]


def _joined(group: Mapping[str, Item]) -> Item:
    first, *others = (group[number] for number in sorted(group))
    if not others:
        return first
    ref = replace(first.ref, channels=tuple(item.ref for item in others))
    return replace(first, ref=ref, name=CHANNEL.sub("", first.name))


def join_inputs(refs: Sequence[FileRef], channels: int) -> list[FileRef]:
    """Join the files of each image for a network that was trained on images with a file for each channel.

    Args:
        refs: The files to predict; one alone stands for all channels of its image.
        channels: Number of channels that the network takes.

    Raises:
        UserError: If an image has not as many files.
    """
    refs = _with_others(refs[0]) if len(refs) == 1 else refs
    groups: dict[PurePosixPath, dict[str, FileRef]] = defaultdict(dict)
    for ref in refs:
        number = CHANNEL.search(ref.stem)
        groups[ref.name.with_name(CHANNEL.sub("", ref.stem) + ref.suffix)][number[0] if number else ""] = ref
    for name, group in groups.items():
        if len(group) != channels or "" in group:
            here = ", ".join(group[number].last for number in sorted(group))
            wanted = " and ".join(f"{name.name.removesuffix(ref.suffix)}_{k:04}{ref.suffix}" for k in (0, channels - 1))
            problem = f"is read from {here}, but the network was trained on {channels} files for each image"
            raise UserError(str(name), problem, f"give all of them, called {wanted}")
    ordered = [[group[number] for number in sorted(group)] for group in groups.values()]
    return [replace(first, channels=tuple(others)) for first, *others in ordered]


def _with_others(ref: FileRef) -> list[FileRef]:
    """Return the files of all channels of the image that a file is a channel of, or that a path stands for."""
    name = CHANNEL.sub("", ref.stem)
    if ref.member or not ref.path.parent.is_dir():
        return [ref]
    beside = (FileRef(path) for path in sorted(ref.path.parent.iterdir()))
    alike = [other for other in beside if other.suffix == ref.suffix and CHANNEL.sub("", other.stem) == name]
    return [other for other in alike if other.stem != name] or [ref]
