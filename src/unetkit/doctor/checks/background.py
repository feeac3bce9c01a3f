"""Tells where it can't be known whether class 0 is a background, which scores leave out."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unetkit.data.files import FileRef
from unetkit.data.findings import Finding, Severity
from unetkit.doctor.layout import FoundFiles
from unetkit.doctor.masks.plan import MaskPlan
from unetkit.paths import as_typed, command_line

MANY_CLASSES = 5  # from which on they often cover the whole image
VOC = "SegmentationClass"  # the folder of PASCAL VOC, in which 0 is the background


def check_background(layout: FoundFiles, plan: MaskPlan, pixels: Sequence[NDArray[np.int64]]) -> list[Finding]:
    """Report that class 0 may be a class like the others, with the command that counts it.

    Args:
        layout: Folders and names of the files.
        plan: How masks are read.
        pixels: Pixels (K,) of each class in the mask of each usable pair.
    """
    if not pixels or plan.class_names or plan.encoding.labels or plan.encoding.instances or plan.num_classes < 3:
        return []
    counts = np.array(pixels)
    is_usual = counts[:, 0].all() and counts.sum(0).argmax() == 0
    if (is_usual and plan.num_classes < MANY_CLASSES) or _are_of_voc(layout):
        return []
    what = (
        f"the masks hold {plan.num_classes} classes, and whether class 0 is a background can't be told from the files: "
    )
    what += "it is in no score"
    fix = "nothing to do if it is the background; if it is a class like the others, count it with data.background=null"
    keys = [f"data.{key}={as_typed(value)}" for key, value in layout.keys.items()]
    root = [] if layout.root is None else [f"data.root={layout.root}"]
    typed = [*plan.encoding.typed.split(), "data.background=null"]
    command = command_line("train", f"data={layout.source}", *root, *keys, *typed)
    return [Finding(Severity.NOTE, what, fix, command=command)]


def _are_of_voc(layout: FoundFiles) -> bool:
    masks = [pair.mask for pair in layout.pairs if isinstance(pair.mask, FileRef)]
    return bool(masks) and all(VOC in mask.name.parts for mask in masks)
