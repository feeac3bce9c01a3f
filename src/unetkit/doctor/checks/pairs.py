"""Checks that need all files: errors, sizes, kinds of images, and amounts of foreground."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np

from unetkit.data.findings import Finding, Severity, finding_on
from unetkit.doctor.survey.pairs import PairStats

FEW_PAIRS = 20
MUCH_FOREGROUND = 0.7  # mean share of the pixels from which on masks may be inverted
DTYPE_NAMES = {"uint8": "8-bit", "uint16": "16-bit", "float32": "float", "float64": "float"}


def check_files(stats: Sequence[PairStats]) -> list[Finding]:
    """Report files that can't be used, and masks that contradict their image or train.csv."""
    return [*_unusable(stats), *_sizes(stats), *_contradicting_rle(stats)]


def check_images(stats: Sequence[PairStats]) -> list[Finding]:
    """Report kinds of images that can't be mixed, images of one value, alpha channels, and pixels without data."""
    stats = [pair for pair in stats if pair.image]
    constant = [pair for pair in stats if pair.image and pair.image.value_range[0] == pair.image.value_range[1]]
    return [
        *_mixed_depths(stats),
        *_mixed_channels(stats),
        *_on_pairs(
            Severity.WARNING,
            "{n} image{s} {has} the same value in all pixels",
            "nothing can be learned from such images: remove them, unless predictions will meet them too",
            constant,
        ),
        *_hidden_alpha(stats),
        *_nodata(stats),
        *_on_pairs(
            Severity.NOTE,
            "{n} image{s} {has} a mask within the file, which says where there are data",
            "nothing to do: other pixels are void, and left out of the range of values",
            [pair for pair in stats if pair.image and pair.image.is_masked],
        ),
    ]


def _hidden_alpha(stats: Sequence[PairStats]) -> list[Finding]:
    hidden = [pair for pair in stats if pair.image and pair.image.has_varying_alpha]
    channels = max((pair.image.channels + 1 for pair in hidden if pair.image), default=0)
    what = "{n} image{s} {has} an alpha channel that is not the same everywhere: it is not read"
    fix = f"nothing to do if it only makes parts transparent; if it holds data, set data.channels={channels}"
    return _on_pairs(Severity.WARNING, what, fix, hidden)


def _nodata(stats: Sequence[PairStats]) -> list[Finding]:
    without = [pair for pair in stats if pair.image and pair.image.nodata]
    values = sorted({value for pair in without if pair.image for value in pair.image.nodata})
    what = f"{{n}} image{{s}} {{has}} pixels without data, marked by {', '.join(f'{value:g}' for value in values)}"
    fix = (
        "nothing to do: they are void, and left out of the range of values; if they are data, set "
        "data.value_range=[LOW,HIGH] around them"
    )
    return _on_pairs(Severity.NOTE, what, fix, without)


def check_amounts(coverage: dict[str, float], num_classes: int, *, has_background: bool = True) -> list[Finding]:
    """Report too few pairs, masks that are all empty or full, and foreground that may be background.

    Args:
        coverage: Share of foreground in the mask of each usable pair, by the pair's id.
        num_classes: 1 for binary masks.
        has_background: Whether class 0 is background; otherwise each pixel may be of a class.
    """
    if not coverage:
        return []
    shares = np.array(list(coverage.values()))
    return [*_few_pairs(len(coverage)), *(_extreme_shares(shares, num_classes) if has_background else [])]


def dtype_name(dtype: str) -> str:
    """Return what people call a type of numbers: `8-bit` for `uint8`."""
    return DTYPE_NAMES.get(dtype, dtype)


def size_name(shape: tuple[int, int]) -> str:
    """Return width x height, as image viewers show it, of a shape (H, W)."""
    return f"{shape[1]}x{shape[0]}"


def _unusable(stats: Sequence[PairStats]) -> list[Finding]:
    files: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for pair in stats:
        for error in pair.errors:
            files[error.problem, error.fix].append((error.name, pair.pair.id))
    findings: list[Finding] = []
    for (problem, fix), concerned in files.items():
        names, ids = zip(*concerned, strict=True)
        findings += finding_on(Severity.FAULT, f"{{n}} file{{s}} can't be used: {{it}} {problem}", fix, names, ids)
    return findings


