"""Draws images with their masks, so that wrong masks are seen."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from unetkit.data.classes import class_names_of
from unetkit.data.decode import read_image, read_layers
from unetkit.data.files import FileRef
from unetkit.data.mask_encoding import MaskEncoding, rgb
from unetkit.data.masks import mask_values
from unetkit.data.nodata import is_nodata, nodata_values
from unetkit.data.objects import CLASS_NAMES
from unetkit.data.preprocessing import QUANTILES
from unetkit.data.rle import decode_rle
from unetkit.data.types import VOID
from unetkit.doctor.diagnosis import Diagnosis
from unetkit.doctor.survey.pairs import PairStats
from unetkit.errors import UserError
from unetkit.plots.images import CELL, class_colours, overlay, sheet, to_rgb
from unetkit.plots.ranking import evenly, three_groups
from unetkit.plots.shrink import shrink

PAIRS_IN_ROW = 4
FINDINGS_SHOWN = 8  # rows
NOTHING = np.full((CELL, CELL, 3), 220, np.uint8)  # stands for what can't be read

Picture = NDArray[np.uint8]


def contact_sheet(diagnosis: Diagnosis) -> Picture:
    """Draw a sheet (H, W, 3) of image and mask side by side.

    Its rows are pairs of least, medium and most coverage, those with empty masks, and a row for each finding on pairs.
    """
    stats = {pair.pair.id: pair for pair in diagnosis.stats}
    rows, captions = [], []
    for caption, ids in choose_rows(diagnosis):
        rows.append([picture for id in ids for picture in _draw_pair(stats[id], diagnosis)])
        captions.append(f"{caption}: {', '.join(_with_coverage(id, diagnosis) for id in ids)}")
    encoding = diagnosis.plan.encoding
    headings = ["image", "mask" if encoding.void is None else "mask, void hatched"] * PAIRS_IN_ROW
    names = diagnosis.plan.class_names or _class_names(encoding)
    colours = class_colours(names, diagnosis.plan.background is not None, is_multilabel=bool(encoding.labels))
    return sheet(rows, headings, captions, colours)


def choose_rows(diagnosis: Diagnosis) -> list[tuple[str, Sequence[str]]]:
    """Return caption and ids of each row."""
    ranking = sorted(diagnosis.coverage, key=diagnosis.coverage.__getitem__)
    empty = [id for id in ranking if not diagnosis.coverage[id]]
    least, medium, most = three_groups(ranking[len(empty) :], PAIRS_IN_ROW)
    rows = [
        ("least coverage", least),
        ("medium coverage", medium),
        ("most coverage", most[::-1]),
        ("empty masks", [empty[i] for i in evenly(len(empty), PAIRS_IN_ROW)]),
    ]
    findings = [finding for finding in diagnosis.findings if finding.ids][:FINDINGS_SHOWN]
    rows += [(finding.what, finding.ids[:PAIRS_IN_ROW]) for finding in findings]
    return [(caption, ids) for caption, ids in rows if ids]


def _with_coverage(id: str, diagnosis: Diagnosis) -> str:
    return f"{id} {diagnosis.coverage[id]:.2%}" if id in diagnosis.coverage else id


def _class_names(encoding: MaskEncoding) -> list[str]:
    """Return names for the legend, with the value in the mask files if that is not the class's number."""
    if encoding.instances:
        return CLASS_NAMES[encoding.instances]
    names = class_names_of(None, encoding.num_classes)
    values = encoding.values or ()
    if len(values) != len(names) or values == tuple(range(len(values))):
        return names
    shown = [str(rgb(value)) if encoding.is_colour else str(value) for value in values]
    return [f"{name} ({value})" for name, value in zip(names, shown, strict=True)]


def _draw_pair(pair: PairStats, diagnosis: Diagnosis) -> tuple[Picture, Picture]:
    """Return the image, and the image with its mask."""
    try:
        layers = read_layers(pair.pair.image)
        image = shrink(_to_uint8(layers.pixels, nodata_values(layers.pixels, layers.nodata)), CELL)
    except UserError:
        image = NOTHING
    if pair.mask is None:
        return image, NOTHING
    classes = _read_classes(pair, diagnosis)
    if classes is None:
        assert isinstance(pair.pair.mask, FileRef)  # others are drawn as classes
        return image, shrink(_to_uint8(read_image(pair.pair.mask)), CELL)
    classes = shrink(classes, CELL, cv2.INTER_NEAREST)  # before outlines are drawn, which shrinking would hide
    fits = pair.image is not None and pair.image.shape == pair.mask.shape
    background = image if fits else np.zeros((*classes.shape, 3), np.uint8)
    plan = diagnosis.plan
    drawn = overlay(background, classes, plan.background is not None, is_multilabel=bool(plan.encoding.labels))
    return image, _hatch_void(drawn, classes)


def _read_classes(pair: PairStats, diagnosis: Diagnosis) -> NDArray[np.uint8] | None:
    """Read the mask (H, W) of class indices; None if the file itself is better to look at."""
    assert pair.mask is not None  # narrows the type for mypy
    if pair.pair.mask is None:
        return decode_rle(pair.pair.rle or "", *pair.mask.shape)
    if pair.mask.is_soft and isinstance(pair.pair.mask, FileRef):
        return None
    values, _ = mask_values(pair.pair.mask, False, pair.mask.shape)
    return diagnosis.plan.classes(values, pair.mask)


def _hatch_void(picture: Picture, classes: NDArray[np.uint8]) -> Picture:
    """Draw stripes over void pixels, so that foreground that was taken for void is seen."""
    y, x = np.indices(classes.shape)
    stripes = np.where((x + y) % 6 < 2, 60, 170).astype(np.uint8)[..., None]
    return np.where((classes == VOID)[..., None], stripes, picture)


def _to_uint8(image: NDArray[Any], nodata: Sequence[float] = ()) -> Picture:
    if image.dtype != np.uint8:
        without = is_nodata(image, nodata)
        low, high = np.quantile(image[~without], QUANTILES) if not without.all() else (0.0, 1.0)
        image = np.where(without, low, image)
        image = ((image.astype(np.float64) - low) * (255 / max(high - low, 1e-12))).clip(0, 255)
    return to_rgb(image.astype(np.uint8))
