"""Images that are there more than once, wholly or nearly, without comparing all with all."""

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from unetkit.doctor.findings import Finding, Severity, of_files
from unetkit.doctor.survey import THUMB, PairStats

NEAR = 0.1  # root mean square difference of thumbs, in their deviations; a correlation of 0.995
NEIGHBOURS = 4  # nearest images that each is compared with
COARSE = 4  # side of the thumb's thumb that the search tree holds
ALIKE = 0.75  # of the usual difference: numbered images whose neighbours differ less are slices or frames
FEWEST = 6  # images that can be a sequence

Group = list[PairStats]


def duplicates(looks: Sequence[PairStats]) -> list[Finding]:
    """Equal and nearly equal images, and equal ones whose masks differ; images without contrast are left out."""
    equal = _equal(looks)
    again = {look for group in equal for look in group[1:]}
    near = _near([look for look in looks if look not in again])
    contradicting = [group for group in equal if len(_different(group)) > 1]
    return [
        *of_files(
            Severity.WARNING,
            "{n} group{s} of equal images {have} different masks",
            "keep the mask that is right, and one image of each group",
            (_joined(_different(group)) for group in contradicting),
            (look.pair.id for group in contradicting for look in _different(group)),
        ),
        *_report([group for group in equal if group not in contradicting], "equal"),
        *_report(near, "nearly equal"),
    ]


def is_sequence(looks: Sequence[PairStats]) -> bool:
    """Whether names are numbered and neighbours look alike, as slices of a volume or frames of a film."""
    numbered = [(_numbered(look.pair.id), look) for look in looks if look.image and look.image.thumb is not None]
    ordered = sorted(((key, i) for i, (key, _) in enumerate(numbered) if key))
    if len(ordered) < max(FEWEST, 0.8 * len(looks)):
        return False
    thumbs = _thumbs([numbered[i][1] for _, i in ordered])
    beside = np.sqrt(np.square(thumbs[1:] - thumbs[:-1]).mean(1))
    apart = np.sqrt(np.square(thumbs - np.roll(thumbs, len(thumbs) // 2, axis=0)).mean(1))
    return bool(np.median(beside) < ALIKE * np.median(apart))


def is_sorted_by_number(looks: Sequence[PairStats]) -> bool:
    """Whether the order of names is that of their numbers: not so for 1, 10, 2."""
    keys = [key for look in sorted(looks, key=lambda look: look.pair.id) if (key := _numbered(look.pair.id))]
    return keys == sorted(keys)


def _equal(looks: Sequence[PairStats]) -> list[Group]:
    groups: dict[bytes, Group] = defaultdict(list)
    for look in looks:
        if look.image and look.image.thumb is not None:
            groups[look.image.digest].append(look)
    return [group for group in groups.values() if len(group) > 1]


def _different(group: Group) -> Group:
    """The group's first with a mask, and those whose masks differ from it."""
    masks = [(look, look.mask.digest) for look in group if look.mask]
    return [look for i, (look, digest) in enumerate(masks) if i == 0 or digest != masks[0][1]]


def _near(looks: Sequence[PairStats]) -> list[Group]:
    """Groups that hang together by near neighbours; the tree's distance never exceeds the true one."""
    looks = [look for look in looks if look.image and look.image.thumb is not None]
    if len(looks) < 2:
        return []
    thumbs = _thumbs(looks)
    step = THUMB // COARSE
    coarse = thumbs.reshape(-1, COARSE, step, COARSE, step).mean((2, 4)).reshape(len(looks), -1)
    tree = cKDTree(coarse)
    count = min(NEIGHBOURS + 1, len(looks))
    _, neighbours = tree.query(coarse, count, distance_upper_bound=NEAR * COARSE)
    leader = list(range(len(looks)))

    def leader_of(i: int) -> int:
        while leader[i] != i:
            leader[i] = leader[leader[i]]
            i = leader[i]
        return i

    for i, found in enumerate(neighbours):
        for j in found[(found < len(looks)) & (found != i)]:
            if np.square(thumbs[i] - thumbs[j]).mean() < NEAR**2:
                leader[leader_of(int(j))] = leader_of(i)
    groups: dict[int, Group] = defaultdict(list)
    for i, look in enumerate(looks):
        groups[leader_of(i)].append(look)
    return [group for group in groups.values() if len(group) > 1]


def _report(groups: Sequence[Group], how: str) -> list[Finding]:
    """Groups that reach over given splits are worse than those within one."""
    across = [group for group in groups if len({look.pair.split for look in group}) > 1]
    within = [group for group in groups if group not in across]
    return [
        *of_files(
            Severity.WARNING,
            f"{{n}} group{{s}} of {how} images {{are}} in several splits: scores would be too good",
            "keep each in one split",
            map(_joined, across),
            (look.pair.id for group in across for look in group),
        ),
        *of_files(
            Severity.WARNING,
            f"{{n}} group{{s}} of {how} images ({sum(map(len, within)):,} in all)",
            "keep one of each, or give a data.split that keeps them together: else some train and some validate",
            map(_joined, within),
            (look.pair.id for group in within for look in group),
        ),
    ]


def _joined(group: Group) -> str:
    return " = ".join(look.pair.id for look in group[:3]) + (" = ..." if len(group) > 3 else "")


def _thumbs(looks: Sequence[PairStats]) -> NDArray[np.float32]:
    return np.stack([look.image.thumb for look in looks if look.image and look.image.thumb is not None])


def _numbered(id: str) -> tuple[str, int] | None:
    """The name without its last number, and that number."""
    match = re.fullmatch(r"(.*?)(\d+)(\D*)", id)
    return (match[1] + match[3], int(match[2])) if match else None
