"""Image files that Pillow reads: GIF, AVIF, and HEIC with a plug-in."""

import numpy as np

from unetkit.data.headers import open_with_pillow
from unetkit.data.layers import Layers, upright
from unetkit.errors import UserError

# The kind of a HEIF file by the four letters after `ftyp` (ISO/IEC 23008-12).
BRANDS = {b"avif": "AVIF", b"avis": "AVIF", **dict.fromkeys((b"heic", b"heix", b"hevc", b"mif1", b"msf1"), "HEIF")}
ORIENTATION = 0x0112  # tag of EXIF 2.3


def pillow_format(content: bytes) -> str | None:
    """Return Pillow's name for the kind of a file that only Pillow reads, by its first bytes; None for others."""
    if content.startswith(b"GIF8"):
        return "GIF"
    return BRANDS.get(content[8:12]) if content[4:8] == b"ftyp" else None


def decode_with_pillow(content: bytes, kind: str, name: str) -> Layers:
    """Decode a file of one picture to its colours (H, W, 3) or grey levels (H, W), 8-bit, and its opacity.

    Raises:
        UserError: If it holds several pictures.
        OSError: If it is broken.
    """
    with open_with_pillow(content, kind) as image:
        if getattr(image, "n_frames", 1) > 1:
            raise UserError(name, "is a stack of several images", "save each as a file of its own")
        has_alpha = "transparency" in image.info or image.mode.endswith("A")
        grey, colour = ("LA", "RGBA") if has_alpha else ("L", "RGB")
        orientation = image.getexif().get(ORIENTATION, 1)  # the plug-in has turned a HEIC already, and says 1
        pixels = upright(np.array(image.convert(grey if image.mode in ("L", "LA", "1") else colour)), orientation)
    return Layers(np.ascontiguousarray(pixels[..., :-1]), pixels[..., -1]) if has_alpha else Layers(pixels)


def register_plugin(content: bytes, name: str) -> None:
    """Register the plug-in with which Pillow reads HEIC, if this is such a file.

    Raises:
        UserError: If it is not installed.
    """
    if pillow_format(content) != "HEIF":
        return
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise UserError(name, "is a HEIC file", "pip install 'unetkit[heic]' to read it") from error
    register_heif_opener()
