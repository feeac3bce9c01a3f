"""Reads a user's files once, and tells what is wrong with them and how to train on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from unetkit.data.findings import Finding, Severity, most_serious_first
from unetkit.data.layout.described import described_classes
from unetkit.doctor.checks.background import check_background
from unetkit.doctor.checks.duplicates import find_duplicates
from unetkit.doctor.checks.pairs import check_amounts, check_files, check_images
from unetkit.doctor.checks.sequence import check_sequence
from unetkit.doctor.checks.volumes import check_volumes
from unetkit.doctor.layout import FoundFiles, find_files
from unetkit.doctor.masks.plan import MaskPlan, plan_masks
from unetkit.doctor.proposal.experiment import choose_split, propose
from unetkit.doctor.proposal.machine import Machine
from unetkit.doctor.proposal.sizing import check_memory
from unetkit.doctor.proposal.weights import find_rare_classes
from unetkit.doctor.survey.pairs import PairStats, survey

PAIRS_WITH_PROGRESS = 200  # from which on a progress bar is shown


@dataclass(frozen=True)
class Diagnosis:
    """What the files hold, what is wrong with them, and how to train on them.

    Attributes:
        layout: Folders and names of the files.
        stats: Facts about each image and its mask.
        plan: How masks are read.
        pixels: (K,) pixels of each class, without void ones, in the mask of each usable pair, by the pair's id.
        coverage: Share of foreground of the same pairs, in [0, 1]; of labelled pixels where there is no background.
        findings: The most serious first.
        experiment: Text of the proposed experiment, or None if there is no usable pair.
    """

    layout: FoundFiles
    stats: tuple[PairStats, ...]
    plan: MaskPlan
    pixels: dict[str, NDArray[np.int64]]
    coverage: dict[str, float]
    findings: tuple[Finding, ...]
    experiment: str | None

    @property
    def faults(self) -> int:
        """The number of findings that stop training."""
        return sum(finding.severity == Severity.FAULT for finding in self.findings)


def diagnose(
    root: str | Path | None,
    mask_suffix: str | int = "",
    machine: Machine | None = None,
    images: str | Sequence[str] | None = None,
    masks: str | Sequence[str] | None = None,
    stacks: bool = False,
) -> Diagnosis:
    """Read all images and masks once, check them, and propose an experiment.

    Args:
        root: The folder or zip that `data.root` will be.
        mask_suffix: Value of `data.mask_suffix`; inferred if empty.
        machine: The machine that will train; this one by default.
        images: Value of `data.images`.
        masks: Value of `data.masks`.
        stacks: Value of `data.stacks`.

    Raises:
        UserError: If there is no image.
    """
    machine = machine or Machine.here()
    layout = find_files(root, mask_suffix, images, masks, stacks)
    progress = tqdm(layout.pairs, unit="pair", disable=len(layout.pairs) < PAIRS_WITH_PROGRESS)
    stats = tuple(survey(progress))
    plan = plan_masks(stats, described_classes(layout.root))
    pixels = _count_classes(stats, plan)
    sizes = {pair.pair.id: int(pair.mask.counts.sum()) for pair in stats if pair.mask}
    coverage = {id: plan.coverage(counts, sizes[id]) for id, counts in pixels.items()}
    findings = [
        *layout.findings,
        *check_volumes(layout),
        *check_files(stats),
        *check_images(stats),
        *plan.findings,
        *check_amounts(coverage, plan.num_classes, has_background=plan.background is not None),
        *check_background(layout, plan, list(pixels.values())),
        *find_duplicates(stats),
        *check_sequence(stats),
        *check_memory(stats, machine),
    ]
    experiment = None
    if any(pair.pair.id in pixels and pair.pair.split in (None, "train") for pair in stats):
        rare = find_rare_classes(stats, plan, pixels, choose_split(stats))
        findings += [rare.finding] if rare else []
        experiment = propose(layout, stats, plan, pixels, machine, rare)
    return Diagnosis(layout, stats, plan, pixels, coverage, tuple(most_serious_first(findings)), experiment)


def _count_classes(stats: Sequence[PairStats], plan: MaskPlan) -> dict[str, NDArray[np.int64]]:
    """Return the pixels of each class in the mask of each usable pair, by the pair's id."""
    pixels = {}
    for pair in stats:
        if pair.image and pair.mask and pair.image.shape == pair.mask.shape:
            counts = plan.count_classes(pair.mask)
            if counts is not None:
                pixels[pair.pair.id] = counts
    return pixels
