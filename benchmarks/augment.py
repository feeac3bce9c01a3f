"""Question `augment`: elastic deformation of pairs of image and mask, with equal displacements in each library."""

import itertools
from collections.abc import Callable
from typing import Any

import albumentations as A
import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.answers import Answer, Row
from benchmarks.contenders import peer
from benchmarks.measuring import paired
from unetkit.data import DeviceAugmentation
from unetkit.errors import UserError

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Deform = Callable[[], tuple[Any, Any]]  # returns images and masks, of the library's own types
EPOCH = 2560  # images of an epoch, as in a fold of TGS Salt
SAW, SLOPE = 40, 6  # sawtooth image to measure displacements: period in pixels, and increase per pixel


def augment(rounds: int, device: torch.device, sizes: list[int], count: int) -> Answer:
    """Measure pairs per second of elastic deformations, with the root mean square displacement of albumentations."""
    rows: list[Row] = []
    sentences = []
    for size in sizes:
        images = np.random.default_rng(0).integers(0, 256, (count, size, size), np.uint8)
        masks = (images > 127).astype(np.uint8)
        strengths, missing = equal_strengths(size, device)
        runs = {name: DEFORMERS[name][0](images, masks, strength, device) for name, strength in strengths.items()}
        for run in runs.values():
            check_pairs(*run(), (count, size, size))
        for name, result in paired(runs, rounds, device, count).items():
            row = {"size": size, "library": name, "batch": count, "ms/pair": 1000 * result["seconds"] / count}
            pixels = displacement_px(name, strengths[name], size, device)
            rows.append({**row, "RMS, px": pixels, **result})
        sentences += missing
    return rows, sorted(set(sentences))


def equal_strengths(size: int, device: torch.device) -> tuple[dict[str, float], list[str]]:
    """Find the strength of each library at which it displaces as far as albumentations with alpha 120 and sigma 6.

    Returns:
        Strengths by library, and a sentence for each library that can't be used.
    """
    wanted = displacement_px("albumentations ElasticTransform", ALBUMENTATIONS_ALPHA, size, device)
    strengths, missing = {}, []
    for name, (_, strength) in DEFORMERS.items():
        try:
            closer = strength * wanted / displacement_px(name, strength, size, device)
            strengths[name] = closer * wanted / displacement_px(name, closer, size, device)
        except UserError as error:
            missing.append(f"left out: {name}, {error}")
    return strengths, missing


def displacement_px(name: str, strength: float, size: int, device: torch.device, draws: int = 64) -> float:
    """Measure the root mean square displacement along x, in pixels, by deforming a sawtooth image."""
    columns = np.arange(size)
    saw = np.broadcast_to((SLOPE * (columns % SAW)).astype(np.uint8), (draws, size, size))
    images, _ = DEFORMERS[name][0](np.ascontiguousarray(saw), np.zeros_like(saw), strength, device)()
    away = np.abs(columns % SAW - SAW / 2) < SAW / 5  # far from the jumps of the sawtooth
    inside = np.abs(columns - size / 2) < size / 2 - SAW / 4
    moved = as_array(images).reshape(saw.shape).astype(np.float64) - saw
    return float(np.sqrt(np.square(moved[:, inside][:, :, inside & away] / SLOPE).mean()))


def as_array(batch: Any) -> np.ndarray[Any, Any]:
    """Return a batch, or a list of images, as a NumPy array."""
    return np.stack([np.asarray(torch.as_tensor(image).cpu()) for image in batch])


def check_pairs(images: Any, masks: Any, shape: tuple[int, ...]) -> None:
    """Check that images have this shape, and masks the values 0 and 1 only."""
    found = as_array(images), as_array(masks)
    if any(x.size != np.prod(shape) for x in found) or not set(np.unique(found[1])) <= {0, 1}:
        raise RuntimeError(f"{[x.shape for x in found]} are not pairs of images and binary masks of {shape}")


