"""The shapes of a drawing, as lines of SVG."""

import math
from xml.sax.saxutils import escape

STYLE = (
    "text{font-family:Helvetica,Arial,sans-serif;fill:#24292f}"
    ".channels{font-size:12px;text-anchor:middle}"
    ".size{font-size:11px;fill:#6b6f78;text-anchor:middle}"
    ".legend{font-size:12.5px}"
    ".note{font-size:12.5px;fill:#6b6f78}"
    ".title{font-size:20px;font-weight:bold}"
    ".subtitle{font-size:13px;fill:#57606a}"
)


def arrow(x1: float, y1: float, x2: float, y2: float, colour: str, width: float, *, dashed: bool = False) -> str:
    """Draw a line with a head at its end."""
    length = math.hypot(x2 - x1, y2 - y1)
    dx, dy = (x2 - x1) / length, (y2 - y1) / length
    head = 3 * width
    points = (
        (x2, y2),
        *((x2 - head * dx + s * head * dy / 1.6, y2 - head * dy - s * head * dx / 1.6) for s in (1, -1)),
    )
    dash = ' stroke-dasharray="6 4"' if dashed else ""
    return (
        f'<path d="M{x1:.1f} {y1:.1f}L{x2 - head * dx:.1f} {y2 - head * dy:.1f}" stroke="{colour}" '
        f'stroke-width="{width}"{dash}/>'
        f'<polygon points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}" fill="{colour}"/>'
    )


def rectangle(x: float, y: float, width: float, height: float, colours: tuple[str, str]) -> str:
    """Draw a box from its upper left corner; `colours` are those of fill and border."""
    fill, border = colours
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="1.5"'
    return f'<rect {place} fill="{fill}" stroke="{border}" stroke-width="1.2"/>'


def text(x: float, y: float, words: str, style: str) -> str:
    """Write words in one of the classes of `STYLE`."""
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'
