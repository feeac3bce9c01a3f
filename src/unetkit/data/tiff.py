"""TIFF files that OpenCV reads wrongly without saying so."""

import io
import struct
import warnings

import numpy as np

from unetkit.errors import UserError

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two: BigTIFF
SAMPLES, BITS, PHOTOMETRIC, PLANAR, EXTRA = 277, 258, 262, 284, 338  # tags of TIFF 6.0


def check_tiff(content: bytes, name: str) -> None:
    """Refuse a TIFF whose bands are not stored as RGB, pixel by pixel, or whose 0 is white.

    What OpenCV reads well passes: RGB, with alpha or not; 8-bit grey with alpha; three bands of 32 bits; 8-bit grey
    whose 0 is white.

    Raises:
        UserError: If OpenCV would read it wrongly.
    """
    if content[:4] not in MAGIC:
        return
    from PIL import TiffImagePlugin  # here, because Pillow takes long to import and most files don't need it

    stream = io.BytesIO(content)
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(stream.read(16 if b"+" in content[:4] else 8))
        stream.seek(tags.next)
        with warnings.catch_warnings(action="ignore"):
            tags.load(stream)
    except (OSError, ValueError, EOFError, RuntimeError, SyntaxError, struct.error):
        return  # a broken file, which decoding reports
    samples, photometric, bits = tags.get(SAMPLES, 1), tags.get(PHOTOMETRIC, 1), np.max(tags.get(BITS, 1))
    is_grey = photometric in (0, 1)
    is_planar = tags.get(PLANAR, 1) == 2 and bits > 8
    is_read_well = (samples == 2 and bits == 8 and EXTRA in tags) or (samples == 3 and bits == 32)
    if samples > 1 and (is_planar or (is_grey and not is_read_well)):
        problem = f"is a TIFF of {samples} bands that are not stored as RGB, pixel by pixel"
        raise UserError(name, problem, "store it as RGB, pixel by pixel, or save it as .npy of (H, W, C)")
    if photometric == 0 and bits > 8:
        problem = f"is a TIFF of {bits} bits whose 0 is white"
        raise UserError(name, problem, "save it with 0 as black, or as .npy")
