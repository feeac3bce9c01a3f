"""The diagnosis in words, and in pictures."""

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from unetkit.data.files import read_image
from unetkit.data.masks import file_values
from unetkit.data.rle import decode_rle
from unetkit.data.types import VOID
from unetkit.doctor.checks import depth_name, size_name
from unetkit.doctor.diagnosis import Diagnosis
from unetkit.doctor.findings import Finding, Severity, some
from unetkit.doctor.masks import rgb
from unetkit.doctor.survey import PairStats
from unetkit.errors import UserError
from unetkit.plots.images import CELL, overlay, sheet, to_rgb

BINS = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)  # of coverage, upper ends
WIDTH = 100  # characters of a line
BAR = 30  # characters
ACROSS = 4  # pairs in a row of the sheet
SUSPICIOUS = 8  # rows of the sheet for findings, at most
HEADS = {Severity.FAULT: "STOPS TRAINING", Severity.WARNING: "WORTH A LOOK", Severity.NOTE: "GOOD TO KNOW"}

Picture = NDArray[np.uint8]


def report(diagnosis: Diagnosis) -> str:
    """What a person wants to know, the worst in the middle of the screen."""
    parts = [f"{diagnosis.layout.root} (data={diagnosis.layout.source})", *_facts(diagnosis), *_histogram(diagnosis)]
    for severity, head in HEADS.items():
        found = [finding for finding in diagnosis.findings if finding.severity == severity]
        if found:
            parts += ["", head]
            parts += [line for finding in found for line in _told(finding)]
    return "\n".join([*parts, "", _verdict(diagnosis)])


def contact_sheet(diagnosis: Diagnosis) -> Picture:
    """Rows of pairs: least, typical and greatest coverage, empty ones, and one row for each finding about pairs."""
    looks = {look.pair.id: look for look in diagnosis.looks}
    rows, captions = [], []
    for caption, ids in _choose(diagnosis):
        rows.append([picture for id in ids for picture in _pictures(looks[id], diagnosis)])
        shares = [f"{id} {diagnosis.coverage[id]:.2%}" if id in diagnosis.coverage else id for id in ids]
        captions.append(f"{caption}: {', '.join(shares)}")
    mask = "mask" if diagnosis.plan.code.void is None else "mask, void hatched"
    return sheet(rows, ["image", mask] * ACROSS, captions)


def _facts(diagnosis: Diagnosis) -> Iterable[str]:
    looks = diagnosis.looks
    images = [look.image for look in looks if look.image]
    splits = Counter(look.pair.split for look in looks if look.pair.split)
    by_split = f" ({', '.join(f'{name} {count:,}' for name, count in splits.items())})" if splits else ""
    stored = Counter(image.stored for image in images)
    grey = all(image.channels == 1 for image in images) and any(image.stored > 1 for image in images)
    mask_depths = Counter(_mask_kind(look) for look in looks if look.mask)
    facts = {
        "pairs": f"{len(diagnosis.coverage):,} whole ones of {len(looks):,} images{by_split}",
        "sizes": _sizes([image.shape for image in images]),
        "channels": _counted({_channel_name(n): c for n, c in stored.items()}) + (", all equal: grey" if grey else ""),
        "depth": _counted(Counter(depth_name(image.dtype) for image in images)),
        "masks": f"{diagnosis.plan.kind}; {_counted(mask_depths)}" if mask_depths else "none",
    }
    return [f"  {name:<10}{value}" for name, value in facts.items()]


def _histogram(diagnosis: Diagnosis) -> Iterable[str]:
    """Coverage of the masks, empty ones apart; for several classes also the share of each."""
    shares = np.array(list(diagnosis.coverage.values()))
    if not len(shares):
        return
    yield "  coverage  (foreground's share of each mask)"
    counts = np.bincount(np.searchsorted(BINS, shares), minlength=len(BINS))
    names = ["empty", *(f"to {end:.0%}" for end in BINS[1:])]
    for name, count in zip(names, counts, strict=True):
        yield f"    {name:<8}{'#' * round(BAR * count / counts.max()):<{BAR}} {count:>6,} {count / len(shares):>5.0%}"
    plan = diagnosis.plan
    if plan.num_classes > 1:
        pixels = np.array(list(diagnosis.pixels.values()))
        yield "  classes   (share of all pixels, masks that have it)"
        values = plan.code.values or ()
        for index, row in enumerate(pixels.T[:12]):
            name = f"{index:<8}" if not plan.code.is_colour else f"{f'{index} {rgb(values[index])}':<22}"
            yield f"    {name}{row.sum() / pixels.sum():>6.1%} {np.count_nonzero(row):>8,}"


def _told(finding: Finding) -> Iterable[str]:
    names = f": {some(finding.names)}" if finding.names else ""
    yield textwrap.fill(finding.what + names, WIDTH, initial_indent="  - ", subsequent_indent="    ")
    yield textwrap.fill(finding.fix, WIDTH, initial_indent="      ", subsequent_indent="      ")


