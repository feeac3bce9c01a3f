"""diagnose(root): everything about a user's files in one pass."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from unetkit.doctor.checks import check_amounts, check_files, check_images
from unetkit.doctor.duplicates import duplicates, is_sequence, is_sorted_by_number
from unetkit.doctor.findings import Finding, Severity, worst_first
from unetkit.doctor.layout import Layout, find_layout
from unetkit.doctor.masks import MaskPlan, plan_masks
from unetkit.doctor.proposal import Machine, check_memory, propose
from unetkit.doctor.survey import PairStats, survey

MANY = 200  # pairs from which on there is a progress bar


@dataclass(frozen=True)
class Diagnosis:
    """What there is, what is wrong, and what to do.

    Attributes:
        layout: Where files lie.
        looks: What was seen of each image and its mask.
        plan: How masks are read.
        pixels: Of each class in the mask of each whole pair, by id; void ones left out.
        coverage: Share of foreground of the same.
        findings: Worst first.
        experiment: The proposed configuration, or None where there is no pair to go by.
    """

    layout: Layout
    looks: tuple[PairStats, ...]
    plan: MaskPlan
    pixels: dict[str, NDArray[np.int64]]
    coverage: dict[str, float]
    findings: tuple[Finding, ...]
    experiment: str | None

    @property
    def faults(self) -> int:
        """Findings at which training stops."""
        return sum(finding.severity == Severity.FAULT for finding in self.findings)


def diagnose(root: str | Path | None, mask_suffix: str | int = "", machine: Machine | None = None) -> Diagnosis:
    """Read all images and masks once.

    Args:
        root: What `data.root` will be: a folder or zip.
        mask_suffix: What `data.mask_suffix` will be; found out where it is empty.
        machine: That will train; this one by default.

    Raises:
        UserError: If there is nothing to read.
    """
    machine = machine or Machine.here()
    layout = find_layout(root, mask_suffix)
    looks = tuple(survey(tqdm(layout.pairs, unit="pair", disable=len(layout.pairs) < MANY)))
    plan = plan_masks(looks)
    pixels = {look.pair.id: counts for look in looks if (counts := _pixels(look, plan)) is not None}
    coverage = {id: float(counts[1:].sum() / max(counts.sum(), 1)) for id, counts in pixels.items()}
    findings = [
        *layout.findings,
        *check_files(looks),
        *check_images(looks),
        *plan.findings,
        *check_amounts(coverage, plan),
        *duplicates(looks),
        *_about_order(looks),
        *check_memory(looks, machine),
    ]
    experiment = propose(layout, looks, plan, pixels, machine) if pixels else None
    return Diagnosis(layout, looks, plan, pixels, coverage, tuple(worst_first(findings)), experiment)


def _pixels(look: PairStats, plan: MaskPlan) -> NDArray[np.int64] | None:
    if look.image is None or look.mask is None or look.image.shape != look.mask.shape:
        return None
    return plan.pixels(look.mask)


def _about_order(looks: tuple[PairStats, ...]) -> list[Finding]:
    if any(look.pair.split == "val" for look in looks) or not is_sequence(looks):
        return []
    if is_sorted_by_number(looks):
        what = "neighbouring images are alike (slices of a volume, frames?): a random split would flatter the scores"
        return [Finding(Severity.NOTE, what, "the proposed configuration validates on a block: data.split=contiguous")]
    what = "neighbouring images are alike, but names sort as 1, 10, 2: blocks of neighbours can't be told"
    return [Finding(Severity.WARNING, what, "write numbers with zeros (01, 02, 10), for data.split=contiguous")]
