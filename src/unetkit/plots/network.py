"""Draw a network as the classic U (Ronneberger et al. 2015, figure 1), from what a forward pass computes."""

import math
from dataclasses import dataclass
from itertools import pairwise
from xml.sax.saxutils import escape

from torch import nn

from unetkit.models.steps import Step, steps_of
from unetkit.plots.svg import STYLE, arrow, rectangle, text

ENCODER, DECODER, ENDS = ("#d2e2f6", "#2b66ad"), ("#d3ecd9", "#2f8550"), ("#ececef", "#6b6f78")  # fill, border
ARROWS = {
    "conv": "#24292f",
    "down": "#c8442f",
    "up": "#2f8550",
    "skip": "#2b66ad",
    "head": "#7a4fb0",
    "border": "#9aa0a8",
}
# Lengths in pixels of the drawing.
GAP = 36  # between boxes of a level
ROW = 76  # between levels
EDGE = 40  # around the drawing
TALLEST = 190  # height of a box of the largest size
NARROWEST = 600  # least width of the drawing


@dataclass
class Box:
    """A step of the network in its place; centre and size in pixels of the drawing."""

    step: Step
    colours: tuple[str, str]
    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> float:
        """Left edge."""
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        """Right edge."""
        return self.x + self.width / 2

    @property
    def top(self) -> float:
        """Upper edge."""
        return self.y - self.height / 2

    @property
    def bottom(self) -> float:
        """Lower edge."""
        return self.y + self.height / 2


def draw_u(network: nn.Module, size: int = 256, title: str | None = None) -> str:
    """Return an SVG of what the network does with an image of size x size.

    A box stands for features: above it stands their number, below it their size where that changes. Its width grows
    with the square root of the number, its height with the square root of the size.

    Args:
        network: A network of images that goes down and up again.
        size: Side of the image in pixels.
        title: The title; None for the name of the network's class.

    Raises:
        UserError: If it is not such a network, or the size does not fit it.
    """
    boxes = place(steps_of(network, size))
    parameters = sum(p.numel() for p in network.parameters())
    ends = ["{} x {} x {}".format(box.step.channels, *box.step.size) for box in (boxes[0], boxes[-1])]
    name = title or type(network).__name__
    width = max(boxes[-1].right + EDGE, NARROWEST)
    key, bottom = legend(boxes, width - EDGE, max(box.bottom for box in boxes) + 56)
    height = bottom + EDGE - 12
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img">',
        f"<title>{escape(name)}: {ends[0]} in, {ends[1]} out</title>",
        f"<style>{STYLE}</style>",
        f'<rect x="1" y="1" width="{width - 2:.0f}" height="{height - 2:.0f}" rx="14" fill="#fff" stroke="#d8dbe0"/>',
        text(EDGE, 44, name, "title"),
        text(EDGE, 65, f"{parameters:,} parameters · {ends[0]} in · {ends[1]} out", "subtitle"),
        *skip_arrows(boxes),
        *step_arrows(boxes),
        *(line for before, box in zip([None, *boxes], boxes, strict=False) for line in draw_box(box, before)),
        *key,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def place(steps: list[Step]) -> list[Box]:
    """Place the boxes: levels below each other, each step to the right of the one before, or below or above it."""
    largest = max(max(step.size) for step in steps)
    heights = [max(TALLEST * math.sqrt(step.size[0] / largest), 10) for step in steps]
    rows = [max(h for h, step in zip(heights, steps, strict=True) if step.level == i) for i in levels_of(steps)]
    boxes: list[Box] = []
    rising = False
    for step, height in zip(steps, heights, strict=True):
        rising = rising or step.kind == "up"
        width = 5 + 1.5 * math.sqrt(step.channels)
        if not boxes:
            x = EDGE + 14 + width / 2
        elif step.kind in ("down", "up") and boxes[-1].step.kind != "down":
            x = boxes[-1].x - width * step.skip / step.channels / 2  # above or below the step it comes from
        else:
            x = boxes[-1].right + GAP + width / 2
        y = 108 + sum(rows[: step.level]) + ROW * step.level + rows[step.level] / 2
        colours = ENDS if step.kind in ("input", "border", "head") else DECODER if rising else ENCODER
        boxes.append(Box(step, colours, x, y, width, height))
    return boxes


def levels_of(steps: list[Step]) -> range:
    """Return all levels, from 0."""
    return range(max(step.level for step in steps) + 1)


def draw_box(box: Box, before: Box | None) -> list[str]:
    """Draw a box, in two colours if a skip connection is concatenated, with its channels, and its size if it is new."""
    step = box.step
    copied = box.width * step.skip / step.channels
    lines = [rectangle(box.left + copied, box.top, box.width - copied, box.height, box.colours)]
    if step.skip:
        lines.append(rectangle(box.left, box.top, copied, box.height, ENCODER))
    channels = f"{step.skip} + {step.channels - step.skip}" if step.skip else str(step.channels)
    lines.append(text(box.x, box.top - 6, channels, "channels"))
    if before is None or before.step.size != step.size:
        lines.append(text(box.x, box.bottom + 14, f"{step.size[0]}²", "size"))
    return lines


def step_arrows(boxes: list[Box]) -> list[str]:
    """Draw the arrows from each box to the next."""
    lines = []
    for a, b in pairwise(boxes):
        colour = ARROWS[b.step.kind]
        if b.step.kind == "down":
            lines.append(arrow(b.x, a.bottom + 19, b.x, b.top - 20, colour, 3))
        elif b.step.kind == "up":
            is_below = b.left < a.x < b.right
            foot = (a.x, a.top - 20) if is_below else (a.right + 4, a.top)
            lines.append(arrow(*foot, a.x if is_below else b.x, b.bottom + 19, colour, 3))
        else:
            lines.append(arrow(a.right + 4, a.y, b.left - 4, b.y, colour, 2))
    return lines


def skip_arrows(boxes: list[Box]) -> list[str]:
    """Draw the skip connections, from the last box of a level on the way down to the merging one on the way up."""
    merges = [(source_of(box, boxes), box) for box in boxes if box.step.merged]
    return [arrow(a.right + 4, a.y, b.left - 4, b.y, ARROWS["skip"], 2, dashed=True) for a, b in merges]


def source_of(box: Box, boxes: list[Box]) -> Box:
    """Return the last box of the same level before the levels below."""
    return [other for other in boxes[: boxes.index(box)] if other.step.level == box.step.level][-1]


def legend(boxes: list[Box], right: float, y: float) -> tuple[list[str], float]:
    """Draw what each kind of arrow means, as many in a line as fit; return it with the height of the last line."""
    entries = list(dict.fromkeys((box.step.kind, box.step.text) for box in boxes[1:]))
    entries += dict.fromkeys(("skip", meaning_of_skip(box, boxes)) for box in boxes if box.step.merged)
    lines = []
    x = float(EDGE)
    for kind, words in entries:
        width = 44 + 6.4 * len(words)
        if x + width > right:
            x, y = float(EDGE), y + 24
        lines.append(arrow(x, y - 4, x + 28, y - 4, ARROWS[kind], 2, dashed=kind == "skip"))
        lines.append(text(x + 36, y, words, "legend"))
        x += width + 16
    lines.append(text(EDGE, y + 26, "above a box: its channels; below: its height and width", "note"))
    return lines, y + 26


def meaning_of_skip(box: Box, boxes: list[Box]) -> str:
    """Say what is done with the features of a skip connection."""
    is_cropped = source_of(box, boxes).step.size != box.step.size
    return f"copy, {'crop, ' if is_cropped else ''}{box.step.merged}"
