"""Finds masks whose values can't be read as classes: colour among grey, soft edges, photographs."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from unetkit.data.findings import Finding, Severity, finding_on
from unetkit.data.jpeg import flat_levels
from unetkit.data.mask_advice import are_too_many
from unetkit.doctor.masks.values import Masks, names_and_ids
from unetkit.doctor.survey.masks import MaskStats
from unetkit.doctor.survey.pairs import PairStats

DIM = 128  # values below this are nearer to 0 than to 255


@dataclass(frozen=True)
class Problem:
    """A reason why a mask can't be read as classes, and the test for it."""

    what: str
    fix: str
    is_in: Callable[[MaskStats], bool]
    command: str = ""


def find_unusable(masks: Masks, is_colour: bool) -> tuple[set[PairStats], list[Finding]]:
    """Return the pairs whose masks can't be used, and a finding for each kind of problem.

    Args:
        masks: All masks.
        is_colour: Whether most masks are in colour.
    """
    unusable: set[PairStats] = set()
    findings: list[Finding] = []
    for problem in _problems(is_colour, _jpegs_are_binary(masks)):
        having = [pair for pair, mask in masks.items() if pair not in unusable and problem.is_in(mask)]
        unusable |= set(having)
        findings += finding_on(
            Severity.FAULT, problem.what, problem.fix, *names_and_ids(having), command=problem.command
        )
    return unusable, findings


def is_dim_jpeg(mask: MaskStats) -> bool:
    """Return whether a JPEG's values are all nearer to 0 than to 255, e.g. because the mask held 0 and 1."""
    return mask.is_jpeg and not mask.is_colour and bool(0 < mask.values.max() < DIM)


def _jpegs_are_binary(masks: Masks) -> bool:
    flat = [mask.flat_counts for mask in masks.values() if mask.flat_counts is not None]
    return all(flat_levels(counts, (0, 255)).keys() <= {0, 255} for counts in flat)


def _problems(is_colour: bool, jpegs_are_binary: bool) -> tuple[Problem, ...]:
    """Return the problems in the order in which they are checked; only the first one of a mask is reported."""
    return (
        Problem(
            "{n} mask{s} {is} in colour, the others are not",
            "save all masks alike, with one channel of class values",
            lambda mask: mask.is_colour and not is_colour,
        ),
        Problem(
            "{n} mask{s} {has} soft edges: grey levels between the values, e.g. from smooth resizing or JPEG",
            "set each pixel to the nearer value, and save as PNG; resize masks with cv2.INTER_NEAREST; in Python:",
            lambda mask: mask.is_soft,
            command='cv2.imwrite("mask.png", np.uint8(mask > mask.max() / 2) * 255)',
        ),
        Problem(
            f"{{n}} JPEG or lossy WebP mask{{s}} {{has}} values that end below {DIM}, or colours, which are blurred",
            "save masks as PNG",
            lambda mask: mask.is_jpeg and (mask.is_colour or (jpegs_are_binary and is_dim_jpeg(mask))),
        ),
        Problem(
            "{n} mask{s} {has} fractions or negative numbers as values",
            "save the number of the class, or 0 and 255",
            lambda mask: bool((mask.values < -1).any() or (mask.values != np.floor(mask.values)).any()),
        ),
        Problem(
            "{n} mask{s} {has} dozens of values, like a photograph",
            "a mask has one value for each class: are these the right files, and were they resized smoothly?",
            lambda mask: not mask.is_jpeg and not mask.is_numbered and are_too_many(mask.values.tolist()),
        ),
    )
