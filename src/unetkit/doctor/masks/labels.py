"""Counts and checks the labels of masks that lie in a folder for each label."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unetkit.data.findings import Finding, Severity
from unetkit.doctor.survey.masks import MaskStats
from unetkit.doctor.survey.pairs import PairStats


def count_labels(mask: MaskStats, labels: int) -> NDArray[np.int64]:
    """Return the pixels of no label, then of each of the labels, (labels + 1,)."""
    bits = mask.values[:, None] >> np.arange(labels) & 1
    none = mask.counts[mask.values == 0].sum(keepdims=True)
    return np.concatenate([none, mask.counts @ bits]).astype(np.int64)


def check_overlap(names: Sequence[str], stats: Sequence[PairStats]) -> tuple[Finding, ...]:
    """Report how much the labels overlap, which is why masks of classes could not hold them."""
    labelled = shared = 0
    for mask in (pair.mask for pair in stats if pair.mask is not None):
        count = (mask.values[:, None] >> np.arange(len(names)) & 1).sum(1)
        labelled += int(mask.counts[count > 0].sum())
        shared += int(mask.counts[count > 1].sum())
    share = shared / max(labelled, 1)
    what = f"there are masks for each of {', '.join(names)}: {share:.1%} of the labelled pixels have several labels"
    fix = "nothing to do: data.labels=multilabel reads them, each label through a sigmoid of its own"
    if not shared:
        fix += "; as none overlap, one mask of class indices for each image would do as well"
    return (Finding(Severity.NOTE, what, fix),)
