"""Images as people hold them, paths, arrays, tensors or images of Pillow, as the arrays that networks are given."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unetkit.data import Preprocessing
from unetkit.data.decode import read_image
from unetkit.data.files import FileRef
from unetkit.data.layout.inputs import find_images
from unetkit.data.volumes import Volume, read_volume
from unetkit.data.zarrs import ZARR
from unetkit.errors import UserError
from unetkit.paths import expanded

if TYPE_CHECKING:
    from PIL.Image import Image

# Modes of Pillow whose arrays are not grey or RGB, and what they are converted to.
PIL_MODES = {"1": "L", "P": "RGB", "PA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB", "HSV": "RGB", "LAB": "RGB"}


def as_array(image: "str | Path | NDArray[Any] | Tensor | Image", preprocessing: Preprocessing) -> NDArray[Any]:
    """Return an image (H, W) or (H, W, C), of the dtype that it has.

    Args:
        image: A path; an array (H, W) or (H, W, C); a tensor (H, W) or (C, H, W), also as a batch of one; or an image
            of Pillow. Tensors of floats from 0 to 1, as torchvision makes them, become 8-bit for a network of 8-bit
            images.
        preprocessing: Preprocessing used in training; an alpha channel is left out unless it makes up its channels.

    Raises:
        UserError: If a file can't be read, or it is no image.
    """
    if isinstance(image, np.ndarray | Tensor) and 0 in image.shape:
        raise UserError(f"an image of shape {tuple(image.shape)}", "has no pixel")
    if isinstance(image, np.ndarray):
        return image
    if isinstance(image, str | Path):
        return read_image(_ref_of(image, preprocessing.channel_files), preprocessing.channels)
    if isinstance(image, Tensor):
        return _of_tensor(image, preprocessing)
    if hasattr(image, "getbands"):  # importing Pillow to ask for the class would take time
        return _of_pillow(image, preprocessing.channels)
    raise UserError(f"a {type(image).__name__}", "is no image", "give a path, an array, a tensor or an image of Pillow")


def volume_of(image: "str | Path | NDArray[Any] | Tensor | Image", preprocessing: Preprocessing) -> Volume:
    """Return a volume (D, H, W, C), of the dtype that it has, with its spacing if that is known.

    Args:
        image: A path, also of the folder of a DICOM series; an array (D, H, W) or (D, H, W, C); or a tensor
            (D, H, W) or (C, D, H, W).
        preprocessing: Preprocessing used in training, which says whether each channel has a file.

    Raises:
        UserError: If a file can't be read, or it is no volume.
    """
    if isinstance(image, str | Path):
        return read_volume(_ref_of(image, preprocessing.channel_files, volumes=True))
    if not isinstance(image, np.ndarray | Tensor) or image.ndim not in (3, 4):
        given = f"of shape {tuple(image.shape)}" if isinstance(image, np.ndarray | Tensor) else type(image).__name__
        raise UserError(f"an image {given}", "is no volume, which the network is for", "give a path or (D, H, W)")
    if isinstance(image, Tensor):
        image = np.asarray(image.detach().cpu().movedim(0, -1) if image.ndim == 4 else image.detach().cpu())
    return Volume(image if image.ndim == 4 else image[..., None])


def _ref_of(path: str | Path, channel_files: int, *, volumes: bool = False) -> FileRef:
    """Return the file of a path; one of a channel stands for those of all channels, a folder for its DICOM series.

    Raises:
        UserError: If a folder holds several images, or a channel is missing.
    """
    place = expanded(path)
    if not place.exists():
        raise UserError(str(path), "does not exist", "give the path of an image")
    if channel_files == 1 and not (volumes and place.is_dir() and place.suffix.lower() != ZARR):
        return FileRef(place)
    refs = find_images(place, channel_files, volumes=volumes)
    if len(refs) > 1:
        raise UserError(str(path), f"holds {len(refs)} images", "give one of them")
    return refs[0]


def _of_tensor(image: Tensor, preprocessing: Preprocessing) -> NDArray[Any]:
    image = image[0] if image.ndim == 4 and len(image) == 1 else image
    if image.ndim not in (2, 3):
        raise UserError(f"a tensor of shape {tuple(image.shape)}", "is no image", "give (H, W) or (C, H, W)")
    image = image.detach().cpu()
    if preprocessing.value_range is None and image.is_floating_point():
        if not 0 <= image.min() <= image.max() <= 1:
            raise UserError("a tensor of floats", "is not from 0 to 1, but the training images are 8-bit", "give uint8")
        image = (image * 255).round().byte()
    return np.asarray(image if image.ndim == 2 else image.permute(1, 2, 0))


def _of_pillow(image: "Image", channels: int) -> NDArray[Any]:
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(image) or image  # as files are read
    array = np.asarray(upright.convert(PIL_MODES[upright.mode]) if upright.mode in PIL_MODES else upright)
    has_alpha = array.ndim == 3 and array.shape[2] in (2, 4)
    return array[..., :-1] if has_alpha and array.shape[2] != channels else array
