"""Finds images that occur more than once, exactly or nearly, without comparing each with all others."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from unetkit.data.findings import Finding, Severity, finding_on
from unetkit.data.mosaic import connected_groups
from unetkit.doctor.survey.images import THUMBNAIL
from unetkit.doctor.survey.pairs import PairStats

MAX_DISTANCE = 0.1  # root mean square difference of thumbnails with deviation 1, i.e. a correlation of 0.995
NEIGHBOURS = 4  # nearest images with which each is compared
COARSE = 4  # side of the coarser thumbnail that the search tree holds
IDS_SHOWN = 3  # of a group

Group = list[PairStats]


def find_duplicates(stats: Sequence[PairStats]) -> list[Finding]:
    """Report equal and nearly equal images, and equal ones whose masks differ; images without contrast are left out."""
    with_contrast = [pair for pair in stats if pair.image and pair.image.thumbnail is not None]
    equal = _equal_groups(with_contrast)
    copies = {pair for group in equal for pair in group[1:]}
    near = _near_groups([pair for pair in with_contrast if pair not in copies])
    contradicting = [group for group in equal if len(_with_different_masks(group)) > 1]
    consistent = [group for group in equal if group not in contradicting]
    return [
        *_report_different_masks([_with_different_masks(group) for group in contradicting]),
        *_report(consistent, "equal"),
        *_report(near, "nearly equal"),
    ]


def thumbnails(stats: Sequence[PairStats]) -> NDArray[np.float32]:
    """Stack the thumbnails (N, 256) of images that have contrast."""
    return np.stack([pair.image.thumbnail for pair in stats if pair.image and pair.image.thumbnail is not None])


def _equal_groups(stats: Sequence[PairStats]) -> list[Group]:
    groups: dict[bytes, Group] = defaultdict(list)
    for pair in stats:
        if pair.image:
            groups[pair.image.digest].append(pair)
    return [group for group in groups.values() if len(group) > 1]


def _with_different_masks(group: Group) -> Group:
    """Return the group's first pair with a mask, and those whose masks differ from it."""
    masks = [(pair, pair.mask.digest) for pair in group if pair.mask]
    return [pair for i, (pair, digest) in enumerate(masks) if i == 0 or digest != masks[0][1]]


def _near_groups(stats: Sequence[PairStats]) -> list[Group]:
    """Return groups of images that are connected by small distances."""
    if len(stats) < 2:
        return []
    numbers = connected_groups(len(stats), near_pairs(thumbnails(stats)))
    groups: dict[int, Group] = defaultdict(list)
    for number, pair in zip(numbers.tolist(), stats, strict=True):
        groups[number].append(pair)
    return [group for group in groups.values() if len(group) > 1]


def near_pairs(thumbs: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the indices (P, 2) of near neighbours; a tree over coarse thumbnails proposes them.

    Averaging only shortens distances, so the tree never misses a pair that is near enough.
    """
    count, step = len(thumbs), THUMBNAIL // COARSE
    coarse = thumbs.reshape(-1, COARSE, step, COARSE, step).mean((2, 4)).reshape(count, -1)
    neighbours = min(NEIGHBOURS + 1, count)  # one of them is the image itself
    _, found = cKDTree(coarse).query(coarse, neighbours, distance_upper_bound=MAX_DISTANCE * COARSE)
    first, second = np.repeat(np.arange(count), neighbours), found.ravel()
    proposed = (second < count) & (first != second)  # `count` stands for no neighbour
    first, second = first[proposed], second[proposed]
    is_near = np.square(thumbs[first] - thumbs[second]).mean(1) < MAX_DISTANCE**2
    return np.stack([first[is_near], second[is_near]], 1)


def _report_different_masks(groups: Sequence[Group]) -> list[Finding]:
    return finding_on(
        Severity.WARNING,
        "{n} group{s} of equal images {has} different masks",
        "keep the correct mask, and one image of each group",
        map(_joined_ids, groups),
        _ids(groups),
    )


def _report(groups: Sequence[Group], how: str) -> list[Finding]:
    """Report groups that are in several given splits apart from those within one."""
    across = [group for group in groups if len({pair.pair.split for pair in group}) > 1]
    within = [group for group in groups if group not in across]
    return [
        *finding_on(
            Severity.WARNING,
            f"{{n}} group{{s}} of {how} images {{is}} in several splits, which makes scores too high",
            "keep each group in one split",
            map(_joined_ids, across),
            _ids(across),
        ),
        *finding_on(
            Severity.WARNING,
            f"{{n}} group{{s}} of {how} images ({sum(map(len, within)):,} images in all)",
            "keep one of each group, or set data.split to a CSV (id,split) that keeps each group in one split",
            map(_joined_ids, within),
            _ids(within),
        ),
    ]


def _joined_ids(group: Group) -> str:
    return " = ".join(pair.pair.id for pair in group[:IDS_SHOWN]) + " = ..." * (len(group) > IDS_SHOWN)


def _ids(groups: Iterable[Group]) -> Iterable[str]:
    return (pair.pair.id for group in groups for pair in group)
