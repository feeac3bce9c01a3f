"""Pieces of HTML with embedded pictures, so that the page serves no file."""

import base64
import html

import numpy as np
from numpy.typing import NDArray

from unetkit.plots.images import encode_png


def text(line: str) -> str:
    """Escape a line of text."""
    return html.escape(line).replace("{", "&#123;")  # Gradio takes braces for a template


def figure(kind: str, picture: NDArray[np.uint8], caption: str) -> str:
    """Return a picture (h, w) or (h, w, 3), of the CSS class `kind`, with a caption of HTML."""
    image = f'<img class="{kind}" alt="{kind}" src="{data_url(encode_png(picture))}">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def data_url(png: bytes) -> str:
    """Return the content of a PNG file as a data URL."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
