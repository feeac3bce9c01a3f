"""Checks of what was seen of all files together, apart from the values of masks."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from unetkit.doctor.findings import Finding, Severity, of_files
from unetkit.doctor.masks import MaskPlan
from unetkit.doctor.survey import ImageFacts, MaskFacts, PairStats

FEW = 20  # pairs


def check_files(looks: Sequence[PairStats]) -> list[Finding]:
    """Files that can't be read, and sizes that differ within a pair."""
    errors: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for look in looks:
        for name, what, fix in look.errors:
            errors[what, fix].append((name, look.pair.id))
    turned = [look for look, image, mask in _both(looks) if image.shape == mask.shape[::-1] != mask.shape]
    other = [look for look, image, mask in _both(looks) if image.shape != mask.shape and look not in turned]
    findings: list[Finding] = []
    for (what, fix), files in errors.items():
        findings += of_files(Severity.FAULT, f"{{n}} file{{s}}: {what}", fix, *zip(*files, strict=True))
    return [
        *findings,
        *_of_looks(
            Severity.FAULT,
            "{n} mask{s} {are} turned against the image{s}: height and width are swapped",
            "the camera's orientation (EXIF) was applied to one of the two; apply it to the other",
            turned,
        ),
        *_of_looks(
            Severity.FAULT,
            "{n} mask{s} {are} not of the image's size",
            "export them again at the image's size; if they cover the same scene, resize with cv2.INTER_NEAREST",
            other,
        ),
        *_of_looks(
            Severity.FAULT,
            "{n} mask{s} {are} not what train.csv says",
            "remove the wrong one of the two",
            (look for look in looks if look.mask and look.mask.code_differs),
        ),
    ]


def check_images(looks: Sequence[PairStats]) -> list[Finding]:
    """Bit depths and channels that can't be mixed, images of one value, alpha."""
    depths: dict[str, list[PairStats]] = defaultdict(list)
    colours: dict[int, list[PairStats]] = defaultdict(list)
    for look, image in _images(looks):
        depths[image.dtype].append(look)
        if image.channels > 1:
            colours[image.channels].append(look)
    findings: list[Finding] = []
    if "uint8" in depths and len(depths) > 1:
        few = min(depths, key=lambda dtype: len(depths[dtype]))
        shown = " and ".join(f"{depth_name(dtype)} ({len(group):,})" for dtype, group in depths.items())
        fix = f"convert all to one kind; the fewest are {depth_name(few)}"
        findings += _of_looks(Severity.FAULT, f"bit depths can't be mixed: {shown}", fix, depths[few])
    elif len(depths) > 1:
        shown = " and ".join(map(depth_name, depths))
        fix = "nothing to do if they share one scale of values; else convert them"
        findings += _of_looks(Severity.WARNING, f"kinds of numbers are mixed: {shown}", fix, looks)
    if len(colours) > 1:
        few_channels = min(colours, key=lambda count: len(colours[count]))
        shown = " and ".join(f"{count} ({len(group):,})" for count, group in colours.items())
        fix = "save all with the same channels; only grey images may stand among others"
        findings += _of_looks(
            Severity.FAULT, f"numbers of channels can't be mixed: {shown}", fix, colours[few_channels]
        )
    findings += _of_looks(
        Severity.WARNING,
        "{n} image{s} {are} of a single value",
        "nothing can be learnt from them: remove them, unless predictions will meet such images too",
        (look for look, image in _images(looks) if image.value_range[0] == image.value_range[1]),
    )
    findings += _of_looks(
        Severity.NOTE,
        "{n} image{s} {have} an alpha channel",
        "it is dropped; nothing to do unless it matters",
        (look for look, image in _images(looks) if image.has_alpha),
    )
    return findings


def check_amounts(coverage: dict[str, float], plan: MaskPlan) -> list[Finding]:
    """Too few pairs, masks that are all empty or full, foreground that may be background."""
    findings: list[Finding] = []
    if len(coverage) == 1:
        fix = "two are needed at least, to train and to validate: cut a large image into tiles"
        findings.append(Finding(Severity.FAULT, "there is only one whole pair of image and mask", fix))
    elif 0 < len(coverage) < FEW:
        fix = "large images make up for it with data.crop_size; else label more: 20 to 50 are a start"
        findings.append(Finding(Severity.WARNING, f"only {len(coverage)} pairs", fix))
    shares = np.array(list(coverage.values()))
    if len(shares) and not shares.any():
        fix = "is the foreground 0 in the files? or were other values lost when the masks were saved?"
        findings.append(Finding(Severity.FAULT, "all masks are empty: there is nothing to learn", fix))
    elif len(shares) and (shares == 1).all():
        fix = "the background must have a value of its own, 0"
        findings.append(Finding(Severity.WARNING, "all masks are full: there is nothing to learn", fix))
    elif len(shares) and plan.num_classes == 1 and shares.mean() > 0.7:
        what = f"the foreground takes {shares.mean():.0%} of the pixels: are masks inverted?"
        findings.append(Finding(Severity.NOTE, what, "if so invert them; if it is meant so, nothing to do"))
    return findings


def depth_name(dtype: str) -> str:
    """`8-bit` for uint8, and so on."""
    return {"uint8": "8-bit", "uint16": "16-bit", "float32": "float", "float64": "float"}.get(dtype, dtype)


def _images(looks: Iterable[PairStats]) -> Iterator[tuple[PairStats, ImageFacts]]:
    return ((look, look.image) for look in looks if look.image)


def _both(looks: Iterable[PairStats]) -> Iterator[tuple[PairStats, ImageFacts, MaskFacts]]:
    return ((look, look.image, look.mask) for look in looks if look.image and look.mask)


def _of_looks(severity: Severity, what: str, fix: str, looks: Iterable[PairStats]) -> list[Finding]:
    looks = list(looks)
    return of_files(severity, what, fix, map(_name, looks), (look.pair.id for look in looks))


def _name(look: PairStats) -> str:
    """With the sizes where they are the trouble."""
    if look.image and look.mask and look.image.shape != look.mask.shape:
        return f"{look.pair.id} ({size_name(look.mask.shape)} for {size_name(look.image.shape)})"
    return look.pair.id


def size_name(shape: tuple[int, int]) -> str:
    """Width x height, as image viewers show it."""
    return f"{shape[1]}x{shape[0]}"