def _sizes(stats: Sequence[PairStats]) -> list[Finding]:
    turned = [pair for pair in stats if _differ_in_size(pair) and _are_turned(pair)]
    return [
        *_on_pairs(
            Severity.FAULT,
            "{n} mask{s} {has} height and width swapped against the image{s}",
            "the camera's orientation (EXIF) was probably applied to one of the two only; apply it to the other",
            turned,
        ),
        *_on_pairs(
            Severity.FAULT,
            "{n} mask{s} {has} another size than the image{s}",
            "export the masks again at the image's size; if they show the same area, resize with cv2.INTER_NEAREST",
            [pair for pair in stats if _differ_in_size(pair) and not _are_turned(pair)],
        ),
    ]


def _differ_in_size(pair: PairStats) -> bool:
    return bool(pair.image and pair.mask and pair.image.shape != pair.mask.shape)


def _are_turned(pair: PairStats) -> bool:
    return bool(pair.image and pair.mask and pair.image.shape == pair.mask.shape[::-1])


def _contradicting_rle(stats: Sequence[PairStats]) -> list[Finding]:
    return _on_pairs(
        Severity.FAULT,
        "{n} mask{s} {is} not what train.csv says",
        "find out which of the two is wrong, and remove the file or the line",
        [pair for pair in stats if pair.mask and pair.mask.differs_from_rle],
    )


def _mixed_depths(stats: Sequence[PairStats]) -> list[Finding]:
    groups = _grouped(stats, lambda pair: pair.image.dtype if pair.image else None)
    if len(groups) < 2:
        return []
    shown = " and ".join(f"{dtype_name(str(dtype))} ({len(group):,})" for dtype, group in groups.items())
    if "uint8" in groups:  # its range is known, that of the others is measured
        fewest = min(groups, key=lambda dtype: len(groups[dtype]))
        fix = f"convert all to one kind; the fewest are {dtype_name(str(fewest))}"
        return _on_pairs(Severity.FAULT, f"bit depths can't be mixed: {shown}", fix, groups[fewest])
    fix = "nothing to do if their values have the same scale; else convert them"
    return _on_pairs(Severity.WARNING, f"types of numbers are mixed: {shown}", fix, stats)


def _mixed_channels(stats: Sequence[PairStats]) -> list[Finding]:
    coloured = [pair for pair in stats if pair.image and pair.image.channels > 1]
    groups = _grouped(coloured, lambda pair: pair.image.channels if pair.image else None)
    if len(groups) < 2:
        return []
    shown = " and ".join(f"{channels} ({len(group):,})" for channels, group in groups.items())
    return _on_pairs(
        Severity.FAULT,
        f"numbers of channels can't be mixed: {shown}",
        "save all images with the same channels; only grey images can be mixed with others",
        min(groups.values(), key=len),
    )


def _few_pairs(count: int) -> list[Finding]:
    if count == 1:
        fix = "training needs at least two, one of which validates: cut a large image into tiles"
        return [Finding(Severity.FAULT, "there is only one usable pair of image and mask", fix)]
    if count < FEW_PAIRS:
        fix = "this can be enough if images are large (data.crop_size); else label more: 20 to 50 are a good start"
        return [Finding(Severity.WARNING, f"there are only {count} usable pairs", fix)]
    return []


def _extreme_shares(shares: np.ndarray[tuple[int], np.dtype[np.float64]], num_classes: int) -> list[Finding]:
    """Report on the shares (N,) of foreground."""
    if not shares.any():
        fix = "is the foreground 0 in the files, or were other values lost when the masks were saved?"
        return [Finding(Severity.FAULT, "all masks are empty: there is nothing to learn", fix)]
    if (shares == 1).all():
        fix = "give the background a value of its own, 0"
        return [Finding(Severity.FAULT, "all masks are full: there is nothing to learn", fix)]
    if num_classes == 1 and shares.mean() > MUCH_FOREGROUND:
        what = f"the foreground has {shares.mean():.0%} of the pixels: are masks inverted?"
        return [Finding(Severity.NOTE, what, "invert them if they are; else there is nothing to do")]
    return []


def _grouped(stats: Iterable[PairStats], key: Callable[[PairStats], Hashable]) -> dict[Hashable, list[PairStats]]:
    groups: dict[Hashable, list[PairStats]] = defaultdict(list)
    for pair in stats:
        groups[key(pair)].append(pair)
    return groups


def _on_pairs(severity: Severity, what: str, fix: str, stats: Sequence[PairStats]) -> list[Finding]:
    return finding_on(severity, what, fix, map(_name, stats), (pair.pair.id for pair in stats))


def _name(pair: PairStats) -> str:
    """Return the pair's id, with the sizes if they differ."""
    if pair.image and pair.mask and pair.image.shape != pair.mask.shape:
        return f"{pair.pair.id} (mask {size_name(pair.mask.shape)}, image {size_name(pair.image.shape)})"
    return pair.pair.id