def our_deformation(images: Bytes, masks: Bytes, strength: float, device: torch.device) -> Deform:
    """Deform batches by unetkit. The time includes drawing the parameters."""
    augmentation = DeviceAugmentation(0, flip=0, displacement_px=strength, elastic_p=1)
    pixels, classes = (torch.from_numpy(x)[:, None].to(device) for x in (images, masks))
    starts, indices = itertools.count(step=len(images)), torch.arange(len(images), device=device)

    def deform() -> tuple[Tensor, Tensor]:
        epoch, first = divmod(next(starts), EPOCH)
        params = augmentation.sample_params(epoch, first + indices, *images.shape[1:])
        return augmentation.warp(pixels, classes, params)

    return deform


def albumentations_deformation(images: Bytes, masks: Bytes, strength: float, device: torch.device) -> Deform:
    """Deform pairs one by one by albumentations' ElasticTransform, with sigma 6 and mirrored borders."""
    transform = A.Compose([A.ElasticTransform(alpha=strength, sigma=6, border_mode=cv2.BORDER_REFLECT_101, p=1)])

    def deform() -> tuple[list[Bytes], list[Bytes]]:
        pairs = [transform(image=image, mask=mask) for image, mask in zip(images, masks, strict=True)]
        return [pair["image"] for pair in pairs], [pair["mask"] for pair in pairs]

    return deform


def elasticdeform_deformation(images: Bytes, masks: Bytes, strength: float, device: torch.device) -> Deform:
    """Deform pairs one by one by elasticdeform's deform_random_grid, with 3x3 points, linear for images only."""
    library = peer("elasticdeform")

    def deform() -> tuple[list[Bytes], list[Bytes]]:
        pairs = [
            library.deform_random_grid([image, mask], strength, 3, order=[1, 0], mode="mirror")
            for image, mask in zip(images, masks, strict=True)
        ]
        return [image for image, _ in pairs], [mask for _, mask in pairs]

    return deform


def monai_deformation(images: Bytes, masks: Bytes, strength: float, device: torch.device) -> Deform:
    """Deform pairs one by one by MONAI's Rand2DElasticd, with about four points per side."""
    transform = peer("monai.transforms").Rand2DElasticd(
        keys=("image", "mask"),
        spacing=images.shape[1] // 4,
        magnitude_range=(strength, strength),
        prob=1.0,
        mode=("bilinear", "nearest"),
        padding_mode="reflection",
        device=device,
    )
    pixels, classes = (torch.from_numpy(x).float()[:, None].to(device) for x in (images, masks))

    def deform() -> tuple[list[Tensor], list[Tensor]]:
        pairs = [transform({"image": image, "mask": mask}) for image, mask in zip(pixels, classes, strict=True)]
        return [pair["image"] for pair in pairs], [pair["mask"] for pair in pairs]

    return deform


def kornia_deformation(images: Bytes, masks: Bytes, strength: float, device: torch.device) -> Deform:
    """Deform batches by Kornia's RandomElasticTransform."""
    library = peer("kornia.augmentation")
    elastic = library.RandomElasticTransform(
        alpha=(strength, strength), align_corners=True, padding_mode="reflection", p=1.0
    )
    transform = library.AugmentationSequential(elastic, data_keys=["input", "mask"])
    pixels, classes = (torch.from_numpy(x).float()[:, None].to(device) for x in (images, masks))

    def deform() -> tuple[Tensor, Tensor]:
        moved, mask = transform(pixels, classes)
        return moved, mask

    return deform


ALBUMENTATIONS_ALPHA = 120.0
DEFORMERS: dict[str, tuple[Callable[..., Deform], float]] = {  # the function, and the first strength to try
    "unetkit DeviceAugmentation": (our_deformation, 2.0),
    "albumentations ElasticTransform": (albumentations_deformation, ALBUMENTATIONS_ALPHA),
    "elasticdeform": (elasticdeform_deformation, 2.0),
    "MONAI Rand2DElastic": (monai_deformation, 0.2),
    "kornia RandomElasticTransform": (kornia_deformation, 1.0),
}
