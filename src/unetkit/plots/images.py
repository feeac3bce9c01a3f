"""Draw images, masks and predictions as pictures (H, W, 3) uint8, and write them as PNG files."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from unetkit.paths import printable, whole_file
from unetkit.plots.shrink import shrink

Image = NDArray[np.uint8]

# RGB colours that colour-blind people can tell apart (Okabe & Ito 2008).
OKABE_ITO = [[230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [204, 121, 167], [213, 94, 0], [0, 114, 178]]


def voc_colour(label: int) -> list[int]:
    """Return PASCAL VOC's colour of a class: bits 0, 3, 6 of the label are the highest bits of red, and so on."""
    return [sum((label >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(3)) for channel in range(3)]


# RGB colours of class 1, 2, ..., 254, all different.
CLASS_COLOURS = np.array([*OKABE_ITO, *map(voc_colour, range(len(OKABE_ITO) + 1, 255))], np.uint8)
SEEN = (0.01, 0.99)  # quantiles of what is to be seen
LOOKED_AT = 512  # pixels a side that the quantiles are of, at most twice as many
FLAT, FAINT = 4, 128  # grey levels between them: no content, and less than half of what a screen shows
GREY = 128, 128, 128  # of class 0 where it is no background; no other class has it
CELL = 160  # side in pixels of a picture on a sheet
GAP = 4  # pixels between the pictures of a row, and around text
ROW_GAP = 12  # pixels between a row and the next caption, so that it is seen which row it belongs to
LINE = 16  # height in pixels of a line of text
FONT = cv2.FONT_HERSHEY_SIMPLEX, 0.38


def to_rgb(image: Image) -> Image:
    """Return (H, W, 3) for an image (H, W) or (H, W, C): its first three channels, or the first one as grey."""
    image = image if image.ndim == 3 else image[..., None]
    return np.ascontiguousarray(np.repeat(image[..., :1], 3, axis=2) if image.shape[2] < 3 else image[..., :3])


def visible(image: Image, like: Image | None = None) -> Image:
    """Return an image (H, W) or (H, W, C) as RGB in which a person sees something, for display only.

    If its 1 % and 99 % quantiles span less than half of 0 to 255, as in dark images, or in 12-bit ones whose range of
    values was that of others, they become 0 and 255. Quantiles closer than `FLAT` are those of noise, and stay.

    Args:
        image: The image.
        like: Another image whose quantiles are taken, so that both are drawn alike, as an image and its parts; None for
            the image itself.
    """
    picture, measured = to_rgb(image), to_rgb(image if like is None else like)
    down, right = (max(side // LOOKED_AT, 1) for side in measured.shape[:2])
    low, high = np.quantile(measured[::down, ::right], SEEN).tolist() if measured.size else (0, 0)
    if not FLAT <= high - low < FAINT:
        return picture
    return np.asarray(np.clip((picture.astype(np.float32) - low) * (255 / (high - low)), 0, 255).round(), np.uint8)


def overlay(
    image: Image,
    mask: Image,
    has_background: bool = True,
    like: Image | None = None,
    *,
    is_multilabel: bool = False,
) -> Image:
    """Return the image with each class of the mask (H, W) tinted and outlined; void (255) stays as it is.

    Args:
        image: The image, (H, W) or (H, W, C).
        mask: Class indices.
        has_background: Whether class 0 stays as it is, too.
        like: See `visible`.
        is_multilabel: Whether the mask holds labels as bits; where several overlap, their colours mix.
    """
    picture = visible(image, like).copy()
    for label, region in _regions(mask, has_background, is_multilabel):
        colour = np.array(colour_of(label), np.uint8)
        inside = region > 0
        picture[inside] = (0.65 * picture[inside] + 0.35 * colour).astype(np.uint8)
        contours, _ = cv2.findContours(region, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, contours, -1, colour.tolist(), 1)
    return picture


def _regions(mask: Image, has_background: bool, is_multilabel: bool) -> Iterator[tuple[int, Image]]:
    """Yield the number of each colour with the pixels (H, W) uint8, 0 or 1, that have it."""
    shown = mask[mask < 255]
    if is_multilabel:
        for bit in range(int(shown.max()).bit_length() if shown.size else 0):
            yield bit + 1, ((mask >> bit & 1) * (mask < 255)).astype(np.uint8)
    else:
        for label in np.unique(shown[shown >= int(has_background)]):
            yield int(label), (mask == label).astype(np.uint8)


def colour_of(label: int) -> tuple[int, int, int]:
    """Return the colour (R, G, B) of a class; that of class 0 is used where it is no background."""
    red, green, blue = CLASS_COLOURS[label - 1].tolist() if label else GREY
    return red, green, blue


def class_colours(
    names: Sequence[str], has_background: bool = True, *, is_multilabel: bool = False
) -> dict[str, tuple[int, int, int]]:
    """Return the colours of classes by name for a legend; none for two classes, which need none.

    Args:
        names: Names of class 0, 1, ...
        has_background: Whether class 0 is left out.
        is_multilabel: Whether these are labels, each with a colour.
    """
    if is_multilabel:
        return {name: colour_of(label) for label, name in enumerate(names, 1)}
    shown = list(enumerate(names))[int(has_background) :]
    return {name: colour_of(label) for label, name in shown} if len(names) > 2 else {}


def heatmap(probability: NDArray[np.float32]) -> Image:
    """Return probabilities (H, W) in [0, 1] as colours from dark to bright (viridis)."""
    levels = (probability * 255).round().astype(np.uint8)
    return np.asarray(cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB), np.uint8)


def sheet(
    rows: Sequence[Sequence[Image]],
    headings: Sequence[str],
    captions: Sequence[str],
    colours: Mapping[str, tuple[int, int, int]] | None = None,
) -> Image:
    """Arrange pictures in rows and columns on white, with a heading over each column and a caption over each row.

    A legend of colours by name stands above, if there are any.
    """
    width = max(map(len, rows), default=len(headings)) * (CELL + GAP) + GAP
    strips = [legend(colours, width)] if colours else []
    strips.append(_headings(headings, width))
    strips += [_row(pictures, caption, width) for pictures, caption in zip(rows, captions, strict=True)]
    return np.concatenate(strips)


def legend(colours: Mapping[str, tuple[int, int, int]], width: int) -> Image:
    """Draw colours with their names, in as many lines as the width in pixels needs."""
    left, lines = GAP, [np.full((LINE + GAP, width, 3), 255, np.uint8)]
    for name, colour in colours.items():
        space = LINE + 2 * GAP + cv2.getTextSize(name, *FONT, 1)[0][0]
        if left > GAP and left + space > width:
            left = GAP
            lines.append(np.full_like(lines[0], 255))
        lines[-1][GAP:LINE, left : left + LINE - GAP] = colour
        _write(lines[-1], name, left + LINE, LINE - 3)
        left += space + LINE
    return np.concatenate(lines)


def write_png(path: Path, picture: NDArray[Any]) -> None:
    """Write a picture (H, W) or RGB (H, W, 3) as a whole file, and create its folder."""
    with whole_file(path) as part:
        part.write_bytes(encode_png(picture))


def encode_png(picture: NDArray[Any]) -> bytes:
    """Return the bytes of a PNG of a picture (H, W) or RGB (H, W, 3)."""
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    ok, content = cv2.imencode(".png", bgr)
    assert ok  # in memory, encoding an array of these shapes can't fail
    return content.tobytes()


def _headings(headings: Sequence[str], width: int) -> Image:
    strip = np.full((LINE + GAP, width, 3), 255, np.uint8)
    for column, heading in enumerate(headings):
        _write(strip, heading, GAP + column * (CELL + GAP), LINE - 3)
    return strip


def _row(pictures: Sequence[Image], caption: str, width: int) -> Image:
    fitted = [_fit(picture) for picture in pictures]
    height = max((picture.shape[0] for picture in fitted), default=0)
    strip = np.full((LINE + height + ROW_GAP, width, 3), 255, np.uint8)
    _write(strip, caption, GAP, LINE - 4)
    for column, picture in enumerate(fitted):
        left = GAP + column * (CELL + GAP)
        strip[LINE : LINE + picture.shape[0], left : left + picture.shape[1]] = picture
    return strip


def _fit(picture: Image) -> Image:
    """Bring a picture to the size of a cell; the pixels of a small one stay sharp."""
    scale = CELL / max(picture.shape[:2])
    if scale <= 1:
        return shrink(to_rgb(picture), CELL)
    size = max(round(picture.shape[1] * scale), 1), max(round(picture.shape[0] * scale), 1)
    return np.asarray(cv2.resize(to_rgb(picture), size, interpolation=cv2.INTER_NEAREST), np.uint8)


def _write(canvas: Image, text: str, left: int, baseline: int) -> None:
    # OpenCV ends the program where text can't be written as UTF-8.
    cv2.putText(canvas, printable(text), (left, baseline), *FONT, (0, 0, 0), 1, cv2.LINE_AA)
