"""Writes the diagnosis as text."""

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from unetkit.data.findings import Finding, Severity, first_names
from unetkit.data.mask_encoding import rgb
from unetkit.doctor.checks.pairs import dtype_name, size_name
from unetkit.doctor.diagnosis import Diagnosis
from unetkit.doctor.survey.images import ImageStats
from unetkit.doctor.survey.pairs import PairStats

BINS = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)  # upper ends, of coverage
WIDTH = 100  # characters of a line; commands are not broken
BAR = 30  # characters of the longest bar
CLASSES_SHOWN = 12
SIZES_SHOWN = 3
HEADINGS = {Severity.FAULT: "STOPS TRAINING", Severity.WARNING: "WORTH A LOOK", Severity.NOTE: "GOOD TO KNOW"}


def report(diagnosis: Diagnosis) -> str:
    """Return the text: what the files hold, what is wrong with them, and whether training can run."""
    lines = [
        f"{diagnosis.layout.place} (data={diagnosis.layout.source})",
        f"  {'layout':<10}{diagnosis.layout.description}",
        *_facts(diagnosis),
        *_coverage_histogram(diagnosis),
        *_class_table(diagnosis),
    ]
    for severity, heading in HEADINGS.items():
        findings = [finding for finding in diagnosis.findings if finding.severity == severity]
        if findings:
            lines += ["", heading, *(line for finding in findings for line in _finding_lines(finding))]
    return "\n".join([*lines, "", _verdict(diagnosis)])


def _facts(diagnosis: Diagnosis) -> list[str]:
    images = [pair.image for pair in diagnosis.stats if pair.image]
    facts = {
        "pairs": _pairs(diagnosis),
        "sizes": _sizes([image.shape for image in images]),
        "channels": _channels(images),
        "depth": _counted(Counter(dtype_name(image.dtype) for image in images)),
        "masks": _masks(diagnosis),
    }
    return [f"  {name:<10}{value}" for name, value in facts.items()]


def _pairs(diagnosis: Diagnosis) -> str:
    splits = Counter(pair.pair.split for pair in diagnosis.stats if pair.pair.split)
    by_split = f" ({', '.join(f'{name} {count:,}' for name, count in splits.items())})" if splits else ""
    usable, images = len(diagnosis.coverage), len(diagnosis.stats)
    if usable == images:
        return f"{images:,} images with masks{by_split}"
    return f"{usable:,} usable ones of {images:,} image{'s' * (images > 1)}{by_split}"


def _sizes(shapes: Sequence[tuple[int, int]]) -> str:
    counts = Counter(map(size_name, shapes))
    if len(counts) <= SIZES_SHOWN:
        return _counted(counts)
    smallest, largest = min(shapes, key=np.prod), max(shapes, key=np.prod)
    (usual, count), *_ = counts.most_common(1)
    return f"{len(counts)} sizes, {size_name(smallest)} to {size_name(largest)}, most often {usual} ({count:,})"


def _channels(images: Sequence[ImageStats]) -> str:
    names = {1: "grey", 3: "RGB"}
    counts = Counter(image.stored_channels for image in images)
    shown = _counted({names.get(channels, f"{channels} channels"): count for channels, count in counts.items()})
    are_grey = all(image.channels == 1 for image in images) and max(counts, default=1) > 1
    return shown + ", but all channels are equal: read as grey" * are_grey


def _masks(diagnosis: Diagnosis) -> str:
    kinds = Counter(_mask_kind(pair) for pair in diagnosis.stats if pair.mask)
    return f"{diagnosis.plan.description}; {_counted(kinds)}" if kinds else "none"


def _mask_kind(pair: PairStats) -> str:
    assert pair.mask is not None  # narrows the type for mypy
    if pair.pair.mask is None:
        return "run-length codes"
    return "colour" if pair.mask.is_colour else dtype_name(pair.mask.dtype)


def _counted(counts: Mapping[str, int]) -> str:
    """Join names, the most common first, with their counts if there are several."""
    if len(counts) < 2:
        return next(iter(counts), "-")
    return ", ".join(f"{name} ({count:,})" for name, count in sorted(counts.items(), key=lambda item: -item[1]))


def _coverage_histogram(diagnosis: Diagnosis) -> Iterable[str]:
    shares = np.array(list(diagnosis.coverage.values()))
    if not len(shares):
        return
    kind = "foreground" if diagnosis.plan.background is not None else "labelled pixels"
    yield f"  coverage  (share of {kind} in each mask)"
    counts = np.bincount(np.searchsorted(BINS, shares), minlength=len(BINS))
    names = ["empty", *(f"to {end:.0%}" for end in BINS[1:])]
    for name, count in zip(names, counts, strict=True):
        bar = "#" * round(BAR * count / counts.max())
        yield f"    {name:<8}{bar:<{BAR}} {count:>6,} {count / len(shares):>5.0%}"


def _class_table(diagnosis: Diagnosis) -> Iterable[str]:
    encoding = diagnosis.plan.encoding
    if encoding.num_classes == 1 or encoding.instances or not diagnosis.pixels:
        return
    pixels = np.array(list(diagnosis.pixels.values()))
    if encoding.labels:
        yield "  labels    (share of all pixels, number of masks that have it)"
        size = sum(pair.mask.counts.sum() for pair in diagnosis.stats if pair.pair.id in diagnosis.pixels and pair.mask)
        for name, counts in zip(diagnosis.plan.class_names or (), pixels.T[1:], strict=True):
            yield f"    {name:<20}{counts.sum() / size:>6.1%} {np.count_nonzero(counts):>8,}"
        return
    yield "  classes   (share of all pixels, number of masks that have it)"
    for index, counts in enumerate(pixels.T[:CLASSES_SHOWN]):
        value = (encoding.values or ())[index]
        name = f"{f'{index} {rgb(value)}':<22}" if encoding.is_colour else f"{index:<8}"
        if diagnosis.plan.class_names:
            name = f"{index:<4}{diagnosis.plan.class_names[index]:<18}"
        yield f"    {name}{counts.sum() / pixels.sum():>6.1%} {np.count_nonzero(counts):>8,}"


def _finding_lines(finding: Finding) -> Iterable[str]:
    names = f": {first_names(finding.names)}" if finding.names else ""
    yield _wrapped(finding.what + names, "  - ", "    ")
    yield _wrapped(finding.fix, "      ", "      ")
    if finding.command:
        yield f"        {finding.command}"


def _wrapped(text: str, first_indent: str, indent: str) -> str:
    """Break text into lines, but not within a file name."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=first_indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _verdict(diagnosis: Diagnosis) -> str:
    if diagnosis.faults:
        return f"Training would stop: correct {diagnosis.faults} fault{'s' * (diagnosis.faults > 1)} first."
    has_warnings = any(finding.severity == Severity.WARNING for finding in diagnosis.findings)
    return "Training can run." if has_warnings else "Nothing wrong was found; training can run."