def _verdict(diagnosis: Diagnosis) -> str:
    if diagnosis.faults:
        return f"Training would stop: {diagnosis.faults} fault{'s' * (diagnosis.faults > 1)} to put right first."
    warnings = sum(finding.severity == Severity.WARNING for finding in diagnosis.findings)
    return "Training can run." if warnings else "Nothing wrong was found; training can run."


def _choose(diagnosis: Diagnosis) -> Iterable[tuple[str, Sequence[str]]]:
    """Captions and ids of the sheet's rows."""
    ordered = sorted(diagnosis.coverage, key=lambda id: diagnosis.coverage[id])
    empty = [id for id in ordered if not diagnosis.coverage[id]]
    filled = ordered[len(empty) :]
    count = min(ACROSS, -(-len(filled) // 3))  # each pair in one of the three rows, however few there are
    least, greatest = filled[:count], filled[count:][::-1][:count]
    between = filled[count : max(len(filled) - count, count)]
    middle = max(len(between) // 2 - count // 2, 0)
    rows = {
        "least coverage": least,
        "typical": between[middle : middle + count],
        "greatest coverage": greatest,
        "empty": empty[:: max(len(empty) // ACROSS, 1)][:ACROSS],
    }
    yield from ((caption, ids) for caption, ids in rows.items() if ids)
    yield from ((f.what, f.ids[:ACROSS]) for f in [f for f in diagnosis.findings if f.ids][:SUSPICIOUS])


def _pictures(look: PairStats, diagnosis: Diagnosis) -> tuple[Picture, Picture]:
    """The image, and the image with its mask; a grey square for what is not there."""
    nothing = np.full((CELL, CELL, 3), 220, np.uint8)
    try:
        image = _shrunk(_to_uint8(read_image(look.pair.image)), cv2.INTER_AREA)
    except UserError:
        image = nothing
    if look.mask is None:
        return image, nothing
    if look.pair.mask is None:
        classes = decode_rle(look.pair.rle or "", *look.mask.shape)
    else:
        found = diagnosis.plan.classes(file_values(look.pair.mask, as_colour=False)[0], look.mask)
        if found is None or look.mask.is_soft:  # the file itself tells more
            return image, _shrunk(_to_uint8(read_image(look.pair.mask)), cv2.INTER_AREA)
        classes = found
    classes = _shrunk(classes, cv2.INTER_NEAREST)
    fits = look.image is not None and look.image.shape == look.mask.shape
    return image, _hatched(overlay(image if fits else np.zeros((*classes.shape, 3), np.uint8), classes), classes)


def _hatched(picture: Picture, classes: NDArray[np.uint8]) -> Picture:
    """Void pixels grey with dark stripes, so that foreground that was taken for void is seen."""
    y, x = np.indices(classes.shape)
    stripes = np.where((x + y) % 6 < 2, 60, 170).astype(np.uint8)[..., None]
    return np.where((classes == VOID)[..., None], stripes, picture)


def _to_uint8(image: NDArray[Any]) -> Picture:
    if image.dtype != np.uint8:
        low, high = np.quantile(image, (0.001, 0.999))
        image = ((image.astype(np.float64) - low) * (255 / max(high - low, 1e-12))).clip(0, 255)
    return to_rgb(image.astype(np.uint8))


def _shrunk(picture: Picture, how: int) -> Picture:
    """At most a cell, so that outlines drawn afterwards are seen."""
    scale = CELL / max(picture.shape[:2])
    if scale >= 1:
        return picture
    size = max(round(picture.shape[1] * scale), 1), max(round(picture.shape[0] * scale), 1)
    return np.asarray(cv2.resize(picture, size, interpolation=how), np.uint8)


def _sizes(shapes: Sequence[tuple[int, int]]) -> str:
    counts = Counter(map(size_name, shapes))
    if len(counts) <= 3:
        return _counted(counts)
    least, greatest = min(shapes, key=np.prod), max(shapes, key=np.prod)
    (most, count), *_ = counts.most_common(1)
    return f"{len(counts)} sizes, {size_name(least)} to {size_name(greatest)}, most often {most} ({count:,})"


def _counted(counts: dict[str, int]) -> str:
    if len(counts) < 2:
        return next(iter(counts), "-")
    return ", ".join(f"{name} ({count:,})" for name, count in sorted(counts.items(), key=lambda item: -item[1]))


def _channel_name(channels: int) -> str:
    return {1: "grey", 3: "RGB"}.get(channels, f"{channels} channels")


def _mask_kind(look: PairStats) -> str:
    assert look.mask is not None
    if look.pair.mask is None:
        return "run-length codes"
    return "colour" if look.mask.is_colour else depth_name(look.mask.dtype)
