"""Checks that crops, augmentation and loss are for images (H, W) or for volumes (D, H, W), as the data are."""

from collections.abc import Sequence

from unetkit.data.augment import Augmentation
from unetkit.data.device_augment import DeviceAugmentation
from unetkit.errors import UserError


def check_dimensions(
    dimensions: int,
    crop: Sequence[int] | None,
    augmentation: Augmentation | DeviceAugmentation | None,
    *,
    changes_single_pairs: bool,
    is_resized: bool,
    with_border_weights: bool,
) -> None:
    """Check that what is set for training fits images of 2 dimensions, or volumes of 3.

    Args:
        dimensions: Number of dimensions of the masks.
        crop: The sides of the parts to train on; None for whole images.
        augmentation: Augmentation of the training pairs; None for none.
        changes_single_pairs: Whether pairs are augmented one by one on the host.
        is_resized: Whether `data.resize` is set.
        with_border_weights: Whether the loss weighs borders.

    Raises:
        UserError: If not.
    """
    if crop is not None and len(crop) != dimensions:
        key, sides = ("patch_size", "[32,64,64]") if dimensions == 3 else ("crop_size", "[64,96]")
        problem = f"has {len(crop)} sides, but the images have {dimensions} dimensions"
        raise UserError(
            f"data.{key}=[{','.join(map(str, crop))}]", problem, f"give {dimensions}, as in data.{key}={sides}"
        )
    is_bicubic = isinstance(augmentation, DeviceAugmentation) and augmentation.interpolation != "bilinear"
    on_device = "choose augment=elastic_device, mild_device, strong_device or none"
    for_images = (
        (is_resized, "data.resize", "is for images", "set data.spacing=[z,y,x]"),
        (changes_single_pairs, "augment", "deforms images with albumentations", on_device),
        (is_bicubic, "augment.interpolation=bicubic", "is for images", "use bilinear"),
        (with_border_weights, "loss=weighted_bce", "weighs borders of images", "choose another"),
    )
    for is_set, subject, problem, fix in for_images:
        if is_set and dimensions == 3:
            raise UserError(subject, f"{problem}, but the data are volumes", fix)
